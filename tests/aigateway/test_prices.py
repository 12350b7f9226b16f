"""Prices where calls are made: fixed at dispatch, one card an attempt, nothing unpriced for free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User

from aigateway.gateway import Meter
from aigateway.rate_limits import Allowance
from providers import actions
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Deployment, Price, Provider
from providers.prices import actions as price_actions
from providers.simulator.routes import base_url_for
from providers.upstream.dispatch import AttemptOutcome, Billing
from providers.upstream.types import ChatRequest, Message, ModelListing, PriceCard, PriceWindow, Role, TextPart, TokenUsage
from tests.aigateway.conftest import LiveGateway, deployment, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.usage.world import TARGET
from usage.budgets.actions import Limits, set_budget
from usage.ledger.front import Ledger
from usage.ledger.verification import verify_ledger
from usage.models import ApiKey, Attempt, BudgetAdjustment, BudgetPeriod, LedgerEntry


def lines() -> list[LedgerEntry]:
    return list(LedgerEntry.objects.order_by("id"))


# --------------------------------------------------------------------------- at dispatch

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
WINDOW = PriceWindow(start="09:00", end="10:00", input_nano_per_mtok=2_000_000_000, output_nano_per_mtok=4_000_000_000)
WINDOWED = PriceCard(id=7, input_nano_per_mtok=1_000_000_000, output_nano_per_mtok=2_000_000_000, windows=(WINDOW,))


@pytest.fixture
def ledger(transactional_db: None) -> Iterator[Ledger]:
    running = Ledger()
    running.start()
    yield running
    assert running.stop(10)


@pytest.mark.parametrize(
    ("begins", "ends", "nano"),
    [
        (NINE - timedelta(milliseconds=1), NINE + timedelta(minutes=5), 1000 * 1000 + 500 * 2000),
        (NINE, NINE + timedelta(hours=2), 1000 * 2000 + 500 * 4000),
        (NINE + timedelta(milliseconds=1), NINE + timedelta(hours=2), 1000 * 2000 + 500 * 4000),
        (NINE + timedelta(minutes=59, seconds=59, milliseconds=999), NINE + timedelta(hours=1), 1000 * 2000 + 500 * 4000),
        (NINE + timedelta(hours=1), NINE + timedelta(hours=1, seconds=1), 1000 * 1000 + 500 * 2000),
    ],
)
def test_M12_a_stream_that_crosses_the_boundary_keeps_the_card_it_was_dispatched_with(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger, user: User, begins: datetime, ends: datetime, nano: int
) -> None:
    instants = iter([begins, ends])
    monkeypatch.setattr(ledger, "now", lambda: next(instants))
    request = ChatRequest(model="m", messages=(Message(Role.USER, (TextPart("Hi"),)),), stream=True, body_bytes=2000)
    call = SimpleNamespace(request=request, context="default", dialect=SimpleNamespace(value="openai_chat"))
    caller = SimpleNamespace(user_id=user.pk, api_key_id="abcdefghijkl", budgets=(), team_id=None)
    plane: Any = SimpleNamespace(ledger=ledger, price_is_due=lambda now: False)
    unlimited: Any = SimpleNamespace()
    meter = Meter(plane, call, caller, "req_1", config_version=10**6, allowance=Allowance(unlimited))

    async def run() -> None:
        ticket = await meter.open(replace(TARGET, price=WINDOWED), 1)
        usage = TokenUsage(input_tokens=1000, output_tokens=500)
        await meter.close(ticket, AttemptOutcome(Billing.MEASURED, usage))

    asyncio.run(run())
    [line] = lines()
    assert (line.cost_nano, line.dispatched_at, line.basis) == (nano, begins, "measured")
    assert line.price_card["windows"] == []
    assert line.price_card["input_nano_per_mtok"] * 1000 + line.price_card["output_nano_per_mtok"] * 500 == nano * 10**6


def test_M12_the_first_call_after_a_dated_price_begins_has_it_whenever_configuration_was_last_read(gateway: LiveGateway) -> None:
    assert gateway.chat().status_code == 200
    model = deployment("sim-small")
    before = model.prices.get()
    begins = datetime.now(UTC) + timedelta(seconds=1)
    later = Price(deployment=model, valid_from=begins, source="test", input_nano_per_mtok=before.input_nano_per_mtok * 2)
    later.output_nano_per_mtok = before.output_nano_per_mtok * 2
    later.cache_read_nano_per_mtok = before.cache_read_nano_per_mtok and before.cache_read_nano_per_mtok * 2
    price_actions.set_price(later, SYSTEM)
    while datetime.now(UTC) < begins + timedelta(milliseconds=300):
        assert gateway.chat().status_code == 200
    for line in lines():
        assert (line.price_id == later.pk) is (line.dispatched_at >= begins), line.dispatched_at - begins
    assert lines()[-1].price_id == later.pk


# --------------------------------------------------------------------------- what the provider says


@pytest.mark.parametrize("kind", ["openrouter", "xai", "perplexity"])
@pytest.mark.parametrize("stream", [False, True])
def test_R504_what_the_provider_says_it_cost_stands_beside_our_figure(
    start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, kind: str, stream: bool
) -> None:
    base_url = base_url_for(kind, int(simulator.origin.rpartition(":")[2]))
    provider = Provider(slug="teller", label="Teller", kind="openai_compatible", base_url=base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM)
    actions.import_models(provider.pk, [ModelListing("sim-small")], SYSTEM)
    reprice(deployment("sim-small", "teller"), 2)
    gateway = start_gateway()
    gateway.stream("Hello", model="sim-small") if stream else gateway.chat("Hello", model="sim-small")
    [billed] = simulator.bill(1)
    [line] = lines()
    assert (line.cost_nano, line.reported_cost_nano, line.basis) == (2 * billed["cost_nano"], billed["cost_nano"], "measured")


# --------------------------------------------------------------------------- one card an attempt


def reprice(model: Deployment, factor: int) -> None:
    now = model.prices.latest("valid_from")
    Price.objects.create(
        deployment=model,
        input_nano_per_mtok=now.input_nano_per_mtok * factor,
        output_nano_per_mtok=now.output_nano_per_mtok * factor,
        cache_read_nano_per_mtok=None if now.cache_read_nano_per_mtok is None else now.cache_read_nano_per_mtok * factor,
        reasoning_nano_per_mtok=None if now.reasoning_nano_per_mtok is None else now.reasoning_nano_per_mtok * factor,
        source="test",
    )
    ConfigVersion.bump()


def test_M02_each_attempt_of_a_failover_is_priced_at_its_own_model(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle]
) -> None:
    first, second = new_simulator(), new_simulator()
    register_simulator(first, "first", priority=1)
    register_simulator(second, "second", priority=2)
    reprice(deployment("sim-small", "second"), 3)
    first.settings(fault_rate=1.0, faults={"truncated_json": 1})
    answer = start_gateway().generate(model="sim-small").json()
    assert answer["provider"] == "second"
    *failed, answered = lines()
    [billed] = second.bill(1)
    assert (answered.cost_nano, answered.basis, answered.provider_slug) == (3 * billed["cost_nano"], "measured", "second")
    assert failed
    for line, invoiced in zip(failed, first.bill(len(failed)), strict=True):
        attempt = Attempt.objects.get(pk=line.attempt_id)
        assert (line.provider_slug, line.basis) == ("first", "estimated")
        assert line.price_card["input_nano_per_mtok"] * 3 == answered.price_card["input_nano_per_mtok"]
        assert invoiced["cost_nano"] <= line.cost_nano <= attempt.hold_nano
    assert answer["cost"]["amount"] == f"{sum(line.cost_nano for line in lines()) / 10**9:.9f}"


def test_M02_a_user_whose_limit_says_so_pays_for_the_answer_only(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle]
) -> None:
    first, second = new_simulator(), new_simulator()
    register_simulator(first, "first", priority=1)
    register_simulator(second, "second", priority=2)
    first.settings(fault_rate=1.0, faults={"truncated_json": 1})
    gateway = start_gateway()
    key = ApiKey.objects.get()
    forgiving = set_budget("user", key.user, "total", Limits(10**12, charge_failed_attempts=False))
    charging = set_budget("key", key, "total", Limits(10**12))
    assert gateway.generate(model="sim-small").json()["provider"] == "second"
    *failed, answered = lines()
    posted = {period.budget_id: period.posted_nano for period in BudgetPeriod.objects.all()}
    assert failed
    assert posted[forgiving.pk] == answered.cost_nano
    assert posted[charging.pk] == answered.cost_nano + sum(line.cost_nano for line in failed)
    assert {str(line.attempt_id) for line in failed} == {entry.reason.split()[1] for entry in BudgetAdjustment.objects.all()}
    assert [*verify_ledger()] == []


# --------------------------------------------------------------------------- unpriced, free, discounted


def test_M07_a_model_under_a_ceiling_is_booked_at_the_ceiling_and_flagged(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    Price.objects.filter(deployment__name="sim-small").delete()
    Deployment.objects.filter(name="sim-small").update(unpriced_ceiling_nano=50_000_000)
    Provider.objects.update(discount_ppm=500_000)
    ConfigVersion.bump()
    answer = gateway.generate(model="sim-small").json()
    gateway.stream("Hello")
    assert answer["cost"]["amount"] == "0.050000000"
    assert [(line.cost_nano, line.basis, line.price_card["is_ceiling"]) for line in lines()] == [(50_000_000, "unpriced", True)] * 2
    assert all(line.input_tokens for line in lines()), "what the provider counted is kept all the same"
    assert len(simulator.bill(2)) == 2


def test_M07_a_price_removed_under_load_lets_nothing_through_unpriced(gateway: LiveGateway) -> None:
    priced = threading.Event()
    codes: list[int] = []

    def ask() -> None:
        while len(codes) < 60:
            codes.append(gateway.chat().status_code)
            if len(codes) >= 10:
                priced.set()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert priced.wait(30)
    Price.objects.filter(deployment__name="sim-small").delete()
    ConfigVersion.bump()
    removed_after = len(codes)
    for thread in threads:
        thread.join(60)
    assert set(codes) <= {200, 402}
    assert codes[-1] == 402
    assert set(codes[removed_after + 8 :]) == {402}, "calls that were under way may still be answered, no later one"
    assert len(lines()) == codes.count(200)
    assert all(line.cost_nano > 0 and line.basis == "measured" for line in lines())


def test_R208_a_zero_price_is_measured_and_costs_nothing(gateway: LiveGateway) -> None:
    reprice(deployment("sim-small"), 0)
    assert gateway.generate(model="sim-small").json()["cost"]["amount"] == "0.000000000"
    assert [(line.cost_nano, line.basis) for line in lines()] == [(0, "measured")]


def test_a_discount_is_taken_off_the_bill(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    Provider.objects.update(discount_ppm=250_000)
    ConfigVersion.bump()
    gateway.chat("[sim tokens=40]")
    [billed] = simulator.bill(1)
    assert [line.cost_nano for line in lines()] == [round(Fraction(billed["cost_nano"] * 3, 4))]
