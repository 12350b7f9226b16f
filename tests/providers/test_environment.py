from __future__ import annotations

import io
import os

import pytest
from django.core.management import call_command

from providers import actions
from providers.audit import SYSTEM
from providers.catalog import KINDS
from providers.environment import register_from_environment
from providers.models import Credential, Deployment, Provider
from providers.registry import open_credential
from tests.providers.conftest import CANARY, make_provider

pytestmark = pytest.mark.django_db


def test_R206_a_key_in_the_environment_registers_a_provider_with_models_and_prices():
    (registration,) = register_from_environment({"ANTHROPIC_API_KEY": f" {CANARY} ", "HOME": "/root"})
    assert registration.registered
    assert CANARY not in repr(registration)
    provider = Provider.objects.get()
    assert (provider.kind, provider.base_url) == ("anthropic", KINDS["anthropic"].base_url)
    assert open_credential(Credential.objects.get()).reveal() == CANARY
    assert Deployment.objects.filter(prices__isnull=False).exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.env_var], ids=lambda kind: kind.slug)
def test_every_kind_with_a_variable_registers_by_it(kind):
    register_from_environment({kind.env_var: CANARY})
    assert Provider.objects.get().kind == kind.slug


def test_another_address_is_taken_from_the_environment():
    register_from_environment({"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": "https://eu.api.openai.com/v1"})
    assert Provider.objects.get().base_url == "https://eu.api.openai.com/v1"


def test_an_own_server_registers_by_its_address_alone():
    register_from_environment({"OLLAMA_BASE_URL": "http://127.0.0.1:11434/v1"})
    provider = Provider.objects.get()
    assert (provider.kind, provider.allow_private) == ("ollama", True)


def test_an_empty_variable_registers_nothing():
    assert register_from_environment({"OPENAI_API_KEY": "  ", "OPENAI_BASE_URL": "https://x.example/v1"}) == ()


def test_the_second_start_changes_nothing():
    environ = {"OPENAI_API_KEY": CANARY}
    register_from_environment(environ)
    Provider.objects.update(label="Renamed", enabled=False)
    assert register_from_environment({"OPENAI_API_KEY": "another-key-0123456789"}) == ()
    assert Provider.objects.get().label == "Renamed"
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_a_provider_an_admin_deleted_does_not_come_back():
    actions.delete_provider(make_provider("", kind="openai").pk, SYSTEM)
    assert register_from_environment({"OPENAI_API_KEY": CANARY}) == ()


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": "two words"},
        {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": "http://api.openai.com/v1"},
        {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": "https://169.254.169.254/v1"},
    ],
)
def test_a_wrong_value_is_refused_with_its_reason_and_does_not_stop_the_others(environ):
    registrations = register_from_environment({**environ, "GROQ_API_KEY": CANARY})
    assert {row.kind: row.registered for row in registrations} == {"openai": False, "groq": True}
    assert CANARY not in repr(registrations)
    assert not Provider.objects.filter(kind="openai").exists()


def test_the_command_says_what_it_did_and_never_the_key(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GROQ_API_KEY": CANARY, "XAI_API_KEY": "two words"})
    out, err = io.StringIO(), io.StringIO()
    call_command("register_providers", stdout=out, stderr=err)
    assert "groq: registered" in out.getvalue()
    assert "xai: refused" in err.getvalue()
    assert CANARY not in out.getvalue() + err.getvalue()
