"""Keys: form, lookup, comparison, and the rules of making and ending them."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from providers.models import ConfigChange, ConfigVersion, Deployment, Provider
from usage.budgets.actions import Limits, delete_budget, set_budget
from usage.budgets.binding import budgets_for
from usage.errors import ActionRefused
from usage.keys import form
from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.keys.records import KeyRecord, load_key, touch_keys
from usage.ledger.front import BudgetRef
from usage.models import ApiKey, Budget, Period

BROUGHT_ALONG = "my-own-key-123"


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada", is_staff=True)


def test_S16_a_key_is_found_by_its_id_and_proved_by_its_hash() -> None:
    key = form.new_key()
    assert re.fullmatch(r"gw_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", key)
    assert form.lookup_id(key) == key[3:15]
    stored = form.sha256(key)
    assert stored == hashlib.sha256(key.encode()).digest()
    assert form.matches(stored, key)
    assert not form.matches(stored, key[:-1] + ("A" if key[-1] != "A" else "B"))
    assert not form.matches(form.NO_KEY, key)


def test_two_keys_are_never_alike() -> None:
    assert len({form.new_key() for _ in range(100)}) == 100


def test_a_key_of_another_form_gets_its_id_from_its_hash() -> None:
    key_id = form.lookup_id(BROUGHT_ALONG)
    assert key_id is not None
    assert re.fullmatch(r"[0-9a-f]{12}", key_id)
    assert form.lookup_id(BROUGHT_ALONG + "4") != key_id


@pytest.mark.parametrize("text", ["", "short", "with space in it", "tab\tinside1", "nul\0inside1", "ümlaut-key-1", "x" * 513])
def test_S17_text_that_cannot_be_a_key_is_not_looked_up(text: str) -> None:
    assert form.lookup_id(text) is None


@given(st.text())
def test_any_text_at_all_can_be_compared(text: str) -> None:
    assert not form.matches(form.NO_KEY, text)


def test_R704_a_made_key_is_stored_as_a_hash_and_announced(user: User) -> None:
    host = Provider.objects.create(slug="host", label="Host", kind="simulator")
    Deployment.objects.create(provider=host, name="small", upstream_model="small")
    before = ConfigVersion.current()
    key, plaintext = create_api_key(user, "laptop", allowed_models=["small"], expires_at=timezone.now() + timedelta(days=1))
    assert key.pk == form.lookup_id(plaintext)
    assert plaintext not in str(ApiKey.objects.values().get())
    assert ConfigChange.objects.get(version=before + 1).subject == f"key:{key.pk}"
    record = load_key(key.pk)
    assert record is not None
    assert (record.user_id, record.username, record.is_staff, record.allowed_models) == (user.pk, "ada", True, ("small",))
    assert form.matches(record.secret_sha256, plaintext)
    assert "secret_sha256" not in repr(record)


def test_an_unknown_key_has_no_record(db: None) -> None:
    assert load_key("aaaaaaaaaaaa") is None


def test_a_key_brought_along_works_once(user: User) -> None:
    key, plaintext = create_api_key(user, "first", secret=BROUGHT_ALONG)
    assert plaintext == BROUGHT_ALONG
    assert key.pk == form.lookup_id(BROUGHT_ALONG)
    with pytest.raises(ActionRefused, match="exists"):
        create_api_key(user, "second", secret=BROUGHT_ALONG)
    with pytest.raises(ActionRefused, match="printable"):
        create_api_key(user, "third", secret="short")


def test_revoking_is_announced_once_and_keeps_its_date(user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    before = ConfigVersion.current()
    first = revoke_api_key(key).revoked_at
    assert first is not None
    assert revoke_api_key(key).revoked_at == first
    assert ConfigVersion.current() == before + 1
    record = load_key(key.pk)
    assert isinstance(record, KeyRecord)
    assert record.revoked_at == first


def test_changing_a_key_is_announced(user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    before = ConfigVersion.current()
    update_api_key(key, name="desk", allowed_models=[], allowed_contexts=["writing"], expires_at=None)
    record = load_key(key.pk)
    assert record is not None
    assert record.allowed_contexts == ("writing",)
    assert ConfigVersion.current() == before + 1


def test_use_is_recorded_silently(user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    version, entries = ConfigVersion.current(), LogEntry.objects.count()
    now = timezone.now()
    touch_keys([key.pk], now)
    assert ApiKey.objects.get().last_used_at == now
    assert (ConfigVersion.current(), LogEntry.objects.count()) == (version, entries)


def test_R605_writes_are_audited_without_the_secret(user: User) -> None:
    key, plaintext = create_api_key(user, "laptop")
    set_budget(Budget.Scope.KEY, key, Period.DAY, Limits(5))
    revoke_api_key(key)
    entries = LogEntry.objects.filter(content_type__app_label="usage")
    assert [entry.action for entry in entries.order_by("id")] == [LogEntry.Action.CREATE, LogEntry.Action.CREATE, LogEntry.Action.UPDATE]
    everything = "".join(f"{entry.changes}{entry.object_repr}{entry.object_pk}{entry.additional_data}" for entry in entries)
    assert "secret_sha256" not in everything
    assert plaintext not in everything
    assert form.sha256(plaintext).hex() not in everything


# ------------------------------------------------------------------ budgets


def test_R503_budgets_come_in_the_order_gateway_user_key(user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    other, _ = create_api_key(user, "other")
    of_key = set_budget(Budget.Scope.KEY, key, Period.DAY, Limits(1))
    set_budget(Budget.Scope.KEY, other, Period.DAY, Limits(1))
    of_user = set_budget(Budget.Scope.USER, user, Period.MONTH, Limits(2))
    of_gateway = set_budget(Budget.Scope.GATEWAY, None, Period.TOTAL, Limits(3))
    assert budgets_for(user.pk, key.pk) == (
        BudgetRef(of_gateway.pk, "total"),
        BudgetRef(of_user.pk, "month"),
        BudgetRef(of_key.pk, "day"),
    )
    assert budgets_for(user.pk, "") == (BudgetRef(of_gateway.pk, "total"), BudgetRef(of_user.pk, "month"))
    assert budgets_for(user.pk + 1, "") == (BudgetRef(of_gateway.pk, "total"),)


def test_M06_setting_a_budget_again_changes_its_cap_and_is_announced(user: User) -> None:
    first = set_budget(Budget.Scope.USER, user, Period.DAY, Limits(10))
    before = ConfigVersion.current()
    again = set_budget(Budget.Scope.USER, user, Period.DAY, Limits(0))
    assert (again.pk, Budget.objects.get().cap_nano) == (first.pk, 0)
    assert ConfigChange.objects.get(version=before + 1).subject == "budgets"
    delete_budget(again)
    assert not Budget.objects.exists()
    assert ConfigVersion.current() == before + 2


@pytest.mark.parametrize("cap", [-1, 2**63])
def test_B06_a_cap_no_column_can_hold_is_refused(db: None, cap: int) -> None:
    with pytest.raises(ActionRefused, match="cap"):
        set_budget(Budget.Scope.GATEWAY, None, Period.DAY, Limits(cap))


def test_a_budget_of_the_wrong_subject_or_period_is_refused(user: User) -> None:
    key, _ = create_api_key(user, "laptop")
    for scope, subject in ((Budget.Scope.GATEWAY, user), (Budget.Scope.USER, key), (Budget.Scope.KEY, None)):
        with pytest.raises(ActionRefused, match="names"):
            set_budget(scope, subject, Period.DAY, Limits(1))
    with pytest.raises(ActionRefused, match="period"):
        set_budget(Budget.Scope.GATEWAY, None, "fortnight", Limits(1))
