"""R107-R109 over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from preferences.models import Preference
from tests.preferences.conftest import Catalogue
from tests.usage.lines import line, post
from usage.models import ApiKey

URL = "/api/v1/ai/preferences"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


def put(client: APIClient, **wish: Any) -> Any:
    return client.put(URL, wish, format="json")


def test_R107_without_preferences_the_gateway_chooses(client: APIClient) -> None:
    answer = client.get(URL).json()
    assert (answer["count"], answer["results"]) == (0, [])
    assert answer["effective_default"] == {
        "source": "gateway",
        "provider": None,
        "provider_name": None,
        "model": "auto",
        "model_name": "Chosen by the gateway",
        "policy": "preference",
        "available": True,
        "unavailable_reason": "",
    }


def test_R107_names_and_usage_statistics(client: APIClient, ada: User, catalogue: Catalogue) -> None:
    now = datetime.now(UTC)
    post(line(user_id=ada.pk, provider_slug="openai", model_name="gpt-4o-mini", cost_nano=42, dispatched_at=now, output_tokens=None))
    post(line(user_id=ada.pk + 1, provider_slug="openai", model_name="gpt-4o-mini", cost_nano=1000, dispatched_at=now))
    put(client, model="gpt-4o-mini", provider="openai")
    put(client, model="claude-sonnet", context="writing")
    answer = client.get(URL).json()
    default, writing = answer["results"]
    assert (default["context"], default["provider"], default["provider_name"]) == ("default", "openai", "OpenAI")
    assert (default["model"], default["model_name"], default["available"]) == ("gpt-4o-mini", "GPT-4o mini", True)
    assert default["usage"] == {
        "requests": 1,
        "input_tokens": 10,
        "output_tokens": None,
        "cost_usd": "0.000000042",
        "last_used_at": now.isoformat(),
    }
    assert (writing["model_name"], writing["usage"]) == ("claude-sonnet", None)
    assert (answer["effective_default"]["source"], answer["effective_default"]["model"]) == ("preference", "gpt-4o-mini")


def test_R107_says_when_a_stored_preference_cannot_serve(client: APIClient, catalogue: Catalogue) -> None:
    put(client, model="gpt-4o-mini")
    catalogue.first.enabled = False
    catalogue.first.save()
    (shown,) = client.get(URL).json()["results"]
    assert (shown["available"], shown["unavailable_reason"]) == (False, "its provider is disabled")


def test_R107_pages_and_filters(client: APIClient, catalogue: Catalogue) -> None:
    for context in ("a", "b", "c"):
        put(client, model="shared", context=context)
    first = client.get(URL, {"page_size": 2}).json()
    assert ([row["context"] for row in first["results"]], first["count"]) == (["a", "b"], 3)
    assert [row["context"] for row in client.get(first["next"]).json()["results"]] == ["c"]
    assert [row["context"] for row in client.get(URL, {"context": "b"}).json()["results"]] == ["b"]


def test_everybody_sees_only_their_own(client: APIClient, catalogue: Catalogue) -> None:
    put(client, model="gpt-4o-mini")
    other = APIClient()
    other.force_authenticate(User.objects.create(username="grace"))
    assert other.get(URL).json()["count"] == 0
    assert other.delete(URL, {}).status_code == 404
    assert other.delete(f"{URL}?all=true").status_code == 404
    assert Preference.objects.count() == 1


def test_R108_returns_the_stored_preference(client: APIClient, ada: User, catalogue: Catalogue) -> None:
    response = put(client, context="writing", provider="anthropic", model="claude-sonnet")
    assert response.status_code == 200
    assert (response.json()["context"], response.json()["provider_name"]) == ("writing", "Anthropic")
    response = put(client, context="writing", model="gpt-4o-mini")
    assert response.json()["model"] == "gpt-4o-mini"
    assert Preference.objects.get(user=ada).deployment == catalogue.mini


@pytest.mark.parametrize(
    ("wish", "status", "code", "field"),
    [
        ({"model": "gpt-4o-mimi"}, 400, "model_unknown", "model"),
        ({"model": "gpt-4o-mini", "provider": "opnai"}, 400, "provider_unknown", "provider"),
        ({"model": "claude-sonnet", "provider": "openai"}, 400, "model_unknown", "model"),
        ({"model": "gpt-4o-mini", "context": "a b"}, 400, "context_invalid", "context"),
        ({"model": "dead"}, 409, "model_unavailable", "model"),
        ({}, 400, "invalid_request", "model"),
        ({"model": ""}, 400, "invalid_request", "model"),
        ({"model": None}, 400, "invalid_request", "model"),
        ({"model": 5.5, "modle": 1}, 400, "invalid_request", "modle"),
        ({"model": ["a"]}, 400, "invalid_request", "model"),
        ({"model": "x" * 401}, 400, "invalid_request", "model"),
        ({"model": "shared", "user": 1}, 400, "invalid_request", "user"),
        ({"model": "shared", "context": {"a": 1}}, 400, "invalid_request", "context"),
    ],
)
def test_R108_each_refusal_has_its_own_code(
    client: APIClient, catalogue: Catalogue, wish: dict[str, Any], status: int, code: str, field: str
) -> None:
    catalogue.second.deployments.create(name="dead", upstream_model="dead", enabled=False)
    response = put(client, **wish)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert field in error["fields"]
    assert not Preference.objects.exists()


def test_R108_unknown_model_names_the_nearest(client: APIClient, catalogue: Catalogue) -> None:
    assert "Nearest: gpt-4o-mini" in put(client, model="gpt-4o-mimi").json()["error"]["message"]


def test_R108_a_limited_key_cannot_store_more_than_it_may_use(ada: User, catalogue: Catalogue) -> None:
    key = ApiKey(id="abcdefghijkl", user=ada, allowed_models=["gpt-4o-mini"], allowed_contexts=["writing"])
    client = APIClient()
    client.force_authenticate(ada, token=key)
    for wish, code in (
        ({"model": "claude-sonnet", "context": "writing"}, "model_not_allowed"),
        ({"model": "gpt-4o-mini"}, "context_not_allowed"),
    ):
        response = put(client, **wish)
        assert (response.status_code, response.json()["error"]["code"]) == (403, code)
    assert put(client, model="gpt-4o-mini", context="writing").status_code == 200
    assert client.delete(URL).json()["error"]["code"] == "context_not_allowed"


def test_R109_one_context_or_the_default_or_all(client: APIClient, catalogue: Catalogue) -> None:
    for context in ("default", "writing", "dictionary", "chat"):
        put(client, model="shared", context=context)
    assert client.delete(f"{URL}/writing").status_code == 204
    assert client.delete(URL).status_code == 204
    assert {row.context for row in Preference.objects.all()} == {"dictionary", "chat"}
    assert client.delete(f"{URL}?all=true").status_code == 204
    assert not Preference.objects.exists()


@pytest.mark.parametrize("url", [URL, f"{URL}/writing", f"{URL}?all=true"])
def test_R109_absent_is_404(client: APIClient, url: str) -> None:
    response = client.delete(url)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "preference_absent")


@pytest.mark.parametrize("query", ["all=perhaps", "al=true"])
def test_R109_a_misspelt_parameter_deletes_nothing(client: APIClient, catalogue: Catalogue, query: str) -> None:
    put(client, model="shared")
    assert client.delete(f"{URL}?{query}").status_code == 400
    assert Preference.objects.count() == 1


@pytest.mark.parametrize(("method", "url"), [("get", URL), ("put", URL), ("delete", URL), ("delete", f"{URL}/x")])
def test_strangers_are_asked_who_they_are(method: str, url: str) -> None:
    response = getattr(APIClient(), method)(url)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "missing_api_key")
    assert response["WWW-Authenticate"].startswith("Bearer")
