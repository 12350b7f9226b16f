"""Reserve, settle, void on a real database through a real writer thread."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers.models import ConfigVersion
from providers.upstream.types import TokenUsage
from tests.usage.processes import start_reserving
from tests.usage.world import CARD, TARGET, USAGE, assert_balanced, counters, gateway_budget, reserve_order, settlement
from usage.budgets.actions import Limits, delete_budget, set_budget
from usage.keys.actions import create_api_key
from usage.ledger.front import (
    AttemptConflict,
    BudgetExceeded,
    BudgetRef,
    Ledger,
    LedgerUnavailable,
    ReserveOrder,
    Settlement,
    StaleConfiguration,
    UnpricedTarget,
    Void,
    reserve_now,
    settle_now,
    void_now,
)
from usage.ledger.posting import Work, apply_batch, closing_row
from usage.models import Attempt, Budget, BudgetPeriod, GatewayProcess, LedgerEntry, Period

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


async def reserve_all(ledger: Ledger, orders: list[ReserveOrder]) -> list[BaseException | None]:
    return await asyncio.gather(*(ledger.reserve(order) for order in orders), return_exceptions=True)


async def settle_all(ledger: Ledger, settlements: list[Settlement]) -> None:
    await asyncio.gather(*(ledger.settle(each) for each in settlements))


# ------------------------------------------------------------------ admission


def test_M05_400_parallel_reserves_on_a_budget_worth_100_admit_exactly_100(ledger: Ledger) -> None:
    budget = gateway_budget(100)
    outcomes = asyncio.run(reserve_all(ledger, [reserve_order(1, [budget]) for _ in range(400)]))
    assert outcomes.count(None) == 100
    assert sum(isinstance(each, BudgetExceeded) for each in outcomes) == 300
    assert counters(budget) == (0, 100)
    assert Attempt.objects.count() == 100


def test_M05_two_processes_share_a_budget_exactly(transactional_db: None) -> None:
    budget = gateway_budget(100)
    processes = [start_reserving(budget, 200, "stop") for _ in range(2)]
    admitted = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(admitted) == 100
    assert sum(counters(budget)) == 100  # held, or posted by the sweeper once a process had left


def test_M05_the_first_requests_of_a_fresh_budget_make_one_period(ledger: Ledger) -> None:
    budget = gateway_budget(10, Period.DAY)
    orders = [reserve_order(3, [budget], dispatched_at=datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)) for _ in range(5)]
    outcomes = asyncio.run(reserve_all(ledger, orders))
    assert outcomes.count(None) == 3
    assert [(period.key, period.held_nano) for period in BudgetPeriod.objects.all()] == [("2026-11-21", 9)]


def test_M15_a_call_belongs_to_the_period_of_its_reserve(ledger: Ledger) -> None:
    budget = gateway_budget(10, Period.DAY)
    before = reserve_order(10, [budget], dispatched_at=datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    after = reserve_order(10, [budget], dispatched_at=datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC))
    assert asyncio.run(reserve_all(ledger, [before, after])) == [None, None]
    asyncio.run(ledger.settle(settlement(before, 4)))
    assert dict(BudgetPeriod.objects.values_list("key", "posted_nano")) == {"2026-11-30": 4, "2026-12-01": 0}


def test_R503_an_order_fits_every_scope_or_holds_nothing(ledger: Ledger, user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    caps = {Budget.Scope.GATEWAY: 100, Budget.Scope.USER: 50, Budget.Scope.KEY: 10}
    subjects = {Budget.Scope.GATEWAY: None, Budget.Scope.USER: user, Budget.Scope.KEY: key}
    budgets = [set_budget(scope, subjects[scope], Period.MONTH, Limits(cap)) for scope, cap in caps.items()]
    asyncio.run(ledger.reserve(reserve_order(8, budgets)))
    with pytest.raises(BudgetExceeded) as refused:
        asyncio.run(ledger.reserve(reserve_order(3, budgets)))
    assert (refused.value.scope, refused.value.period) == ("key", "month")
    assert (refused.value.cap, refused.value.posted, refused.value.held, refused.value.wanted) == (10, 0, 8, 3)
    assert [counters(budget) for budget in budgets] == [(0, 8)] * 3
    asyncio.run(ledger.reserve(reserve_order(42, budgets[:2])))
    with pytest.raises(BudgetExceeded) as refused:
        asyncio.run(ledger.reserve(reserve_order(1, budgets[:2])))
    assert refused.value.scope == "user"


def test_a_small_order_behind_a_refused_large_one_still_fits(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    outcomes = asyncio.run(reserve_all(ledger, [reserve_order(hold, [budget]) for hold in (6, 6, 4)]))
    assert [type(each) for each in outcomes] == [type(None), BudgetExceeded, type(None)]


def test_M08_nothing_to_hold_fits_an_exhausted_and_a_zero_budget(ledger: Ledger) -> None:
    budget = gateway_budget(0)
    asyncio.run(ledger.reserve(reserve_order(0, [budget])))
    with pytest.raises(BudgetExceeded):
        asyncio.run(ledger.reserve(reserve_order(1, [budget])))


def test_no_budget_means_no_limit_and_the_line_is_written_all_the_same(ledger: Ledger) -> None:
    order = reserve_order(10**15)
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 7)))
    assert LedgerEntry.objects.get().cost_nano == 7


def test_stale_configuration_is_refused_and_writes_nothing(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    version = ConfigVersion.bump("budgets")
    with pytest.raises(StaleConfiguration) as refused:
        asyncio.run(ledger.reserve(reserve_order(1, [budget], config_version=version - 1)))
    assert refused.value.version == version
    asyncio.run(ledger.reserve(reserve_order(1, [budget], config_version=version)))
    assert Attempt.objects.count() == 1


def test_an_order_for_a_budget_that_is_gone_is_stale(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    asyncio.run(ledger.reserve(reserve_order(1, [budget])))
    refs = (BudgetRef(budget.pk, budget.period),)
    delete_budget(budget)
    with pytest.raises(StaleConfiguration):
        asyncio.run(ledger.reserve(replace(reserve_order(1), budgets=refs)))


def test_M07_an_unpriced_target_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnpricedTarget):
        asyncio.run(ledger.reserve(reserve_order(0, target=replace(TARGET, price=None))))
    assert not Attempt.objects.exists()


def test_lowering_the_cap_binds_the_next_order(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    asyncio.run(ledger.reserve(reserve_order(5, [budget])))
    set_budget(Budget.Scope.GATEWAY, None, Period.TOTAL, Limits(6))
    with pytest.raises(BudgetExceeded):
        asyncio.run(ledger.reserve(reserve_order(5, [budget])))


# ------------------------------------------------------------------ closing


def test_settling_posts_the_cost_and_returns_the_hold(ledger: Ledger) -> None:
    budget = gateway_budget(100)
    order = reserve_order(60, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 25, upstream_id="chatcmpl-1", latency_ms=120, first_byte_ms=40)))
    assert counters(budget) == (25, 0)
    attempt, line = Attempt.objects.get(), LedgerEntry.objects.get()
    assert (attempt.status, attempt.latency_ms, attempt.first_byte_ms) == ("settled", 120, 40)
    assert attempt.closed_at == line.posted_at
    assert (line.attempt_id, line.kind, line.basis, line.cost_nano) == (order.attempt_id, "usage", "measured", 25)
    assert (line.input_tokens, line.output_tokens, line.cache_read_tokens) == (10, 5, None)
    assert (line.upstream_id, line.price_id, line.price_card["input_nano_per_mtok"]) == ("chatcmpl-1", CARD.id, 2_500_000_000)
    assert line.dispatched_at == order.dispatched_at


def test_every_token_bucket_reaches_its_column(ledger: Ledger) -> None:
    usage = TokenUsage(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(Settlement(order.attempt_id, 1, usage)))
    line = LedgerEntry.objects.get()
    kept = [bucket.name for bucket in fields(TokenUsage) if bucket.compare]
    assert [getattr(line, name) for name in kept] == [*range(1, 11)]
    assert line.quota_tokens == sum(range(1, 10))


def test_a_cost_above_the_hold_is_posted_in_full(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 15)))
    assert counters(budget) == (15, 0)


def test_M17_a_void_returns_the_whole_hold_and_writes_no_line(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.void(Void(order.attempt_id, "upstream_connect_failed", 3)))
    assert counters(budget) == (0, 0)
    assert not LedgerEntry.objects.exists()
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.error_code, attempt.latency_ms) == ("voided", "upstream_connect_failed", 3)


def test_M03_settling_again_from_anywhere_changes_nothing(ledger: Ledger) -> None:
    budget = gateway_budget(100)
    order = reserve_order(50, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(settle_all(ledger, [settlement(order, cost) for cost in (10, 20, 30)]))
    asyncio.run(ledger.void(Void(order.attempt_id)))
    settle_now(settlement(order, 40))
    assert counters(budget) == (10, 0)
    assert LedgerEntry.objects.get().cost_nano == 10


def test_settling_a_voided_or_unknown_attempt_changes_nothing(ledger: Ledger) -> None:
    budget = gateway_budget(100)
    order = reserve_order(50, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.void(Void(order.attempt_id)))
    asyncio.run(ledger.settle(settlement(order, 10)))
    asyncio.run(ledger.settle(Settlement(uuid.uuid4(), 10, USAGE)))
    assert counters(budget) == (0, 0)
    assert not LedgerEntry.objects.exists()


def test_an_estimated_settlement_is_flagged_and_final(ledger: Ledger) -> None:
    budget = gateway_budget(100)
    order = reserve_order(50, [budget])
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 20, basis="estimated", error_code="client_closed")))
    asyncio.run(ledger.settle(settlement(order, 5)))
    assert counters(budget) == (20, 0)
    assert (LedgerEntry.objects.get().basis, Attempt.objects.get().status) == ("estimated", "estimated")


def test_a_closing_for_a_deleted_budget_still_posts_its_line(ledger: Ledger) -> None:
    budget, other = gateway_budget(100), gateway_budget(100, Period.DAY)
    order = reserve_order(50, [budget, other])
    asyncio.run(ledger.reserve(order))
    delete_budget(budget)
    asyncio.run(ledger.settle(settlement(order, 20)))
    assert counters(other) == (20, 0)
    assert LedgerEntry.objects.get().cost_nano == 20


# ------------------------------------------------------------------ replay, conflict, foreign text


def test_replaying_a_reservation_holds_once_and_keeps_its_first_outcome(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    assert asyncio.run(reserve_all(ledger, [order, order, order])) == [None, None, None]
    version = ConfigVersion.bump()
    asyncio.run(ledger.reserve(replace(order, config_version=version - 1)))
    assert counters(budget) == (0, 10)


def test_another_attempt_with_the_same_request_and_number_is_a_conflict(ledger: Ledger) -> None:
    budget = gateway_budget(10)
    order = reserve_order(1, [budget])
    asyncio.run(ledger.reserve(order))
    with pytest.raises(AttemptConflict):
        asyncio.run(ledger.reserve(replace(order, attempt_id=uuid.uuid4())))
    assert counters(budget) == (0, 1)


def test_B04_foreign_text_of_any_shape_is_stored(ledger: Ledger) -> None:
    order = reserve_order(1, model_asked="a\0b\ud800" + "x" * 300)
    asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order, 1, upstream_id="\0" + "é" * 300)))
    assert Attempt.objects.get().model_asked == "a␀b?" + "x" * 196
    assert LedgerEntry.objects.get().upstream_id == "␀" + "é" * 199


@pytest.mark.parametrize("amount", [-1, 2**63])
def test_B06_amounts_no_column_can_hold_are_refused_at_once(amount: int) -> None:
    with pytest.raises(ValueError, match="amount"):
        reserve_order(amount)
    with pytest.raises(ValueError, match="amount"):
        settlement(reserve_order(1), amount)


# ------------------------------------------------------------------ the thread


def test_stop_posts_everything_queued(transactional_db: None) -> None:
    ledger = Ledger()
    ledger.start()
    orders = [reserve_order(1) for _ in range(200)]

    async def reserve_and_leave_settlements_queued() -> None:
        await reserve_all(ledger, orders)
        waiting = [asyncio.ensure_future(ledger.settle(settlement(order))) for order in orders]
        await asyncio.sleep(0)
        assert ledger.stop(10)
        await asyncio.gather(*waiting)

    asyncio.run(reserve_and_leave_settlements_queued())
    assert LedgerEntry.objects.count() == 200
    assert GatewayProcess.objects.get(pk=ledger.process_id).stopped_at is not None


def test_a_ledger_that_does_not_run_refuses_and_swallows(transactional_db: None) -> None:
    ledger = Ledger()
    with pytest.raises(LedgerUnavailable):
        asyncio.run(ledger.reserve(reserve_order()))
    ledger.start()
    assert ledger.stop(10)
    with pytest.raises(LedgerUnavailable):
        asyncio.run(ledger.reserve(reserve_order()))
    asyncio.run(ledger.settle(settlement(reserve_order())))


def test_a_cancelled_reservation_does_not_leak(ledger: Ledger) -> None:
    budget = gateway_budget(10**6)

    async def reserve_and_cancel_at_every_moment() -> None:
        tasks = [asyncio.ensure_future(ledger.reserve(reserve_order(1, [budget]))) for _ in range(300)]
        for index, task in enumerate(tasks):
            if index % 10 == 0:
                await asyncio.sleep(0)
            task.cancel()
        made = (await asyncio.gather(*tasks, return_exceptions=True)).count(None)  # before it was cancelled
        held = [asyncio.ensure_future(ledger.reserve(reserve_order(1, [budget]))) for _ in range(50)]
        await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
        for task in held:
            task.cancel()
        outcomes = await asyncio.gather(*held, return_exceptions=True)
        kept.append(made + outcomes.count(None))

    kept: list[int] = []
    asyncio.run(reserve_and_cancel_at_every_moment())
    asyncio.run(ledger.reserve(reserve_order(0)))  # the voids were queued before it
    asyncio.run(ledger.reserve(reserve_order(0)))
    assert counters(budget) == (0, kept[0])
    assert_balanced()


def test_the_process_registers_with_its_first_batch_and_signs_off(transactional_db: None) -> None:
    ledger = Ledger()
    ledger.start()
    asyncio.run(ledger.reserve(reserve_order(1)))
    process = GatewayProcess.objects.get()
    assert (process.pk, process.stopped_at) == (ledger.process_id, None)
    assert Attempt.objects.get().process_id == ledger.process_id
    assert ledger.stop(10)
    process.refresh_from_db()
    assert process.stopped_at is not None


def test_L13_a_batch_takes_the_same_number_of_statements_whatever_its_size(transactional_db: None) -> None:
    budget = gateway_budget(10**6)
    known: dict[tuple[int, str], int] = {}
    counts = []
    previous: list[ReserveOrder] = []
    for size in (1, 1, 30):
        orders = [reserve_order(1, [budget]) for _ in range(size)]
        closings = [closing_row(settlement(order)) for order in previous]
        with CaptureQueriesContext(connection) as queries:
            outcome = apply_batch(Work(uuid.uuid4(), datetime.now(UTC), orders, closings), known)
        assert not outcome.refusals
        counts.append(len(queries))
        previous = orders
    with CaptureQueriesContext(connection) as queries:
        apply_batch(
            Work(uuid.uuid4(), datetime.now(UTC), [reserve_order(1, [budget])], [closing_row(settlement(each)) for each in previous]), known
        )
    assert counts[1] == counts[2] == len(queries)


# ------------------------------------------------------------------ control plane


def test_the_control_plane_posts_at_once_on_its_own_connection(transactional_db: None) -> None:
    budget = gateway_budget(10)
    kept, dropped = reserve_order(4, [budget]), reserve_order(5, [budget])
    reserve_now(kept)
    reserve_now(dropped)
    with pytest.raises(BudgetExceeded):
        reserve_now(reserve_order(2, [budget]))
    settle_now(settlement(kept, 3))
    void_now(Void(dropped.attempt_id))
    assert counters(budget) == (3, 0)
    lease = GatewayProcess.objects.get().heartbeat_at - datetime.now(UTC)
    assert timedelta(minutes=9) < lease < timedelta(minutes=10)
