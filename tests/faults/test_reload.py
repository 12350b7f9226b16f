"""C13: SIGHUP to the supervisor replaces its processes one after the other, and nobody notices."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User

from tests.aigateway.conftest import TRUSTS_NOBODY, register_simulator
from tests.architecture.source import ROOT
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.servers import free_port
from tests.usage.processes import database_url
from usage.keys.actions import create_api_key
from usage.models import Attempt

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

CLIENTS = 4
CHAT = {"model": "sim-small", "messages": [{"role": "user", "content": "Hi"}]}


class Gateway:
    """``manage.py run --web-only``, with everything it says on standard error."""

    def __init__(self, var: Path, processes: int) -> None:
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        own = {"HOST": "127.0.0.1", "PORT": str(port), "AIGATEWAY_WEB_PROCESSES": str(processes), "AIGATEWAY_STOP_DELAY_S": "5"}
        env = {
            **os.environ,
            **own,
            "AIGATEWAY_VAR": str(var),
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "aigateway.settings",
        }
        for name in ("secret_key", "keks"):
            source = Path(os.environ["AIGATEWAY_VAR"]) / name
            if source.exists():
                var.mkdir(exist_ok=True)
                (var / name).write_text(source.read_text())
        self.process = subprocess.Popen(
            ["env", "--default-signal=HUP", sys.executable, "manage.py", "run", "--web-only"],  # whoever runs the tests may ignore it
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.var = var
        self.processes = processes

    def await_line(self, wanted: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if wanted in line:
                return
        raise AssertionError(f"the gateway ended without saying {wanted!r}")

    def await_start(self) -> None:
        """Until the supervisor knows that everything runs."""
        assert self.process.stdout is not None
        assert any("is ready at" in line for line in self.process.stdout), "the gateway ended while starting"

    def started(self) -> list[str]:
        """Process numbers of all web processes that ever started."""
        logs = "".join(path.read_text() for path in sorted((self.var / "log").glob("web-*.log")))
        return re.findall(r"Started server process \[(\d+)\]", logs)


class Load:
    """Clients that ask without a pause: half of them on kept connections, half on a new one each time."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._gateway = gateway
        self._headers = {"Authorization": f"Bearer {key}"}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, is_kept: bool) -> None:
        headers = self._headers if is_kept else {**self._headers, "Connection": "close"}
        with httpx.Client(base_url=self._gateway.base_url, headers=headers, timeout=60, verify=TRUSTS_NOBODY) as client:
            while not self._over.is_set():
                try:
                    answers = [client.post("/v1/chat/completions", json=CHAT), client.get("/readyz"), client.get("/healthz")]
                    self.failed += [f"{answer.url}: {answer.status_code}" for answer in answers if answer.status_code != 200]
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                self.answered += 1


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path: Path, user: User, simulator: SimulatorHandle) -> Iterator[Gateway]:
    register_simulator(simulator)
    gateway = Gateway(tmp_path / "var", request.param)
    try:
        yield gateway
    finally:
        gateway.process.terminate()
        gateway.process.communicate(timeout=60)


@pytest.mark.parametrize("running", [1, 2], indirect=True)
def test_C13_a_reload_under_load_refuses_nobody(running: Gateway, user: User) -> None:
    _, key = create_api_key(user, "test")
    running.await_start()
    with Load(running, key) as load:
        for _ in range(2):
            running.process.send_signal(signal.SIGHUP)
            running.await_line("Reloaded.")
    assert load.failed == []
    assert load.answered > 0
    assert len(set(running.started())) == 3 * running.processes
    assert running.process.poll() is None
    assert Attempt.objects.exclude(status=Attempt.Status.DISPATCHED).count() == Attempt.objects.count()
