"""C08: the addresses clients come to by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from aigateway.door import addresses
from aigateway.door.views import INFERENCE_PATHS
from tests.aigateway.conftest import LiveGateway

CHAT = {"model": "sim-small", "messages": [{"role": "user", "content": "Hi"}]}
MESSAGES = {"model": "sim-small", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
AZURE = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("//v1/chat/completions", CHAT),
        ("/v1//chat/completions", CHAT),
        ("/v1/chat/completions/", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/api/v1/ai/v1/chat/completions/", CHAT),
        ("/anthropic/v1/messages", MESSAGES),
        ("/v1/v1/messages", MESSAGES),
        ("/messages", MESSAGES),
        ("/openai/v1/responses", {"model": "sim-small", "input": "Hi"}),
        ("/openai/responses?api-version=2025-04-01-preview", {"model": "sim-small", "input": "Hi"}),
        ("/gemini/v1beta/models/sim-small:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
        ("/v1/v1beta/models/sim-small:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
        ("/openai/deployments/sim-small/chat/completions?api-version=2024-10-21", AZURE),
        ("/openai/deployments/sim-small/chat/completions?api-version=2024-10-21", CHAT),
        ("/openai/deployments/sim%2Fsim-small/chat/completions?api-version=2024-10-21", AZURE),
    ],
)
def test_C08_what_was_meant_is_done(gateway: LiveGateway, path: str, body: dict[str, Any]) -> None:
    answer = gateway.client.post(gateway.base_url + path, json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "path", ["/models", "/v1/models/", "//v1/models", "/openai/v1/models", "/openai/models?api-version=1", "/v1/v1/models"]
)
def test_C08_models_are_listed_there_too(gateway: LiveGateway, path: str) -> None:
    answer = gateway.client.get(gateway.base_url + path)
    assert (answer.status_code, answer.json()["object"]) == (200, "list")


@pytest.mark.parametrize("path", ["/api/v1/ai/models/", "/api//v1/ai/models", "/api/ai/models/", "/api/v1/ai/quota/"])
def test_C08_so_are_the_resources_of_the_rest_api(gateway: LiveGateway, path: str) -> None:
    assert gateway.client.get(gateway.base_url + path).status_code == 200


def test_C08_azures_key_header_and_another_model_in_the_body(gateway: LiveGateway) -> None:
    path = f"{gateway.base_url}/openai/deployments/sim-small/chat/completions"
    keyed = gateway.client.post(path, json=AZURE, headers={"Authorization": "", "api-key": gateway.key})
    assert (keyed.status_code, keyed.headers["X-Gateway-Model"]) == (200, "sim-small")
    other = gateway.client.post(path, json={**AZURE, "model": "sim-large"})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/completions", "/v1/chat/completions"),
        ("/v1/complete", "/v1/messages"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/embedding", "/v1/embeddings"),
        ("/v1/audio/speech", "/v1/"),
        ("/openai/deployments/x/images/generations", "/v1/chat/completions"),
    ],
)
def test_C08_what_does_not_exist_is_told_in_json_with_the_right_address(gateway: LiveGateway, path: str, named: str) -> None:
    answer = gateway.client.post(gateway.base_url + path, json={})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1beta/", "/api", "/api/", "/api/v1", "/api/v1/ai/nothing", "/api/nothing/", "/api/v2/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
def test_C08_no_page_of_html_answers_below_v1_and_api(gateway: LiveGateway, path: str, method: str) -> None:
    answer = gateway.client.request(method, gateway.base_url + path)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (404, "application/json")
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "path", [*sorted(INFERENCE_PATHS), "/", "/admin/", "/admin/login/", "/healthz", "/api/schema/", "/api/docs/", "/static/a.css"]
)
def test_C08_a_right_address_stays_what_it_is(path: str) -> None:
    assert addresses.meant(path) == path


# --------------------------------------------------------------------------- pages of other origins

ORIGIN = "https://app.example.org"


def preflight(gateway: LiveGateway, path: str, origin: str = ORIGIN) -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return gateway.client.options(path, headers={**asked, "Authorization": ""})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1beta/models/x:generateContent", "/api/v1/ai/preferences"])
def test_C08_no_origin_is_let_in_unless_it_is_named(gateway: LiveGateway, settings: Any, path: str) -> None:
    def is_let_in(origin: str) -> bool:
        answer = preflight(gateway, path, origin)
        assert not any(name.startswith("access-control") for name in answer.headers) or answer.status_code == 204
        return "access-control-allow-origin" in answer.headers

    assert not is_let_in(ORIGIN)
    settings.CORS_ORIGINS = [ORIGIN]
    assert is_let_in(ORIGIN)
    assert not is_let_in("https://app.example.org.evil.test")
    assert not is_let_in("http://app.example.org")
    assert not is_let_in("null")


def test_C08_a_preflight_is_answered_and_the_answer_may_be_read(gateway: LiveGateway, settings: Any) -> None:
    settings.CORS_ORIGINS = [ORIGIN]
    asked = preflight(gateway, "/v1/chat/completions")
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"], asked.headers["Vary"]) == (204, ORIGIN, "Origin")
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    for answer in (gateway.chat(headers={"Origin": ORIGIN}), gateway.client.get("/api/v1/ai/models", headers={"Origin": ORIGIN})):
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_C08_any_origin_and_never_the_pages(gateway: LiveGateway, settings: Any) -> None:
    settings.CORS_ORIGINS = ["*"]
    assert gateway.chat(headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == "*"
    refused = gateway.client.post("/v1/chat/completions", json={}, headers={"Origin": ORIGIN, "Authorization": ""})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "*")
    for path in ("/admin/login/", "/healthz", "/"):
        assert "Access-Control-Allow-Origin" not in gateway.client.get(path, headers={"Origin": ORIGIN}).headers
