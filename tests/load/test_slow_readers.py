"""L05: clients that never read stop the reading from their providers, and the gateway keeps next to nothing for them."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.load import rig
from tests.load.mixed import Stage
from tests.load.served import web_processes

CLIENTS = 100
TOKENS = 20_000
"""Of each answer: about 4 MB of events, 400 MB in all."""
SEND_BUFFER_BYTES = 16 * 1024
"""Of provider and gateway: with the kernel's own, most of an answer would be made and read before anybody waits."""
RSS_GROWTH_MAX_BYTES = 60 * 1024 * 1024
PATIENCE_S = 60.0


def rss_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def deaf_client(stage: Stage) -> socket.socket:
    """Sends a request for a long stream and never reads."""
    body = json.dumps(
        {"model": "sim-small", "stream": True, "max_tokens": TOKENS, "messages": [{"role": "user", "content": f"[sim tokens={TOKENS}]"}]}
    )
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = urlsplit(stage.origin)
    client.connect((address.hostname, address.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {stage.key}\r\n"
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
@pytest.mark.django_db(transaction=True)
def test_L05_clients_that_never_read_cost_neither_memory_nor_a_whole_answer(tmp_path: Path) -> None:
    with web_processes(tmp_path, 1, send_buffer_bytes=SEND_BUFFER_BYTES) as stage, ExitStack() as clients:
        pid = stage.web[0].pid
        before = rss_bytes(pid)
        for _ in range(CLIENTS):
            clients.enter_context(deaf_client(stage))
        written = when_nothing_moves(stage.simulator)
        grown = rss_bytes(pid) - before
    assert max(written) < TOKENS, "the provider was read to the end although nobody listens"
    assert grown < RSS_GROWTH_MAX_BYTES, f"{grown / 2**20:.0f} MiB for {CLIENTS} clients"
