"""A budget may leave failed attempts uncharged: the ledger keeps what the provider billed, the budget gets it back (M02)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from providers.upstream.dispatch.failover import CLIENT_CLOSED as DISPATCH_CLIENT_CLOSED
from providers.upstream.types import TokenUsage
from tests.usage.world import CARD, USAGE, reserve_order
from usage.budgets.actions import Limits, set_budget
from usage.budgets.tiers import set_account, set_tier_limit
from usage.ledger.front import BudgetExceeded, ReserveOrder, Settlement, Void, reserve_now, settle_now, void_now
from usage.ledger.posting import Work, apply_batch, closing_row
from usage.ledger.sql.rows import CLIENT_CLOSED
from usage.ledger.sweeper import ALIVE_FOR, sweep
from usage.ledger.verification import verify_ledger
from usage.models import Budget, BudgetAdjustment, BudgetPeriod, GatewayProcess, LedgerEntry, Tier
from usage.money import cost_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

COST = cost_of(USAGE, CARD)
TOKENS = 15
DOLLAR = 10**9
FAILED = "upstream_truncated"


@pytest.fixture
def charged(transactional_db: None) -> Budget:
    return set_budget(Budget.Scope.GATEWAY, None, "total", Limits(DOLLAR))


@pytest.fixture
def forgiving(transactional_db: None) -> Budget:
    user = User.objects.create_user("ann", pk=1)
    return set_budget(Budget.Scope.USER, user, "total", Limits(100_000, 1000, 10, charge_failed_attempts=False))


def reserve(*budgets: Budget, **changes: Any) -> ReserveOrder:
    order = reserve_order(COST, budgets, hold_tokens=TOKENS, **changes)
    reserve_now(order)
    return order


def counted(budget: Budget) -> tuple[int, int, int, int]:
    return BudgetPeriod.objects.values_list("posted_nano", "held_nano", "posted_tokens", "requests").get(budget=budget)


def test_M02_a_failed_attempt_is_charged_where_the_budget_says_so_and_given_back_elsewhere(charged: Budget, forgiving: Budget) -> None:
    order = reserve(charged, forgiving)
    settle_now(Settlement(order.attempt_id, COST, USAGE, error_code=FAILED))
    assert counted(charged) == (COST, 0, TOKENS, 1)
    assert counted(forgiving) == (0, 0, 0, 1)
    assert LedgerEntry.objects.get().cost_nano == COST, "the provider has billed it"
    entry = BudgetAdjustment.objects.get()
    assert (entry.budget_id, entry.key, entry.subject) == (forgiving.pk, "total", "ann per total")
    assert (entry.amount_nano, entry.tokens, entry.requests, entry.actor_id) == (-COST, -TOKENS, 0, None)
    assert entry.reason == f"attempt {order.attempt_id} failed ({FAILED}) and is not charged"
    assert [*verify_ledger()] == []


def test_M02_what_was_given_back_can_be_spent_at_once(forgiving: Budget) -> None:
    for _ in range(5):
        settle_now(Settlement(reserve(forgiving).attempt_id, COST, USAGE, error_code=FAILED))
    settle_now(Settlement(reserve(forgiving).attempt_id, COST, USAGE))
    with pytest.raises(BudgetExceeded):
        reserve(forgiving)
    assert counted(forgiving) == (COST, 0, TOKENS, 6)


@pytest.mark.parametrize("caps", [{"cap_nano": COST}, {"cap_tokens": TOKENS}])
def test_M02_what_was_given_back_admits_the_next_call_of_the_same_batch(transactional_db: None, caps: dict[str, int]) -> None:
    budget = set_budget(Budget.Scope.GATEWAY, None, "total", Limits(**caps, charge_failed_attempts=False))
    failed, following = reserve(budget), reserve_order(COST, [budget], hold_tokens=TOKENS)
    closing = closing_row(Settlement(failed.attempt_id, COST, USAGE, error_code=FAILED))
    assert apply_batch(Work(uuid.UUID(int=7), timezone.now(), [following], [closing]), {}).refusals == {}
    assert counted(budget) == (0, COST, 0, 2)


@pytest.mark.parametrize("code", ["", CLIENT_CLOSED])
def test_M02_answers_and_those_the_client_left_are_charged(forgiving: Budget, code: str) -> None:
    settle_now(Settlement(reserve(forgiving).attempt_id, COST, USAGE, error_code=code))
    assert counted(forgiving) == (COST, 0, TOKENS, 1)
    assert not BudgetAdjustment.objects.exists()


def test_the_code_of_a_client_that_left_is_the_one_dispatch_gives() -> None:
    assert CLIENT_CLOSED == DISPATCH_CLIENT_CLOSED


def test_M02_a_failure_that_cost_nothing_leaves_no_entry(forgiving: Budget) -> None:
    void_now(Void(reserve(forgiving).attempt_id, FAILED))
    settle_now(Settlement(reserve(forgiving).attempt_id, 0, TokenUsage(input_tokens=0, output_tokens=0), error_code=FAILED))
    assert counted(forgiving) == (0, 0, 0, 2)
    assert not BudgetAdjustment.objects.exists()


def test_M02_a_free_call_that_failed_gives_its_tokens_back(forgiving: Budget) -> None:
    settle_now(Settlement(reserve(forgiving).attempt_id, 0, USAGE, basis="unpriced", error_code=FAILED))
    assert counted(forgiving) == (0, 0, 0, 1)
    entry = BudgetAdjustment.objects.get()
    assert (entry.amount_nano, entry.tokens) == (0, -TOKENS)


def test_M02_an_estimate_of_a_failed_call_is_given_back_with_the_tokens_that_were_held(forgiving: Budget) -> None:
    settle_now(Settlement(reserve(forgiving).attempt_id, COST, TokenUsage(), "estimated", error_code=FAILED))
    assert counted(forgiving) == (0, 0, 0, 1)
    assert [*verify_ledger()] == []


def test_M02_an_orphan_is_charged_until_it_is_known_to_have_failed(forgiving: Budget) -> None:
    order = reserve(forgiving)
    GatewayProcess.objects.update(stopped_at=timezone.now())
    assert sweep(timezone.now() + ALIVE_FOR + timedelta(seconds=1)) == 1
    assert counted(forgiving) == (COST, 0, TOKENS, 1)
    settle_now(Settlement(order.attempt_id, 50_000, TokenUsage(input_tokens=4, output_tokens=4), error_code=FAILED))
    assert counted(forgiving) == (0, 0, 0, 1)
    settle_now(Settlement(order.attempt_id, 50_000, TokenUsage(input_tokens=4, output_tokens=4), error_code=FAILED))
    assert counted(forgiving) == (0, 0, 0, 1), "given back once"
    assert [*verify_ledger()] == []


def test_M02_an_orphan_that_failed_with_unknown_tokens_gives_back_the_money_alone(forgiving: Budget) -> None:
    order = reserve(forgiving)
    GatewayProcess.objects.update(stopped_at=timezone.now())
    sweep(timezone.now() + ALIVE_FOR + timedelta(seconds=1))
    settle_now(Settlement(order.attempt_id, COST, TokenUsage(), "estimated", error_code=FAILED))
    assert counted(forgiving) == (0, 0, TOKENS, 1)
    assert [*verify_ledger()] == []


def test_M02_a_budget_that_was_deleted_meanwhile_needs_nothing_back(charged: Budget, forgiving: Budget) -> None:
    order = reserve(charged, forgiving)
    forgiving.delete()
    settle_now(Settlement(order.attempt_id, COST, USAGE, error_code=FAILED))
    assert counted(charged) == (COST, 0, TOKENS, 1)
    assert not BudgetAdjustment.objects.exists()


@pytest.mark.parametrize(("charge_failed_attempts", "carried"), [(True, 2 * COST), (False, COST)])
def test_M02_a_new_budget_opens_without_the_failed_attempts_it_does_not_charge(
    transactional_db: None, charge_failed_attempts: bool, carried: int
) -> None:
    for code in ("", FAILED):
        settle_now(Settlement(reserve().attempt_id, COST, USAGE, error_code=code))
    budget = set_budget(Budget.Scope.GATEWAY, None, "total", Limits(DOLLAR, charge_failed_attempts=charge_failed_attempts))
    assert counted(budget) == (carried, 0, carried // COST * TOKENS, 2)


def test_M02_a_tier_hands_its_rule_to_its_members(transactional_db: None) -> None:
    user, tier = User.objects.create_user("ann", pk=1), Tier.objects.create(name="pro")
    set_tier_limit(tier, "total", Limits(DOLLAR, charge_failed_attempts=False))
    set_account(user, tier)
    budget = Budget.objects.get(user=user)
    settle_now(Settlement(reserve(budget).attempt_id, COST, USAGE, error_code=FAILED))
    assert counted(budget) == (0, 0, 0, 1)
    set_tier_limit(tier, "total", Limits(DOLLAR))
    settle_now(Settlement(reserve(budget).attempt_id, COST, USAGE, error_code=FAILED))
    assert counted(budget) == (COST, 0, TOKENS, 2)
