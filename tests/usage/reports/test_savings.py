"""What was saved: worked out by hand, from the card on each line, and nothing invented."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from rest_framework.test import APIClient

from providers.models import Deployment, Price, Provider, Route
from providers.upstream.types import ContextTier, PriceCard
from tests.usage.lines import NOON, line, post
from usage.models import Attempt, LedgerEntry, UsageByCard
from usage.money import card_json
from usage.reports import totals
from usage.reports.questions import DateRange, LineFilter
from usage.reports.savings import FreeUse, savings
from usage.reports.savings_lines import Choice, choice_of
from usage.reports.sums import Asked
from usage.reports.totals import roll_up

NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1), ZoneInfo("UTC"))
DOLLAR = 10**9
CARD = PriceCard(
    id=1,
    input_nano_per_mtok=2 * DOLLAR,
    output_nano_per_mtok=10 * DOLLAR,
    cache_read_nano_per_mtok=DOLLAR // 5,
    cache_write_nano_per_mtok=5 * DOLLAR // 2,
)
MTOK = 1_000_000

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


def priced(card: PriceCard, **changes: Any) -> LedgerEntry:
    return line(price_card=json.loads(card_json(card)), **{"input_tokens": 0, "output_tokens": 0, **changes})


def saved(only: LineFilter | None = None) -> Any:
    """The same from the lines and from the sums by card."""
    from_lines = savings(Asked(NOVEMBER, only or LineFilter()))
    roll_up(NOON)
    assert savings(Asked(NOVEMBER, only or LineFilter())) == from_lines
    return from_lines


def test_R510_a_ledger_without_lines_saved_nothing() -> None:
    found = saved()
    assert (found.counted_lines, found.left_out_lines, found.cache.reads_nano, found.discounts.lines, found.free) == (0, 0, 0, 0, ())


def test_R510_cache_reads_save_the_input_rate_and_writes_cost_their_surcharge() -> None:
    post(*[priced(CARD, cache_read_tokens=MTOK, cache_write_tokens=MTOK // 2) for _ in range(3)])
    cache = saved().cache
    assert cache.reads_nano == 3 * (2 * DOLLAR - DOLLAR // 5)
    assert cache.writes_nano == 3 * DOLLAR // 4
    assert (cache.read_tokens, cache.write_tokens) == (3 * MTOK, 3 * MTOK // 2)


def test_R510_rates_of_the_tier_that_was_in_force_count() -> None:
    tier = ContextTier(
        above_input_tokens=MTOK, input_nano_per_mtok=4 * DOLLAR, output_nano_per_mtok=20 * DOLLAR, cache_read_nano_per_mtok=DOLLAR
    )
    tiered = PriceCard(id=1, input_nano_per_mtok=2 * DOLLAR, output_nano_per_mtok=DOLLAR, cache_read_nano_per_mtok=0, context_tiers=(tier,))
    post(priced(tiered, cache_read_tokens=MTOK), priced(tiered, cache_read_tokens=2 * MTOK))
    assert saved().cache.reads_nano == 2 * DOLLAR + 2 * 3 * DOLLAR


def test_R510_discounts_are_the_list_price_less_what_was_billed() -> None:
    contract = PriceCard(id=1, input_nano_per_mtok=2 * DOLLAR, output_nano_per_mtok=0, request_nano=7, discount_ppm=250_000)
    post(
        line(price_card=json.loads(card_json(contract)), input_tokens=MTOK, output_tokens=0, cost_nano=1_500_000_005),
        priced(CARD, cost_nano=99),
    )
    discounts = saved().discounts
    assert (discounts.lines, discounts.listed_nano, discounts.billed_nano) == (1, 2 * DOLLAR + 7, 1_500_000_005)


def test_R510_fees_of_tools_are_part_of_the_list_price() -> None:
    card = replace(CARD, tool_call_nano=10, discount_ppm=500_000)
    post(*(priced(card, cost_nano=cost, provider_tool_calls=calls) for cost, calls in ((15, 3), (10, 2), (0, 0), (0, None))))
    discounts = saved().discounts
    assert (discounts.lines, discounts.listed_nano, discounts.billed_nano) == (4, 50, 25)


def test_R510_what_a_cache_saved_is_at_the_discounted_rate() -> None:
    contract = PriceCard(id=1, input_nano_per_mtok=2 * DOLLAR, output_nano_per_mtok=0, cache_read_nano_per_mtok=0, discount_ppm=500_000)
    post(priced(contract, cache_read_tokens=MTOK))
    assert saved().cache.reads_nano == DOLLAR


def test_R510_free_models_show_tokens_and_no_amount() -> None:
    free = PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0)
    ceiling = PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=5, is_ceiling=True)
    post(
        *(
            line(price_card=json.loads(card_json(free)), provider_slug="ollama", model_name="llama", cost_nano=0, reasoning_tokens=1)
            for _ in range(2)
        ),
        line(price_card=json.loads(card_json(ceiling)), basis="unpriced", cost_nano=5),
        line(price_card=json.loads(card_json(replace(free, tool_call_nano=1)))),
    )
    assert saved().free == (FreeUse("ollama", "llama", 2, 20, 12),)


FREE = PriceCard(id=9, input_nano_per_mtok=0, output_nano_per_mtok=0)
EIGHTH = datetime(2026, 11, 8, tzinfo=UTC)
TIER_NOBODY_REACHES = {"above_input_tokens": 10 * MTOK, "input_nano_per_mtok": 1, "output_nano_per_mtok": 1}


def free_line(**changes: Any) -> LedgerEntry:
    return priced(FREE, provider_slug="ollama", model_name="llama", cost_nano=0, price_id=9, **changes)


def dear_model(**figures: Any) -> Choice:
    """One dollar per million tokens in, two out, from the eighth twice as much, less a tenth."""
    provider = Provider.objects.create(slug="dear", label="Dear", kind="openai", base_url="https://dear.example", discount_ppm=100_000)
    model = Deployment.objects.create(provider=provider, name="big", upstream_model="big", capabilities=["chat"])
    for factor, start in ((1, datetime(2026, 1, 1, tzinfo=UTC)), (2, EIGHTH)):
        rates = {"input_nano_per_mtok": factor * DOLLAR, "output_nano_per_mtok": 2 * factor * DOLLAR}
        Price.objects.create(deployment=model, valid_from=start, source="page", **{**rates, **figures})
    choice = choice_of("dear/big")
    assert choice is not None
    return choice


@pytest.mark.parametrize("figures", [{}, {"context_tiers": [{**TIER_NOBODY_REACHES}]}])
def test_R510_what_free_models_did_is_priced_at_another_model_of_the_time(figures: dict[str, Any]) -> None:
    """By sums or, where tiers choose the price, line by line: the same."""
    before, after = EIGHTH - timedelta(microseconds=1), EIGHTH
    post(
        free_line(input_tokens=MTOK, output_tokens=MTOK, dispatched_at=before),
        free_line(input_tokens=MTOK, output_tokens=0, dispatched_at=after),
        free_line(input_tokens=0, output_tokens=0, provider_tool_calls=3, dispatched_at=after),
        priced(CARD, input_tokens=MTOK, dispatched_at=after),
    )
    reference = dear_model(**figures)
    from_lines = savings(Asked(NOVEMBER, LineFilter()), reference).free
    roll_up(NOON)
    assert savings(Asked(NOVEMBER, LineFilter()), reference).free == from_lines
    (use,) = from_lines
    assert (use.lines, use.compared_lines) == (3, 2), "nobody knows what the other model charges for calls of its tools"
    assert use.reference_nano == (3 * DOLLAR + 2 * DOLLAR) * 9 // 10


def test_R510_without_a_price_at_that_time_nothing_is_compared() -> None:
    post(free_line(input_tokens=MTOK, dispatched_at=EIGHTH))
    reference = dear_model()
    Price.objects.update(valid_from=EIGHTH + timedelta(days=1))
    (use,) = savings(Asked(NOVEMBER, LineFilter()), choice_of("dear/big")).free
    assert (use.lines, use.compared_lines, use.reference_nano) == (1, 0, None)
    (use,) = savings(Asked(NOVEMBER, LineFilter()), reference).free
    assert use.compared_lines == 1


def test_R510_what_cannot_be_counted_is_counted_as_left_out() -> None:
    post(
        priced(CARD),
        priced(CARD, basis="estimated", cache_read_tokens=MTOK),
        priced(CARD, kind="adjustment"),
        line(price_card={}),
        line(price_card={"input_nano_per_mtok": "free"}),
        priced(CARD, dispatched_at=NOON + timedelta(days=30)),
    )
    found = saved()
    assert (found.counted_lines, found.left_out_lines, found.cache.reads_nano) == (1, 4, 0)


def test_R510_filters_apply() -> None:
    post(priced(CARD, cache_read_tokens=MTOK, team_id=4), priced(CARD, cache_read_tokens=MTOK), priced(CARD, user_id=9))
    assert saved(LineFilter(team_id=4)).counted_lines == 1
    assert saved(LineFilter(team_id=0)).cache.read_tokens == MTOK
    assert saved(LineFilter(user_id=9)).counted_lines == 1


# --------------------------------------------------------------------------- routing


def deployment(slug: str, name: str, *prices: int, discount_ppm: int = 0) -> Deployment:
    provider = Provider.objects.get_or_create(
        slug=slug, defaults={"label": slug, "kind": "openai_compatible", "base_url": "http://127.0.0.1:1/v1", "discount_ppm": discount_ppm}
    )[0]
    made = Deployment.objects.create(provider=provider, name=name, upstream_model=name)
    for number, dollars_per_mtok in enumerate(prices):
        Price.objects.create(
            deployment=made, valid_from=NOON + timedelta(days=number - 10), input_nano_per_mtok=dollars_per_mtok * DOLLAR,
            output_nano_per_mtok=0, source="test",
        )  # fmt: skip
    return made


def served(asked: str, by: Deployment, cost_nano: int = 1, card: PriceCard = CARD, **changes: Any) -> None:
    """A call of a million input tokens."""
    names = {"provider_slug": by.provider.slug, "model_name": by.name, "deployment_id": by.pk, "provider_id": by.provider_id}
    made = priced(card, **names, cost_nano=cost_nano, **changes)
    made.input_tokens = MTOK
    post(made)
    Attempt.objects.create(
        id=made.attempt_id, request_id=made.request_id, attempt_no=1, process_id=made.attempt_id, status="settled", user_id=1,
        context="default", dialect="openai_chat", model_asked=asked, price_id=1, price_card={}, stream=False, hold_nano=1,
        dispatched_at=made.dispatched_at, **names,
    )  # fmt: skip


def routing() -> tuple[int, int, int, int]:
    found = saved().routing
    return found.lines, found.asked_nano, found.billed_nano, found.unknown_lines


def test_R510_a_cheaper_model_than_the_one_asked_for_saved_the_difference() -> None:
    dear, cheap = deployment("a", "dear", 30), deployment("b", "cheap", 1)
    served("a/dear", cheap, DOLLAR)
    served("dear", cheap, DOLLAR)
    served("a/dear", dear, 30 * DOLLAR)
    served("cheap", cheap, DOLLAR)
    assert routing() == (2, 60 * DOLLAR, 2 * DOLLAR, 0)


def test_R510_a_route_stands_for_its_first_model_and_failover_can_cost_more() -> None:
    dear, cheap = deployment("a", "dear", 30), deployment("b", "cheap", 1, discount_ppm=500_000)
    route = Route.objects.create(name="fast")
    route.choices.create(deployment=dear, priority=20)
    route.choices.create(deployment=cheap, priority=10)
    served("fast", dear, 30 * DOLLAR)
    served("fast", cheap, DOLLAR // 2)
    assert routing() == (1, DOLLAR // 2, 30 * DOLLAR, 0)


def test_R510_the_price_of_the_model_asked_for_is_that_of_the_time() -> None:
    deployment("a", "dear", 30, 40)
    cheap = deployment("b", "cheap", 1)
    served("dear", cheap, dispatched_at=NOON - timedelta(days=9, hours=1))
    served("dear", cheap, dispatched_at=NOON - timedelta(days=9))
    served("dear", cheap, dispatched_at=NOON - timedelta(days=11))
    assert routing() == (2, 70 * DOLLAR, 2, 1)


def test_R510_windows_of_the_model_asked_for_are_looked_up_line_by_line() -> None:
    dear, cheap = deployment("a", "dear"), deployment("b", "cheap", 1)
    night = {"start": "00:00", "end": "08:00", "zone": "UTC", "input_nano_per_mtok": 3 * DOLLAR, "output_nano_per_mtok": 0}
    Price.objects.create(
        deployment=dear, valid_from=NOON - timedelta(days=9), input_nano_per_mtok=30 * DOLLAR, output_nano_per_mtok=0, windows=[night],
        source="test",
    )  # fmt: skip
    served("dear", cheap)
    served("dear", cheap, dispatched_at=NOON - timedelta(hours=6))
    assert routing() == (2, 33 * DOLLAR, 2, 0)


def test_R510_where_the_price_asked_for_is_unknown_nothing_is_claimed() -> None:
    cheap = deployment("b", "cheap", 1)
    deployment("a", "unpriced")
    deployment("a", "twice", 5)
    deployment("b", "twice", 6)
    Route.objects.create(name="empty")
    for name in ("auto", "gone/model", "unpriced", "twice", "empty"):
        served(name, cheap)
    assert routing() == (0, 0, 0, 5)


def test_R510_calls_of_tools_cost_what_the_model_asked_for_charges_and_nothing_is_claimed_without_its_fee() -> None:
    dear, cheap = deployment("a", "dear", 30), deployment("b", "cheap", 1)
    served("dear", cheap, 7, provider_tool_calls=2)
    served("dear", cheap, 5, provider_tool_calls=0)
    assert routing() == (1, 30 * DOLLAR, 5, 1)
    Price.objects.filter(deployment=dear).update(tool_call_nano=9)
    assert routing() == (2, 60 * DOLLAR + 18, 12, 0)


# --------------------------------------------------------------------------- from sums


def scattered_lines(seed: int) -> None:
    """Over the borders of days and months: two models, a tier, discounts, failover, estimates, several users and teams."""
    choose = random.Random(seed)
    tier = ContextTier(above_input_tokens=1000, input_nano_per_mtok=4 * DOLLAR, output_nano_per_mtok=20 * DOLLAR)
    models = [deployment("a", "dear", 30, 40), deployment("b", "cheap", 1, discount_ppm=500_000)]
    cards = [
        CARD,
        replace(CARD, discount_ppm=123_456),
        replace(CARD, context_tiers=(tier,)),
        replace(CARD, request_nano=7, tool_call_nano=5),
    ]
    for _ in range(120):
        at = NOON - timedelta(days=20) + timedelta(minutes=choose.randrange(60 * 24 * 40))
        served(
            choose.choice(["dear", "cheap", "b/cheap", "auto"]), choose.choice(models), choose.randrange(10**6), choose.choice(cards),
            dispatched_at=at, user_id=choose.randrange(3), team_id=choose.choice([None, 1]), context=choose.choice(["default", "x"]),
            basis=choose.choice(["measured", "measured", "measured", "estimated"]),
            cache_read_tokens=choose.choice([None, 5, 900]), output_tokens=choose.randrange(2000),
            provider_tool_calls=choose.choice([None, None, 0, 3]),
        )  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati"])
def test_R510_sums_by_card_and_the_lines_after_them_save_what_the_lines_say(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    period = DateRange(date(2026, 11, 1), date(2026, 12, 1), ZoneInfo(zone))
    asked = [Asked(period, only) for only in (LineFilter(), LineFilter(team_id=0), LineFilter(user_id=1), LineFilter(context="x"))]
    asked += [Asked(DateRange(date(2026, 11, 3), date(2026, 11, 4), ZoneInfo(zone)))]
    scattered_lines(1)
    expected = [savings(each) for each in asked]
    assert expected[0].routing.lines > 10
    assert expected[0].left_out_lines > 10
    monkeypatch.setattr(totals, "CHUNK_LINES", 50)
    lines = roll_up(NOON, lines_max=1)
    assert lines == 50
    assert [savings(each) for each in asked] == expected
    while roll_up(NOON):
        pass
    assert [savings(each) for each in asked] == expected


def test_R510_whole_days_are_read_from_sums_by_card() -> None:
    scattered_lines(2)
    roll_up(NOON)
    expected = savings(Asked(NOVEMBER))
    UsageByCard.objects.all().delete()
    assert savings(Asked(NOVEMBER)).counted_lines == 0 < expected.counted_lines


def test_R510_a_card_nobody_can_read_stops_no_sums() -> None:
    tiers: list[Any] = ["none", 5, [5, "x", None], [{"above_input_tokens": "1"}], [{"above_input_tokens": -1e30}]]
    odd: list[Any] = [*({"context_tiers": each} for each in tiers), [], "text", {}]
    post(*[line(price_card=card) for card in odd])
    assert saved().left_out_lines == len(odd)


# --------------------------------------------------------------------------- over HTTP


@pytest.fixture
def answer() -> Iterator[APIClient]:
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield client


def test_R510_the_report_says_how_each_figure_came_about(answer: APIClient) -> None:
    post(priced(CARD, cache_read_tokens=MTOK, cache_write_tokens=MTOK, cost_nano=5))
    response = answer.get("/api/v1/ai/admin/savings", {"start": "2026-11-01", "end": "2026-12-01"})
    shown = response.json()
    assert response["Cache-Control"] == "private, no-store"
    assert (shown["counted_lines"], shown["left_out_lines"], shown["currency"]) == (1, 0, "USD")
    assert (shown["cache"]["saved_usd"], shown["cache"]["writes_cost_usd"]) == ("1.300000000", "0.500000000")
    assert shown["discounts"]["saved_usd"] == shown["routing"]["saved_usd"] == "0.000000000"
    assert shown["zero_cost"]["models"] == []
    assert all(len(shown[part]["how"]) > 20 for part in ("cache", "discounts", "routing", "zero_cost"))


def test_R510_what_cannot_be_compared_costs_an_unknown_amount_and_not_nothing() -> None:
    post(free_line(input_tokens=MTOK, provider_tool_calls=3, dispatched_at=EIGHTH))
    (use,) = savings(Asked(NOVEMBER, LineFilter()), dear_model()).free
    assert (use.lines, use.compared_lines, use.reference_nano) == (1, 0, None)


def test_R510_free_models_are_compared_with_the_model_named(answer: APIClient) -> None:
    post(free_line(input_tokens=MTOK, output_tokens=MTOK, dispatched_at=EIGHTH))
    dear_model()
    november = {"start": "2026-11-01", "end": "2026-12-01"}
    use = {"provider": "ollama", "model": "llama", "lines": 1, "input_tokens": MTOK, "output_tokens": MTOK}
    plain = answer.get("/api/v1/ai/admin/savings", november).json()["zero_cost"]
    assert plain["models"] == [{**use, "compared_lines": 0, "compared_usd": None}]
    compared = answer.get("/api/v1/ai/admin/savings", {**november, "compare_with": "dear/big"}).json()["zero_cost"]
    assert compared["models"] == [{**use, "compared_lines": 1, "compared_usd": "5.400000000"}]
    refused = answer.get("/api/v1/ai/admin/savings", {**november, "compare_with": "nobody"})
    assert (refused.status_code, "compare_with" in refused.content.decode()) == (400, True)
