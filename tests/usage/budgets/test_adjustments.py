"""What people change by hand is added, has a reason, and leaves every sum right."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from tests.usage.world import assert_balanced, gateway_budget, reserve_order, settlement
from usage.budgets.adjustments import adjust_attempt, reset_budget
from usage.errors import ActionRefused
from usage.ledger.front import reserve_now, settle_now
from usage.ledger.sweeper import sweep
from usage.ledger.verification import verify_ledger
from usage.models import Attempt, BudgetAdjustment, BudgetPeriod, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ADMIN = 9


def billed(cost_nano: int = 40, budget: Any = None) -> Attempt:
    order = reserve_order(100, [budget] if budget else [], hold_tokens=500)
    reserve_now(order)
    settle_now(settlement(order, cost_nano, basis="estimated"))
    return Attempt.objects.get(pk=order.attempt_id)


def test_M17_a_credit_is_a_new_line_with_reason_and_actor_and_frees_the_budget(transactional_db: None) -> None:
    budget = gateway_budget(1000)
    attempt = billed(40, budget)
    adjust_attempt(attempt, -30, "provider refunded the outage", ADMIN)
    adjust_attempt(attempt, 5, "refund was too large", ADMIN)
    lines = LedgerEntry.objects.order_by("pk").values_list("kind", "cost_nano", "note", "actor_id")
    assert [*lines] == [
        ("usage", 40, "", None),
        ("adjustment", -30, "provider refunded the outage", ADMIN),
        ("adjustment", 5, "refund was too large", ADMIN),
    ]
    assert BudgetPeriod.objects.get().posted_nano == 15
    assert_balanced()
    assert [*verify_ledger()] == []


@pytest.mark.parametrize(
    ("amount", "reason", "complaint"), [(-41, "too much", "larger"), (0, "nothing", "some amount"), (-1, " x ", "reason")]
)
def test_a_credit_above_the_cost_or_without_a_reason_is_refused(transactional_db: None, amount: int, reason: str, complaint: str) -> None:
    attempt = billed(40)
    with pytest.raises(ActionRefused, match=complaint):
        adjust_attempt(attempt, amount, reason, ADMIN)
    assert LedgerEntry.objects.count() == 1


def test_an_adjustment_of_a_corrected_estimate_names_what_the_call_was_first_billed_by(transactional_db: None) -> None:
    order = reserve_order(100)
    reserve_now(order)
    GatewayProcess.objects.all().delete()
    sweep(timezone.now())
    settle_now(settlement(order, 40, upstream_id="late"))
    adjusting = adjust_attempt(Attempt.objects.get(), -40, "all of it", ADMIN)
    assert (adjusting.basis, adjusting.upstream_id) == ("estimated", "")
    assert [*LedgerEntry.objects.order_by("pk").values_list("cost_nano", flat=True)] == [100, -60, -40]


def test_an_open_attempt_cannot_be_adjusted(transactional_db: None) -> None:
    order = reserve_order(100)
    reserve_now(order)
    with pytest.raises(ActionRefused, match="billed"):
        adjust_attempt(Attempt.objects.get(), 5, "premature", ADMIN)


def test_R124_a_reset_is_an_opposite_entry_and_leaves_the_ledger_and_open_holds_alone(transactional_db: None) -> None:
    budget = gateway_budget(1000)
    billed(40, budget)
    still_open = reserve_order(100, [budget], hold_tokens=7)
    reserve_now(still_open)
    adjustment = reset_budget(budget, "new contract", ADMIN)
    assert adjustment is not None
    assert (adjustment.amount_nano, adjustment.tokens, adjustment.requests) == (-40, -15, -2)
    period = BudgetPeriod.objects.get()
    assert (period.posted_nano, period.held_nano, period.posted_tokens, period.held_tokens, period.requests) == (0, 100, 0, 7, 0)
    assert LedgerEntry.objects.get().cost_nano == 40
    settle_now(settlement(still_open, 60, basis="estimated"))
    assert BudgetPeriod.objects.get().posted_nano == 60
    assert [*verify_ledger()] == []
    assert reset_budget(gateway_budget(1, "day"), "nothing yet", ADMIN) is None


def test_an_adjustment_of_a_budget_cannot_be_changed_or_deleted(transactional_db: None) -> None:
    budget = gateway_budget(1000)
    billed(40, budget)
    reset_budget(budget, "new contract", ADMIN)
    for statement in ("UPDATE usage_budgetadjustment SET amount_nano = 0", "DELETE FROM usage_budgetadjustment"):
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute(statement)
    assert BudgetAdjustment.objects.get().amount_nano == -40
