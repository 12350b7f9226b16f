"""L05: clients that never read stop the reading from their providers, and the gateway keeps next to nothing for them."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.load import rig

CLIENTS = 100
TOKENS = 20_000
"""Of each answer: about 4 MB of events, 400 MB in all."""
RSS_GROWTH_MAX_BYTES = 60 * 1024 * 1024
PATIENCE_S = 60.0


def rss_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def one_web_process(folder: Path) -> Iterator[tuple[rig.Running, int, str, str]]:
    """A web process on SQLite, its port, a key, and the origin of its simulator."""
    with ExitStack() as stack:
        _, simulator = stack.enter_context(rig.simulator(folder))
        key, port = rig.new_gateway_key(), rig.free_port()
        environment = rig.gateway_environment(folder / "var", port, key, None)
        rig.manage(environment, "migrate", "--verbosity", "0")
        rig.in_django(environment, "tests.load.prepare", simulator)
        web = stack.enter_context(rig.running([sys.executable, "-m", "aigateway.process.web"], folder / "web.log", environment))
        web.wait_for_url(f"http://127.0.0.1:{port}/readyz")
        yield web, port, key, simulator


def deaf_client(port: int, key: str) -> socket.socket:
    """Sends a request for a long stream and never reads."""
    body = json.dumps(
        {"model": "sim-small", "stream": True, "max_tokens": TOKENS, "messages": [{"role": "user", "content": f"[sim tokens={TOKENS}]"}]}
    )
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    client.sendall((head + body).encode())
    return client


def events_written(simulator: str) -> list[int]:
    entries = json.loads(rig.fetch(f"{simulator}/_sim/journal"))["entries"]
    return [entry["events_written"] for entry in entries]


def when_nothing_moves(simulator: str) -> list[int]:
    """Events the provider has written to each client, once none of them gets more."""
    pause = threading.Event()
    before: list[int] = []
    for _ in range(int(PATIENCE_S * 2)):
        pause.wait(0.5)
        written = events_written(simulator)
        if len(written) == CLIENTS and written == before:
            return written
        before = written
    raise AssertionError("the provider never came to a standstill")


@pytest.mark.timeout(180)
def test_L05_clients_that_never_read_cost_neither_memory_nor_a_whole_answer(tmp_path: Path) -> None:
    with one_web_process(tmp_path) as (web, port, key, simulator), ExitStack() as clients:
        before = rss_bytes(web.pid)
        for _ in range(CLIENTS):
            clients.enter_context(deaf_client(port, key))
        written = when_nothing_moves(simulator)
        grown = rss_bytes(web.pid) - before
    assert max(written) < TOKENS, "the provider was read to the end although nobody listens"
    assert grown < RSS_GROWTH_MAX_BYTES, f"{grown / 2**20:.0f} MiB for {CLIENTS} clients"
