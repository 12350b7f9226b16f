"""B15: what is held before a call is never less than what the call costs, whoever answers and whatever limit was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.aigateway.clients.world import UPSTREAMS, named, register_every_kind
from tests.aigateway.conftest import LiveGateway
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

PROMPT = "[sim tokens=5000] " + "word " * 300
MODELS = ("sim-small", "sim-cached", "sim-reasoner")
ONE_MODEL = frozenset({"huggingface_endpoint"})
"""A text generation server has one model; the simulator's is its small one."""


@pytest.fixture
def everybody(start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle) -> LiveGateway:
    register_every_kind(simulator)
    return start_gateway()


def test_B15_the_hold_covers_the_cost_with_a_small_a_huge_and_no_limit(everybody: LiveGateway, simulator: SimulatorHandle) -> None:
    asked = 0
    for kind in UPSTREAMS:
        for model in MODELS[:1] if kind in ONE_MODEL else MODELS:
            for limit in ({}, {"max_tokens": 20}, {"max_tokens": 10_000_000}):
                answer = everybody.chat(PROMPT, model=named(kind, model), **limit)
                assert answer.status_code == 200, (kind, model, limit, answer.text)
                asked += 1
    held = dict(Attempt.objects.values_list("id", "hold_nano"))
    entries = list(LedgerEntry.objects.filter(attempt_id__in=held))
    assert len(entries) == len(held) == asked
    for entry in entries:
        assert 0 < entry.cost_nano <= held[entry.attempt_id], (entry.provider_slug, entry.usage)
