"""Tiers and quotas: what is set is what is enforced, and what is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from tests.usage.world import reserve_order, settlement
from usage.budgets.actions import Limits, delete_budget, set_budget
from usage.budgets.binding import budgets_for, team_of
from usage.budgets.tiers import delete_tier_limit, replace_quota, set_account, set_tier_limit
from usage.errors import ActionRefused
from usage.keys.actions import create_api_key
from usage.ledger.front import BudgetExceeded, reserve_now, settle_now
from usage.ledger.verification import verify_ledger
from usage.models import FINANCE_GROUP, Budget, BudgetAdjustment, BudgetPeriod, LedgerEntry, Tier

pytestmark = pytest.mark.django_db(transaction=True)

DOLLAR = 10**9


@pytest.fixture
def user(transactional_db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def admin(transactional_db: None) -> APIClient:
    staff = User.objects.create_user("root", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=("view_budget", "change_budget")))
    client = APIClient()
    client.force_authenticate(staff)
    return client


def caps(user: User) -> dict[str, tuple[Any, ...]]:
    rows = Budget.objects.filter(user=user).order_by("pk")
    return {row.period: (row.cap_nano, row.cap_tokens, row.cap_requests, row.tier and row.tier.name) for row in rows}


def spend(user: User, cost_nano: int, **changes: Any) -> None:
    order = replace(reserve_order(cost_nano, user_id=user.pk, **changes), budgets=budgets_for(user.pk, ""))
    reserve_now(order)
    settle_now(settlement(order, cost_nano, basis="estimated"))


def test_R502_a_tier_gives_its_members_limits_and_takes_them_back(user: User) -> None:
    pro = Tier.objects.create(name="pro")
    day = set_tier_limit(pro, "day", Limits(cap_requests=10))
    set_account(user, pro)
    assert caps(user) == {"day": (None, None, 10, "pro")}
    set_tier_limit(pro, "month", Limits(5 * DOLLAR, 1000))
    set_tier_limit(pro, "day", Limits(cap_requests=20))
    assert caps(user) == {"day": (None, None, 20, "pro"), "month": (5 * DOLLAR, 1000, None, "pro")}
    delete_tier_limit(day)
    assert caps(user) == {"month": (5 * DOLLAR, 1000, None, "pro")}
    set_account(user, None)
    assert caps(user) == {}


def test_what_is_set_for_a_user_wins_over_the_tier(user: User) -> None:
    pro = Tier.objects.create(name="pro")
    set_tier_limit(pro, "month", Limits(DOLLAR))
    set_budget(Budget.Scope.USER, user, "month", Limits(7 * DOLLAR))
    set_account(user, pro)
    assert caps(user)["month"] == (7 * DOLLAR, None, None, None)
    replace_quota(user, {}, pro)
    assert caps(user)["month"] == (DOLLAR, None, None, "pro")


def test_M05_a_limit_set_in_the_middle_of_a_period_counts_what_was_used_before(user: User) -> None:
    spend(user, 30)
    spend(user, 40, dispatched_at=timezone.now() - timedelta(days=60))
    budget = set_budget(Budget.Scope.USER, user, "month", Limits(50, cap_requests=2))
    period = BudgetPeriod.objects.get()
    assert (period.posted_nano, period.posted_tokens, period.requests) == (30, 15, 1)
    with pytest.raises(BudgetExceeded):
        spend(user, 21)
    delete_budget(budget)
    set_budget(Budget.Scope.USER, user, "month", Limits(50))
    with pytest.raises(BudgetExceeded):
        spend(user, 21)
    spend(user, 20)
    assert [*verify_ledger()] == []


@pytest.mark.parametrize(
    ("limits", "measure"), [(Limits(100), "money"), (Limits(cap_tokens=9), "tokens"), (Limits(cap_requests=1), "requests")]
)
def test_R502_each_measure_is_enforced(user: User, limits: Limits, measure: str) -> None:
    set_budget(Budget.Scope.USER, user, "hour", limits)
    spend(user, 60, hold_tokens=5)
    with pytest.raises(BudgetExceeded) as refused:
        spend(user, 60, hold_tokens=5)
    assert refused.value.measure == measure
    assert LedgerEntry.objects.count() == 1


def test_R502_warn_only_counts_and_admits(user: User) -> None:
    set_budget(Budget.Scope.USER, user, "day", Limits(50, 1, 1, "warn"))
    spend(user, 60)
    spend(user, 60)
    period = BudgetPeriod.objects.get()
    assert (period.posted_nano, period.posted_tokens, period.requests) == (120, 30, 2)


def test_M20_retries_of_one_request_count_once_against_a_request_limit(user: User) -> None:
    set_budget(Budget.Scope.USER, user, "day", Limits(cap_requests=1))
    spend(user, 1, request_id="one")
    spend(user, 1, request_id="one", attempt_no=2)
    with pytest.raises(BudgetExceeded):
        spend(user, 1, request_id="two")


def test_R503_a_team_shares_one_budget_and_the_finance_group_is_no_team(user: User) -> None:
    team, finance = Group.objects.create(name="research"), Group.objects.get_or_create(name=FINANCE_GROUP)[0]
    other = User.objects.create_user("bob")
    for member in (user, other):
        member.groups.add(finance, team)
    set_budget(Budget.Scope.TEAM, team, "month", Limits(100))
    spend(user, 60)
    with pytest.raises(BudgetExceeded) as refused:
        spend(other, 60)
    assert (refused.value.scope, team_of(user.pk)) == ("team", team.pk)
    with pytest.raises(ActionRefused, match="not a member"):
        set_account(other, None, Group.objects.create(name="sales").pk)


def test_budgets_of_providers_and_contexts_bind_only_calls_there(user: User) -> None:
    set_budget(Budget.Scope.CONTEXT, "batch", "day", Limits(5))
    (ref,) = budgets_for(user.pk, "")
    assert (ref.binds(1, "batch"), ref.binds(1, "default")) == (True, False)


# --------------------------------------------------------------------------- the API


def test_R124_an_admin_sets_tier_and_limits_and_reads_back_what_is_in_force(admin: APIClient, user: User) -> None:
    Tier.objects.create(name="pro")
    url = f"/api/v1/ai/admin/quotas/{user.pk}"
    wanted = {"tier": "pro", "limits": [{"period": "month", "cost_usd": "12.5", "tokens": 1000, "requests": None}]}
    answer = admin.put(url, wanted, format="json")
    assert answer.status_code == 200, answer.json()
    (limit,) = answer.json()["limits"]
    assert answer.json()["tier"] == "pro"
    assert limit["cost_usd"] == {"limit": "12.500000000", "used": "0.000000000", "held": "0.000000000", "remaining": "12.500000000"}
    assert (limit["tokens"]["limit"], limit["requests"]["limit"], limit["enforcement"], limit["tier"]) == ("1000", None, "hard", None)
    assert admin.get(url).json() == answer.json()


@pytest.mark.parametrize("charged", [True, False])
def test_M02_M06_whether_failed_attempts_are_charged_is_set_kept_and_shown(admin: APIClient, user: User, charged: bool) -> None:
    url = f"/api/v1/ai/admin/quotas/{user.pk}"
    admin.put(url, {"limits": [{"period": "month", "tokens": 5, "charge_failed_attempts": not charged}]}, format="json")
    answer = admin.put(url, {"limits": [{"period": "month", "tokens": 5, "charge_failed_attempts": charged}]}, format="json")
    assert answer.json()["limits"][0]["charge_failed_attempts"] is charged
    assert Budget.objects.get().charge_failed_attempts is charged
    assert (
        admin.put(url, {"limits": [{"period": "month", "tokens": 5}]}, format="json").json()["limits"][0]["charge_failed_attempts"] is True
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": []}, "limit"),
        ({"tier": "gold"}, "tier"),
        ({"limits": [{"period": "decade", "tokens": 1}]}, "limits[0].period"),
        ({"limits": [{"period": "day"}]}, "limits[0].cost_usd"),
        ({"limits": [{"period": "day", "cost_usd": "-1"}]}, "limits[0].cost_usd"),
        ({"limits": [{"period": "day", "cost_usd": "1.0000000001"}]}, "limits[0].cost_usd"),
        ({"limits": [{"period": "day", "max_tokens": 1}]}, "limits[0].max_tokens"),
        ({"limits": [{"period": "day", "tokens": 1}, {"period": "day", "tokens": 2}]}, "limits"),
        ({"limits": [{"period": "day", "tokens": 2**63}]}, "limits[0].tokens"),
    ],
)
def test_M06_a_quota_that_is_not_understood_changes_nothing_and_names_the_field(
    admin: APIClient, user: User, body: dict[str, Any], field: str
) -> None:
    set_budget(Budget.Scope.USER, user, "day", Limits(cap_tokens=5))
    answer = admin.put(f"/api/v1/ai/admin/quotas/{user.pk}", body, format="json")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["fields"]
    assert caps(user) == {"day": (None, 5, None, None)}


def test_R124_a_reset_frees_the_quota_and_is_on_record(admin: APIClient, user: User) -> None:
    set_budget(Budget.Scope.USER, user, "month", Limits(100))
    set_budget(Budget.Scope.USER, user, "day", Limits(1000))
    spend(user, 90)
    url = f"/api/v1/ai/admin/quotas/{user.pk}/reset"
    assert admin.post(url, {}, format="json").status_code == 400
    answer = admin.post(url, {"reason": "trial extended", "periods": ["month"]}, format="json").json()
    assert [each["cost_usd"] for each in answer["adjustments"]] == ["-0.000000090"]
    spend(user, 90)
    record = BudgetAdjustment.objects.get()
    assert (record.reason, record.subject) == ("trial extended", "ann per month")
    assert LedgerEntry.objects.count() == 2


def test_R111_callers_see_their_own_limits_and_nobody_elses(user: User) -> None:
    key, plaintext = create_api_key(user, "laptop")
    set_budget(Budget.Scope.GATEWAY, None, "month", Limits(10**12))
    set_budget(Budget.Scope.KEY, key, "day", Limits(cap_requests=3))
    set_budget(Budget.Scope.USER, user, "total", Limits(500))
    other = User.objects.create_user("bob")
    set_budget(Budget.Scope.USER, other, "day", Limits(1))
    order = replace(reserve_order(100, user_id=user.pk), budgets=budgets_for(user.pk, key.pk))
    reserve_now(order)
    answer = APIClient().get("/api/v1/ai/quota", headers={"Authorization": f"Bearer {plaintext}"})
    limits = {(each["scope"], each["period"]): each for each in answer.json()["limits"]}
    assert set(limits) == {("key", "day"), ("user", "total")}
    total, day = limits["user", "total"], limits["key", "day"]
    assert total["cost_usd"] == {"limit": "0.000000500", "used": "0.000000000", "held": "0.000000100", "remaining": "0.000000400"}
    assert (day["requests"]["remaining"], total["resets_at"]) == ("2", None)
    assert day["resets_at"] > timezone.now().isoformat()


@pytest.mark.parametrize("method", ["get", "put"])
def test_S01_quotas_of_others_are_for_staff_with_the_permission(user: User, method: str) -> None:
    client = APIClient()
    client.force_authenticate(user)
    assert getattr(client, method)(f"/api/v1/ai/admin/quotas/{user.pk}", {}, format="json").status_code == 403
