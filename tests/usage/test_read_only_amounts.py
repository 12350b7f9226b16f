"""Whoever may only read a page sees dollars, never the nano-dollars a column holds."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from providers.fields import DollarsOnReadOnlyPages, NanoDollarField
from providers.models import Deployment, Provider
from tests.usage.world import gateway_budget, reserve_order, settlement
from usage.ledger.front import reserve_now, settle_now
from usage.models import Attempt, Budget, BudgetAdjustment, BudgetAlert, BudgetPeriod, LedgerDay, LedgerEntry, Tier, TierLimit

NANO = 1_234_567_891
SHOWN, RAW = b"1.234567891", (b"1234567891", b"1,234,567,891")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs")]


@pytest.fixture
def reader(transactional_db: None) -> Client:
    """May view everything and change nothing."""
    user = User.objects.create_user("auditor", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def page(reader: Client, row: object) -> bytes:
    options = row._meta  # type: ignore[attr-defined]
    answer = reader.get(reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk]))  # type: ignore[attr-defined]
    assert answer.status_code == 200
    return answer.content


def test_what_a_call_held_and_cost_is_shown_in_dollars(reader: Client) -> None:
    order = reserve_order(NANO)
    reserve_now(order)
    settle_now(settlement(order, NANO))
    for row, label in ((Attempt.objects.get(), b"Hold ($)"), (LedgerEntry.objects.get(), b"Cost ($)")):
        shown = page(reader, row)
        assert SHOWN in shown
        assert label in shown
        assert not any(raw in shown for raw in RAW)
    line = page(reader, LedgerEntry.objects.get())
    assert b"Calls of tools the provider ran itself" in line, "help stays where it was"
    assert b"None" not in line


def test_seals_adjustments_and_alerts_are_shown_in_dollars(reader: Client) -> None:
    now = timezone.now()
    period = BudgetPeriod.objects.create(budget=gateway_budget(NANO), key="total")
    alert = BudgetAlert.objects.create(period=period, measure="money", threshold_percent=80, used=NANO, cap=2 * NANO, crossed_at=now)
    rows = [
        LedgerDay.objects.create(
            day=now.date(), lines=1, cost_nano=NANO, last_id=1, sha256="0" * 64, previous_sha256="0" * 64, sealed_at=now
        ),
        BudgetAdjustment.objects.create(budget_id=1, key="total", subject="s", amount_nano=NANO, reason="goodwill", created_at=now),
        alert,
    ]
    for row in rows:
        shown = page(reader, row)
        assert SHOWN in shown
        assert not any(raw in shown for raw in RAW)
    assert SHOWN in reader.get(reverse("admin:usage_budgetalert_changelist")).content
    alert.measure = "tokens"
    alert.save()
    assert b"1,234,567,891 tokens" in page(reader, alert)


def test_caps_and_ceilings_are_shown_in_dollars_to_who_may_not_change_them(reader: Client) -> None:
    provider = Provider.objects.create(slug="p", label="P", kind="openai", base_url="https://p.example")
    tier = Tier.objects.create(name="pro", label="Pro")
    TierLimit.objects.create(tier=tier, period="day", cap_nano=NANO)
    model = Deployment.objects.create(provider=provider, name="m", upstream_model="m", unpriced_ceiling_nano=NANO)
    for row in (gateway_budget(NANO), tier, model):
        shown = page(reader, row)
        assert SHOWN in shown
        assert not any(raw in shown for raw in RAW)


def test_who_may_change_a_cap_still_types_it(reader: Client) -> None:
    budget = gateway_budget(NANO)
    boss = Client()
    boss.force_login(User.objects.create_superuser("root"))
    assert b'name="cap_nano" value="1.234567891"' in page(boss, Budget.objects.get(pk=budget.pk))


def test_every_page_with_amounts_can_show_them() -> None:
    pages: list[type[admin.ModelAdmin] | type[InlineModelAdmin]] = [type(each) for each in admin.site._registry.values()]
    pages += [inline for each in admin.site._registry.values() for inline in each.inlines]
    models = {type(each): each.model for each in admin.site._registry.values()}
    bare = {
        each.__name__
        for each in pages
        if any(isinstance(field, NanoDollarField) for field in (models.get(each) or each.model)._meta.fields)
        and not issubclass(each, DollarsOnReadOnlyPages)
    }
    assert bare == {"DeploymentInline", "NewPriceInline", "PriceHistoryInline"}, "these have columns and fields of their own"
