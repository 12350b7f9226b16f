from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask

from aigateway.celery import app
from aigateway.process import bootstrap
from providers.models import Price, Provider
from providers.simulator.catalogue import MODELS
from usage.keys import form
from usage.keys.actions import revoke_api_key
from usage.models import ApiKey

SIMULATOR = "http://127.0.0.1:8001"
KEY = f"gw_{'k1' * 6}_{'s' * 43}"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _passwords_are_hashed_quickly(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def test_a_first_seed_makes_an_administrator_and_a_key_that_work() -> None:
    seeded = bootstrap.seed(SIMULATOR)
    user = get_user_model().objects.get(username=seeded.username)
    assert user.is_superuser
    assert user.check_password(seeded.password)
    stored = ApiKey.objects.get(pk=form.lookup_id(seeded.api_key))
    assert form.matches(bytes(stored.secret_sha256), seeded.api_key)
    assert stored.user == user


def test_its_secrets_are_not_in_its_repr() -> None:
    seeded = bootstrap.seed(SIMULATOR)
    assert seeded.password not in repr(seeded)
    assert seeded.api_key not in repr(seeded)


def test_a_second_seed_changes_nothing_and_shows_no_secret() -> None:
    bootstrap.seed(SIMULATOR)
    counted = [ApiKey, Price, Provider, PeriodicTask, Group, get_user_model()]
    before = [model.objects.count() for model in counted]
    again = bootstrap.seed(SIMULATOR)
    assert (again.password, again.api_key) == (None, None)
    assert [model.objects.count() for model in counted] == before


def test_given_credentials_are_used_and_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("AIGATEWAY_ADMIN_USERNAME", "olga")
    monkeypatch.setenv("AIGATEWAY_ADMIN_PASSWORD", "a long pass phrase")
    monkeypatch.setenv("AIGATEWAY_BOOTSTRAP_KEY", KEY)
    seeded = bootstrap.seed(None)
    assert (seeded.username, seeded.password, seeded.api_key) == ("olga", None, None)
    assert (seeded.password_from_environment, seeded.key_from_environment) == (True, True)
    assert get_user_model().objects.get().check_password("a long pass phrase")
    assert ApiKey.objects.get().pk == form.lookup_id(KEY)


def test_a_revoked_first_key_stays_revoked(monkeypatch) -> None:
    monkeypatch.setenv("AIGATEWAY_BOOTSTRAP_KEY", KEY)
    bootstrap.seed(None)
    revoke_api_key(ApiKey.objects.get())
    bootstrap.seed(None)
    assert ApiKey.objects.get().revoked_at is not None


def test_an_unusable_first_key_is_refused_by_name_only(monkeypatch) -> None:
    monkeypatch.setenv("AIGATEWAY_BOOTSTRAP_KEY", "short")
    with pytest.raises(CommandError, match="AIGATEWAY_BOOTSTRAP_KEY") as refused:
        call_command("bootstrap")
    assert "short" not in str(refused.value)


def test_the_simulator_is_a_provider_with_all_its_models_priced() -> None:
    bootstrap.seed(SIMULATOR)
    provider = Provider.objects.get(slug=bootstrap.SIMULATOR_SLUG)
    assert provider.base_url == f"{SIMULATOR}/v1"
    assert set(provider.deployments.values_list("upstream_model", flat=True)) == {model.name for model in MODELS}
    assert not provider.deployments.filter(prices=None).exists()


def test_its_address_follows_its_port_and_a_deleted_one_stays_deleted() -> None:
    bootstrap.seed(SIMULATOR)
    bootstrap.seed("http://127.0.0.1:9001")
    provider = Provider.objects.get(slug=bootstrap.SIMULATOR_SLUG)
    assert provider.base_url == "http://127.0.0.1:9001/v1"
    Provider.objects.update(deleted_at=provider.created_at, enabled=False)
    bootstrap.seed("http://127.0.0.1:9002")
    assert Provider.objects.get().base_url == "http://127.0.0.1:9001/v1"


def test_finance_may_read_and_nothing_else() -> None:
    bootstrap.seed(None)
    names = Group.objects.get(name="finance").permissions.values_list("codename", flat=True)
    assert set(names) == {"view_ledgerentry", "view_usagetotal", "view_budget", "view_budgetperiod"}


def test_every_scheduled_task_exists_and_a_changed_schedule_is_kept() -> None:
    bootstrap.seed(None)
    app.autodiscover_tasks(force=True)
    assert set(PeriodicTask.objects.values_list("task", flat=True)) - {"celery.backend_cleanup"} <= set(app.tasks)
    PeriodicTask.objects.update(enabled=False)
    bootstrap.seed(None)
    assert not PeriodicTask.objects.filter(enabled=True).exists()


def test_providers_named_by_the_environment_are_registered_without_showing_their_keys(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-value-0123456789")
    out = io.StringIO()
    call_command("bootstrap", stdout=out)
    assert Provider.objects.filter(kind="openai").exists()
    assert "OpenAI" in out.getvalue()
    assert "canary" not in out.getvalue()
