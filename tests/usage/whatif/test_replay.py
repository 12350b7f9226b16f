"""A past period at other prices or elsewhere: figures by hand, nothing invented, nothing changed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client, override_settings
from django.urls import reverse
from rest_framework.test import APIClient

from providers.models import Deployment, Price, Provider, Route, RouteTarget
from providers.upstream.types import PriceCard, TokenUsage
from tests.usage.lines import line, post
from tests.usage.world import reserve_order
from usage.ledger.front import reserve_now
from usage.models import Attempt, LedgerEntry
from usage.money import cost_of
from usage.reports.questions import DateRange
from usage.whatif import replay as whatif
from usage.whatif.replay import Question, Reason, ReplayPolicy, ReplayPrices, WhatIfRefused, replay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]

URL = "/api/v1/ai/admin/what-if"
NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1))
NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
OWN = PriceCard(id=1, input_nano_per_mtok=2_000_000_000, output_nano_per_mtok=8_000_000_000)
CHEAP = PriceCard(id=2, input_nano_per_mtok=100_000_000, output_nano_per_mtok=400_000_000)
"""$2 and $8, $0.10 and $0.40 per million tokens."""


def deployment(slug: str, name: str, card: PriceCard | None, priority: int = 100, **changes: Any) -> Deployment:
    provider, _ = Provider.objects.get_or_create(
        slug=slug, defaults={"label": slug, "kind": "openai_compatible", "base_url": "http://127.0.0.1:1/v1", "priority": priority}
    )
    made = Deployment.objects.create(provider=provider, name=name, upstream_model=name, **changes)
    if card is not None:
        prices = {"input_nano_per_mtok": card.input_nano_per_mtok, "output_nano_per_mtok": card.output_nano_per_mtok}
        Price.objects.create(deployment=made, valid_from=datetime(2026, 1, 1, tzinfo=UTC), source="test", **prices)
    return made


def call(card: PriceCard = OWN, *, asked: str = "", **changes: Any) -> LedgerEntry:
    """1,000 tokens in and 500 out: $0.006 at the own card, $0.0003 at the cheap one."""
    usage = TokenUsage(input_tokens=1000, output_tokens=500)
    values = {"dispatched_at": NOON, "input_tokens": 1000, "output_tokens": 500, "price_card": msgspec.to_builtins(card)}
    entry = line(**{"cost_nano": cost_of(usage, card), **values, **changes})
    if asked:
        attempt(asked, pk=entry.attempt_id)
    return entry


def attempt(
    asked: str = "small", *, pk: uuid.UUID | None = None, latency_ms: int | None = None, slug: str = "sim", name: str = "small"
) -> None:
    order = reserve_order(dispatched_at=NOON, model_asked=asked)
    reserve_now(order)
    made = Attempt.objects.filter(pk=order.attempt_id)
    made.update(status=Attempt.Status.SETTLED, latency_ms=latency_ms, provider_slug=slug, model_name=name, dispatched_at=NOON)
    if pk is not None:
        made.update(id=pk)


def asked(**changes: Any) -> Question:
    return Question(period=NOVEMBER, **changes)


def test_replayed_under_their_own_cards_calls_cost_exactly_what_was_booked() -> None:
    seed = random.Random(4)
    lines = []
    for _ in range(300):
        card = PriceCard(
            id=1, input_nano_per_mtok=seed.randrange(10**10), output_nano_per_mtok=seed.randrange(10**10),
            cache_read_nano_per_mtok=seed.choice((None, seed.randrange(10**9))), discount_ppm=seed.choice((0, 123_456)),
            request_nano=seed.choice((0, 77)),
        )  # fmt: skip
        usage = TokenUsage(input_tokens=seed.randrange(9999), cache_read_tokens=seed.choice((None, 7)), output_tokens=seed.randrange(999))
        tokens = {"input_tokens": usage.input_tokens, "cache_read_tokens": usage.cache_read_tokens, "output_tokens": usage.output_tokens}
        lines.append(call(card, cost_nano=cost_of(usage, card), **tokens))
    post(*lines)
    answer = replay(asked())
    assert answer.before_nano == answer.after_nano == answer.booked_nano == sum(each.cost_nano for each in lines)
    assert (answer.shares["sim/small"].calls_after, answer.left_out) == (300, {})


def test_a_mapping_moves_calls_to_the_price_of_today() -> None:
    """Two calls of $0.006 move to $0.0003 each; the third, of another model, stays."""
    deployment("else", "tiny", CHEAP)
    post(call(), call(), call(model_name="large"))
    answer = replay(asked(policy=ReplayPolicy.MAPPING, mapping={"small": "else/tiny"}))
    assert (answer.before_nano, answer.after_nano) == (18_000_000, 6_600_000)
    assert {name: (share.calls_before, share.calls_after, share.after_nano) for name, share in answer.shares.items()} == {
        "sim/small": (2, 0, 0), "else/tiny": (0, 2, 600_000), "sim/large": (1, 1, 6_000_000),
    }  # fmt: skip


def test_prices_of_today_given_cards_and_a_percentage() -> None:
    deployment("sim", "small", CHEAP)
    post(call())
    dear = PriceCard(id=0, input_nano_per_mtok=4_000_000_000, output_nano_per_mtok=8_000_000_000, request_nano=5)
    assert replay(asked(prices=ReplayPrices.CURRENT)).after_nano == 300_000
    assert replay(asked(cards={"sim/small": dear})).after_nano == 8_000_005
    assert replay(asked(change_ppm=-100_000)).after_nano == 5_400_000
    assert replay(asked(cards={"sim/small": dear}, change_ppm=500_000)).after_nano == 12_000_008  # 12,000,007.5, half to even


def test_fees_of_tools_are_replayed_and_a_model_without_one_has_no_price_for_such_calls() -> None:
    """$0.006 of tokens, and two searches of $0.01 at home; elsewhere $0.0003, and $0.002 each once there is a fee."""
    tiny = deployment("else", "tiny", CHEAP)
    post(call(replace(OWN, tool_call_nano=10_000_000), cost_nano=26_000_000, provider_tool_calls=2), call(provider_tool_calls=1))
    at_home = replay(asked())
    assert (at_home.before_nano, at_home.after_nano, at_home.left_out) == (32_000_000, 32_000_000, {})
    moved = {"policy": ReplayPolicy.MAPPING, "mapping": {"small": "else/tiny"}}
    assert replay(asked(**moved)).left_out[Reason.NO_PRICE].calls == 2
    Price.objects.filter(deployment=tiny).update(tool_call_nano=2_000_000)
    assert replay(asked(**moved)).after_nano == 2 * 300_000 + 3 * 2_000_000
    given = replace(CHEAP, tool_call_nano=0)
    assert replay(asked(**moved, cards={"else/tiny": given})).after_nano == 2 * 300_000


def test_cost_takes_the_cheapest_and_priority_the_first_of_what_the_asked_name_stands_for() -> None:
    deployment("sim", "small", OWN, priority=1)
    deployment("else", "small", CHEAP, priority=2)
    deployment("free", "small", None, priority=0)
    deployment("far", "other", PriceCard(id=3, input_nano_per_mtok=0, output_nano_per_mtok=0))
    post(call(asked="small"), call(asked="sim/small"))
    cheapest, first = replay(asked(policy=ReplayPolicy.COST)), replay(asked(policy=ReplayPolicy.PRIORITY))
    assert cheapest.after_nano == 6_300_000  # the address that was asked for binds
    assert {name: share.calls_after for name, share in cheapest.shares.items()} == {"sim/small": 1, "else/small": 1}
    assert (first.after_nano, first.shares["sim/small"].calls_after) == (12_000_000, 2)


def test_a_route_stands_for_its_targets_in_their_order() -> None:
    small, tiny = deployment("sim", "small", OWN), deployment("else", "tiny", CHEAP)
    route = Route.objects.create(name="fast")
    RouteTarget.objects.create(route=route, deployment=small, priority=2)
    RouteTarget.objects.create(route=route, deployment=tiny, priority=1)
    post(call(asked="fast"))
    assert replay(asked(policy=ReplayPolicy.PRIORITY)).shares["else/tiny"].calls_after == 1


def test_a_model_whose_context_window_is_too_short_takes_no_call() -> None:
    deployment("sim", "small", OWN)
    deployment("else", "small", CHEAP, context_window_tokens=1499)
    post(call(asked="small"))
    assert replay(asked(policy=ReplayPolicy.COST)).after_nano == 6_000_000
    Deployment.objects.filter(provider__slug="else").update(context_window_tokens=1500)
    assert replay(asked(policy=ReplayPolicy.COST)).after_nano == 300_000


def test_what_cannot_be_replayed_is_counted_and_named_and_everything_adds_up() -> None:
    charged = call()
    post(
        charged,
        call(kind="adjustment", attempt_id=charged.attempt_id, cost_nano=5, input_tokens=None, output_tokens=None),
        call(model_name="mute", output_tokens=None, cost_nano=7),
        call(model_name="capped", cost_nano=11, basis="estimated"),
        call(model_name="broken", price_card={}, cost_nano=13),
    )
    answer = replay(asked())
    assert {reason: (out.calls, out.cost_nano, out.models) for reason, out in answer.left_out.items()} == {
        Reason.USAGE_UNKNOWN: (1, 7, {"sim/mute"}),
        Reason.NOT_REPRODUCIBLE: (2, 24, {"sim/capped", "sim/broken"}),
    }
    assert answer.booked_nano == answer.before_nano + answer.adjustments_nano + sum(out.cost_nano for out in answer.left_out.values())
    assert (answer.before_nano, answer.adjustments_nano) == (6_000_000, 5)


def test_calls_of_models_without_a_price_today_are_left_out() -> None:
    post(call())
    answer = replay(asked(prices=ReplayPrices.CURRENT))
    assert (answer.left_out[Reason.NO_PRICE].calls, answer.shares) == (1, {})


def test_a_corrected_estimate_is_replayed_with_the_corrections_tokens() -> None:
    estimate = call(cost_nano=9_000_000, input_tokens=5, output_tokens=5, basis="estimated")
    post(estimate, call(kind="correction", attempt_id=estimate.attempt_id, cost_nano=-3_000_000))
    answer = replay(asked())
    assert (answer.after_nano, answer.left_out) == (6_000_000, {})


def test_latency_is_the_median_of_the_targets_own_calls_and_unknown_where_these_are_few() -> None:
    deployment("else", "tiny", CHEAP)
    for latency in range(100, 120):
        attempt(latency_ms=latency)
    for latency in range(19):
        attempt(latency_ms=latency, slug="else", name="tiny")
    post(call())
    question = asked(policy=ReplayPolicy.MAPPING, mapping={"sim/small": "else/tiny"})
    few = replay(question)
    assert (few.shares["sim/small"].latency_ms, few.latency_ms("before")) == (109, 109)
    assert (few.shares["else/tiny"].latency_ms, few.shares["else/tiny"].latency_calls, few.latency_ms("after")) == (None, 19, None)
    attempt(latency_ms=50, slug="else", name="tiny")
    assert replay(question).latency_ms("after") == 9


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": ReplayPolicy.MAPPING, "mapping": {"small": "no/where"}},
        {"policy": ReplayPolicy.MAPPING, "mapping": {"small": "free/small"}},
        {"policy": ReplayPolicy.MAPPING},
        {"mapping": {"small": "sim/small"}},
    ],
)
def test_a_question_without_an_answer_is_refused(changes: dict[str, Any]) -> None:
    deployment("sim", "small", OWN)
    deployment("free", "small", None)
    with pytest.raises(WhatIfRefused):
        replay(asked(**changes))


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif, "CALLS_MAX", 1)
    post(call(), call())
    with pytest.raises(WhatIfRefused, match="More than 1 calls"):
        replay(asked())


@pytest.fixture
def rest() -> Iterator[APIClient]:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    client = APIClient()
    client.force_login(user)
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield client


def test_rest_answers_both_methods_alike_and_changes_nothing(rest: APIClient) -> None:
    deployment("else", "tiny", CHEAP)
    post(call(), call())
    span = {"start": "2026-11-01", "end": "2026-12-01", "provider": "sim", "policy": "mapping"}
    posted = rest.post(
        URL, {**span, "mapping": {"small": "else/tiny"}, "cards": {"else/tiny": {"input": "1", "output": "2"}}}, format="json"
    )
    got = rest.get(URL, {**span, "mapping": '{"small": "else/tiny"}', "cards": '{"else/tiny": {"input": "1", "output": "2"}}'})
    assert posted.status_code == 200, posted.content
    assert posted.json() == got.json()
    assert (posted.json()["before_usd"], posted.json()["after_usd"]) == ("0.012000000", "0.004000000")
    assert posted.json()["difference_usd"] == "-0.008000000"
    assert posted.json()["models"][0] == {
        "model": "else/tiny", "calls_before": 0, "calls_after": 2, "before_usd": "0.000000000", "after_usd": "0.004000000",
        "share_before_percent": "0.00", "share_after_percent": "100.00", "latency_ms": None, "latency_calls": 0,
    }  # fmt: skip
    assert (LedgerEntry.objects.count(), Price.objects.count()) == (2, 1)


def test_rest_takes_a_fee_for_calls_of_tools(rest: APIClient) -> None:
    post(call(replace(OWN, tool_call_nano=1), cost_nano=6_000_002, provider_tool_calls=2))
    card = {"input": "2", "output": "8", "request": "0.001", "tool_call": "0.01"}
    answer = rest.post(URL, {"start": "2026-11-01", "end": "2026-12-01", "cards": {"sim/small": card}}, format="json")
    assert answer.json()["after_usd"] == "0.027000000"


@pytest.mark.parametrize(
    "bad",
    [
        {"policy": "magic"}, {"cards": {"a/b": {"input": "1"}}}, {"cards": {"a/b": {"input": "-1", "output": "1"}}},
        {"cards": {"a/b": {"input": "1", "output": "0.0000000001"}}}, {"cards": "x"}, {"cards": []}, {"change_percent": "-101"},
        {"change_percent": "NaN"}, {"typo": 1}, {"mapping": {"small": "no/where"}, "policy": "mapping"},
    ],
)  # fmt: skip
def test_rest_refuses_what_it_cannot_read(rest: APIClient, bad: dict[str, Any]) -> None:
    assert rest.post(URL, bad, format="json").status_code == 400


def test_only_finance_may_ask(rest: APIClient) -> None:
    client = APIClient()
    client.force_login(User.objects.create_user("bob"))
    assert client.get(URL).status_code == client.post(URL, {}, format="json").status_code == 403


def test_the_page_asks_and_answers() -> None:
    deployment("else", "tiny", CHEAP)
    post(call(), call(model_name="mute", output_tokens=None, cost_nano=7))
    client = Client()
    clerk = User.objects.create_user("clerk", is_staff=True)
    client.force_login(clerk)
    page = reverse("admin:usage_what_if")
    assert client.get(page).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))
    assert "Replay" in client.get(page).content.decode()
    question = {"start": "2026-11-01", "end": "2026-12-01", "policy": "mapping", "mapping": "small = else/tiny", "prices": "own"}
    shown = client.get(page, question).content.decode()
    assert "0.000300000" in shown
    assert "tokens unknown: 1 calls of $0.000000007 (sim/mute)" in shown
    assert "A mapping goes with" in client.get(page, {**question, "policy": "cost"}).content.decode()
    assert "end must be after start" in client.get(page, {**question, "end": "2026-11-01"}).content.decode().lower()
