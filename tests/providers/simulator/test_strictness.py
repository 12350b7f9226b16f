"""What real services refuse or word their own way, the simulator refuses in the same words under that service's path."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.providers.simulator.calls import ANTHROPIC, OPENAI, Answered, chat_body
from tests.providers.simulator.fixtures import SimulatorHandle

GEMINI = "/gemini/v1beta/models/sim-small"


async def post(sim: SimulatorHandle, path: str, body: Any, headers: dict[str, str] = OPENAI) -> Answered:
    async with aiohttp.ClientSession() as session, session.post(sim.origin + path, json=body, headers=headers) as got:
        return Answered(got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read())


def gemini_body(text: str = "hi") -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


@pytest.mark.parametrize(
    ("path", "extra", "status", "said"),
    [
        ("/mistral/v1", {"stream_options": {"include_usage": True}}, 422, "extra_forbidden"),
        ("/mistral/v1", {"seed": 1}, 422, "extra_forbidden"),
        ("/mistral/v1", {"tool_choice": "required"}, 422, '"loc":["body","tool_choice"]'),
        ("/mistral/v1", {"model": "nowhere"}, 400, '"code":"1500"'),
        ("/openai/v1", {"top_k": 3}, 400, "Unrecognized request argument supplied: top_k"),
        ("/vllm/v1", {"seed": None}, 400, "'seed' is null"),
        ("/groq/openai/v1", {"logit_bias": {}}, 400, "logit_bias"),
    ],
)
async def test_a_field_the_service_refuses_is_refused_in_its_shape(
    simulator: SimulatorHandle, path: str, extra: dict[str, Any], status: int, said: str
) -> None:
    answer = await post(simulator, f"{path}/chat/completions", chat_body(**extra))
    assert answer.status == status
    assert said in answer.body.decode()
    assert simulator.bill() == []


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"frequency_penalty": 1}, "frequency_penalty: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 'must use the "user" role'),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "greater than or equal to 1024"),
    ],
)
async def test_anthropic_refuses_what_it_refuses(simulator: SimulatorHandle, extra: dict[str, Any], said: str) -> None:
    body = {"model": "sim-claude", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **extra}
    answer = await post(simulator, "/anthropic/v1/messages", body, ANTHROPIC)
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert said in answer.json()["error"]["message"]


async def test_gemini_refuses_unknown_names_and_unsigned_calls(simulator: SimulatorHandle) -> None:
    odd = await post(simulator, f"{GEMINI}:generateContent", {**gemini_body(), "messages": []})
    assert (odd.status, odd.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    turns = [
        *gemini_body("hi [sim signatures=1]")["contents"],
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    ]
    unsigned = await post(simulator, f"{GEMINI}:generateContent", {"contents": turns})
    assert unsigned.status == 400
    turns[1]["parts"][0]["thoughtSignature"] = "abc"
    assert (await post(simulator, f"{GEMINI}:generateContent", {"contents": turns})).status == 200


async def test_gemini_streams_events_with_crlf_or_one_array(simulator: SimulatorHandle) -> None:
    events = await post(simulator, f"{GEMINI}:streamGenerateContent?alt=sse", gemini_body())
    assert (events.body[:7], events.body[-4:]) == (b"data: {", b"\r\n\r\n")
    array = json.loads((await post(simulator, f"{GEMINI}:streamGenerateContent", gemini_body())).body)
    texts = [part["text"] for chunk in array for part in chunk["candidates"][0]["content"].get("parts", ())]
    assert "".join(texts).startswith("This is the simulator.")
    assert (
        "candidatesTokenCount"
        not in (await post(simulator, f"{GEMINI}:generateContent", gemini_body("[sim fault=empty_answer]"))).json()["usageMetadata"]
    )


@pytest.mark.parametrize(("fault", "quota"), [("http_429", "PerMinute"), ("quota", "PerDay")])
async def test_gemini_tells_limits_apart_by_their_quota_id(simulator: SimulatorHandle, fault: str, quota: str) -> None:
    answer = await post(simulator, f"{GEMINI}:generateContent", gemini_body(f"[sim fault={fault} retry_after=7]"))
    violations, retry = answer.json()["error"]["details"]
    assert quota in violations["violations"][0]["quotaId"]
    assert retry["retryDelay"] == "7s"


@pytest.mark.parametrize(
    ("path", "begins", "ends"),
    [
        ("/huggingface/v1", b"data:{", b"}\n\n"),
        ("/perplexity", b"data: {", b"}\r\n\r\n"),
        ("/transformers/v1", b"data: {", b"}\n\n"),
        ("/openrouter/api/v1", b": OPENROUTER PROCESSING\n\ndata: {", b"data: [DONE]\n\n"),
    ],
)
async def test_a_flavour_frames_its_stream_its_own_way(simulator: SimulatorHandle, path: str, begins: bytes, ends: bytes) -> None:
    body = (await post(simulator, f"{path}/chat/completions", chat_body(stream=True))).body
    assert (body[: len(begins)], body[-len(ends) :]) == (begins, ends)


async def test_ollama_streams_lines_unless_told_otherwise(simulator: SimulatorHandle) -> None:
    lines = [json.loads(line) for line in (await post(simulator, "/ollama/api/chat", chat_body())).body.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    shown = await post(simulator, "/ollama/api/show", {"model": "sim-reasoner"})
    assert "thinking" in shown.json()["capabilities"]
    assert (await post(simulator, "/ollama/api/chat", chat_body(model="nowhere"))).json() == {"error": "model 'nowhere' not found"}


async def test_a_stream_is_cut_at_the_chosen_byte(simulator: SimulatorHandle) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(simulator, "/cohere/v2/chat", chat_body("hi [sim fault=truncated_json cut_bytes=100]", stream=True))
    assert simulator.bill(1)[0]["outcome"] == "reset"


async def test_the_task_endpoint_answers_with_a_list(simulator: SimulatorHandle) -> None:
    answer = await post(simulator, "/huggingface/hf-inference/models/sim-small", {"inputs": "hi"})
    assert answer.json()[0]["generated_text"].startswith("This is the simulator.")
