"""What the ledger is told and answers, without a ledger: bounds, defaults, and what a refusal says."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tests.usage.world import CARD, TARGET, reserve_order, settlement
from usage.ledger.types import BudgetExceeded, BudgetRef, ReserveOrder, StaleConfiguration

MOST = 2**63 - 1


@pytest.mark.parametrize("amount", [-1, 2**63])
def test_B06_amounts_no_column_can_hold_are_no_orders_and_no_settlements(amount: int) -> None:
    with pytest.raises(ValueError, match="a hold is an amount"):
        reserve_order(amount)
    with pytest.raises(ValueError, match="a number of tokens"):
        reserve_order(0, hold_tokens=amount)
    with pytest.raises(ValueError, match="a cost is an amount"):
        settlement(reserve_order(0), amount)


@pytest.mark.parametrize("amount", [0, 1, MOST])
def test_B06_amounts_a_column_can_hold_are_taken(amount: int) -> None:
    order = reserve_order(amount, hold_tokens=amount)
    assert (order.hold_nano, order.hold_tokens, settlement(order, amount).cost_nano) == (amount, amount, amount)


def test_an_order_holds_no_tokens_unless_told_and_takes_its_targets_card_unless_one_was_fixed() -> None:
    told = {field.name: getattr(reserve_order(1), field.name) for field in fields(ReserveOrder)}
    order = ReserveOrder(**{name: value for name, value in told.items() if name not in ("hold_tokens", "price", "team_id")})
    assert (order.hold_tokens, order.price, order.team_id, order.card) == (0, None, None, CARD)
    fixed = replace(CARD, id=8)
    assert replace(order, price=fixed).card == fixed
    assert replace(order, target=replace(TARGET, price=None)).card is None


@pytest.mark.parametrize(("attempt_no", "requests"), [(1, 1), (2, 0), (0, 0)])
def test_M20_the_first_attempt_alone_is_a_request(attempt_no: int, requests: int) -> None:
    assert reserve_order(attempt_no=attempt_no).requests == requests


@pytest.mark.parametrize(
    ("ref", "binds"),
    [
        (BudgetRef(1, "day"), [True, True, True, True]),
        (BudgetRef(1, "day", provider_id=5), [True, True, False, False]),
        (BudgetRef(1, "day", context="batch"), [True, False, True, False]),
        (BudgetRef(1, "day", provider_id=5, context="batch"), [True, False, False, False]),
    ],
)
def test_R503_a_budget_binds_calls_to_its_provider_and_in_its_context(ref: BudgetRef, binds: list[bool]) -> None:
    assert [ref.binds(provider_id, context) for provider_id in (5, 6) for context in ("batch", "default")] == binds


@pytest.mark.parametrize(("held", "left"), [(3, 2), (5, 0), (9, 0)])
def test_a_refusal_says_what_was_wanted_and_what_is_left(held: int, left: int) -> None:
    refusal = BudgetExceeded("user", "day", "tokens", cap=10, posted=5, held=held, wanted=7, fallback_route="free")
    assert str(refusal) == f"user tokens per day: 7 wanted, {left} left"
    told = (refusal.scope, refusal.period, refusal.measure, refusal.cap, refusal.posted, refusal.held, refusal.wanted)
    assert told == ("user", "day", "tokens", 10, 5, held, 7)
    assert refusal.fallback_route == "free"
    assert BudgetExceeded("user", "day", "tokens", cap=10, posted=5, held=held, wanted=7).fallback_route == ""


def test_a_stale_configuration_names_the_one_in_force() -> None:
    refusal = StaleConfiguration(12)
    assert (str(refusal), refusal.version) == ("configuration 12 is in force", 12)
