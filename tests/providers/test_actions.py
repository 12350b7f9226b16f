from __future__ import annotations

import json

import pytest
import trustme
from auditlog.models import LogEntry
from django.core.exceptions import ValidationError

from providers import actions, credentials
from providers.audit import SYSTEM, Actor
from providers.catalog import KINDS
from providers.models import ConfigChange, ConfigVersion, Credential, Deployment, Price, Provider, Route, RouteTarget, RoutingConfiguration
from providers.prices import actions as price_actions
from providers.prices import importing
from providers.registry import current_prices, open_credential
from providers.upstream.types import Capability, ModelListing, Secret
from tests.providers.conftest import CANARY, make_provider, staff_with

pytestmark = pytest.mark.django_db

STAFF = Actor(None, is_superuser=False)


def refused_field(call) -> str:
    version = ConfigVersion.current()
    with pytest.raises(ValidationError) as refusal:
        call()
    assert CANARY not in repr(refusal.value)
    assert ConfigVersion.current() == version
    return next(iter(refusal.value.message_dict))


# --------------------------------------------------------------------------- providers


def test_a_new_provider_takes_everything_nobody_chose_from_its_kind():
    provider = actions.create_provider(Provider(kind="ollama"), SYSTEM)
    assert (provider.slug, provider.label, provider.base_url) == ("ollama", "Ollama", "http://127.0.0.1:11434")
    assert provider.allow_private
    assert provider.first_byte_timeout_s == 300.0


def test_a_chosen_time_limit_is_kept():
    assert actions.create_provider(Provider(kind="ollama", first_byte_timeout_s=7.0), SYSTEM).first_byte_timeout_s == 7.0


def test_a_second_provider_of_the_same_name_gets_its_own_slug():
    slugs = [make_provider(label="My Host").slug for _ in range(3)]
    assert slugs == ["my-host", "my-host-2", "my-host-3"]


def test_a_slug_somebody_chose_must_be_free():
    make_provider(slug="taken")
    assert refused_field(lambda: make_provider(slug="taken")) == "slug"


def test_every_write_moves_the_version_with_a_notice():
    provider = make_provider()
    before = ConfigVersion.current()
    actions.toggle_provider(provider.pk, False, SYSTEM)
    assert ConfigVersion.current() == before + 1
    assert ConfigChange.objects.get(version=before + 1).subject == "registry"


def test_an_unknown_kind_is_refused():
    assert refused_field(lambda: actions.create_provider(Provider(kind="nope"), SYSTEM)) == "kind"


def test_S21_staff_may_add_a_service_but_neither_its_address_nor_its_key():
    assert actions.create_provider(Provider(kind="groq"), STAFF).base_url == KINDS["groq"].base_url
    custom = Provider(kind="groq", base_url="https://evil.example/v1")
    assert refused_field(lambda: actions.create_provider(custom, STAFF)) == "base_url"
    assert refused_field(lambda: actions.create_provider(Provider(kind="groq"), STAFF, Secret(CANARY))) == "api_key"
    assert refused_field(lambda: actions.create_provider(Provider(kind="ollama"), STAFF)) == "base_url"


@pytest.mark.parametrize(("field", "value"), [("base_url", "https://evil.example/v1"), ("allow_private", True), ("kind", "anthropic")])
def test_S21_staff_may_not_redirect_a_provider(field, value):
    provider = make_provider()
    setattr(provider, field, value)
    assert refused_field(lambda: actions.update_provider(provider, STAFF)) == field
    assert Provider.objects.get(pk=provider.pk).base_url == "https://api.example.org/v1"


def test_staff_may_change_the_rest():
    provider = make_provider()
    provider.priority = 7
    actions.update_provider(provider, STAFF)
    assert Provider.objects.get(pk=provider.pk).priority == 7


def test_an_update_writes_no_observed_field():
    provider = make_provider()
    Provider.objects.filter(pk=provider.pk).update(health="red", consecutive_failures=4)
    actions.update_provider(provider, SYSTEM)
    provider.refresh_from_db()
    assert (provider.health, provider.consecutive_failures) == ("red", 4)


def test_a_deleted_provider_leaves_service_loses_its_keys_and_stays_for_the_records():
    provider = make_provider()
    actions.delete_provider(provider.pk, SYSTEM)
    provider.refresh_from_db()
    assert provider.deleted_at is not None
    assert not provider.enabled
    assert not Credential.objects.exists()
    for call in (actions.delete_provider, lambda pk, actor: actions.toggle_provider(pk, True, actor)):
        with pytest.raises(Provider.DoesNotExist):
            call(provider.pk, SYSTEM)


# --------------------------------------------------------------------------- credentials and the audit log


def test_a_new_key_replaces_the_old_one():
    provider = make_provider(key="first-key-0123456789")
    credentials.set_credential(provider.pk, Secret(f"  {CANARY}\n"), SYSTEM)
    credential = Credential.objects.get()
    assert open_credential(credential).reveal() == CANARY
    assert credential.last4 == CANARY[-4:]


@pytest.mark.parametrize("key", ["", "   ", "two words", "line\nbreak-0123456789", "ключ", "tab\there", "x" * 5000, "nul\x00"])
def test_a_key_no_header_may_carry_is_refused_and_not_repeated(key):
    provider = make_provider(key=None)
    with pytest.raises(ValidationError) as refusal:
        credentials.set_credential(provider.pk, Secret(key), SYSTEM)
    if key.strip():
        assert key not in repr(refusal.value)
    assert not Credential.objects.exists()


def test_S21_only_superusers_touch_keys(superuser):
    provider = make_provider()
    staff = Actor.of(staff_with("change_provider"))
    assert refused_field(lambda: credentials.set_credential(provider.pk, Secret(CANARY), staff)) == "api_key"
    assert refused_field(lambda: credentials.delete_credential(provider.pk, staff)) == "api_key"
    credentials.delete_credential(provider.pk, Actor.of(superuser))
    assert not Credential.objects.exists()


def test_an_inactive_superuser_is_none(superuser):
    superuser.is_active = False
    assert not Actor.of(superuser).is_superuser


def test_S12_the_audit_log_names_the_actor_and_the_fingerprint_and_never_the_key(superuser):
    provider = make_provider(key=None)
    credential = credentials.set_credential(provider.pk, Secret(CANARY), Actor.of(superuser))
    entry = LogEntry.objects.get_for_object(credential).get()
    assert entry.actor == superuser
    assert entry.changes_dict["fingerprint"][1] == credential.fingerprint
    assert not {"sealed_secret", "last4"} & set(entry.changes_dict)
    written = json.dumps([(row.changes, row.object_repr, row.additional_data) for row in LogEntry.objects.all()], default=str)
    assert CANARY not in written


def test_nested_actors_do_not_leak_into_later_entries(superuser):
    actions.toggle_provider(make_provider().pk, False, Actor.of(superuser))
    provider = make_provider(label="Other")
    assert LogEntry.objects.get_for_object(provider).get().actor is None


def test_a_failed_write_leaves_no_audit_entry_and_no_version(monkeypatch):
    provider = make_provider()
    entries, version = LogEntry.objects.count(), ConfigVersion.current()

    def break_down(*_: object) -> int:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(ConfigVersion, "bump", break_down)
    with pytest.raises(RuntimeError):
        actions.toggle_provider(provider.pk, False, SYSTEM)
    provider.refresh_from_db()
    assert provider.enabled
    assert (LogEntry.objects.count(), ConfigVersion.current()) == (entries, version)


# --------------------------------------------------------------------------- import


LISTINGS = (
    ModelListing("gpt-4o", display_name="GPT-4o", context_window_tokens=128_000, max_output_tokens=16_384),
    ModelListing("gpt-nobody-priced"),
    ModelListing("text-embedding-3-small"),
    ModelListing("whisper-1"),
)


def openai() -> Provider:
    return make_provider("", kind="openai", label="")


def test_R205_an_import_adds_what_chats_or_embeds_with_prices_from_the_package():
    provider = openai()
    report = actions.import_models(provider.pk, LISTINGS, SYSTEM)
    assert (report.created, report.updated, report.priced, report.skipped) == (3, 0, 2, 1)
    assert report.unpriced == ("gpt-nobody-priced",)
    model = Deployment.objects.get(name="gpt-4o")
    assert (model.max_output_tokens, model.context_window_tokens) == (16_384, 128_000)
    price = model.prices.get()
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok) == (2_500_000_000, 10_000_000_000)
    assert price.source.startswith(importing.IMPORT_SOURCES)
    assert Deployment.objects.get(name="gpt-nobody-priced").max_output_tokens == actions.DEFAULT_MAX_OUTPUT_TOKENS


def test_M07_an_unknown_price_stays_unknown():
    provider = openai()
    actions.import_models(provider.pk, LISTINGS, SYSTEM)
    assert not Deployment.objects.get(name="gpt-nobody-priced").prices.exists()


def test_an_import_twice_changes_nothing():
    provider = openai()
    actions.import_models(provider.pk, LISTINGS, SYSTEM)
    report = actions.import_models(provider.pk, LISTINGS, SYSTEM)
    assert (report.created, report.updated, report.priced) == (0, 3, 0)
    assert Price.objects.count() == 2


def test_an_import_keeps_what_an_admin_set():
    provider = openai()
    actions.import_models(provider.pk, LISTINGS, SYSTEM)
    model = Deployment.objects.get(name="gpt-4o")
    model.name, model.enabled, model.max_output_tokens = "our-favourite", False, 100
    actions.save_deployment(model, SYSTEM)
    price_actions.set_price(Price(deployment=model, input_nano_per_mtok=7, output_nano_per_mtok=8, source="contract"), SYSTEM)
    report = actions.import_models(provider.pk, LISTINGS, SYSTEM)
    model.refresh_from_db()
    assert (model.name, model.enabled, model.max_output_tokens) == ("our-favourite", False, 100)
    assert (report.created, report.priced) == (0, 0)
    assert current_prices(Deployment.objects.all())[model.pk].source == "contract"


def test_R208_models_on_own_hardware_cost_an_explicit_zero():
    provider = actions.create_provider(Provider(kind="llamacpp"), SYSTEM)
    actions.import_models(provider.pk, [ModelListing("/models/qwen/Qwen3-8B-Q4.gguf")], SYSTEM)
    model = Deployment.objects.get()
    assert (model.name, model.upstream_model) == ("Qwen3-8B-Q4", "/models/qwen/Qwen3-8B-Q4.gguf")
    price = model.prices.get()
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok, price.source) == (0, 0, importing.LOCAL_SOURCE)


def test_the_listing_decides_about_capabilities_where_it_says_anything():
    provider = make_provider()
    listings = [
        ModelListing("talks", capabilities=frozenset({Capability.CHAT})),
        ModelListing("embeds", capabilities=frozenset({Capability.EMBEDDINGS})),
        ModelListing("sees", capabilities=frozenset({Capability.VISION})),
    ]
    report = actions.import_models(provider.pk, listings, SYSTEM)
    assert (report.created, report.skipped) == (2, 1)
    assert dict(Deployment.objects.values_list("name", "capabilities")) == {"talks": ["chat"], "embeds": ["embeddings"]}


def test_what_a_listing_does_not_speak_about_stays_as_the_catalogue_assumes():
    provider = make_provider("", kind="mistral", label="")
    said = frozenset({Capability.CHAT, Capability.STREAM, Capability.TOOLS})
    actions.import_models(provider.pk, [ModelListing("m", capabilities=frozenset({Capability.CHAT}), said=said)], SYSTEM)
    assert Deployment.objects.get().capabilities == ["chat", "json_mode", "json_schema"]


def test_a_listing_that_does_not_speak_about_chat_leaves_the_name_to_tell():
    provider = make_provider("", kind="groq", label="")
    about = {"capabilities": frozenset({Capability.CHAT, Capability.TOOLS}), "said": frozenset({Capability.TOOLS})}
    report = actions.import_models(provider.pk, [ModelListing("llama", **about), ModelListing("llama-guard", **about)], SYSTEM)
    assert (report.created, report.skipped) == (1, 1)


def test_two_listed_models_with_one_public_name_are_both_kept():
    provider = make_provider()
    actions.import_models(provider.pk, [ModelListing("accounts/a/models/x"), ModelListing("accounts/b/models/x")], SYSTEM)
    assert sorted(Deployment.objects.values_list("name", flat=True)) == ["accounts/b/models/x", "x"]


def test_the_simulators_models_are_priced_on_any_compatible_host():
    provider = make_provider("http://127.0.0.1:9/v1")
    assert actions.import_models(provider.pk, [ModelListing("sim-small")], SYSTEM).unpriced == ()
    assert Price.objects.get().source == importing.SIMULATOR_SOURCE


# --------------------------------------------------------------------------- models, routes


def test_the_name_auto_is_reserved_for_models_and_routes():
    provider = make_provider()
    assert refused_field(lambda: actions.save_deployment(Deployment(provider=provider, name="auto", upstream_model="x"), SYSTEM)) == "name"
    assert refused_field(lambda: actions.save_route(Route(name="auto"), SYSTEM)) == "name"


def test_an_unknown_capability_is_refused():
    model = Deployment(provider=make_provider(), name="m", upstream_model="m", capabilities=["chat", "fly"])
    assert refused_field(lambda: actions.save_deployment(model, SYSTEM)) == "capabilities"


def test_a_route_and_its_targets_are_saved_and_dropped():
    model = actions.save_deployment(Deployment(provider=make_provider(), name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)
    route = actions.save_route(Route(name="fast"), SYSTEM)
    choice = RouteTarget(route=route, deployment=model)
    actions.save_route_choices([choice], [], SYSTEM)
    assert route.choices.count() == 1
    actions.save_route_choices([], [choice], SYSTEM)
    assert route.choices.count() == 0
    actions.delete_route(route, SYSTEM)
    assert not Route.objects.exists()


def test_the_routing_configuration_is_one_row():
    for attempts in (2, 5):
        actions.update_routing_configuration(RoutingConfiguration(max_attempts=attempts), SYSTEM)
    assert RoutingConfiguration.objects.get().max_attempts == 5


def test_U04_an_authority_is_a_superusers_and_must_be_one() -> None:
    authority = trustme.CA().cert_pem.bytes().decode()
    provider = actions.create_provider(Provider(kind="vllm", label="Own", base_url="http://127.0.0.1:8001/v1", ca_bundle=authority), SYSTEM)
    provider.ca_bundle = "-----BEGIN CERTIFICATE-----"
    with pytest.raises(ValidationError, match="PEM text"):
        actions.update_provider(provider, SYSTEM)
    provider.ca_bundle = ""
    with pytest.raises(ValidationError, match="superuser"):
        actions.update_provider(provider, Actor(None, is_superuser=False))
    assert Provider.objects.get(pk=provider.pk).ca_bundle == authority
