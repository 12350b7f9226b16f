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
from providers.registry import open_credential, provider_spec
from providers.upstream.types import AuthStyle
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


NAMED = [(kind, name) for kind in KINDS.values() if kind.env_var for name in (kind.env_var, *kind.env_aliases)]


@pytest.mark.parametrize(("kind", "variable"), NAMED, ids=lambda value: getattr(value, "slug", value))
def test_every_kind_with_a_variable_registers_by_each_of_its_names(kind, variable):
    own_address = {} if kind.base_url else {kind.base_url_env_var: "https://resource.example.com/v1"}
    (registration,) = register_from_environment({variable: CANARY, **own_address})
    assert registration.registered
    assert Provider.objects.get().kind == kind.slug


def test_the_first_name_of_a_key_wins():
    register_from_environment({"HUGGINGFACE_API_KEY": CANARY, "HF_TOKEN": "another-key-0123456789"})
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_a_kind_with_an_address_of_ones_own_asks_for_it_by_name():
    (registration,) = register_from_environment({"AZURE_OPENAI_API_KEY": CANARY})
    assert (registration.registered, "AZURE_BASE_URL" in registration.message) == (False, True)
    assert not Provider.objects.exists()


def test_an_azure_deployments_address_keeps_its_api_version():
    address = "https://r.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21"
    register_from_environment({"AZURE_API_KEY": CANARY, "AZURE_BASE_URL": address})
    provider = Provider.objects.get()
    assert provider.base_url == address
    assert not Deployment.objects.exists(), "which deployments a resource has is its owner's choice"
    spec = provider_spec(provider)
    assert (spec.kind, spec.auth_style, dict(spec.also_speaks)) == ("azure", AuthStyle.API_KEY, {})


def test_one_google_key_does_not_register_google_twice():
    register_from_environment({"GEMINI_OPENAI_API_KEY": CANARY})
    assert [provider.kind for provider in Provider.objects.all()] == ["gemini_openai"]


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
