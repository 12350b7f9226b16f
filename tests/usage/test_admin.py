"""The admin pages of keys, budgets and the ledger."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from providers.models import Deployment, Provider
from providers.upstream.types import TokenUsage
from tests.usage.world import NOON, reserve_order, settlement
from usage.budgets.actions import Limits, set_budget
from usage.keys.actions import create_api_key
from usage.keys.form import lookup_id
from usage.keys.scopes import EXPLAINED
from usage.ledger.front import Settlement, reserve_now, settle_now
from usage.models import ApiKey, Attempt, Budget, LedgerEntry, Period
from usage.reports.totals import roll_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture
def admin_user(transactional_db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user, "django.contrib.auth.backends.ModelBackend")
    return client


OWN = ["inference", "own_usage", "own_preferences"]


@pytest.fixture
def models(transactional_db: None) -> None:
    host = Provider.objects.create(slug="host", label="Host", kind="simulator")
    for name in ("small", "large"):
        Deployment.objects.create(provider=host, name=name, upstream_model=name)


@pytest.mark.usefixtures("models")
def test_R704_a_new_key_is_shown_once(browser: Client, admin_user: User) -> None:
    form = {"user": admin_user.pk, "name": "laptop", "scopes": OWN, "allowed_models": "small\n large \n\n", "allowed_contexts": ""}
    first = browser.post(reverse("admin:usage_apikey_add"), form)
    shown = re.search(rb"gw_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", first.content)
    assert shown is not None
    key = ApiKey.objects.get()
    assert key.pk == lookup_id(shown.group().decode())
    assert (key.allowed_models, key.scopes) == (["small", "large"], OWN)
    again = browser.get(reverse("admin:usage_apikey_changelist"))
    change = browser.get(reverse("admin:usage_apikey_change", args=[key.pk]))
    assert shown.group() not in again.content + change.content
    assert b"NO LIMIT" in again.content


def test_C26_a_new_key_is_stored_nowhere_outside_its_page(browser: Client, admin_user: User) -> None:
    answer = browser.post(reverse("admin:usage_apikey_add"), {"user": admin_user.pk, "name": "laptop", "scopes": OWN})
    shown = re.search(r"gw_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", answer.content.decode())
    assert (answer.status_code, answer["Cache-Control"]) == (200, "private, no-store")
    assert shown is not None
    secret = shown.group().rpartition("_")[2]
    sessions = [str(session.get_decoded()) for session in Session.objects.all()]
    assert not any(secret in held for held in (*map(str, browser.cookies.values()), *sessions, str(answer.headers)))
    rows = [row for model in apps.get_models() for row in model._default_manager.values()]
    assert rows
    assert secret not in str(rows)


@pytest.mark.usefixtures("models")
def test_changing_a_key_keeps_its_secret(browser: Client, admin_user: User) -> None:
    key, _ = create_api_key(admin_user, "laptop")
    form = {"name": "desk", "scopes": ["inference"], "allowed_models": "small", "allowed_contexts": "writing"}
    assert browser.post(reverse("admin:usage_apikey_change", args=[key.pk]), form).status_code == 302
    changed = ApiKey.objects.get()
    assert (changed.name, changed.allowed_contexts, changed.secret_sha256) == ("desk", ["writing"], key.secret_sha256)
    assert changed.scopes == ["inference"]


@pytest.mark.usefixtures("models")
def test_C04_the_key_page_refuses_names_of_nothing_and_says_what_is_near(browser: Client, admin_user: User) -> None:
    form = {"user": admin_user.pk, "name": "laptop", "scopes": OWN, "allowed_models": "smal"}
    page = browser.post(reverse("admin:usage_apikey_add"), form).content.decode()
    assert "matches nothing" in page
    assert "small" in page
    assert not ApiKey.objects.exists()


def test_C22_the_key_page_explains_scopes_and_ticks_those_of_a_plain_key(browser: Client) -> None:
    page = browser.get(reverse("admin:usage_apikey_add")).content.decode()
    ticked = re.findall(r'name="scopes" value="(\w+)"[^>]*checked', page)
    assert ticked == OWN
    assert all(sentence.split(";")[0].split(",")[0].replace("'", "&#x27;") in page for sentence in EXPLAINED.values())


def test_revoking_needs_a_post_and_deleting_is_not_offered(browser: Client, admin_user: User) -> None:
    key, _ = create_api_key(admin_user, "laptop")
    changelist = reverse("admin:usage_apikey_changelist")
    browser.post(changelist, {"action": "revoke_keys", "_selected_action": [key.pk]})
    assert ApiKey.objects.get().revoked_at is not None
    assert b"revoked" in browser.get(changelist).content
    assert browser.post(reverse("admin:usage_apikey_delete", args=[key.pk]), {"post": "yes"}).status_code == 403


def test_a_cap_is_typed_in_dollars(browser: Client) -> None:
    form = {"scope": "gateway", "period": "month", "cap_nano": "12.5", "enforcement": "hard"}
    assert browser.post(reverse("admin:usage_budget_add"), form).status_code == 302
    budget = Budget.objects.get()
    assert budget.cap_nano == 12_500_000_000
    page = browser.get(reverse("admin:usage_budget_change", args=[budget.pk])).content
    assert b'value="12.5"' in page
    browser.post(reverse("admin:usage_budget_change", args=[budget.pk]), {"cap_nano": "0", "enforcement": "hard"})
    assert Budget.objects.get().cap_nano == 0


@pytest.mark.parametrize("cap", ["-1", "NaN", "1e400", "0.0000000001", "true", ""])
def test_B06_a_cap_that_is_no_amount_is_refused(browser: Client, cap: str) -> None:
    assert (
        browser.post(
            reverse("admin:usage_budget_add"), {"scope": "gateway", "period": "month", "cap_nano": cap, "enforcement": "hard"}
        ).status_code
        == 200
    )
    assert not Budget.objects.exists()


def test_a_budget_that_exists_or_names_nobody_is_refused_in_the_form(browser: Client) -> None:
    set_budget(Budget.Scope.GATEWAY, None, Period.MONTH, Limits(1))
    for form in ({"scope": "gateway", "period": "month"}, {"scope": "user", "period": "month"}):
        assert browser.post(reverse("admin:usage_budget_add"), {**form, "cap_nano": "1", "enforcement": "hard"}).status_code == 200
    assert Budget.objects.count() == 1


def test_the_budget_list_shows_the_current_period(browser: Client) -> None:
    changelist = reverse("admin:usage_budget_changelist")
    assert b"NO LIMIT" in browser.get(changelist).content
    budget = set_budget(Budget.Scope.GATEWAY, None, Period.TOTAL, Limits(10_000_000_000))
    done, still_open = reserve_order(2_000_000_000, [budget]), reserve_order(3_000_000_000, [budget])
    reserve_now(done)
    reserve_now(still_open)
    settle_now(settlement(done, 1_000_000_001))
    page = browser.get(changelist).content.decode()
    assert "NO LIMIT" not in page
    for column, shown in (("cap", "$10.00"), ("posted", "1.000000001"), ("held", "3.00"), ("remaining", "5.999999999")):
        assert f'<td class="field-{column}">{shown}</td>' in page


def test_a_budget_can_be_deleted_one_by_one_and_together(browser: Client) -> None:
    one = set_budget(Budget.Scope.GATEWAY, None, Period.DAY, Limits(1))
    two = set_budget(Budget.Scope.GATEWAY, None, Period.MONTH, Limits(1))
    browser.post(reverse("admin:usage_budget_delete", args=[one.pk]), {"post": "yes"})
    form = {"action": "delete_selected", "_selected_action": [two.pk], "post": "yes"}
    browser.post(reverse("admin:usage_budget_changelist"), form)
    assert not Budget.objects.exists()


def test_records_can_be_read_and_not_touched(browser: Client) -> None:
    order = reserve_order(5, dispatched_at=NOON)
    reserve_now(order)
    settle_now(Settlement(order.attempt_id, 3, TokenUsage(input_tokens=1, output_tokens=1, provider_tool_calls=4321)))
    roll_up(NOON)
    for model, pk in (("attempt", Attempt.objects.get().pk), ("ledgerentry", LedgerEntry.objects.get().pk), ("usagetotal", None)):
        page = browser.get(reverse(f"admin:usage_{model}_changelist"))
        assert page.status_code == 200
        assert b"small" in page.content
        assert browser.get(reverse(f"admin:usage_{model}_add")).status_code == 403
        if pk is not None:
            address = reverse(f"admin:usage_{model}_change", args=[pk])
            assert browser.get(address).status_code == 200
            assert browser.post(address, {}).status_code == 403
            assert browser.post(reverse(f"admin:usage_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    entry = browser.get(reverse("admin:usage_ledgerentry_change", args=[LedgerEntry.objects.get().pk])).content.decode()
    assert ("Provider tool calls" in entry, "4321" in entry) == (True, True)
    assert "0.000000003" in browser.get(reverse("admin:usage_ledgerentry_changelist")).content.decode()
