"""Admin pages for tiers, accounts and resets, and adjustments over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from tests.usage.world import reserve_order, settlement
from usage.budgets.actions import Limits, set_budget
from usage.ledger.front import reserve_now, settle_now
from usage.models import Budget, BudgetAdjustment, LedgerEntry, Tier, UserAccount

pytestmark = pytest.mark.django_db(transaction=True)

ADJUST = "/api/v1/ai/admin/adjustments"


@pytest.fixture
def browser(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def user(transactional_db: None) -> User:
    return User.objects.create_user("ann")


def tier_form(**limit: str) -> dict[str, str]:
    rows = {"period": "month", "cap_nano": "", "cap_tokens": "", "cap_requests": "", "enforcement": "hard", **limit}
    return {
        "name": "pro",
        "label": "Pro",
        "limits-TOTAL_FORMS": "1",
        "limits-INITIAL_FORMS": "0",
        **{f"limits-0-{name}": value for name, value in rows.items()},
    }


def test_R502_a_tier_made_in_the_admin_binds_its_members(browser: Client, user: User) -> None:
    assert browser.post(reverse("admin:usage_tier_add"), tier_form(cap_nano="2.5", cap_requests="100")).status_code == 302
    tier = Tier.objects.get()
    form = {"user": str(user.pk), "tier": str(tier.pk), "team": ""}
    assert browser.post(reverse("admin:usage_useraccount_add"), form).status_code == 302
    budget = Budget.objects.get()
    assert (budget.user, budget.period, budget.cap_nano, budget.cap_requests) == (user, "month", 2_500_000_000, 100)
    assert b"Pro" in browser.get(reverse("admin:usage_useraccount_changelist")).content
    browser.post(reverse("admin:usage_useraccount_delete", args=[UserAccount.objects.get().pk]), {"post": "yes"})
    assert (Budget.objects.exists(), UserAccount.objects.exists()) == (False, False)


def test_a_limit_without_any_cap_is_refused_under_the_form(browser: Client) -> None:
    answer = browser.post(reverse("admin:usage_tier_add"), tier_form(period="day"))
    assert answer.status_code == 200
    assert b"set at least one cap" in answer.content
    assert not Tier.objects.exists()


def test_a_team_the_user_is_not_in_is_refused_under_the_field(browser: Client, user: User) -> None:
    team = Group.objects.create(name="sales")
    answer = browser.post(reverse("admin:usage_useraccount_add"), {"user": str(user.pk), "tier": "", "team": str(team.pk)})
    assert answer.status_code == 200
    assert b"not a member of this group" in answer.content


def spent(user: User) -> None:
    order = reserve_order(90, [set_budget(Budget.Scope.USER, user, "month", Limits(100))], user_id=user.pk, request_id="req_1")
    reserve_now(order)
    settle_now(settlement(order, 90, basis="estimated"))


@pytest.mark.parametrize(("reason", "made"), [("", 0), ("goodwill", 1)])
def test_R124_a_reset_in_the_admin_needs_a_reason(browser: Client, user: User, reason: str, made: int) -> None:
    spent(user)
    form = {"action": "reset_current_period", "_selected_action": [str(Budget.objects.get().pk)], "reason": reason}
    browser.post(reverse("admin:usage_budget_changelist"), form, follow=True)
    assert BudgetAdjustment.objects.count() == made
    assert Budget.objects.get().periods.get().posted_nano == (0 if made else 90)


@pytest.mark.parametrize("model", ["budgetadjustment", "budgetalert", "ledgerday"])
def test_history_can_be_read_and_not_touched(browser: Client, model: str) -> None:
    assert browser.get(reverse(f"admin:usage_{model}_changelist")).status_code == 200
    assert browser.get(reverse(f"admin:usage_{model}_add")).status_code == 403


def client_with(*codenames: str) -> APIClient:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client = APIClient()
    client.force_authenticate(staff)
    return client


def test_M17_a_credit_over_rest_is_a_new_line(user: User) -> None:
    spent(user)
    body = {"request_id": "req_1", "amount_usd": "-0.00000003", "reason": "outage"}
    answer = client_with("add_ledgerentry").post(ADJUST, body, format="json")
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["amount_usd"], answer.json()["reason"]) == ("-0.000000030", "outage")
    assert [*LedgerEntry.objects.order_by("pk").values_list("kind", "cost_nano")] == [("usage", 90), ("adjustment", -30)]
    assert Budget.objects.get().periods.get().posted_nano == 60


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"amount_usd": "-1"}, 400),
        ({"amount_usd": "0"}, 400),
        ({"amount_usd": "NaN"}, 400),
        ({"reason": "x"}, 400),
        ({"amount": "1"}, 400),
        ({"request_id": "req_2"}, 404),
    ],
)
def test_an_adjustment_that_makes_no_sense_changes_nothing(user: User, change: dict[str, Any], status: int) -> None:
    spent(user)
    body = {"request_id": "req_1", "amount_usd": "-0.00000003", "reason": "outage", **change}
    assert client_with("add_ledgerentry").post(ADJUST, body, format="json").status_code == status
    assert LedgerEntry.objects.count() == 1


def test_S01_adjusting_needs_the_permission(user: User) -> None:
    assert client_with("view_ledgerentry").post(ADJUST, {}, format="json").status_code == 403
