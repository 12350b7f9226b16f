"""Statements at their edges: each condition of each one, among rows that meet all of it but one. The same on both databases."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers.models import ConfigVersion, Route
from providers.upstream.types import TokenUsage
from tests.usage.lines import NOON, line
from tests.usage.lines import post as post_lines
from tests.usage.world import reserve_order
from usage.ledger.posting import Outcome, Work, apply_batch, closing_row, current_statements
from usage.ledger.sql.rows import ORPHANED, PeriodChange
from usage.ledger.sweeper import sweep
from usage.ledger.types import BudgetExceeded, ReserveOrder, Settlement, Void
from usage.models import Attempt, Budget, BudgetPeriod, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

PROCESS = uuid.UUID(int=7)
QUARTER = timedelta(minutes=15)


def post(*work: ReserveOrder | Settlement | Void, process_id: uuid.UUID = PROCESS) -> Outcome:
    orders = [each for each in work if isinstance(each, ReserveOrder)]
    closings = [closing_row(each) for each in work if not isinstance(each, ReserveOrder)]
    return apply_batch(Work(process_id, NOON, orders, closings), {})


def order(nano: int = 0, *budgets: Budget, **changes: Any) -> ReserveOrder:
    return reserve_order(nano, budgets, dispatched_at=NOON, **changes)


def settled(each: ReserveOrder, nano: int, **changes: Any) -> Settlement:
    return Settlement(each.attempt_id, nano, TokenUsage(input_tokens=1, output_tokens=2), **changes)


def budget_of(period: str = "total", **changes: Any) -> Budget:
    """Of a context of its own, so that there may be many."""
    return Budget.objects.create(scope="context", context=uuid.uuid4().hex, period=period, **{"cap_nano": 100, **changes})


def counts(budget: Budget) -> tuple[int, int]:
    return BudgetPeriod.objects.values_list("posted_nano", "held_nano").get(budget=budget)


# ------------------------------------------------------------------ posting


def test_without_a_recorded_version_every_configuration_is_in_force() -> None:
    with connection.cursor() as cursor:
        ConfigVersion.objects.all().delete()
        assert current_statements().open(cursor).version == 0
        ConfigVersion.objects.create(pk=1, version=5)
        assert current_statements().open(cursor).version == 5


def test_a_refusal_names_the_fallback_route_while_that_is_enabled() -> None:
    routes = [Route.objects.create(name=name, enabled=name == "on") for name in ("on", "off")]
    told = []
    for route in (*routes, None):
        budget = budget_of(cap_nano=0, fallback_route=route)
        refused = order(1, budget)
        refusal = post(refused).refusals[refused.attempt_id]
        assert isinstance(refusal, BudgetExceeded)
        told.append(refusal.fallback_route)
        assert post(order(0, budget)).refusals == {}
    assert told == ["on", "", ""]


def test_each_budgets_period_is_its_own_whatever_their_keys() -> None:
    """Four periods, two of one key and two of one budget; each is made once."""
    first, second = budget_of("day"), budget_of("day")
    for _ in range(2):
        post(order(1, first), order(10, second))
        post(replace(order(2, first), dispatched_at=NOON + timedelta(days=1)))
    periods = BudgetPeriod.objects.values_list("budget_id", "key", "held_nano").order_by("budget_id", "key")
    assert [*periods] == [(first.pk, "2026-11-15", 2), (first.pk, "2026-11-16", 4), (second.pk, "2026-11-15", 20)]


def test_the_periods_asked_for_are_found_and_no_others() -> None:
    first, second = budget_of("day"), budget_of("day")
    post(order(1, first), order(1, second), replace(order(1, first), dispatched_at=NOON + timedelta(days=1)))
    wanted = [(first.pk, "2026-11-16"), (second.pk, "2026-11-15"), (-1, "total")]
    with connection.cursor() as cursor:
        found = current_statements().resolve_periods(cursor, wanted)
    assert found == {
        (period.budget_id, period.key): period.pk for period in BudgetPeriod.objects.all() if (period.budget_id, period.key) in wanted
    }
    assert len(found) == 2


@pytest.mark.parametrize(("taken", "more", "changed"), [(9, 1, 1), (10, 1, 0), (11, 0, 1)])
def test_M05_the_last_request_fits_the_statement_and_none_more(taken: int, more: int, changed: int) -> None:
    period = BudgetPeriod.objects.create(budget=budget_of(cap_requests=10), key="total", requests=taken)
    with connection.cursor() as cursor:
        assert current_statements().change_periods(cursor, [PeriodChange(period.pk, posted_nano=1, requests=more)]) == changed


def test_closing_one_of_two_open_attempts_leaves_the_other_and_its_budget() -> None:
    here, there = budget_of(), budget_of("day")
    first, second = order(10, here), order(20, there)
    post(first, second)
    assert post(settled(first, 4)).closed == {first.attempt_id}
    assert (counts(here), counts(there)) == ((4, 0), (0, 20))
    assert Attempt.objects.get(pk=second.attempt_id).status == "dispatched"


def test_a_batch_of_settlements_and_voids_writes_a_line_for_each_settlement_alone() -> None:
    budget = budget_of()
    paid, voided, again = order(10, budget), order(20, budget), order(30, budget)
    post(paid, voided, again)
    post(settled(again, 5))
    outcome = post(settled(paid, 4), Void(voided.attempt_id), settled(again, 9), settled(order(), 1))
    assert outcome.closed == {paid.attempt_id, voided.attempt_id}
    assert counts(budget) == (9, 0)
    assert [*LedgerEntry.objects.order_by("cost_nano").values_list("attempt_id", "cost_nano")] == [
        (paid.attempt_id, 4),
        (again.attempt_id, 5),
    ]


def test_I17_orphans_are_the_open_attempts_of_processes_that_are_gone() -> None:
    since = NOON - timedelta(seconds=20)
    states: dict[str, dict[str, Any] | None] = {
        "alive": {"heartbeat_at": since},
        "stopped": {"heartbeat_at": NOON, "stopped_at": NOON},
        "silent": {"heartbeat_at": since - timedelta(microseconds=1)},
        "unknown": None,
    }
    open_attempts = {}
    for number, (name, state) in enumerate(states.items()):
        process_id = uuid.UUID(int=number + 1)
        if state is not None:
            GatewayProcess.objects.create(id=process_id, host="h", pid=1, **state)
        closed, open_attempts[name] = order(), order(number)
        post(closed, open_attempts[name], process_id=process_id)
        post(Void(closed.attempt_id))
    gone = sorted((open_attempts[name].attempt_id, open_attempts[name].hold_nano) for name in ("stopped", "silent", "unknown"))
    with connection.cursor() as cursor:
        assert current_statements().find_orphans(cursor, since, 10) == gone
        assert current_statements().find_orphans(cursor, since, 2) == gone[:2]


def test_I17_each_late_settlement_corrects_its_own_estimate_alone() -> None:
    """Of five attempts, two are corrected; the others are an orphan without news and two that were closed in their own time."""
    budget = budget_of(cap_nano=10**6)
    first, second, silent = order(100, budget), order(200, budget), order(400, budget)
    post(first, second, silent)
    assert sweep(NOON) == 3
    estimated, failed = order(800, budget), order(1600, budget)
    post(estimated, failed)
    post(settled(estimated, 3, basis="estimated", error_code="client_closed"), settled(failed, 5, error_code=ORPHANED))
    post_lines(line(attempt_id=first.attempt_id, kind="adjustment", cost_nano=7))
    outcome = post(*(settled(each, 10) for each in (first, second, estimated, failed)))
    assert outcome.closed == {first.attempt_id, second.attempt_id}
    corrections = LedgerEntry.objects.filter(kind="correction").values_list("attempt_id", "cost_nano", "quota_tokens")
    assert sorted(corrections) == sorted([(first.attempt_id, -90, 3), (second.attempt_id, -190, 3)])
    assert counts(budget) == (10 + 10 + 400 + 3 + 5, 0)
    statuses = dict(Attempt.objects.values_list("pk", "status"))
    assert [statuses[each.attempt_id] for each in (first, second, silent, estimated, failed)] == [
        "settled", "settled", "estimated", "estimated", "settled",
    ]  # fmt: skip


def test_an_attempt_counts_in_all_its_periods_and_changes_no_other() -> None:
    budgets = [budget_of(), budget_of("day"), budget_of("month")]
    both, one = order(10, *budgets[:2]), order(20, budgets[2])
    post(both, one)
    assert [counts(budget) for budget in budgets] == [(0, 10), (0, 10), (0, 20)]
    post(settled(both, 3))
    assert [counts(budget) for budget in budgets] == [(3, 0), (3, 0), (0, 20)]


def test_I17_orphans_are_swept_five_hundred_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        "usage.ledger.sweeper.apply_batch", lambda work, known: (sizes.append(len(work.closings)), apply_batch(work, known))[1]
    )
    template = order(1)
    post(template)
    attempt = Attempt.objects.get()
    others = [{"pk": uuid.uuid4(), "attempt_no": number} for number in range(2, 502)]
    kept = {field.attname: getattr(attempt, field.attname) for field in Attempt._meta.concrete_fields}
    del kept["id"]
    Attempt.objects.bulk_create([Attempt(**{**kept, **other}) for other in others])
    assert sweep(NOON) == 501
    assert sizes == [500, 1]


def test_a_change_of_nothing_is_not_written() -> None:
    assert PeriodChange(1).is_empty is True
    assert not any(PeriodChange(1, **{name: 1}).is_empty for name in PeriodChange.__struct_fields__[1:])
    free = order(0, budget_of())
    post(free)
    with CaptureQueriesContext(connection) as queries:
        post(Void(free.attempt_id))
    assert not any("UPDATE usage_budgetperiod" in query["sql"] for query in queries)


def test_R503_a_budget_that_only_warns_refuses_nothing_and_counts_all_the_same() -> None:
    budget = budget_of(cap_nano=10, cap_requests=0, enforcement="warn")
    assert post(order(11, budget)).refusals == {}
    assert counts(budget) == (0, 11)
