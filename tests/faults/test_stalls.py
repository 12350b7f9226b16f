"""C02, I23: nothing that a client sends holds the event loop for longer than 50 ms."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from aigateway.door import reading
from tests.aigateway import attacks
from tests.aigateway.conftest import register_simulator
from tests.aigateway.stalls import WatchedServer, watched_server
from tests.faults.doors import DOORS
from tests.fuzz.__main__ import CORPUS
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.keys.actions import create_api_key

STALL_MAX_S = 0.050
ROUNDS = 3
"""The least of so many counts: what the machine adds comes and goes, what the code does stays."""
PATIENCE_S = 60
VALUES = dict(attacks.values())


@pytest.fixture
def watched(user: User, simulator: SimulatorHandle) -> Iterator[tuple[WatchedServer, str]]:
    register_simulator(simulator)
    _, key = create_api_key(user, "test")
    with watched_server() as server:
        yield server, key


def post(server: WatchedServer, key: str, path: str, body: bytes) -> int:
    """Its status."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    sent = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(sent)
        connection.sendall(body)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    return int(received.split(b" ", 2)[1])


def stall_s(server: WatchedServer, key: str, path: str, body: bytes) -> tuple[float, int]:
    """The longest stall of the quietest round, and the status."""
    least, status = float("inf"), 0
    for _ in range(ROUNDS):
        server.heart.forget()
        status = post(server, key, path, body)
        least = min(least, server.heart.longest_s)
        if least <= STALL_MAX_S:
            break
    return least, status


def test_C02_no_body_holds_the_loop(watched: tuple[WatchedServer, str]) -> None:
    server, key = watched
    door = DOORS["chat"]
    found = {name: stall_s(server, key, door.path, attacks.around(door.body, value)) for name, value in VALUES.items()}
    assert {name: stall for name, stall in found.items() if stall[0] > STALL_MAX_S} == {}
    assert found["tiny lists, 10 MiB of them"][1] == 413
    assert {status for _, status in found.values()} <= {200, 400, 413}


@pytest.mark.parametrize("name", sorted(DOORS))
def test_C02_no_format_holds_the_loop(watched: tuple[WatchedServer, str], name: str) -> None:
    server, key = watched
    door = DOORS[name]
    for value in ("tiny lists, as many as pass", "small objects", "line ends as escapes", "surrogates without a partner"):
        body = attacks.around(door.body, VALUES[value])
        assert (value, stall_s(server, key, door.path.format(model="sim-small"), body)[0]) < (value, STALL_MAX_S)


def test_C02_no_management_body_holds_the_loop(watched: tuple[WatchedServer, str]) -> None:
    server, key = watched
    for name, value in VALUES.items():
        assert (name, stall_s(server, key, "/api/v1/ai/preferences", b'{"a":' + value + b"}")[0]) < (name, STALL_MAX_S)


def test_C02_large_requests_in_good_order_do_not_hold_the_loop(watched: tuple[WatchedServer, str]) -> None:
    server, key = watched
    found = {name: stall_s(server, key, path, body) for name, path, body in attacks.heavy_conversations()}
    assert {name: stall for name, stall in found.items() if stall[0] > STALL_MAX_S} == {}


def test_C02_nothing_in_the_corpus_of_the_fuzzer_holds_the_loop(watched: tuple[WatchedServer, str]) -> None:
    server, key = watched
    for path in sorted(CORPUS.glob("*/*")):
        text = path.read_bytes()
        for body in (text, json.dumps({**DOORS["chat"].body, "user": text.decode("latin1")}).encode()):
            assert (_name(path), stall_s(server, key, DOORS["chat"].path, body)[0]) < (_name(path), STALL_MAX_S)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_C02_the_detector_sees_a_body_that_is_read_on_the_loop(watched: tuple[WatchedServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, key = watched
    monkeypatch.setattr(reading, "INLINE_BYTES_MAX", 2**30)
    monkeypatch.setattr(reading, "INLINE_VALUES_MAX", 2**30)
    body = attacks.around(DOORS["chat"].body, VALUES["many keys"])
    assert stall_s(server, key, DOORS["chat"].path, body)[0] > STALL_MAX_S
