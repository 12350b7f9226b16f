"""OpenAI chat completions, as clients send it (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aigateway.dialects.base import DEFAULT_CONTEXT, Call, Explanation, decode, now_s, refuse_unknown
from aigateway.dialects.openai_chat_shapes import ChatIn, MessageIn, NamedChoiceIn, PartIn, ResponseFormatIn, ToolIn
from aigateway.errors import GatewayError, invalid_request
from providers.upstream.types import (
    ChatChoice,
    ChatDelta,
    ChatRequest,
    ChatResponse,
    ImagePart,
    Message,
    Part,
    ResponseFormat,
    Role,
    SourceBody,
    StreamEvent,
    Target,
    TextPart,
    TokenUsage,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

_CANONICAL = frozenset(ChatIn.__struct_fields__)
# Labels for the provider's own books: another provider cannot use them, and the answer does not depend on them.
_LABELS = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
# Fields of OpenAI and of the common compatible servers (vLLM, llama.cpp, OpenRouter) that change the answer.
_EXTENSIONS = frozenset(
    [
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "modalities",
        "audio",
        "prediction",
        "verbosity",
        "web_search_options",
        "functions",
        "function_call",
        "top_k",
        "min_p",
        "top_a",
        "repetition_penalty",
        "length_penalty",
        "min_tokens",
        "stop_token_ids",
        "ignore_eos",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "structured_outputs",
        "chat_template_kwargs",
        "enable_thinking",
        "thinking",
        "reasoning",
        "reasoning_format",
        "reasoning_split",
        "grammar",
        "json_schema",
        "cache_prompt",
        "id_slot",
        "mirostat",
        "typical_p",
        "random_seed",
        "safe_prompt",
        "keep_alive",
        "options",
        "think",
        "plugins",
        "transforms",
        "route",
        "models",
        "provider",
    ]
)
_KNOWN = _CANONICAL | _LABELS | _EXTENSIONS
_MAX_MESSAGES = 10_000
_MAX_TOOLS = 256
_MAX_CHOICES = 16


class OpenAIChat:
    """The dialect of ``POST /v1/chat/completions``."""

    wire = Wire.OPENAI_CHAT

    def parse(self, body: bytes, context: str | None) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""
        typed, decoded = decode(body, ChatIn)
        refuse_unknown(decoded, _KNOWN)
        _check(typed)
        request = ChatRequest(
            model=typed.model,
            messages=tuple(_message(message, index) for index, message in enumerate(typed.messages)),
            body_bytes=len(body),
            stream=bool(typed.stream),
            include_usage=bool(typed.stream_options and typed.stream_options.include_usage),
            max_output_tokens=typed.max_completion_tokens or typed.max_tokens,
            temperature=typed.temperature,
            top_p=typed.top_p,
            stop=(typed.stop,) if isinstance(typed.stop, str) else tuple(typed.stop or ()),
            seed=typed.seed,
            choices=typed.n or 1,
            tools=tuple(_tool(tool) for tool in typed.tools or () if tool.function is not None),
            tool_choice=_tool_choice(typed.tool_choice),
            parallel_tool_calls=typed.parallel_tool_calls,
            response_format=_response_format(typed.response_format),
            reasoning_effort=typed.reasoning_effort,
            wire_only=_wire_only(typed, decoded),
            source=SourceBody(Wire.OPENAI_CHAT, decoded),
        )
        return Call(request, Wire.OPENAI_CHAT, context=context or DEFAULT_CONTEXT)

    def render(self, response: ChatResponse, explain: Explanation) -> bytes:
        """Same wire: the provider's own bytes. Otherwise a ``chat.completion`` object."""
        if response.wire is Wire.OPENAI_CHAT:
            return response.body
        return msgspec.json.encode(
            {
                "id": response.id or explain.request_id,
                "object": "chat.completion",
                "created": response.created_s or now_s(),
                "model": response.model,
                "choices": [_choice_out(choice) for choice in response.choices],
                "usage": usage_out(response.usage),
            }
        )

    def stream_renderer(self, call: Call, target: Target) -> OpenAIChatStream:
        return OpenAIChatStream(call.request.include_usage, target.provider.adapter is Wire.OPENAI_CHAT, target.upstream_model)


class OpenAIChatStream:
    """Chunks of one stream. Same-wire events pass byte for byte, except the usage event that only the gateway asked for."""

    def __init__(self, include_usage: bool, same_wire: bool, model: str) -> None:
        self._include_usage = include_usage
        self._same_wire = same_wire
        self._head: dict[str, Any] = {"id": "", "object": "chat.completion.chunk", "created": now_s(), "model": model}
        self._role_sent = False
        self._usage = TokenUsage()

    def event(self, event: StreamEvent) -> bytes:
        delta = event.delta
        if self._same_wire:
            only_usage = delta.usage is not None and not delta.has_content and delta.finish_reason is None
            return b"" if only_usage and not self._include_usage and b'"choices":[]' in event.raw.replace(b" ", b"") else event.raw
        if delta.id:
            self._head["id"] = delta.id
        if delta.model:
            self._head["model"] = delta.model
        if delta.usage is not None:
            self._usage = self._usage.merged_with(delta.usage)
        return self._translated(delta)

    def _translated(self, delta: ChatDelta) -> bytes:
        if not (delta.has_content or delta.finish_reason):
            return b""
        out: dict[str, Any] = {}
        if not self._role_sent:
            out["role"] = "assistant"
            self._role_sent = True
        if delta.text:
            out["content"] = delta.text
        if delta.reasoning:
            out["reasoning_content"] = delta.reasoning
        if delta.refusal:
            out["refusal"] = delta.refusal
        if delta.tool_calls:
            out["tool_calls"] = [_tool_delta_out(call.index, call.id, call.name, call.arguments) for call in delta.tool_calls]
        choice = {"index": delta.choice_index, "delta": out, "finish_reason": delta.finish_reason}
        return _sse({**self._head, "choices": [choice]})

    def end(self, explain: Callable[[], Explanation]) -> bytes:  # noqa: ARG002 - part of the StreamRenderer contract
        if self._same_wire:
            return b""
        usage = _sse({**self._head, "choices": [], "usage": usage_out(self._usage)}) if self._include_usage else b""
        return usage + b"data: [DONE]\n\n"

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return b"event: error\ndata: " + error.encoded(request_id) + b"\n\n"


def _sse(payload: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


# --------------------------------------------------------------------------- client -> canonical


def _check(typed: ChatIn) -> None:
    if not typed.model or len(typed.model) > 200:
        raise invalid_request("model: name a model, at most 200 characters.", param="model")
    if not typed.messages:
        raise invalid_request("messages: send at least one message.", param="messages", code="empty_array")
    if len(typed.messages) > _MAX_MESSAGES:
        raise invalid_request(f"messages: at most {_MAX_MESSAGES} messages.", param="messages")
    if len(typed.tools or ()) > _MAX_TOOLS:
        raise invalid_request(f"tools: at most {_MAX_TOOLS} tools.", param="tools")
    check_number("max_tokens", typed.max_tokens, 1, 10_000_000)
    check_number("max_completion_tokens", typed.max_completion_tokens, 1, 10_000_000)
    check_number("n", typed.n, 1, _MAX_CHOICES)
    check_number("temperature", typed.temperature, 0, 2)
    check_number("top_p", typed.top_p, 0, 1)
    check_number("seed", typed.seed, -(2**63), 2**63 - 1)


def check_number(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise invalid_request(f"{name}: use a number from {low} to {high}.", param=name)


def _message(message: MessageIn, index: int) -> Message:
    if message.role == "tool" and not message.tool_call_id:
        raise invalid_request(
            f"messages[{index}].tool_call_id: a tool message names the call it answers.", param=f"messages[{index}].tool_call_id"
        )
    return Message(
        role=Role.SYSTEM if message.role == "developer" else Role(message.role),
        parts=_parts(message.content, index),
        tool_calls=tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def _parts(content: str | list[PartIn] | None, index: int) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    parts: list[Part] = []
    for position, part in enumerate(content):
        where = f"messages[{index}].content[{position}]"
        if part.type == "text":
            if part.text is None:
                raise invalid_request(f"{where}.text: a text part has a text.", param=f"{where}.text")
            parts.append(TextPart(part.text))
        elif part.type == "image_url":
            if part.image_url is None:
                raise invalid_request(f"{where}.image_url: an image part has an image_url.", param=f"{where}.image_url")
            parts.append(image_part(part.image_url.url, part.image_url.detail))
    return tuple(parts)


def image_part(url: str, detail: str | None = None) -> ImagePart:
    """A ``data:`` URL is taken apart; any other URL is passed on and never fetched (S07)."""
    head, comma, payload = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64") and comma:
        return ImagePart(data=payload, media_type=head[5:-7] or "image/png", detail=detail)
    return ImagePart(url=url, detail=detail)


def _tool(tool: ToolIn) -> ToolSpec:
    function = tool.function
    assert function is not None
    return ToolSpec(function.name, function.description, function.parameters or {}, function.strict)


def _tool_choice(choice: str | NamedChoiceIn | None) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, NamedChoiceIn):
        return ToolChoice(ToolChoiceMode.NAMED, choice.function.name)
    return ToolChoice(ToolChoiceMode(choice))


def _response_format(wanted: ResponseFormatIn | None) -> ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat()
    if wanted.json_schema is None:
        raise invalid_request("response_format.json_schema: name a schema.", param="response_format.json_schema")
    return ResponseFormat(wanted.json_schema.name, wanted.json_schema.schema, wanted.json_schema.strict)


def _wire_only(typed: ChatIn, decoded: Mapping[str, Any]) -> frozenset[str]:
    """What no other wire format can honour; values that change nothing (null, false, 0, empty) do not count."""
    fields = {name for name in decoded if name in _EXTENSIONS and decoded[name]}
    fields.update(f"messages.content.{part.type}" for part in _all_parts(typed) if part.type not in ("text", "image_url", "refusal"))
    fields.update(f"tools.{tool.type}" for tool in typed.tools or () if tool.function is None)
    return frozenset(fields)


def _all_parts(typed: ChatIn) -> list[PartIn]:
    return [part for message in typed.messages if isinstance(message.content, list) for part in message.content]


# --------------------------------------------------------------------------- canonical -> client


def _tool_delta_out(index: int, call_id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    out: dict[str, Any] = {"index": index}
    function: dict[str, str] = {"arguments": arguments}
    if call_id is not None:
        out |= {"id": call_id, "type": "function"}
    if name is not None:
        function["name"] = name
    return out | {"function": function}


def _choice_out(choice: ChatChoice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or None, "refusal": choice.refusal}
    if choice.reasoning:
        message["reasoning_content"] = "".join(part.text for part in choice.reasoning)
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in choice.tool_calls
        ]
    elif choice.text == "":
        message["content"] = ""
    return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def usage_out(usage: TokenUsage) -> dict[str, Any] | None:
    """OpenAI's convention: cached tokens are inside ``prompt_tokens``, reasoning tokens inside ``completion_tokens``."""
    prompt, completion = usage.total_input_tokens, usage.total_output_tokens
    if prompt is None or completion is None:
        return None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }
