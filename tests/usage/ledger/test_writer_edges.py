"""The writer thread at its edges: batches, tries, waits, what is abandoned, and the end. The transactions are real."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from tests.usage.transactions import Transactions, answered
from tests.usage.world import counters, gateway_budget, reserve_order, settlement
from usage.ledger import writer
from usage.ledger.posting import CommitUncertain, Work, closing_row
from usage.ledger.spool import Spool
from usage.ledger.sql.rows import ClosingRow
from usage.ledger.types import BudgetExceeded, LedgerUnavailable, ReserveOrder, Void
from usage.ledger.writer import LedgerWriter, Pending
from usage.models import Attempt, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture
def house_kept(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the thread has swept, after which it has nothing to do."""
    kept, sweep = threading.Event(), writer.sweep
    monkeypatch.setattr(writer, "sweep", lambda now: (sweep(now), kept.set())[0])
    return kept


@pytest.fixture
def lone(transactional_db: None, transactions: Transactions, house_kept: threading.Event) -> Iterator[LedgerWriter]:
    """A running writer with nothing to do, stopped at the end unless the test did."""
    lone = LedgerWriter(uuid.uuid4())
    lone.start()
    assert house_kept.wait(10)
    yield lone
    transactions.gate.set()
    lone.stop(10)


def reserved(lone: LedgerWriter, **changes: Any) -> ReserveOrder:
    order = reserve_order(1, **changes)
    assert answered(lone, order).refusal is None
    return order


def settled(order: ReserveOrder, cost_nano: int = 1) -> ClosingRow:
    return closing_row(settlement(order, cost_nano))


# ------------------------------------------------------------------ taking


def test_what_is_not_running_takes_nothing(lone: LedgerWriter) -> None:
    order = reserved(lone)
    other = LedgerWriter(uuid.uuid4())
    for idle in (lone, other):
        assert idle.stop(10) is True
        assert idle.is_open is False
        for operation in (reserve_order(1), settled(order)):
            assert idle.submit(Pending(operation)) is False


def test_a_running_writer_is_a_daemon_of_that_name_and_starts_once(lone: LedgerWriter) -> None:
    assert lone.is_open is True
    assert lone.submit(Pending(reserve_order(1))) is True
    assert "ledger-writer" in {thread.name for thread in threading.enumerate() if thread.daemon}
    with pytest.raises(RuntimeError, match="once"):
        lone.start()


def test_L13_what_queues_up_during_a_transaction_becomes_the_next_up_to_64(lone: LedgerWriter, transactions: Transactions) -> None:
    transactions.queue_behind_one(lone, reserve_order(0), [reserve_order(0) for _ in range(65)])
    assert lone.stop(10)
    assert transactions.sizes == [1, 64, 1]


def test_I17_what_dead_processes_left_is_posted_64_at_a_time(transactional_db: None, transactions: Transactions, tmp_path: Path) -> None:
    dead = Spool(tmp_path / writer.SPOOL_FOLDER, uuid.uuid4())
    dead.add(settled(reserve_order(1)) for _ in range(65))
    dead.release()
    following = LedgerWriter(uuid.uuid4())
    following.start()
    assert following.stop(10)
    assert transactions.sizes == [64, 1]


def test_a_process_is_known_before_it_holds_anything(
    transactional_db: None, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another one's sweeper would take its first calls for orphans."""
    queued, known = threading.Event(), []
    monkeypatch.setattr(Spool, "adopt", lambda _: [][: queued.wait(10)])
    monkeypatch.setattr(writer.socket, "gethostname", lambda: "h" * 120)
    transactions.hook = lambda work: known.append(GatewayProcess.objects.filter(pk=work.process_id, stopped_at=None).exists())
    fresh = LedgerWriter(uuid.uuid4())
    fresh.start()
    assert fresh.submit(Pending(reserve_order(1)))
    queued.set()
    assert fresh.stop(10)
    assert known == [True]
    assert GatewayProcess.objects.get().host == "h" * 100


# ------------------------------------------------------------------ house-keeping


def test_an_idle_writer_beats_and_sweeps_on(transactional_db: None, transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    done: dict[str, list[None]] = {"beat": [], "sweep": []}
    often = {name: threading.Event() for name in done}

    def note(name: str) -> int:
        done[name].append(None)
        if len(done[name]) == 10:
            often[name].set()
        return 0

    monkeypatch.setattr(LedgerWriter, "_beat", lambda *_, **__: note("beat"))
    monkeypatch.setattr(writer, "sweep", lambda _: note("sweep"))
    for period, event in (("HEARTBEAT_S", often["beat"]), ("SWEEP_S", often["sweep"])):
        with monkeypatch.context() as patch:
            patch.setattr(writer, period, 0.01)
            idle = LedgerWriter(uuid.uuid4())
            idle.start()
            assert event.wait(9)
            assert idle.stop(10)


def test_a_busy_writer_beats_and_sweeps_no_more_than_that(
    transactional_db: None, transactions: Transactions, monkeypatch: pytest.MonkeyPatch, house_kept: threading.Event
) -> None:
    beats: list[Any] = []
    beat, sweep, sweeps = LedgerWriter._beat, writer.sweep, []
    monkeypatch.setattr(LedgerWriter, "_beat", lambda self, **how: (beats.append(how), beat(self, **how)))
    monkeypatch.setattr(writer, "sweep", lambda now: (sweeps.append(now), sweep(now))[1])
    busy = LedgerWriter(uuid.uuid4())
    busy.start()
    assert house_kept.wait(10)
    for _ in range(3):
        reserved(busy)
    assert busy.stop(10)
    assert beats == [{}, {"is_last": True}]
    assert len(sweeps) == 1


def test_an_idle_writer_waits_without_turning(
    transactional_db: None, transactions: Transactions, house_kept: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    monkeypatch.setattr(writer, "HEARTBEAT_S", 0.5)
    monkeypatch.setattr(writer, "time", SimpleNamespace(monotonic=lambda: (looks.append(None), time.monotonic())[1]))
    idle = LedgerWriter(uuid.uuid4())
    idle.start()
    assert house_kept.wait(10)
    threading.Event().wait(0.3)
    assert idle.stop(10)
    assert len(looks) < 50


def test_statements_are_not_kept_with_their_values_where_DEBUG_is_on(lone: LedgerWriter, transactions: Transactions, settings: Any) -> None:
    settings.DEBUG = True
    kept: list[int] = []
    transactions.hook = lambda _: kept.append(len(connection.queries_log))
    for _ in range(3):
        reserved(lone)
    assert kept[1:] == [0, 0]


# ------------------------------------------------------------------ tries


def test_a_batch_is_tried_four_times_and_once_while_the_database_stays_away(lone: LedgerWriter, transactions: Transactions) -> None:
    tries = []
    for is_away in (True, True, False, True):
        transactions.is_away, before = is_away, len(transactions.works)
        assert isinstance(answered(lone, reserve_order(1)).refusal, LedgerUnavailable if is_away else type(None))
        tries.append(len(transactions.works) - before)
    assert tries == [4, 1, 1, 4]
    transactions.is_away = False
    assert lone.stop(10)
    assert transactions.closings == [], "what surely was not written needs no void"


def test_a_try_that_may_have_been_written_is_voided_whatever_the_later_ones_said(lone: LedgerWriter, transactions: Transactions) -> None:
    transactions.failures.extend([CommitUncertain(), *(OperationalError() for _ in range(3))])
    order = reserve_order(1)
    assert isinstance(answered(lone, order).refusal, LedgerUnavailable)
    assert lone.stop(0.1)
    following = LedgerWriter(uuid.uuid4())
    following.start()
    assert following.stop(10)
    assert [row.attempt_id for row in transactions.closings] == [order.attempt_id.hex]
    assert transactions.closings[0].status == "voided"


def test_tries_wait_for_each_other(lone: LedgerWriter, transactions: Transactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (0.3, 0, 0))
    at: list[float] = []
    transactions.hook = lambda _: at.append(time.monotonic())
    transactions.failures.append(OperationalError())
    reserved(lone)
    assert at[1] - at[0] >= 0.3


def test_a_failed_try_costs_the_connection(lone: LedgerWriter, transactions: Transactions) -> None:
    """Whatever state it was left in."""
    found: list[object] = []

    def note(_: Work) -> None:
        found.append(connection.connection)
        connection.ensure_connection()

    transactions.hook = note
    transactions.failures.append(OperationalError())
    reserved(lone)
    assert (len(found), found[-1]) == (2, None)


def test_what_was_given_up_is_posted_once_the_database_is_back_without_another_call(
    lone: LedgerWriter, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = reserved(lone)
    monkeypatch.setattr(writer, "UNPOSTED_RETRY_S", 0.3)
    transactions.is_away = True
    answered(lone, settled(order))
    transactions.is_away = False
    assert transactions.closing.wait(10)
    assert lone.stop(10)
    assert LedgerEntry.objects.count() == 1


def test_what_was_given_up_is_not_tried_at_once_and_holds_up_no_end(lone: LedgerWriter, transactions: Transactions, tmp_path: Path) -> None:
    order = reserved(lone)
    transactions.is_away = True
    answered(lone, settled(order))
    assert lone.stop(0.1)
    assert len(transactions.works) == 5
    (path,) = (tmp_path / writer.SPOOL_FOLDER).iterdir()
    assert path.read_bytes().count(b"\n") == 1


# ------------------------------------------------------------------ abandoned


def test_an_abandoned_reservation_is_dropped_while_queued_and_voided_once_made(
    lone: LedgerWriter, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, next_wake = threading.Event(), LedgerWriter._next_wake
    monkeypatch.setattr(LedgerWriter, "_next_wake", lambda self: (len(transactions.works) == 3 and waits.set(), next_wake(self))[1])
    budget = gateway_budget(10)
    made, queued, refused = reserve_order(10, [budget]), Pending(reserve_order(0)), reserve_order(11, [budget])
    transactions.gate.clear()
    assert lone.submit(Pending(reserve_order(0)))
    assert transactions.entered.wait(10)
    assert lone.submit(queued)
    lone.abandon(queued)
    transactions.gate.set()
    refused_pending, made_pending = answered(lone, refused), answered(lone, made)
    assert isinstance(refused_pending.refusal, BudgetExceeded)
    lone.abandon(refused_pending)
    assert waits.wait(10)
    lone.abandon(made_pending)
    assert transactions.closing.wait(10), "voided at once, with nothing else to do"
    assert lone.stop(10)
    assert [(row.attempt_id, row.error_code) for row in transactions.closings] == [(made.attempt_id.hex, "cancelled")]
    assert not Attempt.objects.filter(pk=queued.operation.attempt_id).exists()
    assert counters(budget) == (0, 0)


def test_a_closing_is_no_reservation_to_void(lone: LedgerWriter, transactions: Transactions) -> None:
    order = reserved(lone)
    lone.abandon(answered(lone, settled(order)))
    assert lone.stop(10)
    assert len(transactions.closings) == 1


# ------------------------------------------------------------------ the end


def test_an_idle_writer_stops_at_once(lone: LedgerWriter) -> None:
    began = time.monotonic()
    assert lone.stop(5)
    assert time.monotonic() - began < 3


def test_the_end_does_not_wait_between_tries_and_takes_closings_until_the_queue_is_empty(
    lone: LedgerWriter, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = reserved(lone)
    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (60, 60, 60))
    transactions.entered.clear()
    seen: list[bool] = []

    def note(_: Work) -> None:
        if len(transactions.works) == 3:  # the second try
            seen.extend([lone.is_open, lone.submit(Pending(reserve_order(1))), lone.submit(Pending(settled(order)))])

    transactions.hook = note
    transactions.failures.append(OperationalError())
    assert lone.submit(Pending(reserve_order(1)))
    assert transactions.entered.wait(10)
    assert lone.stop(10)
    assert seen == [False, False, True]
    assert LedgerEntry.objects.count() == 1


def test_the_end_waits_a_second_longer_for_a_transaction_under_way(lone: LedgerWriter, transactions: Transactions) -> None:
    transactions.gate.clear()
    assert lone.submit(Pending(reserve_order(1)))
    assert transactions.entered.wait(10)
    threading.Timer(0.3, transactions.gate.set).start()
    assert lone.stop(0.1)
    assert Attempt.objects.count() == 1


def test_nothing_is_taken_any_more_once_the_process_signs_off(lone: LedgerWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(LedgerWriter, "_beat", lambda self, is_last: taken.append(self.submit(Pending(closing_row(Void(uuid.uuid4()))))))
    assert lone.stop(10)
    assert taken == [False]


def test_the_thread_closes_its_connection(lone: LedgerWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    database, closed = type(connections["default"]), []
    close = database.close
    monkeypatch.setattr(database, "close", lambda self: (closed.append(threading.current_thread().name), close(self))[1])
    assert lone.stop(10)
    assert closed == ["ledger-writer"]
