"""A gateway as the world sees it: the real ASGI application on a real socket, a real simulator behind it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
import uvloop
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

from aigateway.asgi import Application
from aigateway.door.protocol import BoundedHttpProtocol
from aigateway.process.bootstrap import _listing_of
from aigateway.process.web import bind
from providers import actions
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Deployment, Price, Provider
from providers.simulator.catalogue import MODELS
from tests.providers.simulator.fixtures import SimulatorHandle, new_simulator, simulator  # noqa: F401 - fixtures
from usage.keys.actions import create_api_key

PATIENCE_S = 60
"""A busy machine is no failure here; a test that waits in vain ends at its own limit."""
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP to loopback: reading the machine's authorities takes longer than the requests of a test."""


def register_simulator(handle: SimulatorHandle, slug: str = "sim", *, priority: int = 100) -> Provider:
    """A provider row for a running simulator, with its models and prices."""
    provider = Provider(slug=slug, label=slug.title(), kind="simulator", base_url=handle.base_url, allow_private=True, priority=priority)
    actions.create_provider(provider, SYSTEM)
    actions.import_models(provider.pk, [_listing_of(model) for model in MODELS], SYSTEM, shares_names=True)
    return provider


@dataclass
class LiveGateway:
    """``base_url`` has no path; ``key`` belongs to ``user``."""

    base_url: str
    key: str
    user: User
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(
            base_url=self.base_url, headers={"Authorization": f"Bearer {self.key}"}, timeout=PATIENCE_S, verify=TRUSTS_NOBODY
        )

    def chat(
        self, text: str = "Hello", *, model: str = "sim-small", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.client.post("/v1/chat/completions", json=body, headers=headers or {})

    def generate(self, prompt: str = "Hello", **fields: Any) -> httpx.Response:
        return self.client.post("/api/v1/ai/generate", json={"prompt": prompt, **fields})

    def stream(self, text: str = "Hello", *, model: str = "sim-small", **fields: Any) -> bytes:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **fields}
        with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200, response.read()
            return b"".join(response.iter_raw())


class ServerThread:
    """uvicorn with the product's application and event loop, in a thread of the test process."""

    def __init__(self) -> None:
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                Application(), http=BoundedHttpProtocol, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=5
            )
        )
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)

    def start(self) -> None:
        self._thread.start()
        waited = threading.Event()
        while not self._server.started:  # the limit of the test ends it
            assert self._thread.is_alive(), "the gateway ended while starting"
            waited.wait(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        self._listener.close()
        assert not self._thread.is_alive(), "the gateway did not stop"

    def _run(self) -> None:
        uvloop.run(self._server.serve(sockets=[self._listener]))


@pytest.fixture
def user(transactional_db: None) -> User:
    return get_user_model().objects.create_user("ursula")


@pytest.fixture
def start_gateway(user: User) -> Iterator[Callable[[], LiveGateway]]:
    """Starts gateways on the test's database; rows made before are there from the first request on."""
    with ExitStack() as running:

        def start() -> LiveGateway:
            _, key = create_api_key(user, "test")
            server = ServerThread()
            server.start()
            running.callback(server.stop)
            gateway = LiveGateway(f"http://127.0.0.1:{server.port}", key, user)
            running.callback(gateway.client.close)
            return gateway

        yield start


@pytest.fixture
def gateway(start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle) -> LiveGateway:  # noqa: F811
    """One gateway with one simulator, its models priced."""
    register_simulator(simulator)
    return start_gateway()


def deployment(name: str, provider: str = "sim") -> Deployment:
    return Deployment.objects.get(name=name, provider__slug=provider)


def events(raw: bytes) -> list[Any]:
    """The JSON of every ``data:`` line of a stream; ``[DONE]`` stays text."""
    lines = [line.removeprefix(b"data:").strip() for line in raw.split(b"\n") if line.startswith(b"data:")]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


def price_model(provider: Provider, name: str, input_nano_per_mtok: int, output_nano_per_mtok: int) -> Deployment:
    """A chat model with a price, as an administrator would add it by hand."""
    made, _ = Deployment.objects.get_or_create(
        provider=provider, name=name, defaults={"upstream_model": name, "capabilities": ["chat", "stream", "tools", "vision"]}
    )
    Price.objects.create(deployment=made, input_nano_per_mtok=input_nano_per_mtok, output_nano_per_mtok=output_nano_per_mtok, source="test")
    ConfigVersion.bump()
    return made
