"""What a service that speaks the Responses API is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import (
    ChatRequest,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)
from tests.providers.upstream import rig

ADAPTER = ADAPTERS[Wire.OPENAI_RESPONSES]
TOOL = ToolSpec("f", "Does it.", {"type": "object", "properties": {}})


def sent(request: ChatRequest) -> Any:
    call = ADAPTER.render_chat(request, rig.target())
    assert call.path == "/responses"
    return json.loads(call.body)


def test_a_conversation_becomes_items() -> None:
    request = rig.chat_request(
        messages=(
            Message(Role.SYSTEM, (TextPart("Be kind."),)),
            Message(Role.USER, (TextPart("Look"), ImagePart(data="QUJD", media_type="image/png"))),
            Message(Role.ASSISTANT, (ReasoningPart("Hm", "signed"), TextPart("Wait")), (ToolCall("c1", "f", "{}"),)),
            Message(Role.TOOL, (TextPart("one"),), tool_call_id="c1"),
        ),
        tools=(TOOL,),
    )
    assert sent(request)["input"] == [
        {"role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "auto"},
            ],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "Wait"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
    ]
    assert ADAPTER.render_chat(request, rig.target()).degraded == ("messages.reasoning",)


def test_U33_options_have_their_own_names_and_what_was_not_asked_is_not_there() -> None:
    request = rig.chat_request(
        stream=True,
        max_output_tokens=50,
        temperature=0.5,
        tools=(TOOL,),
        tool_choice=ToolChoice(ToolChoiceMode.NAMED, "f"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("person", {"type": "object"}, strict=True),
        reasoning_effort="low",
        logprobs=2,
        end_user="u",
    )
    body = sent(request)
    del body["input"]
    assert body == {
        "model": "gpt-4o-2024",
        "store": False,
        "stream": True,
        "max_output_tokens": 50,
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "strict": False, "description": "Does it.", "parameters": dict(TOOL.parameters)}],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "person", "schema": {"type": "object"}, "strict": True}},
        "reasoning": {"effort": "low"},
        "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
        "user": "u",
    }
    assert set(sent(rig.chat_request())) == {"model", "input", "store", "max_output_tokens"}


@pytest.mark.parametrize("fields", [{"stop": ("x",)}, {"choices": 2}, {"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}])
def test_what_the_format_has_no_word_for_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedRequest):
        sent(rig.chat_request(**fields))


def test_a_client_of_the_same_format_has_every_field_passed_on() -> None:
    body = {"model": "alias", "input": "Hi", "store": True, "tools": [{"type": "web_search"}], "max_output_tokens": 5000, "user": None}
    request = rig.from_client(Wire.OPENAI_RESPONSES, body, wire_only=frozenset({"tools[0]"}))
    expected = {"model": "gpt-4o-2024", "input": "Hi", "store": True, "tools": [{"type": "web_search"}], "max_output_tokens": 1000}
    assert sent(request) == expected
