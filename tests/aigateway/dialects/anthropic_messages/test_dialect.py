"""What Anthropic clients may send and what it means (R103)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.anthropic_messages.dialect import AnthropicCountTokens, AnthropicMessages
from aigateway.dialects.base import Sent
from aigateway.errors import GatewayError
from providers.upstream.types import (
    Capability,
    CountTokensRequest,
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

TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object"}}


def body(**fields: Any) -> bytes:
    base = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    return json.dumps({name: value for name, value in {**base, **fields}.items() if value is not ...}).encode()


def parse(raw: bytes, **headers: str) -> Any:
    sent = Sent({name.replace("_", "-"): value for name, value in headers.items()})
    return AnthropicMessages().parse(raw, None, sent).request


def refused(raw: bytes, **headers: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse(raw, **headers)
    return caught.value


def blocks(*content: dict[str, Any], role: str = "user") -> Any:
    return parse(body(messages=[{"role": "user", "content": "x"}, {"role": role, "content": [*content]}, {"role": "user", "content": "y"}]))


def test_a_plain_request_becomes_canonical_and_keeps_its_source() -> None:
    raw = body(system="Be brief.", temperature=0.5, top_p=0.9, stop_sequences=["END"], stream=True, metadata={"user_id": "u-1"})
    call = AnthropicMessages().parse(raw, "writing")
    request = call.request
    assert request.messages == (Message(Role.SYSTEM, (TextPart("Be brief."),)), Message(Role.USER, (TextPart("Hi"),)))
    assert (request.model, request.max_output_tokens, request.temperature, request.top_p) == ("m", 50, 0.5, 0.9)
    assert (request.stop, request.stream, request.end_user) == (("END",), True, "u-1")
    assert request.body_bytes == len(raw)
    assert (call.context, call.dialect) == ("writing", Wire.ANTHROPIC_MESSAGES)
    assert request.source is not None
    assert request.source.body == json.loads(raw)
    assert (request.wire_only, request.hints) == (frozenset(), frozenset())


def test_a_conversation_with_tools_images_and_thinking() -> None:
    request = parse(
        body(
            system=[{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A letter."}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "sig"},
                        {"type": "redacted_thinking", "data": "opaque"},
                        {"type": "thinking", "thinking": "unsigned", "signature": ""},
                        {"type": "text", "text": "I ask."},
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
                        {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "late"}]},
                        {"type": "text", "text": "And?"},
                    ],
                },
                {"role": "system", "content": "Still brief."},
                {"role": "user", "content": "Go on."},
            ],
            tools=[TOOL],
        )
    )
    parts = (TextPart("Look"), ImagePart(data="AAAA", media_type="image/png"), ImagePart(url="https://example.org/cat.png"))
    reasoning = (ReasoningPart("hm", "sig"), ReasoningPart("", "opaque", redacted=True), ReasoningPart("unsigned"))
    assert request.messages == (
        Message(Role.SYSTEM, (TextPart("One.\n\nTwo."),)),
        Message(Role.USER, (*parts, TextPart("A letter."))),
        Message(Role.ASSISTANT, (*reasoning, TextPart("I ask.")), (ToolCall("t1", "f", '{"a":1}'),)),
        Message(Role.TOOL, (TextPart("rain"),), tool_call_id="t1"),
        Message(Role.TOOL, (TextPart("late"),), tool_call_id="t2"),
        Message(Role.USER, (TextPart("And?"),)),
        Message(Role.SYSTEM, (TextPart("Still brief."),)),
        Message(Role.USER, (TextPart("Go on."),)),
    )
    assert request.tools == (ToolSpec("f", "does f", {"type": "object"}),)
    assert request.required_capabilities() == {Capability.CHAT, Capability.TOOLS, Capability.VISION}
    assert (request.wire_only, request.hints) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    ("choice", "meaning", "parallel"),
    [
        ({"type": "auto"}, ToolChoice(ToolChoiceMode.AUTO), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(ToolChoiceMode.REQUIRED), False),
        ({"type": "tool", "name": "f"}, ToolChoice(ToolChoiceMode.NAMED, "f"), None),
        ({"type": "none"}, ToolChoice(ToolChoiceMode.NONE), None),
    ],
)
def test_tool_choice(choice: dict[str, Any], meaning: ToolChoice, parallel: bool | None) -> None:
    request = parse(body(tools=[TOOL], tool_choice=choice))
    assert (request.tool_choice, request.parallel_tool_calls) == (meaning, parallel)


@pytest.mark.parametrize(
    ("fields", "effort", "hints"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", {"thinking.budget_tokens"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "medium", {"thinking.budget_tokens"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 30000}}, "high", {"thinking.budget_tokens"}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max", {"thinking.type=adaptive"}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None, {"thinking.type=adaptive", "thinking.display"}),
        ({"thinking": {"type": "disabled"}}, None, {"thinking.type=disabled"}),
        ({"output_config": {"effort": "low"}}, "low", set()),
    ],
)
def test_thinking_becomes_an_effort_where_that_is_honest(fields: dict[str, Any], effort: str | None, hints: set[str]) -> None:
    request = parse(body(**fields))
    assert (request.reasoning_effort, request.hints, request.wire_only) == (effort, hints, frozenset())


FORMAT = {"type": "json_schema", "schema": {"type": "object"}}


@pytest.mark.parametrize("fields", [{"output_config": {"format": FORMAT}}, {"output_format": FORMAT}])
def test_structured_output_in_its_newer_and_older_place(fields: dict[str, Any]) -> None:
    assert parse(body(**fields)).response_format == ResponseFormat(schema={"type": "object"}, strict=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"top_k": 5}, "top_k"),
        ({"container": "c1"}, "container"),
        ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, "mcp_servers"),
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type 'between_tools'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type 'web_search_20250305'"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "The"}]},
            "messages[1] (an answer to be continued)",
        ),
    ],
)
def test_what_only_this_wire_format_can_carry_is_named(fields: dict[str, Any], named: str) -> None:
    assert parse(body(**fields)).wire_only == {named}


@pytest.mark.parametrize(
    ("block", "role", "named"),
    [
        ({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}, "user", "type 'document'"),
        (
            {"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True}},
            "user",
            "type 'document'",
        ),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "user", "source.type 'file'"),
        ({"type": "search_result", "source": "x", "title": "y", "content": []}, "user", "type 'search_result'"),
        ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, "assistant", "type 'server_tool_use'"),
        ({"type": "tool_use", "id": "s", "name": "f", "input": {}, "caller": {"type": "code"}}, "assistant", "caller"),
    ],
)
def test_blocks_only_this_wire_format_can_carry_are_named(block: dict[str, Any], role: str, named: str) -> None:
    assert f"messages[1].content[0].{named}" in blocks(block, role=role).wire_only


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
        ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}, "cache_control"),
        ({"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]}, "cache_control"),
        ({"service_tier": "standard_only"}, "service_tier"),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, "context_management"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True}]}]},
            "is_error",
        ),
    ],
)
def test_marks_that_change_no_answer_are_hints(fields: dict[str, Any], hint: str) -> None:
    request = parse(body(**fields))
    assert (request.hints, request.wire_only) == ({hint}, frozenset())


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (body(model=...), "model"),
        (body(max_tokens=...), "max_tokens"),
        (body(max_tokens="5"), "max_tokens"),
        (body(max_tokens=-1), "max_tokens"),
        (body(messages=[]), "messages"),
        (body(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "user", "content": [{"text": "x"}]}]), "messages[0].content[0].type"),
        (body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
        (body(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]), "messages[0].content[0].source"),
        (body(messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]}]), "messages[0].content[0].input"),
        (body(system=[{"type": "image"}]), "system[0].type"),
        (body(temperature=1.5), "temperature"),
        (body(tools=[{"name": "f"}]), "tools[0].input_schema"),
        (body(tools=[TOOL] * 257), "tools"),
        (body(tool_choice={"type": "tool"}), "tool_choice.name"),
        (body(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (body(metadata={"team": "x"}), "metadata"),
        (body(fallbacks=[{"model": "dearer"}]), "fallbacks"),
        (body(max_token=5), "max_token"),
    ],
)
def test_B08_S01_a_wrong_or_unknown_field_is_named(raw: bytes, param: str) -> None:
    error = refused(raw)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("fields", [{"speed": "fast"}, {"inference_geo": "us"}])
def test_what_is_billed_above_the_list_price_is_refused(fields: dict[str, Any]) -> None:
    assert refused(body(**fields)).param == next(iter(fields))


def test_the_headers_the_body_needs_are_kept_and_no_others() -> None:
    request = parse(body(), anthropic_version="2023-06-01", anthropic_beta="a-1,b-2", x_api_key="secret", cookie="c")
    assert request.source.headers == {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2"}


@pytest.mark.parametrize("value", ["a\r\nx-api-key: stolen", "ä", "a;b", "x" * 1001, ""])
def test_B11_a_header_with_other_characters_is_refused(value: str) -> None:
    assert refused(body(), anthropic_beta=value).param == "anthropic-beta"


def test_counting_takes_the_body_without_options_of_generation() -> None:
    request = AnthropicCountTokens().parse(body(max_tokens=..., system="s", tools=[TOOL]), None).request
    assert isinstance(request, CountTokensRequest)
    assert request.required_capabilities() == {Capability.CHAT, Capability.TOOLS, Capability.COUNT_TOKENS}
    assert not request.stream
    with pytest.raises(GatewayError) as caught:
        AnthropicCountTokens().parse(body(), None)
    assert caught.value.param == "max_tokens"
