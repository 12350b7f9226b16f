"""The books at their edges: who is bound by what, what is carried over, adjusted, sealed and verified."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.utils import timezone

from providers.models import ConfigVersion, Provider
from tests.usage.lines import line
from tests.usage.world import CARD, gateway_budget, reserve_order, settlement
from usage import money
from usage.budgets.adjustments import adjust_attempt, reset_budget
from usage.budgets.binding import budgets_for, team_of
from usage.budgets.carry_over import carry_over
from usage.errors import ActionRefused
from usage.keys.actions import create_api_key
from usage.ledger.front import Void, reserve_now, settle_now, void_now
from usage.ledger.seals import SEALED_COLUMNS, digest_of, seal_due
from usage.ledger.types import BudgetRef
from usage.ledger.verification import Violation, verify_ledger
from usage.limits.binding import rate_limits_for
from usage.models import (
    FINANCE_GROUP,
    Attempt,
    Budget,
    BudgetAdjustment,
    BudgetPeriod,
    LedgerDay,
    LedgerEntry,
    RateLimit,
    Tier,
    UserAccount,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

DAY = date(2026, 11, 20)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada")


# ------------------------------------------------------------------ access


def a_provider() -> Provider:
    return Provider.objects.create(slug="p", label="P", kind="openai", base_url="https://api.example.com/v1")


def test_budgets_and_limits_bind_from_the_widest_scope_to_the_narrowest(user: User) -> None:
    other = User.objects.create_user("bob")
    key, strange_key = create_api_key(user, "laptop")[0], create_api_key(other, "phone")[0]
    provider, team, strange_team = a_provider(), Group.objects.create(name="a"), Group.objects.create(name="b")
    user.groups.add(team)
    subjects: list[dict[str, Any]] = [
        {"scope": "key", "api_key": key},
        {"scope": "key", "api_key": strange_key},
        {"scope": "provider", "provider": provider},
        {"scope": "context", "context": "batch"},
        {"scope": "user", "user": user},
        {"scope": "user", "user": other},
        {"scope": "team", "team": team},
        {"scope": "team", "team": strange_team},
        {"scope": "gateway"},
    ]
    for subject in subjects:
        Budget.objects.create(period="day", cap_nano=1, **subject)

    def scopes(key_id: str) -> list[str]:
        return [Budget.objects.get(pk=ref.budget_id).scope for ref in budgets_for(user.pk, key_id)]

    assert scopes(key.pk) == ["gateway", "team", "user", "key", "provider", "context"]
    assert scopes("") == ["gateway", "team", "user", "provider", "context"]
    assert [ref.binds(provider.pk, "default") for ref in budgets_for(user.pk, key.pk)] == [True, True, True, True, True, False]
    assert [ref.binds(provider.pk + 1, "batch") for ref in budgets_for(user.pk, key.pk)] == [True, True, True, True, False, True]


def test_rate_limits_bind_likewise_and_a_tiers_limit_is_counted_for_each_user(user: User) -> None:
    other = User.objects.create_user("bob")
    tier, strange_tier = Tier.objects.create(name="pro"), Tier.objects.create(name="free")
    UserAccount.objects.create(user=user, tier=tier)
    key, strange_key = create_api_key(user, "laptop")[0], create_api_key(other, "phone")[0]
    subjects: list[dict[str, Any]] = [
        {"scope": "provider", "provider": a_provider()},
        {"scope": "key", "api_key": key},
        {"scope": "key", "api_key": strange_key},
        {"scope": "user", "user": user},
        {"scope": "user", "user": other},
        {"scope": "tier", "tier": tier},
        {"scope": "tier", "tier": strange_tier},
        {"scope": "gateway"},
    ]
    for subject in subjects:
        RateLimit.objects.create(limit=5, burst=2, **subject)
    limits = rate_limits_for(user.pk, key.pk)
    assert [limit.scope for limit in limits] == ["gateway", "tier", "user", "key", "provider"]
    assert [limit.scope for limit in rate_limits_for(user.pk, "")] == ["gateway", "tier", "user", "provider"]
    rows = [str(RateLimit.objects.get(scope=scope, **own).pk) for scope, own in (("gateway", {}), ("tier", {"tier": tier}))]
    assert [limit.key for limit in limits[:2]] == [rows[0], f"{rows[1]}:{user.pk}"]
    assert (limits[0].limit, limits[0].burst, limits[0].measure, limits[0].window) == (5, 2, "requests", "minute")


def test_a_call_is_reported_under_the_chosen_team_else_the_first_by_name(user: User) -> None:
    assert team_of(user.pk) is None
    names = (FINANCE_GROUP, "sales", "research")
    groups = {name: Group.objects.get_or_create(name=name)[0] for name in names}
    user.groups.add(*groups.values())
    assert team_of(user.pk) == groups["research"].pk
    UserAccount.objects.create(user=user, team=groups["sales"])
    assert team_of(user.pk) == groups["sales"].pk
    user.groups.remove(groups["sales"])
    assert team_of(user.pk) == groups["research"].pk


def test_a_budget_without_a_subject_binds_every_call() -> None:
    assert BudgetRef(1, "day").binds(5, "any")


@pytest.mark.parametrize("tokens", [-1, 2**63])
def test_B06_holds_of_tokens_no_column_can_hold_are_refused_at_once(tokens: int) -> None:
    with pytest.raises(ValueError, match="tokens"):
        reserve_order(1, hold_tokens=tokens)
    assert reserve_order(2**63 - 1, hold_tokens=2**63 - 1).hold_nano == 2**63 - 1
    assert settlement(reserve_order(0), 2**63 - 1).cost_nano == 2**63 - 1
    assert settlement(reserve_order(0), 0).cost_nano == 0


# ------------------------------------------------------------------ carried over


def test_M05_each_scope_carries_over_its_own_lines(user: User) -> None:
    key, team, provider = create_api_key(user, "laptop")[0], Group.objects.create(name="a"), a_provider()
    now = timezone.now()
    own = [{"user_id": user.pk}, {"api_key_id": key.pk}, {"team_id": team.pk}, {"provider_id": provider.pk}, {"context": "batch"}]
    for number, fields in enumerate(own):
        values = {"user_id": 0, "api_key_id": "", "provider_id": 0, **fields}
        LedgerEntry.objects.bulk_create([line(cost_nano=2**number, quota_tokens=10**number, dispatched_at=now, **values)])
    subjects = [{"user": user}, {"api_key": key}, {"team": team}, {"provider": provider}, {"context": "batch"}, {}]
    for number, scope in enumerate(("user", "key", "team", "provider", "context", "gateway")):
        budget = Budget.objects.create(scope=scope, period="total", cap_nano=1, **subjects[number])
        adjustment = carry_over(budget)
        expected = (31, 11_111, 5) if scope == "gateway" else (2**number, 10**number, 1)
        assert BudgetPeriod.objects.values_list("posted_nano", "posted_tokens", "requests").get(budget=budget, key="total") == expected
        assert adjustment is not None
        assert (adjustment.amount_nano, adjustment.tokens, adjustment.requests) == expected
        assert adjustment.reason == "spent before this budget was set"


def test_a_fresh_budget_of_a_fresh_ledger_carries_nothing_over() -> None:
    assert carry_over(gateway_budget(1, "day")) is None
    assert not BudgetPeriod.objects.exists()


def test_a_call_that_cost_no_money_is_carried_over_all_the_same() -> None:
    LedgerEntry.objects.bulk_create([line(cost_nano=0, quota_tokens=0, dispatched_at=timezone.now())])
    adjustment = carry_over(gateway_budget(1, "day"))
    assert adjustment is not None
    assert (adjustment.amount_nano, adjustment.requests) == (0, 1)


# ------------------------------------------------------------------ adjustments


def billed(cost_nano: int, *budgets: Budget, **changes: Any) -> Attempt:
    order = reserve_order(100, budgets, hold_tokens=500, **changes)
    reserve_now(order)
    settle_now(settlement(order, cost_nano, basis="estimated"))
    return Attempt.objects.get(pk=order.attempt_id)


def test_M17_the_whole_cost_can_be_credited_on_every_budget_it_counted_in_but_not_more() -> None:
    budgets = [gateway_budget(1000), gateway_budget(1000, "day")]
    attempt = billed(40, *budgets)
    with pytest.raises(ActionRefused, match="larger"):
        adjust_attempt(attempt, -41, "too much", 9)
    adjusting = adjust_attempt(attempt, -40, "all of it", 9)
    assert [*BudgetPeriod.objects.values_list("posted_nano", flat=True)] == [0, 0]
    with pytest.raises(ActionRefused, match="larger"):
        adjust_attempt(attempt, -1, "nothing is left", 9)
    usage = LedgerEntry.objects.get(kind="usage")
    copied = ("attempt_id", "basis", "dispatched_at", "request_id", "attempt_no", "user_id", "api_key_id", "team_id", "context",
              "provider_id", "provider_slug", "deployment_id", "model_name", "price_id", "price_card")  # fmt: skip
    assert [getattr(adjusting, name) for name in copied] == [getattr(usage, name) for name in copied]
    assert (adjusting.input_tokens, adjusting.quota_tokens, adjusting.posted_at >= usage.posted_at) == (None, 0, True)


@pytest.mark.parametrize(("reason", "taken"), [("ab", False), (" ab ", False), ("abc", True), ("x" * 200, True), ("x" * 201, False)])
def test_a_reason_has_3_to_200_characters(reason: str, taken: bool) -> None:
    budget = gateway_budget(1000)
    billed(40, budget)
    if taken:
        assert reset_budget(budget, reason, 9) is not None
    else:
        with pytest.raises(ActionRefused, match="3 to 200"):
            reset_budget(budget, reason, 9)


@pytest.mark.parametrize("amount", [2**63, -(2**63)])
def test_B06_an_adjustment_no_column_can_hold_is_refused(amount: int) -> None:
    attempt = billed(40)
    with pytest.raises(ActionRefused, match="some amount"):
        adjust_attempt(attempt, amount, "far too much", 9)
    assert adjust_attempt(attempt, 2**63 - 1, "as much as can be", 9).cost_nano == 2**63 - 1


def test_the_smallest_adjustment_is_one_nano_dollar_and_a_reset_is_of_the_period_of_its_instant() -> None:
    budget = gateway_budget(1000, "day")
    attempt = billed(40, budget)
    with pytest.raises(ActionRefused, match="some amount"):
        adjust_attempt(attempt, 0, "nothing at all", 9)
    assert adjust_attempt(attempt, 1, "a rounding", 9).cost_nano == 1
    assert reset_budget(budget, "of yesterday", 9, timezone.now() - timedelta(days=1)) is None
    assert reset_budget(budget, "of today", 9, timezone.now()) is not None


def test_M20_a_request_is_carried_over_once_however_many_attempts_it_took() -> None:
    now = timezone.now()
    LedgerEntry.objects.bulk_create([line(request_id="same", attempt_no=number, dispatched_at=now) for number in (1, 2)])
    adjustment = carry_over(gateway_budget(1, "total"))
    assert adjustment is not None
    assert (adjustment.amount_nano, adjustment.requests) == (2, 1)


@pytest.mark.parametrize("counted", [{"posted_nano": 1}, {"posted_tokens": 1}, {"requests": 1}])
def test_R124_whatever_was_counted_is_reset_and_told_to_every_process(counted: dict[str, int]) -> None:
    budget, before = gateway_budget(1000), ConfigVersion.current()
    period = BudgetPeriod.objects.create(budget=budget, key="total", held_nano=5, **counted)
    period.alerts.create(measure="money", threshold_percent=80, used=8, cap=10, crossed_at=timezone.now())
    adjustment = reset_budget(budget, "new contract", None)
    assert adjustment is not None
    taken = {"posted_nano": -adjustment.amount_nano, "posted_tokens": -adjustment.tokens, "requests": -adjustment.requests}
    assert taken == {"posted_nano": 0, "posted_tokens": 0, "requests": 0, **counted}
    period.refresh_from_db()
    assert (period.posted_nano, period.held_nano, period.posted_tokens, period.requests) == (0, 5, 0, 0)
    assert not period.alerts.exists()
    assert ConfigVersion.current() == before + 1
    assert reset_budget(budget, "new contract", None) is None
    assert BudgetAdjustment.objects.count() == 1


# ------------------------------------------------------------------ seals


def test_a_day_is_sealed_ten_minutes_after_its_end_in_utc() -> None:
    last, first = line(cost_nano=3, posted_at=MIDNIGHT + timedelta(days=1) - INSTANT), line(cost_nano=4, posted_at=MIDNIGHT)
    LedgerEntry.objects.bulk_create([line(cost_nano=1, posted_at=MIDNIGHT - INSTANT), first, last, line(posted_at=MIDNIGHT + timedelta(1))])
    assert [(seal.day, seal.lines) for seal in seal_due(MIDNIGHT + timedelta(days=1, minutes=10) - INSTANT)] == [(date(2026, 11, 19), 1)]
    now = MIDNIGHT + timedelta(days=1, minutes=10)
    (seal,) = seal_due(now)
    assert (seal.day, seal.lines, seal.cost_nano, seal.last_id, seal.sealed_at) == (DAY, 2, 7, last.pk, now)
    assert seal.previous_sha256 == LedgerDay.objects.get(day=date(2026, 11, 19)).sha256


def test_the_seal_can_be_recomputed_with_any_tool() -> None:
    """SHA-256 of the seal before and of each line as compact JSON with a line feed, in order of id."""
    LedgerEntry.objects.bulk_create([line(cost_nano=cost, posted_at=MIDNIGHT, dispatched_at=MIDNIGHT) for cost in (1, 2)])
    text = "f" * 64
    for entry in LedgerEntry.objects.order_by("pk"):
        values = [getattr(entry, name) for name in SEALED_COLUMNS]
        told = ["2026-11-20T00:00:00.000000+00:00" if isinstance(each, datetime) else each for each in values]
        told = [str(each) if isinstance(each, uuid.UUID) else each for each in told]
        text += json.dumps(told, separators=(",", ":")) + "\n"
    digest = digest_of(DAY, "f" * 64)
    assert digest.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (digest.lines, digest.cost_nano) == (2, 3)


def test_a_seal_from_before_calls_of_tools_were_counted_still_holds() -> None:
    """The expected hash was computed by the release before the column."""
    entry = line(
        id=1, attempt_id=uuid.UUID(int=1), request_id="req_1", cost_nano=7, posted_at=MIDNIGHT, dispatched_at=MIDNIGHT, price_card={"id": 1}
    )
    LedgerEntry.objects.bulk_create([entry])
    assert digest_of(DAY, "0" * 64).sha256 == "f9a577785a2acf63beb79b9d30de1512215c1613e483c81c09aac39e3bd110b8"


def test_a_seal_covers_the_number_of_calls_of_tools() -> None:
    digests = set()
    for calls in (None, 0, 1, 2):
        with transaction.atomic():
            LedgerEntry.objects.bulk_create(
                [line(id=1, attempt_id=uuid.UUID(int=1), request_id="r", posted_at=MIDNIGHT, provider_tool_calls=calls)]
            )
            digests.add(digest_of(DAY, "0" * 64).sha256)
            transaction.set_rollback(True)
    assert len(digests) == 4


def test_a_ledger_without_lines_has_no_seals() -> None:
    assert seal_due(MIDNIGHT) == []


# ------------------------------------------------------------------ verification


def found() -> list[Violation]:
    return [*verify_ledger()]


def measured(cost_nano: int, **changes: Any) -> LedgerEntry:
    """A line of 10 and 5 tokens, 75,000 nano-dollars on this card, and its attempt."""
    order = reserve_order(10**6)
    reserve_now(order)
    void_now(Void(order.attempt_id))
    Attempt.objects.filter(pk=order.attempt_id).update(status="settled")
    card = json.loads(money.card_json(CARD))
    entry = line(**{"attempt_id": order.attempt_id, "cost_nano": cost_nano, "price_card": card, **changes})
    LedgerEntry.objects.bulk_create([entry])
    return entry


def test_a_measured_line_costs_what_its_card_says_to_the_nano_dollar() -> None:
    measured(75_000)
    assert found() == []
    wrong = measured(75_001)
    assert found() == [Violation("cost follows from usage and card", str(wrong.pk), "75001 stored, 75000 computed")]


def test_a_measured_line_costs_its_fees_too() -> None:
    card = json.loads(money.card_json(replace(CARD, tool_call_nano=10_000_000)))
    measured(20_075_000, price_card=card, provider_tool_calls=2)
    assert found() == []
    wrong = measured(20_075_000, price_card=card, provider_tool_calls=1)
    assert found() == [Violation("cost follows from usage and card", str(wrong.pk), "20075000 stored, 10075000 computed")]


def test_a_measured_line_without_usage_is_found_and_an_estimate_needs_none() -> None:
    measured(1, basis="estimated", output_tokens=None)
    assert found() == []
    wrong = measured(1, output_tokens=None)
    assert found() == [Violation("a measured line has usage", str(wrong.pk), "input or output tokens were not reported")]


@pytest.mark.parametrize(("correction", "rules"), [(-25_000, []), (-25_001, ["cost follows from usage and card"])])
def test_an_estimate_and_its_measured_correction_cost_together_what_the_card_says(correction: int, rules: list[str]) -> None:
    estimate = measured(100_000, basis="estimated", input_tokens=None)
    again = {"attempt_id": estimate.attempt_id, "kind": "correction", "price_card": estimate.price_card}
    LedgerEntry.objects.bulk_create([line(cost_nano=correction, **again)])
    assert [each.rule for each in found()] == rules


def test_a_correction_to_nothing_has_no_usage_and_needs_none() -> None:
    estimate = measured(100_000, basis="estimated", input_tokens=None)
    again = {"attempt_id": estimate.attempt_id, "kind": "correction", "price_card": estimate.price_card, "input_tokens": None}
    LedgerEntry.objects.bulk_create([line(cost_nano=-100_000, **again)])
    Attempt.objects.update(status="voided")
    assert found() == []


def test_a_line_posted_twice_is_found() -> None:
    """As it could only be in a database whose constraint was dropped."""
    entry = measured(75_000)
    with connection.cursor() as cursor:
        names = connection.introspection.get_constraints(cursor, "usage_ledgerentry")
        for name in [name for name, each in names.items() if each["unique"] and "attempt_id" in each["columns"]]:
            cursor.execute(f"DROP INDEX {name}")
    LedgerEntry.objects.bulk_create([line(attempt_id=entry.attempt_id, cost_nano=75_000, price_card=entry.price_card)])
    assert found() == [Violation("one line per attempt and kind", str(entry.attempt_id), "2 usage lines")]


def test_every_day_is_sealed_and_the_chain_is_unbroken() -> None:
    LedgerEntry.objects.bulk_create([line(basis="estimated", posted_at=MIDNIGHT)])
    Attempt.objects.all().delete()
    seal_due(MIDNIGHT + timedelta(days=4))
    assert {each.rule for each in found()} == {"a line has an attempt"}
    connection.cursor().execute("UPDATE usage_ledgerday SET lines = 2 WHERE day = %s", [DAY])
    assert "sealed 2 lines of 1 nano-dollars, found 1 of 1" in {each.detail for each in found()}


@pytest.mark.parametrize("column", ["posted_nano", "held_nano", "posted_tokens", "held_tokens", "requests"])
def test_each_counter_of_each_period_is_what_lines_holds_and_adjustments_say(column: str) -> None:
    budgets = [gateway_budget(1000), gateway_budget(1000, "day")]
    billed(40, *budgets, attempt_no=2)
    billed(30, *budgets)
    reserve_now(reserve_order(60, budgets, hold_tokens=6))
    expected = {"posted_nano": 70, "held_nano": 60, "posted_tokens": 30, "held_tokens": 6, "requests": 2}
    assert [*BudgetPeriod.objects.values(*expected)] == [expected, expected]
    assert found() == []
    reset_budget(budgets[0], "new contract", 9)
    assert found() == []
    period = BudgetPeriod.objects.get(budget=budgets[1])
    BudgetPeriod.objects.filter(pk=period.pk).update(**{column: expected[column] + 1})
    told = f"{expected[column] + 1} stored, {expected[column]} computed"
    assert found() == [Violation(f"{column} is what the lines say", str(period), told)]
