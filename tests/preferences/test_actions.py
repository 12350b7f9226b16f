"""What may be stored as a preference, and who hears of it."""

from __future__ import annotations

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.utils import timezone

from preferences import actions
from preferences.actions import Scope
from preferences.models import Preference
from preferences.resolve import PreferenceRecord, load_for_user
from providers.models import ConfigChange, Deployment
from providers.upstream.types import NameList
from tests.preferences.conftest import Catalogue

pytestmark = pytest.mark.django_db


def test_a_wish_is_stored_and_read_back_by_public_names(catalogue: Catalogue, ada: User) -> None:
    actions.set_preference(ada, "writing", "anthropic", "claude-sonnet")
    actions.set_preference(ada, "default", "openai", "gpt-4o-mini")
    assert load_for_user(ada.pk) == (
        PreferenceRecord("default", "openai", "gpt-4o-mini"),
        PreferenceRecord("writing", "anthropic", "claude-sonnet"),
    )


def test_one_preference_per_context(catalogue: Catalogue, ada: User) -> None:
    actions.set_preference(ada, "writing", "anthropic", "claude-sonnet")
    actions.set_preference(ada, "writing", "openai", "gpt-4o-mini")
    assert [str(row.deployment) for row in Preference.objects.all()] == ["openai/gpt-4o-mini"]


def test_without_a_provider_the_one_tried_first_is_meant(catalogue: Catalogue, ada: User) -> None:
    assert actions.set_preference(ada, "default", None, "shared").deployment == catalogue.shared_first
    catalogue.first.health = "red"
    catalogue.first.save()
    assert actions.set_preference(ada, "default", None, "shared").deployment == catalogue.shared_second


def test_an_address_names_the_provider_unless_the_model_is_named_so(catalogue: Catalogue, ada: User) -> None:
    assert actions.set_preference(ada, "default", None, "anthropic/shared").deployment == catalogue.shared_second
    slashed = Deployment.objects.create(provider=catalogue.first, name="meta/llama", upstream_model="meta/llama")
    assert actions.set_preference(ada, "default", None, "meta/llama").deployment == slashed


def test_the_model_a_key_may_use_is_preferred_among_equals(catalogue: Catalogue, ada: User) -> None:
    scope = Scope(models=NameList.of({"anthropic/shared"}))
    assert actions.set_preference(ada, "default", None, "shared", scope).deployment == catalogue.shared_second


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("gpt-4o-mimi", "Nearest: gpt-4o-mini"), ("GPT-4O-Mini", "Nearest: gpt-4o-mini"), ("claude", "Nearest: claude-sonnet")],
)
def test_an_unknown_model_names_the_nearest(catalogue: Catalogue, ada: User, wrong: str, nearest: str) -> None:
    with pytest.raises(actions.ModelUnknown, match=nearest):
        actions.set_preference(ada, "default", None, wrong)


def test_nearest_names_are_only_those_the_caller_may_use(catalogue: Catalogue, ada: User) -> None:
    with pytest.raises(actions.ModelUnknown) as refused:
        actions.set_preference(ada, "default", None, "gpt-4o-mimi", Scope(models=NameList.of({"claude-sonnet"})))
    assert "gpt-4o-mini" not in str(refused.value)
    with pytest.raises(actions.ModelUnknown) as refused:
        actions.set_preference(ada, "default", "anthropic", "gpt-4o-mini")
    assert "Nearest: gpt" not in str(refused.value)


def test_an_unknown_provider_names_the_nearest(catalogue: Catalogue, ada: User) -> None:
    with pytest.raises(actions.ProviderUnknown, match="Nearest: openai"):
        actions.set_preference(ada, "default", "opnai", "gpt-4o-mini")


def test_a_deleted_provider_is_unknown(catalogue: Catalogue, ada: User) -> None:
    catalogue.first.deleted_at = timezone.now()
    catalogue.first.save()
    with pytest.raises(actions.ProviderUnknown):
        actions.set_preference(ada, "default", "openai", "gpt-4o-mini")
    with pytest.raises(actions.ModelUnknown):
        actions.set_preference(ada, "default", None, "gpt-4o-mini")


@pytest.mark.parametrize(
    ("subject", "field", "value", "why"),
    [
        ("mini", "enabled", False, "the model is disabled"),
        ("first", "enabled", False, "its provider is disabled"),
        ("first", "health", "red", "does not answer"),
    ],
)
def test_what_cannot_serve_is_refused(catalogue: Catalogue, ada: User, subject: str, field: str, value: object, why: str) -> None:
    row = getattr(catalogue, subject)
    setattr(row, field, value)
    row.save()
    with pytest.raises(actions.ModelUnavailable, match=why):
        actions.set_preference(ada, "default", "openai", "gpt-4o-mini")
    assert not Preference.objects.exists()


@pytest.mark.parametrize("health", ["yellow", "unknown", "green"])
def test_a_slow_or_unchecked_provider_is_no_reason_to_refuse(catalogue: Catalogue, ada: User, health: str) -> None:
    catalogue.first.health = health
    catalogue.first.save()
    actions.set_preference(ada, "default", "openai", "gpt-4o-mini")


def test_a_key_stores_only_what_it_may_use(catalogue: Catalogue, ada: User) -> None:
    scope = Scope(models=NameList.of({"gpt-4o-mini"}), contexts=NameList.of({"writing"}))
    actions.set_preference(ada, "writing", None, "gpt-4o-mini", scope)
    with pytest.raises(actions.ModelNotAllowed):
        actions.set_preference(ada, "writing", None, "claude-sonnet", scope)
    with pytest.raises(actions.ContextNotAllowed):
        actions.set_preference(ada, "default", None, "gpt-4o-mini", scope)


@pytest.mark.parametrize("context", ["", "a b", "ä", "x" * 51, "a/b", "writing\n", "ｗriting", "a.b"])
def test_a_context_is_a_slug(catalogue: Catalogue, ada: User, context: str) -> None:
    with pytest.raises(actions.ContextInvalid):
        actions.set_preference(ada, context, None, "gpt-4o-mini")


def test_the_number_of_contexts_is_limited(catalogue: Catalogue, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "CONTEXTS_PER_USER_MAX", 2)
    actions.set_preference(ada, "a", None, "shared")
    actions.set_preference(ada, "b", None, "shared")
    with pytest.raises(actions.ContextInvalid, match="At most 2"):
        actions.set_preference(ada, "c", None, "shared")
    actions.set_preference(ada, "b", None, "gpt-4o-mini")


def test_deleting_touches_the_own_context_only(catalogue: Catalogue, ada: User) -> None:
    grace = User.objects.create(username="grace")
    for user in (ada, grace):
        actions.set_preference(user, "default", None, "shared")
        actions.set_preference(user, "writing", None, "shared")
    actions.delete_preference(ada, "writing")
    assert {row.context for row in Preference.objects.filter(user=ada)} == {"default"}
    actions.delete_preferences(ada)
    assert not Preference.objects.filter(user=ada).exists()
    assert Preference.objects.filter(user=grace).count() == 2


def test_a_limited_key_deletes_only_its_contexts(catalogue: Catalogue, ada: User) -> None:
    actions.set_preference(ada, "default", None, "shared")
    actions.set_preference(ada, "writing", None, "shared")
    scope = Scope(contexts=NameList.of({"writing"}))
    with pytest.raises(actions.ContextNotAllowed):
        actions.delete_preference(ada, "default", scope)
    actions.delete_preferences(ada, scope)
    assert [row.context for row in Preference.objects.all()] == ["default"]


def test_deleting_what_is_absent_says_so(ada: User) -> None:
    with pytest.raises(actions.PreferenceAbsent):
        actions.delete_preference(ada, "writing")
    with pytest.raises(actions.PreferenceAbsent):
        actions.delete_preferences(ada)
    assert not ConfigChange.objects.exists()


def test_every_write_is_announced_and_audited_under_the_user(catalogue: Catalogue, ada: User) -> None:
    actions.set_preference(ada, "writing", None, "shared")
    actions.set_preference(ada, "writing", None, "gpt-4o-mini")
    actions.delete_preference(ada, "writing")
    assert list(ConfigChange.objects.values_list("subject", flat=True)) == [f"user:{ada.pk}"] * 3
    entries = LogEntry.objects.filter(content_type__app_label="preferences").order_by("id")
    assert [(entry.get_action_display(), entry.actor) for entry in entries] == [("create", ada), ("update", ada), ("delete", ada)]
