"""OpenAI Responses on a running gateway (R104): the official client, same format and translated, and state of one account (U34)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Provider
from providers.simulator.routes import base_url_for
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway, events, price_model
from tests.aigateway.sdk import openai_client
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def add(handle: SimulatorHandle, kind: str, slug: str, model: str = "sim-large", *, key: str = "sk-one", priority: int = 100) -> Provider:
    port = int(handle.origin.rpartition(":")[2])
    provider = Provider(slug=slug, label=slug, kind=kind, base_url=base_url_for(kind, port), allow_private=True, priority=priority)
    actions.create_provider(provider, SYSTEM, Secret(key))
    made = price_model(provider, slug, 1_000_000_000, 2_000_000_000)
    made.upstream_model, made.max_output_tokens = model, 4000
    made.capabilities = ["chat", "stream", "tools", "vision", "json_mode", "json_schema"]
    actions.save_deployment(made, SYSTEM)
    return provider


@pytest.fixture
def gateway(simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    """``openai`` answers Responses itself; ``anthropic``, ``gemini`` and ``mistral`` are translated to."""
    for kind in ("openai", "anthropic", "gemini", "mistral"):
        add(simulator, kind, kind)
    return start_gateway()


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with openai_client(gateway) as client:
        yield client


every_upstream = pytest.mark.parametrize("model", ["openai", "anthropic", "gemini", "mistral"])


@every_upstream
def test_R104_a_whole_answer_has_text_usage_and_its_cost(client: OpenAI, simulator: SimulatorHandle, model: str) -> None:
    answer = client.responses.create(model=model, input="Hello", instructions="Be brief.", max_output_tokens=200)
    assert answer.output_text
    assert (answer.object, answer.status) == ("response", "completed")
    assert answer.usage is not None
    [line] = LedgerEntry.objects.all()
    [billed] = simulator.bill(1)
    assert line.basis == "measured"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (line.usage.total_input_tokens, line.usage.total_output_tokens)
    assert line.upstream_id == billed["id"]


@every_upstream
def test_R104_a_stream_tells_every_event_and_ends_with_the_whole_response(client: OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input="Hello", max_output_tokens=200) as stream:
        seen = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert text == final.output_text != ""
    assert [event.type for event in seen][:2] == ["response.created", "response.in_progress"]
    assert seen[-1].type == "response.completed"
    numbers = [event.sequence_number for event in seen if hasattr(event, "sequence_number")]
    assert numbers == sorted(set(numbers))
    assert final.usage is not None
    assert final.usage.output_tokens == LedgerEntry.objects.get().usage.total_output_tokens


@every_upstream
def test_R104_a_tool_is_called_and_its_result_goes_back(client: OpenAI, model: str) -> None:
    asked = {"model": model, "tools": [TOOL], "max_output_tokens": 300}
    first = client.responses.create(input="Weather in Paris?", tool_choice="required", **asked)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, type(json.loads(call.arguments)["city"])) == ("get_weather", str)
    history = [
        {"role": "user", "content": "Weather in Paris?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert client.responses.create(input=history, **asked).output_text


@every_upstream
def test_R104_tool_arguments_are_streamed_and_add_up(client: OpenAI, model: str) -> None:
    with client.responses.stream(
        model=model, input="Weather in Paris?", tools=[TOOL], tool_choice="required", max_output_tokens=300
    ) as stream:
        seen = list(stream)
    fragments = "".join(event.delta for event in seen if event.type == "response.function_call_arguments.delta")
    [done] = [event for event in seen if event.type == "response.function_call_arguments.done"]
    assert json.loads(fragments) == json.loads(done.arguments)


class Weather(BaseModel):
    city: str


def test_R104_structured_output_is_parsed_by_the_client(client: OpenAI) -> None:
    for model in ("openai", "anthropic", "gemini"):
        answer = client.responses.parse(model=model, input="Weather in Paris?", text_format=Weather, max_output_tokens=300)
        assert isinstance(answer.output_parsed, Weather)


@pytest.mark.parametrize("model", ["anthropic", "gemini"])
def test_R104_an_answer_that_hit_its_limit_is_incomplete_and_says_why(client: OpenAI, model: str) -> None:
    answer = client.responses.create(model=model, input="Tell me a long story", max_output_tokens=16)
    assert (answer.status, answer.incomplete_details and answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "tool_choice": "maybe"}, "tool_choice"),
        ({"input": "x", "temperatur": 1}, "temperatur"),
        ({"input": 7}, "input"),
    ],
)
def test_B08_what_is_wrong_is_named_and_nothing_is_sent(
    gateway: LiveGateway, simulator: SimulatorHandle, fields: dict[str, Any], param: str
) -> None:
    answer = gateway.client.post("/v1/responses", json={"model": "openai", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert simulator.journal() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        {"truncation": "auto"},
        {"text": {"verbosity": "low"}},
    ],
)
def test_what_only_responses_can_carry_is_refused_for_other_formats(
    client: OpenAI, simulator: SimulatorHandle, fields: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(**{"model": "anthropic", "input": "Hi", "max_output_tokens": 50, **fields})
    assert refused.value.code == "unsupported_feature"
    assert simulator.bill() == []


def test_labels_are_left_out_for_other_formats_and_named(gateway: LiveGateway) -> None:
    body = {
        "model": "anthropic",
        "input": "Hi",
        "max_output_tokens": 50,
        "store": True,
        "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"],
    }
    answer = gateway.client.post("/v1/responses", json=body)
    assert answer.status_code == 200
    assert answer.headers["X-Gateway-Degraded"] == "include.reasoning.encrypted_content, metadata, store"
    assert answer.json()["store"] is False


def test_an_unknown_model_is_a_typed_error(client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.responses.create(model="nothing", input="Hi")


@every_upstream
def test_U09_a_broken_stream_raises_in_the_client_and_is_never_completed(gateway: LiveGateway, client: OpenAI, model: str) -> None:
    asked = {
        "model": model,
        "input": "[sim fault=eof_no_finish after=3] Tell me a story of fifty words",
        "max_output_tokens": 300,
        "stream": True,
    }
    raw = gateway.client.post("/v1/responses", json=asked).content
    kinds = [event["type"] for event in events(raw) if isinstance(event, dict)]
    assert "response.output_text.delta" in kinds
    assert kinds[-1] == "error"
    assert not {"response.completed", "response.incomplete"} & set(kinds)
    with pytest.raises(APIError):
        list(client.responses.create(**asked))


# --------------------------------------------------------------------------- U34


@pytest.fixture
def two_accounts(simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    """The same model at two accounts that do not know each other's answers; ``b`` is asked first."""
    for slug, key, priority in (("a", "sk-a", 200), ("b", "sk-b", 100)):
        provider = add(simulator, "openai", slug, key=key, priority=priority)
        price_model(provider, "shared", 1, 1)
        made = provider.deployments.get(name="shared")
        made.upstream_model = "sim-large"
        actions.save_deployment(made, SYSTEM)
    return start_gateway()


def ask(gateway: LiveGateway, **fields: Any) -> Any:
    return gateway.client.post("/v1/responses", json={"input": "Hi", "max_output_tokens": 50, "store": True, **fields})


def test_U34_an_answer_is_continued_at_the_account_that_issued_it(two_accounts: LiveGateway, simulator: SimulatorHandle) -> None:
    first = ask(two_accounts, model="a")
    assert first.headers["X-Gateway-Provider"] == "a"
    again = ask(two_accounts, model="shared", previous_response_id=first.json()["id"])
    streamed = ask(two_accounts, model="shared", previous_response_id=first.json()["id"], stream=True)
    for answer in (again, streamed):
        assert answer.status_code == 200
    assert again.headers["X-Gateway-Attempts"] == "1"
    assert len(simulator.bill()) == 3


def test_U34_a_process_that_does_not_know_the_issuer_finds_it_by_asking(
    two_accounts: LiveGateway, start_gateway: Callable[[], LiveGateway]
) -> None:
    issued = ask(two_accounts, model="a").json()["id"]
    other_process = start_gateway()
    answer = ask(other_process, model="shared", previous_response_id=issued)
    assert answer.status_code == 200
    assert (answer.headers["X-Gateway-Provider"], answer.headers["X-Gateway-Attempts"]) == ("a", "2")


def test_U34_state_that_nobody_issued_is_the_clients_fault(two_accounts: LiveGateway, simulator: SimulatorHandle) -> None:
    answer = ask(two_accounts, model="shared", previous_response_id="resp_foreign")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "foreign_state")
    assert simulator.bill() == []


def test_a_stored_conversation_is_reserved_for_up_to_the_window(two_accounts: LiveGateway) -> None:
    """Its tokens are billed again with every turn, and the body holds none of them."""
    deployment = Deployment.objects.get(name="a")
    deployment.context_window_tokens = 50_000
    actions.save_deployment(deployment, SYSTEM)
    first = ask(two_accounts, model="a").json()["id"]
    assert ask(two_accounts, model="a", previous_response_id=first).status_code == 200
    plain, continued = Attempt.objects.order_by("dispatched_at").values_list("hold_nano", flat=True)
    assert continued - plain >= 50_000 * 1000 > plain
