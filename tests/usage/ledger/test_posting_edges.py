"""The posting transaction at its edges: the last nano-dollar, token and request, foreign text, its cache of periods, and orphans."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from providers.models import ConfigVersion
from providers.upstream.types import TokenUsage
from tests.usage.world import TARGET, reserve_order
from usage.ledger.posting import (
    BatchConflict,
    CommitUncertain,
    Outcome,
    PeriodIds,
    Work,
    apply_batch,
    closing_row,
    current_statements,
    stored_text,
)
from usage.ledger.sql.rows import ORPHANED, ClosingRow, LockedPeriod, PeriodChange
from usage.ledger.sweeper import sweep
from usage.ledger.types import BudgetExceeded, BudgetRef, ReserveOrder, Settlement, StaleConfiguration, UnpricedTarget, Void
from usage.models import Attempt, Budget, BudgetPeriod, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COUNTERS = ("posted_nano", "held_nano", "posted_tokens", "held_tokens", "requests")


def budget_of(period: str = "total", **caps: Any) -> Budget:
    return Budget.objects.create(scope="gateway", period=period, **caps)


def post(*work: ReserveOrder | Settlement | Void | ClosingRow, known: PeriodIds | None = None) -> Outcome:
    orders = [each for each in work if isinstance(each, ReserveOrder)]
    closings = [each if isinstance(each, ClosingRow) else closing_row(each) for each in work if not isinstance(each, ReserveOrder)]
    return apply_batch(Work(uuid.UUID(int=7), NOW, orders, closings), {} if known is None else known)


def order(budgets: Sequence[Budget], nano: int = 0, tokens: int = 0, **changes: Any) -> ReserveOrder:
    return reserve_order(nano, budgets, hold_tokens=tokens, dispatched_at=NOW, **changes)


def counts(budget: Budget) -> tuple[int, ...]:
    return BudgetPeriod.objects.values_list(*COUNTERS).get(budget=budget)


def settled(each: ReserveOrder, nano: int, input_tokens: int | None, output_tokens: int | None, **changes: Any) -> Settlement:
    return Settlement(each.attempt_id, nano, TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens), **changes)


# ------------------------------------------------------------------ caps


@pytest.mark.parametrize(("measure", "cap"), [("money", "cap_nano"), ("tokens", "cap_tokens"), ("requests", "cap_requests")])
def test_M05_the_last_unit_fits_and_one_more_does_not(measure: str, cap: str) -> None:
    budget = budget_of(**{cap: 10})
    size = {"money": {"nano": 5}, "tokens": {"tokens": 5}, "requests": {}}[measure]
    first = [order([budget], **size) for _ in range(2 if size else 10)]
    last = order([budget], **dict.fromkeys(size, 1))
    assert not post(*first).refusals
    refusal = post(last).refusals[last.attempt_id]
    assert isinstance(refusal, BudgetExceeded)
    assert (refusal.measure, refusal.cap, refusal.posted + refusal.held, refusal.wanted) == (measure, 10, 10, 1)
    assert str(refusal) == f"gateway {measure} per total: 1 wanted, 0 left"
    assert not post(order([budget], attempt_no=2)).refusals, "what wants nothing of a measure fits"


def test_M05_what_a_batch_settles_is_free_for_what_it_reserves_and_no_more() -> None:
    budget = budget_of(cap_nano=100, cap_tokens=50)
    first = order([budget], 100, 50)
    assert not post(first).refusals
    assert counts(budget) == (0, 100, 0, 50, 1)
    too_dear, too_long, fits = order([budget], 61), order([budget], 0, 36), order([budget], 60, 35)
    outcome = post(settled(first, 40, 10, 5), too_dear, too_long, fits)
    assert {attempt_id: error.measure for attempt_id, error in outcome.refusals.items() if isinstance(error, BudgetExceeded)} == {
        too_dear.attempt_id: "money",
        too_long.attempt_id: "tokens",
    }
    assert outcome.closed == {first.attempt_id}
    assert counts(budget) == (40, 60, 15, 35, 2)
    dear, long = (outcome.refusals[each.attempt_id] for each in (too_dear, too_long))
    assert isinstance(dear, BudgetExceeded)
    assert isinstance(long, BudgetExceeded)
    assert (dear.posted, dear.held) == (40, 0)
    assert (long.posted, long.held) == (15, 0)


def test_M05_within_a_batch_each_order_counts_the_ones_before() -> None:
    budget = budget_of(cap_nano=10, cap_tokens=10, cap_requests=2)
    orders = [order([budget], 6, 1), order([budget], 5, 1), order([budget], 1, 10), order([budget], 4, 9), order([budget])]
    outcome = post(*orders)
    measures = [getattr(outcome.refusals.get(each.attempt_id), "measure", None) for each in orders]
    assert measures == [None, "money", "tokens", None, "requests"]
    assert counts(budget) == (0, 10, 0, 10, 2)


def test_an_order_refused_by_one_scope_holds_nothing_on_the_others() -> None:
    wide, narrow = budget_of(cap_nano=100), budget_of("day", cap_nano=5)
    both, wide_only = order([wide, narrow], 6), order([wide], 100)
    assert post(both, wide_only).refusals.keys() == {both.attempt_id}
    assert counts(wide) == (0, 100, 0, 0, 1)
    assert counts(narrow) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"held_nano": 30, "wanted_nano": 30}, True),
        ({"held_nano": 31, "wanted_nano": 31}, False),
        ({"posted_nano": 1, "held_nano": 30, "wanted_nano": 30}, False),
        ({"posted_nano": 100}, True),
        ({"held_nano": 31, "wanted_nano": 31, "held_tokens": 1, "wanted_tokens": 1}, False),
        ({"held_tokens": 20, "wanted_tokens": 20}, True),
        ({"held_tokens": 21, "wanted_tokens": 21}, False),
        ({"posted_tokens": 1, "held_tokens": 20, "wanted_tokens": 20}, False),
        ({"posted_tokens": 100}, True),
        ({"requests": 4}, True),
        ({"requests": 5}, False),
        ({"held_nano": 1, "wanted_nano": 1, "held_tokens": 1, "wanted_tokens": 1, "requests": 5}, False),
    ],
)
@pytest.mark.parametrize("enforcement", ["hard", "warn"])
def test_M05_the_statement_itself_lets_nothing_above_a_cap_pass(change: dict[str, int], fits: bool, enforcement: str) -> None:
    """Whatever was admitted in memory. 70 of 100 nano-dollars, 30 of 50 tokens and 6 of 10 requests are taken."""
    budget, before = budget_of(cap_nano=100, cap_tokens=50, cap_requests=10, enforcement=enforcement), (50, 20, 20, 10, 6)
    expected = tuple(had + change.get(name, 0) for had, name in zip(before, COUNTERS, strict=True))
    changed = changed_periods(budget, before, change)
    assert changed == (1 if fits or enforcement == "warn" else 0)
    assert counts(budget) == (expected if changed else before)


@pytest.mark.parametrize("cap", ["cap_nano", "cap_tokens", "cap_requests"])
def test_a_measure_without_a_cap_has_no_limit(cap: str) -> None:
    size = {"cap_nano": (100, 0, 0), "cap_tokens": (0, 100, 0), "cap_requests": (0, 0, 100)}
    nano, tokens, requests = (sum(figures) for figures in zip(*(size[each] for each in size if each != cap), strict=True))
    change = {"held_nano": nano, "wanted_nano": nano, "held_tokens": tokens, "wanted_tokens": tokens, "requests": requests}
    assert changed_periods(budget_of(**{cap: 1}), (0, 0, 0, 0, 0), change) == 1


def changed_periods(budget: Budget, before: tuple[int, ...], change: dict[str, int]) -> int:
    period = BudgetPeriod.objects.create(budget=budget, key="total", **dict(zip(COUNTERS, before, strict=True)))
    with connection.cursor() as cursor:
        return current_statements().change_periods(cursor, [PeriodChange(period.pk, **change)])


@pytest.mark.parametrize("size", [(11, 0), (0, 11)])
def test_a_batch_the_statement_refuses_is_taken_back_whole(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    budget = budget_of(cap_nano=10, cap_tokens=10)
    monkeypatch.setattr(LockedPeriod, "refusal_of", lambda *_: None)
    with pytest.raises(BatchConflict):
        post(order([budget], *size))
    assert not Attempt.objects.exists()
    assert not BudgetPeriod.objects.exists()


# ------------------------------------------------------------------ what is counted


@pytest.mark.parametrize(
    ("counted", "posted"),
    [((3, 4), 7), ((None, 4), 99), ((3, None), 99), ((-1, 4), 99), ((0, 0), 0), ((10**10, 10**10), 2 * 10**10), ((10**10 + 1, 0), 99)],
)
def test_B06_quotas_count_believable_figures_and_else_what_was_held(counted: tuple[int | None, int | None], posted: int) -> None:
    budget = budget_of(cap_tokens=100)
    first = order([budget], 1, 99)
    post(first)
    post(settled(first, 1, *counted, basis="estimated"))
    assert counts(budget) == (1, 0, posted, 0, 1)
    assert LedgerEntry.objects.get().quota_tokens == posted


def test_what_a_voided_call_held_is_free_again() -> None:
    budget = budget_of(cap_nano=10)
    first = order([budget], 10, 5)
    post(first)
    assert post(Void(first.attempt_id, "upstream_failed", 12)).closed == {first.attempt_id}
    assert counts(budget) == (0, 0, 0, 0, 1)


def test_M03_of_two_closings_in_one_batch_the_first_counts() -> None:
    budget = budget_of(cap_nano=10)
    first = order([budget], 10)
    post(first)
    post(settled(first, 3, 1, 1), settled(first, 8, 1, 1))
    assert counts(budget)[:2] == (3, 0)


def test_of_two_orders_with_one_id_the_first_counts_and_a_replay_is_no_refusal() -> None:
    budget = budget_of(cap_nano=10)
    first = order([budget], 4)
    assert not post(first, replace(first, hold_nano=9)).refusals
    assert counts(budget)[:2] == (0, 4)
    other = order([budget], 7)
    assert post(replace(first, hold_nano=9), other).refusals.keys() == {other.attempt_id}
    assert counts(budget)[:2] == (0, 4)


def test_of_two_attempts_with_one_request_and_number_the_second_holds_nothing() -> None:
    budget = budget_of(cap_nano=10)
    first, second = order([budget], 4, request_id="same"), order([budget], 5, request_id="same")
    refusal = post(first, second).refusals
    (refused,) = refusal.values()
    assert str(refused) == "same #1 exists"
    held = 4 if second.attempt_id in refusal else 5
    assert counts(budget) == (0, held, 0, 0, 1)


# ------------------------------------------------------------------ foreign text, the cache, the transaction


@pytest.mark.parametrize(
    ("text", "stored"),
    [("plain", "plain"), ("12345678", "1234567"), ("a\0b", "a␀b"), ("é", "é"), ("\ud800", "?"), ("é\0\ud800", "é␀?"), ("", "")],
)
def test_B04_foreign_text_is_cut_and_cleaned(text: str, stored: str) -> None:
    assert stored_text(text, 7) == stored


def test_B04_every_text_is_cut_to_its_column() -> None:
    long = "x" * 300
    first = order([], request_id=long, api_key_id=long, context=long, dialect=long, model_asked=long)
    second = order([])
    post(first, second)
    post(settled(first, 1, 1, 1, upstream_id=long, error_code=long), Void(second.attempt_id, long))
    attempt, line = Attempt.objects.get(pk=first.attempt_id), LedgerEntry.objects.get()
    texts = (attempt.request_id, attempt.api_key_id, attempt.context, attempt.dialect, attempt.model_asked, attempt.error_code)
    assert [len(text) for text in texts] == [64, 12, 50, 30, 200, 60]
    assert (len(line.upstream_id), len(line.error_code)) == (200, 60)
    assert len(Attempt.objects.get(pk=second.attempt_id).error_code) == 60


def test_known_periods_are_kept_up_to_their_limit_and_forgotten_when_gone() -> None:
    budget = budget_of(cap_nano=10)
    known: PeriodIds = {(-number, "total"): number for number in range(1, 10_001)}
    post(order([budget]), known=known)
    assert len(known) == 10_001
    assert known[budget.pk, "total"] == BudgetPeriod.objects.get().pk
    post(order([budget]), known=known)
    assert known == {(budget.pk, "total"): BudgetPeriod.objects.get().pk}
    budget.delete()
    gone = replace(order([]), budgets=(BudgetRef(-1, "total"),))
    known[-1, "total"] = 10**9
    assert post(gone, known=known).refusals.keys() == {gone.attempt_id}
    assert (-1, "total") not in known


def test_only_orders_of_the_configuration_in_force_with_a_price_are_admitted() -> None:
    version = ConfigVersion.bump()
    old, unpriced = order([], config_version=version - 1), order([], target=replace(TARGET, price=None))
    refusals = post(old, unpriced, order([], config_version=version)).refusals
    assert {attempt_id: type(refusal) for attempt_id, refusal in refusals.items()} == {
        old.attempt_id: StaleConfiguration,
        unpriced.attempt_id: UnpricedTarget,
    }
    assert (str(refusals[old.attempt_id]), str(refusals[unpriced.attempt_id])) == (f"configuration {version} is in force", "sim/small")
    assert Attempt.objects.count() == 1


def test_an_order_for_a_budget_that_is_gone_counts_in_no_other() -> None:
    budget = budget_of(cap_nano=10)
    BudgetPeriod.objects.create(id=1, budget=budget, key="total")
    gone = replace(order([], 5), budgets=(BudgetRef(-1, "total"),))
    assert post(gone, order([budget], 3)).refusals.keys() == {gone.attempt_id}
    assert counts(budget) == (0, 3, 0, 0, 1)


def test_a_call_of_a_budget_deleted_meanwhile_is_posted_all_the_same() -> None:
    kept, deleted = budget_of(cap_nano=10), budget_of("day", cap_nano=10)
    first = order([kept, deleted], 5)
    post(first)
    deleted.delete()
    assert post(settled(first, 4, 1, 1)).closed == {first.attempt_id}
    assert counts(kept)[:2] == (4, 0)


def test_a_batch_is_a_transaction_of_its_own_or_none() -> None:
    """Inside somebody else's it would not be durable when it says so."""
    with transaction.atomic(), pytest.raises(RuntimeError):
        post(order([]))


def test_I17_only_a_failure_of_the_commit_itself_leaves_doubt(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(current_statements()), "insert_attempts", broken)
        with pytest.raises(OperationalError):
            post(order([]))
    with monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", broken)
        with pytest.raises(CommitUncertain):
            post(order([]))
    assert not Attempt.objects.exists()


def test_an_empty_batch_changes_nothing() -> None:
    outcome = post()
    assert (outcome.refusals, outcome.closed) == ({}, set())


# ------------------------------------------------------------------ orphans


@pytest.mark.parametrize(("silent_for", "swept"), [(timedelta(seconds=20), 0), (timedelta(seconds=20, microseconds=1), 1)])
def test_I17_a_process_is_dead_after_twenty_seconds_of_silence(silent_for: timedelta, swept: int) -> None:
    GatewayProcess.objects.create(id=uuid.UUID(int=7), host="h", pid=1, heartbeat_at=NOW - silent_for)
    post(order([], 5, 3))
    assert sweep(NOW) == swept


def test_I17_a_process_that_signed_off_has_orphans_at_once() -> None:
    GatewayProcess.objects.create(id=uuid.UUID(int=7), host="h", pid=1, heartbeat_at=NOW, stopped_at=NOW)
    post(order([], 5, 3))
    assert sweep(NOW) == 1
    assert sweep(NOW) == 0


def orphaned(budget: Budget) -> ReserveOrder:
    first = order([budget], 50, 9)
    post(first)
    assert sweep(NOW) == 1
    assert counts(budget) == (50, 0, 9, 0, 1)
    return first


@pytest.mark.parametrize(("output_tokens", "tokens"), [(4, 7), (None, 9)])
def test_I17_late_news_of_an_orphan_replaces_its_estimate(output_tokens: int | None, tokens: int) -> None:
    budget = budget_of(cap_nano=100)
    first = orphaned(budget)
    news = settled(first, 12, 3, output_tokens, upstream_id="late", latency_ms=5, first_byte_ms=2)
    assert post(news).closed == {first.attempt_id}
    assert counts(budget) == (12, 0, tokens, 0, 1)
    correction = LedgerEntry.objects.get(kind="correction")
    assert (correction.cost_nano, correction.quota_tokens, correction.upstream_id) == (-38, tokens - 9, "late")
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.error_code, attempt.latency_ms, attempt.first_byte_ms) == ("settled", "", 5, 2)
    assert attempt.closed_at == correction.posted_at == NOW
    assert post(news).closed == set()


def test_I17_a_late_void_of_an_orphan_takes_cost_and_tokens_back() -> None:
    budget = budget_of(cap_nano=100)
    first = orphaned(budget)
    post(Void(first.attempt_id, "upstream_failed"))
    assert counts(budget) == (0, 0, 0, 0, 1)
    assert (Attempt.objects.get().status, LedgerEntry.objects.get(kind="correction").quota_tokens) == ("voided", -9)


def test_an_estimate_corrects_no_other_sweepers_estimate_and_no_settlement_is_corrected() -> None:
    budget = budget_of(cap_nano=100)
    first = orphaned(budget)
    assert not post(ClosingRow(first.attempt_id.hex, "estimated", 40, "estimated", error_code=ORPHANED)).closed
    second = order([budget], 10)
    post(second)
    post(settled(second, 4, 1, 1, basis="estimated", error_code="client_closed"))
    assert not post(settled(second, 9, 1, 1)).closed
    assert counts(budget)[:2] == (54, 0)
