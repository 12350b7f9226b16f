"""The ledger at its edges: what its callers are told, what is logged and never logged, and how bad batches come apart."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone
from structlog.testing import capture_logs

from tests.usage.transactions import Transactions, answered
from tests.usage.world import reserve_order, settlement
from usage.ledger import writer
from usage.ledger.front import Ledger, LedgerUnavailable, Void, reserve_now
from usage.ledger.posting import Work, closing_row
from usage.ledger.spool import Spool
from usage.ledger.writer import LedgerWriter
from usage.models import Attempt, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

Said = list[MutableMapping[str, Any]]


@pytest.fixture
def said() -> Iterator[Said]:
    with capture_logs() as said:
        yield said


@pytest.fixture
def ledger(transactional_db: None, transactions: Transactions) -> Iterator[Ledger]:
    ledger = Ledger()
    ledger.start()
    yield ledger
    transactions.gate.set()
    ledger.stop(10)


@pytest.fixture
def lone(transactional_db: None, transactions: Transactions) -> Iterator[LedgerWriter]:
    lone = LedgerWriter(uuid.uuid4())
    lone.start()
    yield lone
    transactions.gate.set()
    lone.stop(10)


def events(said: Said) -> list[str]:
    return [each["event"] for each in said]


def of(said: Said, event: str) -> Said:
    """What was said with this event, without it."""
    return [{key: value for key, value in each.items() if key != "event"} for each in said if each["event"] == event]


class BugError(Exception):
    """Nothing the writer expects."""


@pytest.fixture
def bugs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What threads died of."""
    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    return seen


# ------------------------------------------------------------------ the front door


def test_a_ledger_that_does_not_run_says_so_at_once(transactional_db: None, said: Said) -> None:
    ledger = Ledger()
    assert ledger.is_running is False
    order = reserve_order()
    with pytest.raises(LedgerUnavailable, match="is not running"):
        asyncio.run(ledger.reserve(order))
    asyncio.run(ledger.settle(settlement(order)))
    refused = {"attempt_id": order.attempt_id.hex, "log_level": "error"}
    assert of(said, "ledger closing refused, the ledger is not running") == [refused]


def test_the_task_of_a_cancelled_reservation_is_cancelled_and_its_answer_goes_nowhere(ledger: Ledger, transactions: Transactions) -> None:
    complaints: list[object] = []

    async def cancel() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        transactions.gate.clear()
        task = asyncio.ensure_future(ledger.reserve(reserve_order(1)))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(transactions.entered.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        transactions.gate.set()
        await asyncio.wait_for(ledger.reserve(reserve_order(1)), 10)

    asyncio.run(cancel())
    assert complaints == []
    assert ledger.stop(10)
    assert sorted(Attempt.objects.values_list("status", flat=True)) == ["dispatched", "voided"]


def test_a_reservation_that_took_too_long_is_refused_and_voided_when_it_is_made(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, transactions: Transactions
) -> None:
    monkeypatch.setattr("usage.ledger.front.RESERVE_WAIT_S", 0.5)
    transactions.gate.clear()

    async def give_up() -> None:
        with pytest.raises(LedgerUnavailable, match="did not answer in time"):
            await ledger.reserve(reserve_order(1))
        assert await asyncio.to_thread(transactions.entered.wait, 10)
        transactions.gate.set()
        assert await asyncio.to_thread(ledger.stop, 10)

    asyncio.run(give_up())
    assert Attempt.objects.get().status == "voided"


def test_a_closing_that_takes_longer_is_told_of_and_answered(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, transactions: Transactions, said: Said
) -> None:
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))
    monkeypatch.setattr("usage.ledger.front.SETTLE_WAIT_S", 0.01)
    transactions.gate.clear()
    asyncio.run(ledger.settle(settlement(order)))
    assert of(said, "ledger closing delayed") == [{"attempt_id": order.attempt_id.hex, "log_level": "warning"}]


def test_a_settlement_kept_for_later_answers_without_delay(ledger: Ledger, transactions: Transactions, said: Said) -> None:
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))
    transactions.is_away = True
    asyncio.run(ledger.settle(settlement(order)))
    assert "ledger batch failed" in events(said)
    assert "ledger closing delayed" not in events(said)
    assert ledger.stop(0.1)


def test_the_control_planes_lease_is_renewed_with_every_call(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.ledger.front.socket.gethostname", lambda: "h" * 120)
    reserve_now(reserve_order(1))
    process = GatewayProcess.objects.get()
    assert process.host == "h" * 100
    for _ in range(2):
        assert timedelta(minutes=9) < GatewayProcess.objects.get().heartbeat_at - timezone.now() < timedelta(minutes=10)
        GatewayProcess.objects.update(heartbeat_at=timezone.now())
        reserve_now(reserve_order(1))


# ------------------------------------------------------------------ what is logged


@pytest.mark.parametrize(("cause", "told"), [(ValueError("a value"), "ValueError"), (None, None)])
def test_S10_a_failure_is_logged_by_its_class_and_cause_without_values(
    lone: LedgerWriter, transactions: Transactions, said: Said, cause: Exception | None, told: str | None
) -> None:
    failure = OperationalError("a value")
    failure.__cause__ = cause
    transactions.failures.append(failure)
    assert answered(lone, reserve_order(1)).refusal is None
    assert of(said, "ledger batch failed") == [{"error": "OperationalError", "cause": told, "log_level": "warning"}]
    assert "a value" not in str(said)


def test_of_two_in_a_batch_the_bad_one_alone_is_refused(lone: LedgerWriter, transactions: Transactions, said: Said) -> None:
    good, bad = reserve_order(1), reserve_order(1)
    transactions.hook = lambda work: refuse(bad in work.orders)
    transactions.queue_behind_one(lone, reserve_order(0), [good, bad])
    assert lone.stop(10)
    assert transactions.sizes == [1, 2, 1, 1]
    assert Attempt.objects.filter(pk=good.attempt_id).exists()
    assert [each["error"] for each in of(said, "ledger batch refused")] == ["IntegrityError"] * 2


def refuse(is_bad: bool, error: type[Exception] = IntegrityError) -> None:
    if is_bad:
        raise error


def test_a_closing_the_database_refuses_is_named_and_answered(ledger: Ledger, transactions: Transactions, said: Said) -> None:
    order = reserve_order(1)
    asyncio.run(ledger.reserve(order))
    transactions.hook = lambda work: refuse(bool(work.closings))
    asyncio.run(ledger.settle(settlement(order)))
    assert of(said, "ledger closing refused") == [{"attempt_id": order.attempt_id.hex, "log_level": "error"}]
    assert "ledger closing delayed" not in events(said)


def test_what_the_waiting_room_has_no_place_for_is_named_and_the_rest_is_on_disk_once(
    lone: LedgerWriter, transactions: Transactions, said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writer, "UNPOSTED_MAX", 2)
    orders = [reserve_order(1) for _ in range(3)]
    for order in orders:
        assert answered(lone, order).refusal is None
    transactions.is_away = True
    for order in orders:
        answered(lone, closing_row(settlement(order)))
    dropped = of(said, "ledger closing dropped, the sweeper will estimate it")
    assert dropped == [{"attempt_id": orders[2].attempt_id.hex, "log_level": "error"}]
    assert lone.stop(0.1)
    assert of(said, "ledger stopped with unposted operations") == [{"count": 2, "log_level": "error"}]
    assert [row.attempt_id for row in Spool(tmp_path / writer.SPOOL_FOLDER, uuid.uuid4()).adopt()] == [
        order.attempt_id.hex for order in orders[:2]
    ]


def test_I17_what_is_tried_again_and_again_is_on_disk_once(
    transactional_db: None, transactions: Transactions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it gave up itself, and what it took over."""
    folder = tmp_path / writer.SPOOL_FOLDER
    dead = Spool(folder, uuid.uuid4())
    dead.add([closing_row(settlement(reserve_order(1)))])
    dead.release()
    monkeypatch.setattr(writer, "UNPOSTED_RETRY_S", 0.0)
    transactions.is_away, tried = True, threading.Event()
    transactions.hook = lambda work: tried.set() if len(transactions.works) == 10 else None
    following = LedgerWriter(uuid.uuid4())
    following.start()
    answered(following, closing_row(settlement(reserve_order(1))))
    assert tried.wait(10)
    assert following.stop(0)
    assert len(Spool(folder, uuid.uuid4()).adopt()) == 2


def test_I17_however_much_dead_processes_left_is_posted_in_the_end(
    transactional_db: None, transactions: Transactions, said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """More than a process keeps of its own, and the database is still away when it starts."""
    monkeypatch.setattr(writer, "UNPOSTED_MAX", 1)
    monkeypatch.setattr(writer, "UNPOSTED_RETRY_S", 0.0)
    orders = [reserve_order(1) for _ in range(3)]
    for order in orders:
        reserve_now(order)
    dead = Spool(tmp_path / writer.SPOOL_FOLDER, uuid.uuid4())
    dead.add(closing_row(settlement(order)) for order in orders)
    dead.release()
    transactions.failures.extend(OperationalError() for _ in range(6))
    following = LedgerWriter(uuid.uuid4())
    following.start()
    assert transactions.closing.wait(10)
    assert following.stop(10)
    assert {line.basis for line in LedgerEntry.objects.all()} == {"measured"}
    assert LedgerEntry.objects.count() == 3
    assert "ledger closing dropped, the sweeper will estimate it" not in events(said)


def test_a_disk_that_is_full_or_unreadable_is_complained_of(
    transactional_db: None, transactions: Transactions, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "adopt", fail)
    monkeypatch.setattr(Spool, "add", fail)
    unlucky = LedgerWriter(uuid.uuid4())
    unlucky.start()
    transactions.is_away = True
    answered(unlucky, closing_row(settlement(reserve_order(1))))
    assert unlucky.stop(0.1)
    assert of(said, "settlements on disk could not be read") == [{"error": "OSError", "log_level": "error"}]
    assert of(said, "ledger closings are in memory only") == [{"error": "OSError", "count": 1, "log_level": "error"}]


def test_orphans_are_told_of_when_there_are_some(transactional_db: None, transactions: Transactions, said: Said) -> None:
    reserve_now(reserve_order(1))
    GatewayProcess.objects.all().delete()
    for _ in range(2):
        sweeping = LedgerWriter(uuid.uuid4())
        sweeping.start()
        assert answered(sweeping, reserve_order(1)).refusal is None
        assert answered(sweeping, reserve_order(1)).refusal is None
        settle_open(sweeping)
        assert sweeping.stop(10)
    assert of(said, "orphaned attempts estimated") == [{"count": 1, "log_level": "warning"}]


def settle_open(lone: LedgerWriter) -> None:
    for attempt_id in Attempt.objects.filter(status="dispatched").values_list("pk", flat=True):
        answered(lone, closing_row(Void(attempt_id)))


def test_house_keeping_that_fails_is_told_of(
    transactional_db: None, transactions: Transactions, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError

    monkeypatch.setattr(writer, "sweep", fail)
    failing = LedgerWriter(uuid.uuid4())
    failing.start()
    assert answered(failing, reserve_order(1)).refusal is None
    assert answered(failing, reserve_order(1)).refusal is None
    monkeypatch.setattr(LedgerWriter, "_beat", fail)
    assert failing.stop(10)
    assert events(said) == ["ledger house-keeping failed", "ledger could not sign off"]


# ------------------------------------------------------------------ a bug


def test_a_bug_ends_the_thread_and_everybody_has_an_answer(
    ledger: Ledger, transactions: Transactions, said: Said, bugs: list[object]
) -> None:
    """The transaction under way, and what was queued behind it: a reservation and two closings."""
    order = reserve_order(1)
    transactions.hook = lambda _: refuse(True, BugError)

    async def call() -> list[object]:
        transactions.gate.clear()
        first = asyncio.ensure_future(ledger.reserve(order))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(transactions.entered.wait, 10)
        closings = [ledger.settle(settlement(order)), ledger.void(Void(order.attempt_id))]
        rest = [asyncio.ensure_future(each) for each in (ledger.reserve(reserve_order(1)), *closings)]
        await asyncio.sleep(0)
        transactions.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    outcomes = asyncio.run(call())
    assert [str(each) for each in outcomes] == ["the ledger has stopped"] * 2 + ["None"] * 2
    assert ledger.stop(10)
    assert bugs == [BugError]
    assert of(said, "ledger stopped with unposted operations") == [{"count": 4, "log_level": "error"}]
    assert "ledger closing delayed" not in events(said)


def test_what_was_answered_before_a_bug_is_not_among_the_rest(
    lone: LedgerWriter, transactions: Transactions, said: Said, bugs: list[object]
) -> None:
    bad, buggy = reserve_order(1), reserve_order(1)

    def fail(work: Work) -> None:
        refuse(bad in work.orders)
        refuse(buggy in work.orders, BugError)

    transactions.hook = fail
    transactions.queue_behind_one(lone, reserve_order(0), [bad, buggy])
    assert lone.stop(10)
    assert bugs == [BugError]
    assert of(said, "ledger stopped with unposted operations") == [{"count": 1, "log_level": "error"}]
