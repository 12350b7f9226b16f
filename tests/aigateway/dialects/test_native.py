"""The gateway's own dialect (R101): prompt or messages in, text with its provenance out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.native import Native
from aigateway.errors import GatewayError, from_upstream
from providers.upstream.errors import StreamTruncated
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatResponse,
    FinishReason,
    Policy,
    Role,
    StreamEvent,
    TokenUsage,
    Wire,
)
from tests.aigateway.samples import explanation, target


def parse(**fields: Any) -> Any:
    return Native().parse(json.dumps(fields).encode(), None)


def test_R101_a_prompt_alone_is_enough() -> None:
    call = parse(prompt="Hi")
    assert call.request.model == "auto"
    assert call.context == "default"
    assert [message.text for message in call.request.messages] == ["Hi"]
    assert call.dialect is Wire.NATIVE


def test_R101_every_option_reaches_the_canonical_request() -> None:
    call = parse(
        messages=[{"role": "user", "content": "Hi"}],
        system="Be brief.",
        model="m",
        provider="acme",
        context="writing",
        policy="cost",
        allow_fallback=False,
        max_output_tokens=5,
        temperature=0.1,
        stop=["a"],
        stream=True,
    )
    request = call.request
    assert [message.role for message in request.messages] == [Role.SYSTEM, Role.USER]
    assert (request.max_output_tokens, request.temperature, request.stop, request.stream) == (5, 0.1, ("a",), True)
    assert (call.provider, call.context, call.policy, call.allow_fallback) == ("acme", "writing", Policy.COST, False)


def test_the_body_names_the_context_before_the_header_does() -> None:
    raw = json.dumps({"prompt": "x", "context": "default"}).encode()
    assert Native().parse(raw, "writing").context == "default"
    assert Native().parse(b'{"prompt": "x"}', "writing").context == "writing"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "messages": []}, "prompt"),
        ({"prompt": "x", "policy": "luck"}, "policy"),
        ({"prompt": "x", "max_output_tokens": -1}, "max_output_tokens"),
        ({"prompt": "x", "temperatur": 1}, "temperatur"),
        ({"prompt": "x", "stream": "yes"}, "stream"),
        ({"prompt": "x", "context": "a b"}, "context"),
        ({"prompt": "x", "context": "c" * 51}, "context"),
    ],
)
def test_R101_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_R101_the_answer_explains_itself() -> None:
    response = ChatResponse("x", "m", (ChatChoice(0, "Hello", FinishReason.STOP),), TokenUsage(3, output_tokens=4), Wire.OPENAI_CHAT, b"")
    out = json.loads(Native().render(response, explanation()))
    assert out["text"] == "Hello"
    assert (out["model"], out["provider"]) == ("m", "acme")
    assert out["cost"] == {"amount": "0.000001500", "currency": "USD", "basis": "measured"}
    assert out["usage"]["total_tokens"] == 7
    assert out["why"]["reason"] == "by priority"
    assert out["cached"] is False
    assert out["degraded"] == []
    assert json.loads(Native().render(response, explanation(degraded=("seed",))))["degraded"] == ["seed"]


def test_R101_a_stream_ends_with_the_explanation_and_an_error_does_not() -> None:
    renderer = Native().stream_renderer(parse(prompt="x", stream=True), target(), Wire.OPENAI_CHAT)
    raw = renderer.event(StreamEvent(b"", ChatDelta(text="Hel")))
    assert raw == b'event: delta\ndata: {"text":"Hel"}\n\n'
    assert renderer.event(StreamEvent(b"", ChatDelta(finish_reason=FinishReason.STOP))) == b""
    done = renderer.end(explanation)
    assert done.startswith(b"event: done\n")
    assert json.loads(done.split(b"data: ")[1])["finish_reason"] == "stop"
    broken = renderer.error(from_upstream(StreamTruncated("cut")), "req_1")
    assert json.loads(broken.split(b"data: ")[1])["error"]["code"] == "upstream_truncated"
