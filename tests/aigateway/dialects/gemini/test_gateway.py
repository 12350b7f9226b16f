"""Google's wire format over real sockets: through a gateway, to providers of its own format and of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from aigateway.door import views
from providers import actions
from providers.audit import SYSTEM
from providers.models import Provider
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, events, price_model, register_simulator, start_gateway, user  # noqa: F401 - fixtures
from tests.providers.fake_provider import FakeProvider, fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle, simulator  # noqa: F401 - fixture
from usage.models import LedgerEntry

PRICE = (1_000_000_000, 2_000_000_000)
FINISHED = {
    "candidates": [{"content": {"parts": [{"text": " there"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 20},
}
BEGUN = b'data: {"candidates": [{"content": {"parts": [{"text": "Hi"}],"role": "model"}}],"note": "\xe2\x80\xa8"}\r\n\r\n'
STREAM = BEGUN + b"data: " + json.dumps(FINISHED).encode() + b"\r\n\r\n"


def contents(text: str = "Hello") -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"text": text}]}]


def register_gemini(base_url: str, *models: str) -> Provider:
    """A provider of Google's kind under another address; nobody lists its models, so they are added by hand."""
    provider = Provider(slug="google", label="Google", kind="gemini", base_url=base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret("google-key"))
    for model in models:
        deployment = price_model(provider, model, *PRICE)
        deployment.capabilities = [
            "chat",
            "stream",
            "tools",
            "vision",
            "json_mode",
            "json_schema",
            "reasoning",
            "count_tokens",
            "embeddings",
        ]
        deployment.save()
    return provider


@pytest.fixture
def google(transactional_db: None) -> Iterator[FakeProvider]:
    with fake_provider() as fake:
        fake.base_url = fake.base_url.replace("/v1", "/v1beta")
        register_gemini(fake.base_url, "gemini-x")
        yield fake


@pytest.fixture
def both(simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:  # noqa: F811
    """The simulator twice: as itself, and in Google's wire format."""
    register_simulator(simulator)
    register_gemini(f"{simulator.origin}/v1beta", "sim-small", "sim-reasoner")
    return start_gateway()


def post(gateway: LiveGateway, call: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{gateway.base_url}/v1beta/models/{call}", json=body, headers={"x-goog-api-key": gateway.key}, timeout=10)


# --------------------------------------------------------------------------- the same wire on both sides


def test_a_same_wire_answer_passes_byte_for_byte_and_is_billed(google: FakeProvider, start_gateway) -> None:  # noqa: F811
    gateway = start_gateway()
    google.script.body = json.dumps({**FINISHED, "someNewField": [1]}, indent=2).encode()
    answer = post(gateway, "gemini-x:generateContent", contents=contents(), generation_config={"top_k": 3})
    assert (answer.status_code, answer.content) == (200, google.script.body)
    method, path, headers = google.asked[-1]
    assert (method, path, headers["x-goog-api-key"]) == ("POST", "/v1beta/models/gemini-x:generateContent", "google-key")
    assert json.loads(google.bodies[-1])["generation_config"]["top_k"] == 3
    assert (answer.headers["X-Gateway-Provider"], LedgerEntry.objects.get().cost_nano) == ("google", 10 * 1_000 + 10 * 2_000)


def test_a_same_wire_stream_passes_byte_for_byte_crlf_included(google: FakeProvider, start_gateway) -> None:  # noqa: F811
    gateway = start_gateway()
    google.script.body, google.script.headers = STREAM, {"Content-Type": "text/event-stream"}
    answer = post(gateway, "gemini-x:streamGenerateContent?alt=sse", contents=contents())
    assert (answer.content, answer.headers["content-type"]) == (STREAM, "text/event-stream")
    assert google.asked[-1][1] == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    array = post(gateway, "gemini-x:streamGenerateContent", contents=contents())
    assert array.headers["content-type"] == "application/json"
    assert array.json() == [json.loads(BEGUN.removeprefix(b"data: ")), FINISHED]
    assert [entry.cost_nano for entry in LedgerEntry.objects.all()] == [30_000, 30_000]


def test_an_upstream_that_streams_one_json_array_is_read_as_well(google: FakeProvider, start_gateway) -> None:  # noqa: F811
    gateway = start_gateway()
    google.script.body = b"[" + BEGUN[6:-4] + b"\n,\n" + json.dumps(FINISHED, indent=1).encode() + b"\n]\n"
    chunks = events(post(gateway, "gemini-x:streamGenerateContent?alt=sse", contents=contents()).content)
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == "Hi there"
    assert chunks == json.loads(google.script.body)


@pytest.mark.parametrize("query", ["?alt=sse", ""])
def test_U09_a_stream_that_breaks_off_ends_in_an_error_and_never_in_a_finish(google: FakeProvider, start_gateway, query: str) -> None:  # noqa: F811
    gateway = start_gateway()
    google.script.body, google.script.headers = BEGUN, {"Content-Type": "text/event-stream"}
    raw = post(gateway, f"gemini-x:streamGenerateContent{query}", contents=contents()).content
    text = raw.decode()
    assert '"error":{"code":502' in text
    assert "UPSTREAM_TRUNCATED" in text
    assert "finishReason" not in text


def test_an_error_in_the_stream_before_any_content_has_its_own_status(google: FakeProvider, start_gateway) -> None:  # noqa: F811
    gateway = start_gateway()
    google.script.headers = {"Content-Type": "text/event-stream"}
    google.script.body = b'data: {"error": {"code": 400, "message": "bad role", "status": "INVALID_ARGUMENT"}}\r\n\r\n'
    answer = post(gateway, "gemini-x:streamGenerateContent?alt=sse", contents=contents())
    assert (answer.status_code, answer.json()["error"]["status"], answer.json()["error"]["message"]) == (
        400,
        "INVALID_ARGUMENT",
        "bad role",
    )


# --------------------------------------------------------------------------- the simulator, in either format


@pytest.mark.parametrize("model", ["sim/sim-small", "google/sim-small"])
def test_text_streams_and_tools_work_whoever_answers(both: LiveGateway, model: str) -> None:
    answer = post(both, f"{model}:generateContent", contents=contents("[sim tokens=5] Hi"), systemInstruction={"parts": [{"text": "s"}]})
    body = answer.json()
    assert (answer.status_code, body["candidates"][0]["finishReason"]) == (200, "STOP"), answer.text
    assert body["usageMetadata"]["candidatesTokenCount"] == 5
    chunks = events(post(both, f"{model}:streamGenerateContent?alt=sse", contents=contents("[sim tokens=5] Hi")).content)
    texts = [part.get("text", "") for chunk in chunks for part in chunk["candidates"][0]["content"].get("parts", ())]
    assert "".join(texts) == body["candidates"][0]["content"]["parts"][0]["text"]
    assert (chunks[-1]["candidates"][0]["finishReason"], chunks[-1]["usageMetadata"]["candidatesTokenCount"]) == ("STOP", 5)
    tool = {
        "functionDeclarations": [
            {"name": "weather", "parametersJsonSchema": {"type": "object", "properties": {"city": {"type": "string"}}}}
        ]
    }
    [call] = post(both, f"{model}:generateContent", contents=contents(), tools=[tool]).json()["candidates"][0]["content"]["parts"]
    assert (call["functionCall"]["name"], set(call["functionCall"]["args"])) == ("weather", {"city"})
    result = {"functionResponse": {"name": "weather", "id": call["functionCall"].get("id"), "response": {"result": "sunny"}}}
    turns = [*contents(), {"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    last = post(both, f"{model}:generateContent", contents=turns, tools=[tool])
    assert last.json()["candidates"][0]["content"]["parts"][0]["text"], last.text


@pytest.mark.parametrize("ids", [0, 1])
def test_an_openai_client_calls_gemini_tools_and_its_signatures_come_back(both: LiveGateway, ids: int) -> None:
    schema = {"type": "object", "properties": {}}
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("weather", "news")]
    ask = f"[sim calls=2 call_ids={ids} signatures=1] Weather?"
    first = both.chat(ask, model="google/sim-reasoner", tools=tools)
    message = first.json()["choices"][0]["message"]
    assert (first.status_code, first.json()["choices"][0]["finish_reason"], len(message["tool_calls"])) == (200, "tool_calls", 2), (
        first.text
    )
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in message["tool_calls"]]
    turns = [{"role": "user", "content": ask}, message, *results]
    last = both.chat(model="google/sim-reasoner", tools=tools, messages=turns)
    assert (last.status_code, last.json()["choices"][0]["finish_reason"]) == (200, "stop"), last.text


def test_an_openai_clients_stream_from_gemini_has_text_usage_and_an_end(both: LiveGateway) -> None:
    out = events(both.stream("[sim tokens=7] Hello", model="google/sim-small", stream_options={"include_usage": True}))
    assert (out[-1], out[-2]["usage"]["completion_tokens"]) == ("[DONE]", 7)
    assert [chunk["choices"][0]["finish_reason"] for chunk in out[:-2]][-1] == "stop"


@pytest.mark.parametrize(("fault", "status"), [("http_429", 429), ("http_503", 503), ("http_401", 502), ("quota", 502), ("http_400", 400)])
def test_the_providers_errors_reach_an_openai_client_in_their_class(both: LiveGateway, fault: str, status: int) -> None:
    answer = both.chat(f"[sim fault={fault}] Hello", model="google/sim-small")
    assert (answer.status_code, "error" in answer.json()) == (status, True), answer.text


def test_tokens_are_counted_by_the_provider_for_nothing(both: LiveGateway) -> None:
    counted = post(both, "google/sim-small:countTokens", contents=contents())
    assert (counted.status_code, counted.json()["totalTokens"] > 0) == (200, True), counted.text
    assert [entry.cost_nano for entry in LedgerEntry.objects.all()] in ([], [0])


def test_vectors_come_for_one_text_and_for_several(both: LiveGateway) -> None:
    content = {"parts": [{"text": "a"}]}
    one = post(both, "google/sim-small:embedContent", content=content)
    assert len(one.json()["embedding"]["values"]) > 1, one.text
    two = post(both, "google/sim-small:batchEmbedContents", requests=[{"model": "models/google/sim-small", "content": content}] * 2)
    assert len(two.json()["embeddings"]) == 2, two.text


@pytest.mark.parametrize("query", ["?alt=sse", ""])
def test_U05_while_nothing_comes_the_client_reads_blanks_that_no_parser_minds(
    both: LiveGateway, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(views, "STATUS_HOLD_S", 0.05)
    monkeypatch.setattr(views, "KEEP_ALIVE_S", 0.05)
    ask = contents("[sim fault=slow_first_byte wait_ms=300 tokens=3] Hi")
    raw = post(both, f"google/sim-small:streamGenerateContent{query}", contents=ask).content
    assert raw.startswith(b"\r\n")
    chunks = events(raw) if query else json.loads(raw)
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert all(line.startswith(b"data: ") for line in raw.split(b"\r\n") if line and query), "Google's client takes a comment for JSON"


# --------------------------------------------------------------------------- listing, errors, keys


def get(gateway: LiveGateway, path: str, key: str | None = None) -> httpx.Response:
    return httpx.get(f"{gateway.base_url}{path}", headers={"x-goog-api-key": key or gateway.key}, timeout=10)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_R105_models_are_listed_in_googles_words_page_by_page(both: LiveGateway, version: str) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = get(both, f"/{version}/models?pageSize=2{token}").json()
        names += [model["name"] for model in page["models"]]
        if "nextPageToken" not in page:
            break
        token = f"&pageToken={page['nextPageToken']}"
    assert len(names) == len(set(names)) == 5
    assert "models/sim-small" in names
    one = get(both, f"/{version}/models/google/sim-small").json()
    assert (one["name"], "countTokens" in one["supportedGenerationMethods"]) == ("models/google/sim-small", True)
    assert get(both, f"/{version}/models/nope").json()["error"]["status"] == "NOT_FOUND"
    assert get(both, f"/{version}/models?pageSize=x").json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_key_in_the_address_is_not_read(both: LiveGateway) -> None:
    answer = httpx.post(
        f"{both.base_url}/v1beta/models/sim-small:generateContent?key={both.key}", json={"contents": contents()}, timeout=10
    )
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_the_wrong_method_is_told_in_googles_words(both: LiveGateway) -> None:
    answer = get(both, "/v1beta/models/sim-small:generateContent")
    assert (answer.status_code, answer.headers["Allow"], answer.json()["error"]["status"]) == (405, "POST", "UNIMPLEMENTED")
