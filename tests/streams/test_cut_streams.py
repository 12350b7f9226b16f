"""Thousands of streams, cut anywhere, broken anywhere: what reaches the client is always one upstream's, and no end is invented."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from aigateway.door import views
from providers import actions
from providers.audit import SYSTEM
from providers.models import Provider, RoutingConfiguration
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, price_model, start_gateway, user  # noqa: F401 - fixtures
from tests.streams.client import Received, meaning
from tests.streams.run import play
from tests.streams.script import Ending, script
from tests.streams.upstream import scripted_upstream
from usage.models import Attempt

STREAMS = int(os.environ.get("AIGATEWAY_TEST_STREAMS", "1500"))
"""``AIGATEWAY_TEST_STREAMS=100000 pytest tests/streams`` is the long run."""


@pytest.fixture
def gateway(start_gateway: Callable[[], LiveGateway], monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveGateway]:  # noqa: F811
    """Models ``openai`` and ``anthropic``, named after the wire of their upstreams; each has two, tried in order.

    However busy the machine, none keeps a client waiting so long that the gateway says something of its own.
    """
    monkeypatch.setattr(views, "STATUS_HOLD_S", 600.0)
    with ExitStack() as running:
        for position, mark in enumerate(("a", "b")):
            upstream = running.enter_context(scripted_upstream(mark))
            for wire, kind in (("openai", "openai_compatible"), ("anthropic", "anthropic")):
                provider = Provider(
                    slug=f"{wire}-{mark}", label=mark, kind=kind, base_url=upstream.base_url, allow_private=True, priority=position
                )
                actions.create_provider(provider, SYSTEM, None if wire == "openai" else Secret("key"))
                price_model(provider, wire, 1, 1)
        configuration = RoutingConfiguration.objects.first() or RoutingConfiguration()
        configuration.breaker_failures, configuration.retries_per_target = 1_000_000, 0
        actions.update_routing_configuration(configuration, SYSTEM)
        yield start_gateway()


@pytest.mark.timeout(3600)
def test_U09_U10_U13_U24_U25_U26_no_cut_changes_a_text_or_invents_an_end(gateway: LiveGateway) -> None:
    host, port = gateway.base_url.removeprefix("http://").split(":")
    ended = asyncio.run(play(host, int(port), gateway.key, range(STREAMS)))
    assert sum(ended.values()) == STREAMS
    assert min(ended["proper"], ended["error"], ended["refused"]) > STREAMS // 50, ended
    assert not Attempt.objects.filter(status="dispatched").exists()


def test_the_scripts_reach_every_kind_of_end_at_every_frame() -> None:
    found = Counter(script("openai", seed, "a").ending for seed in range(1000))
    assert min(found[ending] for ending in Ending) > 50
    broken = [played for played in (script("openai", seed, "a") for seed in range(1000)) if played.ending is not Ending.PROPER]
    assert {played.terminal_sent for played in broken} == {True, False}


def test_the_client_tells_an_invented_end_from_a_real_one() -> None:
    cut = Received(200, b'data: {"choices":[{"delta":{"content":"<a>"},"finish_reason":"stop"}]}\n\n', cut=False)
    assert meaning("openai", cut).has_terminal
    assert not meaning("openai", Received(200, b'data: {"choices":[{"delta":{"content":"<a>"}}]}\n\n', cut=False)).has_terminal
