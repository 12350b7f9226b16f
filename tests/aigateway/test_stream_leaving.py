"""L06: clients that leave after any number of events, under both policies, and what the ledger says beside the provider's bill."""

from __future__ import annotations

import threading
from typing import Any

from providers.models import ConfigVersion, Provider
from tests.aigateway.conftest import LiveGateway
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

TOKENS = 8
EVENTS = TOKENS + 4
"""Role, texts, finish, usage, end."""


def leave_after(gateway: LiveGateway, events: int, directive: str) -> None:
    body = {
        "model": "sim-small",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": f"[sim tokens={TOKENS} {directive}]"}],
    }
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
        seen = b""
        for piece in response.iter_raw():
            seen += piece
            if seen.count(b"\n\n") >= events:
                return


def settled(count: int) -> list[Attempt]:
    pause = threading.Event()
    for _ in range(250):
        attempts = list(Attempt.objects.exclude(status="dispatched").order_by("dispatched_at"))
        if len(attempts) >= count:
            return attempts
        pause.wait(0.02)
    raise AssertionError("not every attempt was settled")


def line_of(billed: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry.objects.get(upstream_id=billed["id"])


def test_L06_drained_streams_cost_what_the_provider_bills_however_early_the_client_leaves(
    gateway: LiveGateway, simulator: SimulatorHandle
) -> None:
    Provider.objects.update(disconnect_policy="drain")
    ConfigVersion.bump()
    for events in range(1, EVENTS + 1):
        leave_after(gateway, events, f"chunk_ms=10 id=k{events}")
    settled(EVENTS)
    bill = simulator.bill(EVENTS)
    assert {billed["outcome"] for billed in bill} == {"complete"}
    assert [(line_of(billed).basis, line_of(billed).cost_nano) for billed in bill] == [("measured", billed["cost_nano"]) for billed in bill]


def test_L06_closed_streams_cost_at_least_the_bill_and_never_more_than_was_held(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    Provider.objects.update(disconnect_policy="close")
    ConfigVersion.bump()
    for events in range(1, EVENTS + 1):
        leave_after(gateway, events, f"chunk_ms=30 id=k{events}")
    attempts = settled(EVENTS)
    bill = simulator.bill(EVENTS)
    holds = {attempt.request_id: attempt.hold_nano for attempt in attempts}
    assert sum(billed["outcome"] == "disconnected" for billed in bill) >= TOKENS - 1, "the upstream was closed"
    for billed in bill:
        line = line_of(billed)
        assert billed["cost_nano"] <= line.cost_nano <= holds[line.request_id]
        assert line.basis == "estimated" or line.cost_nano == billed["cost_nano"]
