"""The writer thread when the database is slow, away, or of another opinion."""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import Callable
from datetime import datetime

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone

from tests.usage.world import assert_balanced, counters, gateway_budget, reserve_order, settlement
from usage.ledger import writer
from usage.ledger.front import BudgetExceeded, Ledger, LedgerUnavailable, ReserveOrder, Void
from usage.ledger.posting import CommitUncertain, Outcome, PeriodIds, Work, apply_batch, current_statements
from usage.models import Attempt, Budget, LedgerEntry, Period

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

Apply = Callable[[Work, PeriodIds], Outcome]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Apply], None]:
    def install(apply: Apply) -> None:
        monkeypatch.setattr(writer, "apply_batch", apply)

    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (0, 0, 0))
    monkeypatch.setattr(writer, "UNPOSTED_RETRY_S", 0.01)
    return install


def test_I17_a_commit_that_got_through_although_the_connection_broke_is_not_repeated(
    ledger: Ledger, failing: Callable[[Apply], None]
) -> None:
    broken = iter([True, False, True, False])

    def commit_then_break(work: Work, known: PeriodIds) -> Outcome:
        outcome = apply_batch(work, known)
        if next(broken):
            raise CommitUncertain
        return outcome

    failing(commit_then_break)
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    asyncio.run(ledger.reserve(order))
    assert counters(budget) == (0, 10)
    asyncio.run(ledger.settle(settlement(order, 4)))
    assert counters(budget) == (4, 0)
    assert LedgerEntry.objects.count() == 1


def test_reservations_are_refused_while_the_database_is_away_and_nothing_stays_held(
    ledger: Ledger, failing: Callable[[Apply], None]
) -> None:
    away = threading.Event()
    away.set()

    def commit_then_break(work: Work, known: PeriodIds) -> Outcome:
        if away.is_set() and work.orders:
            apply_batch(work, known)
            raise CommitUncertain
        return apply_batch(work, known)

    failing(commit_then_break)
    budget = gateway_budget(10)
    with pytest.raises(LedgerUnavailable):
        asyncio.run(ledger.reserve(reserve_order(10, [budget])))
    away.clear()
    assert ledger.stop(10)
    assert counters(budget) == (0, 0)
    assert Attempt.objects.get().status == "voided"


def test_a_settlement_waits_for_the_database_and_the_client_does_not(ledger: Ledger, failing: Callable[[Apply], None]) -> None:
    budget = gateway_budget(10)
    order = reserve_order(10, [budget])
    asyncio.run(ledger.reserve(order))
    away = threading.Event()
    away.set()
    tried = threading.Event()

    def refuse_while_away(work: Work, known: PeriodIds) -> Outcome:
        tried.set()
        if away.is_set():
            raise OperationalError("server closed the connection")
        return apply_batch(work, known)

    failing(refuse_while_away)
    asyncio.run(ledger.settle(settlement(order, 4)))
    assert tried.is_set()
    assert counters(budget) == (0, 10)
    away.clear()
    assert ledger.stop(10)
    assert counters(budget) == (4, 0)


def test_one_bad_operation_does_not_spoil_its_batch(ledger: Ledger, failing: Callable[[Apply], None]) -> None:
    bad = reserve_order(1)

    def refuse_bad(work: Work, known: PeriodIds) -> Outcome:
        if bad in work.orders:
            raise IntegrityError("no")
        return apply_batch(work, known)

    failing(refuse_bad)
    orders = [reserve_order(1) for _ in range(5)]
    orders.insert(2, bad)

    async def reserve_all() -> list[BaseException | None]:
        return await asyncio.gather(*(ledger.reserve(order) for order in orders), return_exceptions=True)

    outcomes = asyncio.run(reserve_all())
    assert [type(each) for each in outcomes] == [type(None)] * 2 + [LedgerUnavailable] + [type(None)] * 3
    assert Attempt.objects.count() == 5


def test_a_closing_the_database_refuses_is_left_to_the_sweeper(ledger: Ledger, failing: Callable[[Apply], None]) -> None:
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))

    def refuse(work: Work, known: PeriodIds) -> Outcome:
        if work.closings:
            raise IntegrityError("no")
        return apply_batch(work, known)

    failing(refuse)
    asyncio.run(ledger.settle(settlement(order)))
    assert Attempt.objects.get().status == "dispatched"
    asyncio.run(ledger.reserve(reserve_order(1)))


def test_a_cap_lowered_between_reading_and_writing_is_met_by_the_conditional_update(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = gateway_budget(10)
    ledger = Ledger()
    ledger.start()
    asyncio.run(ledger.reserve(reserve_order(1, [budget])))
    statements = type(current_statements())
    original = statements.lock_periods

    def read_a_higher_cap(self, cursor, ids):
        locked = original(self, cursor, ids)
        for period in locked.values():
            period.cap_nano += 100
        return locked

    monkeypatch.setattr(statements, "lock_periods", read_a_higher_cap)
    with pytest.raises(LedgerUnavailable):
        asyncio.run(ledger.reserve(reserve_order(20, [budget])))
    assert ledger.stop(10)
    assert counters(budget) == (0, 1)
    assert Attempt.objects.count() == 1


def _fill_the_pool() -> None:
    """As after a busy hour: connections wait for whoever needs them next."""
    pool = connection.pool
    for each in [pool.getconn() for _ in range(pool.max_size - 2)]:
        pool.putconn(each)


def test_a_server_that_drops_the_connection_costs_nothing_but_a_retry(ledger: Ledger, on_postgresql: bool) -> None:
    if not on_postgresql:
        pytest.skip("SQLite has no server")
    budget = gateway_budget(10)
    asyncio.run(ledger.reserve(reserve_order(1, [budget])))
    _fill_the_pool()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    asyncio.run(ledger.reserve(reserve_order(1, [budget])))
    assert counters(budget) == (0, 2)


def test_the_thread_dying_of_a_bug_refuses_instead_of_hanging(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class BugError(Exception):
        pass

    def explode(work: Work, known: PeriodIds) -> Outcome:
        raise BugError

    monkeypatch.setattr(writer, "apply_batch", explode)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    seen: list[object] = []
    ledger = Ledger()
    ledger.start()
    with pytest.raises(LedgerUnavailable, match="stopped"):
        asyncio.run(ledger.reserve(reserve_order(1)))
    assert not ledger.is_running
    assert ledger.stop(10)
    assert seen == [BugError]


def test_a_slow_database_refuses_the_caller_in_time_and_keeps_no_hold(
    ledger: Ledger, failing: Callable[[Apply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usage.ledger.front.RESERVE_WAIT_S", 0.05)
    go_on = threading.Event()

    def wait_first(work: Work, known: PeriodIds) -> Outcome:
        go_on.wait(10)
        return apply_batch(work, known)

    failing(wait_first)
    budget = gateway_budget(10)
    with pytest.raises(LedgerUnavailable, match="in time"):
        asyncio.run(ledger.reserve(reserve_order(5, [budget])))
    go_on.set()
    assert ledger.stop(10)
    assert counters(budget) == (0, 0)
    assert Attempt.objects.get().status == "voided"


def test_a_slow_settlement_is_posted_after_the_client_has_its_answer(
    ledger: Ledger, failing: Callable[[Apply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = reserve_order(5)
    asyncio.run(ledger.reserve(order))
    monkeypatch.setattr("usage.ledger.front.SETTLE_WAIT_S", 0.05)
    go_on = threading.Event()

    def wait_first(work: Work, known: PeriodIds) -> Outcome:
        go_on.wait(10)
        return apply_batch(work, known)

    failing(wait_first)
    asyncio.run(ledger.settle(settlement(order, 3)))
    assert not LedgerEntry.objects.exists()
    go_on.set()
    assert ledger.stop(10)
    assert LedgerEntry.objects.get().cost_nano == 3


def test_a_reservation_whose_event_loop_is_gone_is_voided(transactional_db: None) -> None:
    budget = gateway_budget(10)
    lone = writer.LedgerWriter(uuid.uuid4())
    assert lone.stop(1), "stopping what never started is nothing"
    lone.start()
    loop = asyncio.new_event_loop()
    pending = writer.Pending(reserve_order(5, [budget]), loop, loop.create_future())
    loop.close()
    assert lone.submit(pending)
    assert lone.stop(10)
    assert Attempt.objects.get().status == "voided"
    assert counters(budget) == (0, 0)
    with pytest.raises(RuntimeError, match="once"):
        lone.start()


def test_what_does_not_fit_the_waiting_room_is_left_to_the_sweeper(
    ledger: Ledger, failing: Callable[[Apply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [reserve_order(1) for _ in range(3)]
    for order in orders:
        asyncio.run(ledger.reserve(order))
    monkeypatch.setattr(writer, "UNPOSTED_MAX", 1)
    away = threading.Event()
    away.set()

    def refuse_while_away(work: Work, known: PeriodIds) -> Outcome:
        if away.is_set():
            raise OperationalError("gone")
        return apply_batch(work, known)

    failing(refuse_while_away)

    async def settle_all() -> None:
        await asyncio.gather(*(ledger.settle(settlement(order)) for order in orders))

    asyncio.run(settle_all())
    away.clear()
    assert ledger.stop(10)
    assert LedgerEntry.objects.count() == 1
    assert Attempt.objects.filter(status="dispatched").count() == 2


def test_stopping_without_a_database_ends_in_time_and_loses_only_to_the_sweeper(
    ledger: Ledger, failing: Callable[[Apply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))

    def refuse(*_: object, **__: object) -> Outcome:
        raise OperationalError("gone")

    failing(refuse)
    monkeypatch.setattr(writer, "sweep", refuse)
    monkeypatch.setattr(writer.LedgerWriter, "_beat", refuse)
    asyncio.run(ledger.settle(settlement(order)))
    assert ledger.stop(0.2)
    assert not ledger.is_running
    assert Attempt.objects.get().status == "dispatched"


def test_failing_house_keeping_does_not_stop_the_ledger(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(now: datetime) -> int:
        raise OperationalError("gone")

    monkeypatch.setattr(writer, "sweep", refuse)
    monkeypatch.setattr(writer, "SWEEP_S", 0.0)
    ledger = Ledger()
    ledger.start()
    assert ledger.is_running
    for _ in range(3):
        asyncio.run(ledger.reserve(reserve_order(1)))
    assert ledger.stop(10)
    assert Attempt.objects.count() == 3


def test_a_connection_lost_while_committing_is_reported_as_uncertain(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        raise OperationalError("server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", lose)
        with pytest.raises(CommitUncertain):
            apply_batch(Work(uuid.uuid4(), timezone.now(), [reserve_order(1)]), {})
    with monkeypatch.context() as patch:
        patch.setattr(type(current_statements()), "open", lambda *_: lose())
        with pytest.raises(OperationalError):
            apply_batch(Work(uuid.uuid4(), timezone.now(), [reserve_order(1)]), {})
    assert not Attempt.objects.exists()


def test_the_cache_of_period_ids_is_bounded(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.ledger.posting.KNOWN_PERIODS_MAX", 1)
    budget = gateway_budget(10)
    known = {(0, "a"): 1, (0, "b"): 2}
    apply_batch(Work(uuid.uuid4(), timezone.now(), [reserve_order(1, [budget])]), known)
    assert [*known] == [(budget.pk, "total")]


@pytest.mark.parametrize("seed", range(3))
def test_M04_the_books_balance_after_a_random_mixed_run(ledger: Ledger, seed: int) -> None:
    budgets = [gateway_budget(2_000), gateway_budget(1_500, Period.DAY)]
    asyncio.run(_random_run(ledger, budgets, random.Random(seed)))
    assert ledger.stop(10)
    assert_balanced()
    for budget in budgets:
        posted, held = counters(budget)
        assert held >= 0
        assert posted <= budget.cap_nano  # no cost here exceeds its hold


async def _random_run(ledger: Ledger, budgets: list[Budget], chance: random.Random) -> None:
    orders = [reserve_order(chance.randrange(60), chance.sample(budgets, chance.randrange(3))) for _ in range(250)]
    await asyncio.gather(*(_random_life(ledger, order, random.Random(chance.random())) for order in orders))


async def _random_life(ledger: Ledger, order: ReserveOrder, chance: random.Random) -> None:
    for _ in range(chance.randrange(5)):
        await asyncio.sleep(0)
    task = asyncio.ensure_future(ledger.reserve(order))
    if chance.random() < 0.15:
        await asyncio.sleep(0)
        task.cancel()
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    if outcome is not None:
        assert isinstance(outcome, BudgetExceeded | asyncio.CancelledError)
        return
    for _ in range(chance.randrange(1, 3)):
        fate = chance.random()
        cost = chance.randrange(order.hold_nano + 1)
        if fate < 0.5:
            await ledger.settle(settlement(order, cost))
        elif fate < 0.65:
            await ledger.settle(settlement(order, cost, basis="estimated"))
        elif fate < 0.8:
            await ledger.void(Void(order.attempt_id))
        elif fate < 0.9:
            await ledger.reserve(order)
