from __future__ import annotations

import uuid

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers import actions, health
from providers.audit import SYSTEM
from providers.health import ProbeOutcome
from providers.models import Credential, Deployment, HealthCheck, HealthCheckJob, Price, Provider
from providers.prices import actions as price_actions
from providers.registry import open_credential
from providers.upstream.types import HealthStatus
from providers.views import ModelListView
from tests.providers.conftest import CANARY, api, browser, make_provider, staff_with
from tests.providers.fake_provider import closed_port

pytestmark = pytest.mark.django_db

BASE = "/api/v1/ai"
PROVIDERS = f"{BASE}/admin/providers"


@pytest.fixture(autouse=True)
def no_throttle_left_over() -> None:
    cache.clear()


def with_model(provider: Provider, name: str = "m", *, price: int | None = 2_500_000_000, **fields) -> Deployment:
    model = actions.save_deployment(Deployment(provider=provider, name=name, upstream_model=name, capabilities=["chat"], **fields), SYSTEM)
    if price is not None:
        price_actions.set_price(Price(deployment=model, input_nano_per_mtok=price, output_nano_per_mtok=1, source="page"), SYSTEM)
    return model


# --------------------------------------------------------------------------- models


def test_R106_everybody_may_list_models_with_price_and_availability():
    provider = make_provider(label="Host")
    with_model(provider, "m", recommended=True, description="Good.")
    health.record(provider.pk, ProbeOutcome(HealthStatus.GREEN, "The provider answers."))
    (shown,) = api(None).get(f"{BASE}/models").json()["results"]
    assert shown["address"] == "host/m"
    assert shown["price"]["input"] == "2.500000000"
    assert shown["price"]["output"] == "0.000000001"
    assert shown["price"]["cache_read"] is None
    assert shown["price"]["request"] == "0.000000000"
    assert (shown["availability"], shown["recommended"], shown["description"]) == ("green", True, "Good.")
    assert shown["average_latency_ms"] is None


def test_an_unpriced_model_says_so():
    with_model(make_provider(), price=None)
    assert api(None).get(f"{BASE}/models").json()["results"][0]["price"] is None


def test_a_provider_without_the_key_it_needs_is_not_available():
    with_model(make_provider("", kind="groq", key=None))
    assert api(None).get(f"{BASE}/models").json()["results"][0]["availability"] == "red"


def test_nothing_of_addresses_or_keys_is_public():
    with_model(make_provider("https://secret-host.example/v1"))
    text = api(None).get(f"{BASE}/models").content.decode()
    assert "secret-host" not in text
    assert CANARY[-4:] not in text


def test_models_can_be_filtered_and_paged():
    with_model(make_provider(label="One"), "alpha")
    with_model(make_provider(label="Two"), "beta")
    client = api(None)
    assert [row["name"] for row in client.get(f"{BASE}/models?provider=two").json()["results"]] == ["beta"]
    assert [row["name"] for row in client.get(f"{BASE}/models?search=alph").json()["results"]] == ["alpha"]
    page = client.get(f"{BASE}/models?page_size=1").json()
    assert (page["count"], len(page["results"])) == (2, 1)


def test_disabled_models_are_not_listed():
    provider = make_provider()
    with_model(provider, "off", enabled=False)
    with_model(provider, "on")
    assert [row["name"] for row in api(None).get(f"{BASE}/models").json()["results"]] == ["on"]


def test_who_has_the_list_already_gets_an_empty_304_until_it_changes():
    model = with_model(make_provider())
    client = api(None)
    first = client.get(f"{BASE}/models")
    assert first["Cache-Control"] == "public, max-age=30"
    assert client.get(f"{BASE}/models", HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    price_actions.set_price(Price(deployment=model, input_nano_per_mtok=1, output_nano_per_mtok=1, source="page"), SYSTEM)
    assert client.get(f"{BASE}/models", HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 200


def test_a_personal_list_is_not_cached_for_others(plain_user):
    answer = api(plain_user).get(f"{BASE}/models")
    assert answer["Cache-Control"] == "private, no-store"
    assert {"Authorization", "X-API-Key", "Cookie"} <= {name.strip() for name in answer["Vary"].split(",")}


def test_anonymous_callers_are_limited_by_their_own_address_and_not_by_a_header_they_write(plain_user):
    client = api(None)
    answers = [client.get(f"{BASE}/models", HTTP_X_FORWARDED_FOR=f"10.0.0.{number}").status_code for number in range(61)]
    assert answers == [200] * 60 + [429]
    assert api(plain_user).get(f"{BASE}/models").status_code == 200


def test_statistics_come_from_whoever_measures_traffic(rf):
    model = with_model(make_provider())
    view = ModelListView.as_view(traffic_statistics=lambda: {model.pk: (123.5, 0.75)})
    (shown,) = view(rf.get("/")).data["results"]
    assert (shown["average_latency_ms"], shown["success_rate"]) == (123.5, 0.75)


def test_the_number_of_queries_does_not_grow_with_the_models():
    provider = make_provider()
    with_model(provider, "a")
    with CaptureQueriesContext(connection) as few:
        api(None).get(f"{BASE}/models")
    for name in ("b", "c", "d"):
        with_model(provider, name)
    with CaptureQueriesContext(connection) as many:
        api(None).get(f"{BASE}/models")
    assert len(many) == len(few)


# --------------------------------------------------------------------------- who may do what


def calls_on(pk: int):
    return (
        ("view", "get", PROVIDERS, None),
        ("view", "get", f"{PROVIDERS}/{pk}", None),
        ("view", "get", f"{PROVIDERS}/health", None),
        ("view", "get", f"{PROVIDERS}/status", None),
        ("view", "get", f"{PROVIDERS}/{pk}/health", None),
        ("view", "get", f"{PROVIDERS}/{pk}/health/history", None),
        ("add", "post", PROVIDERS, {"label": "New", "kind": "groq"}),
        ("change", "patch", f"{PROVIDERS}/{pk}", {"priority": 3}),
        ("change", "post", f"{PROVIDERS}/{pk}/toggle", {}),
        ("change", "post", f"{PROVIDERS}/health-check", {}),
        ("delete", "delete", f"{PROVIDERS}/{pk}", None),
    )


@pytest.mark.parametrize("granted", [None, "nothing", "view", "add", "change", "delete"])
def test_S20_every_call_needs_its_own_permission(granted):
    user = None if granted is None else staff_with(f"{granted}_provider", "view_provider" if granted != "nothing" else "")
    for needed, verb, url, body in calls_on(make_provider().pk):
        answer = getattr(api(user), verb)(url, body, format="json")
        allowed = granted == needed or (needed == "view" and granted not in (None, "nothing"))
        if granted is None:
            assert answer.status_code in (401, 403), (verb, url)
        else:
            assert (answer.status_code < 400) is allowed, (granted, verb, url, answer.content)


def test_ordinary_users_get_nothing(plain_user):
    for _, verb, url, body in calls_on(make_provider().pk):
        assert getattr(api(plain_user), verb)(url, body, format="json").status_code == 403


def test_S25_a_session_needs_its_csrf_token(superuser):
    provider = make_provider()
    answer = browser(superuser, csrf=True).post(f"{PROVIDERS}/{provider.pk}/toggle", "{}", content_type="application/json")
    assert answer.status_code == 403
    provider.refresh_from_db()
    assert provider.enabled


def test_S25_reading_writes_nothing(superuser):
    with_model(make_provider())
    client = api(superuser)
    with CaptureQueriesContext(connection) as queries:
        for url in (f"{BASE}/models", PROVIDERS, *(url for _, verb, url, _ in calls_on(Provider.objects.get().pk) if verb == "get")):
            assert client.get(url).status_code == 200
    writes = [query["sql"] for query in queries if query["sql"].split()[0] in ("INSERT", "UPDATE", "DELETE")]
    assert writes == []


# --------------------------------------------------------------------------- create and change


def test_R113_a_superuser_creates_a_provider_and_never_sees_its_key_again(superuser):
    body = {"label": "Mine", "kind": "openai_compatible", "base_url": "https://host.example/v1", "api_key": CANARY}
    answer = api(superuser).post(PROVIDERS, body, format="json")
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert shown["credential"]["last4"] == CANARY[-4:]
    assert len(shown["credential"]["fingerprint"]) == 12
    assert "api_key" not in shown
    assert CANARY not in answer.content.decode()
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_S21_staff_neither_see_nor_set_keys_and_addresses():
    provider = make_provider()
    client = api(staff_with("view_provider", "change_provider", "add_provider"))
    shown = client.get(f"{PROVIDERS}/{provider.pk}").json()
    assert not {"base_url", "allow_private", "credential", "api_key"} & set(shown)
    for field, value in (("base_url", "https://evil.example/v1"), ("api_key", "x" * 20), ("allow_private", True)):
        assert client.patch(f"{PROVIDERS}/{provider.pk}", {field: value}, format="json").status_code == 403
        assert client.post(PROVIDERS, {"label": "x", "kind": "groq", field: value}, format="json").status_code == 403
    assert Provider.objects.get().base_url == "https://api.example.org/v1"


def test_an_update_changes_only_what_was_sent(superuser):
    provider = make_provider(priority=4)
    answer = api(superuser).patch(f"{PROVIDERS}/{provider.pk}", {"label": "Renamed"}, format="json")
    assert (answer.json()["label"], answer.json()["priority"]) == ("Renamed", 4)
    assert answer.json()["credential"]["last4"] == CANARY[-4:]


def test_a_key_is_replaced_and_destroyed(superuser):
    provider, client = make_provider(), api(superuser)
    client.patch(f"{PROVIDERS}/{provider.pk}", {"api_key": "another-key-0123456789"}, format="json")
    assert open_credential(Credential.objects.get()).reveal() == "another-key-0123456789"
    assert client.patch(f"{PROVIDERS}/{provider.pk}", {"api_key": None}, format="json").json()["credential"] is None


def test_a_refused_key_undoes_the_whole_update(superuser):
    provider = make_provider()
    answer = api(superuser).patch(f"{PROVIDERS}/{provider.pk}", {"label": "Renamed", "api_key": "two words"}, format="json")
    assert answer.status_code == 400
    assert "two words" not in answer.content.decode()
    assert list(answer.json()["error"]["fields"]) == ["api_key"]
    provider.refresh_from_db()
    assert provider.label == "Example"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 7), ("created_at", "2020-01-01T00:00:00Z"), ("health", "green"), ("deleted_at", None), ("credential", {}),
        ("models_count", 3), ("consecutive_failures", 0), ("colour", "blue"),
    ],
)  # fmt: skip
def test_S23_unknown_and_read_only_fields_are_refused_by_name(superuser, field, value):
    answer = api(superuser).patch(f"{PROVIDERS}/{make_provider().pk}", {field: value}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "https://169.254.169.254/v1"), ("base_url", "http://api.example.org/v1"), ("kind", "nope"), ("slug", "not a slug"),
        ("priority", -1), ("weight", 0), ("connect_timeout_s", 0), ("disconnect_policy", "never"), ("label", ""),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_by_field(superuser, field, value):
    answer = api(superuser).patch(f"{PROVIDERS}/{make_provider().pk}", {field: value}, format="json")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]


def test_a_deleted_provider_is_gone_from_the_api_and_kept_in_the_database(superuser):
    provider, client = make_provider(), api(superuser)
    assert client.delete(f"{PROVIDERS}/{provider.pk}").status_code == 204
    assert client.get(f"{PROVIDERS}/{provider.pk}").status_code == 404
    assert client.patch(f"{PROVIDERS}/{provider.pk}", {"label": "x"}, format="json").status_code == 404
    assert client.get(PROVIDERS).json()["count"] == 0
    assert Provider.objects.filter(pk=provider.pk).exists()


def test_R114_toggling_goes_back_and_forth_or_to_a_given_state(superuser):
    provider, client = make_provider(), api(superuser)
    url = f"{PROVIDERS}/{provider.pk}/toggle"
    assert client.post(url, {}, format="json").json()["enabled"] is False
    assert client.post(url, {}, format="json").json()["enabled"] is True
    assert client.post(url, {"enabled": True}, format="json").json()["enabled"] is True
    assert client.post(url, {"enabld": True}, format="json").status_code == 400


def test_providers_are_listed_by_priority_and_filtered(superuser):
    make_provider(label="Second", priority=20)
    make_provider(label="First", priority=10, kind="groq", base_url="")
    client = api(superuser)
    assert [row["label"] for row in client.get(PROVIDERS).json()["results"]] == ["First", "Second"]
    assert [row["label"] for row in client.get(f"{PROVIDERS}?kind=groq").json()["results"]] == ["First"]
    assert [row["label"] for row in client.get(f"{PROVIDERS}?search=sec").json()["results"]] == ["Second"]


def test_models_are_imported_on_request(superuser, upstream):
    provider = make_provider(upstream.base_url)
    report = api(superuser).post(f"{PROVIDERS}/{provider.pk}/import", {}, format="json").json()
    assert (report["created"], report["skipped"], report["unpriced"]) == (2, 1, ["alpha-large", "alpha-small"])


def test_S08_a_failed_import_says_why_in_our_words(superuser, upstream):
    upstream.script.status, upstream.script.body = 401, b'{"error": {"message": "INTERNAL-SECRET-TEXT"}}'
    answer = api(superuser).post(f"{PROVIDERS}/{make_provider(upstream.base_url).pk}/import", {}, format="json")
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == {"provider": ["The provider refuses the key. Enter a valid one."]}
    assert "INTERNAL-SECRET-TEXT" not in answer.content.decode()
    assert not Deployment.objects.exists()


# --------------------------------------------------------------------------- health


def test_R116_health_is_shown_with_its_history_and_error_rate(superuser):
    provider, client = make_provider(), api(superuser)
    for colour in (HealthStatus.GREEN, HealthStatus.RED, HealthStatus.RED, HealthStatus.GREEN):
        health.record(provider.pk, ProbeOutcome(colour, "x", 5.0))
    shown = client.get(f"{PROVIDERS}/{provider.pk}/health").json()
    assert (shown["status"], shown["error_rate_24h"], shown["latency_ms"]) == ("green", 0.5, 5.0)
    history = client.get(f"{PROVIDERS}/{provider.pk}/health/history").json()
    assert [row["status"] for row in history["results"]] == ["green", "red", "red", "green"]
    assert client.get(f"{PROVIDERS}/{provider.pk}/health/history?status=red").json()["count"] == 2
    assert client.get(f"{PROVIDERS}/health").json()["results"][0]["slug"] == provider.slug
    status = client.get(f"{PROVIDERS}/status").json()
    assert (status["status"], status["counts"]["green"]) == ("green", 1)
    assert client.get(f"{PROVIDERS}/999/health/history").status_code == 404


def test_R117_a_check_is_queued_and_its_job_can_be_polled(superuser):
    provider, client = make_provider(f"http://127.0.0.1:{closed_port()}/v1"), api(superuser)
    accepted = client.post(f"{PROVIDERS}/health-check", {"provider": provider.pk}, format="json")
    assert accepted.status_code == 202
    job_id = accepted.json()["job_id"]
    assert not HealthCheck.objects.exists()
    assert client.get(accepted.json()["status_url"]).json()["state"] == "queued"
    health.run_job(job_id)
    done = client.get(accepted.json()["status_url"]).json()
    assert (done["state"], done["checked_count"]) == ("done", 1)
    assert HealthCheckJob.objects.get().requested_by == superuser


def test_a_check_of_an_unknown_provider_and_an_unknown_job_are_404(superuser):
    client = api(superuser)
    assert client.post(f"{PROVIDERS}/health-check", {"provider": 999}, format="json").status_code == 404
    assert client.get(f"{PROVIDERS}/health-check/{uuid.uuid4()}").status_code == 404
