"""What OpenAI chat clients send, as types: msgspec refuses wrong ones and names the field."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class FunctionIn(msgspec.Struct):
    """``arguments`` may be an object: Mistral's clients send either."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCallIn(msgspec.Struct):
    """``function`` is missing on calls of other types, which only OpenAI knows."""

    id: str
    function: FunctionIn | None = None
    type: str = "function"
    extra_content: dict[str, Any] | None = None


class ImageUrlIn(msgspec.Struct):
    url: str
    detail: str | None = None


class ThoughtIn(msgspec.Struct):
    """A piece of a thinking part (Mistral)."""

    type: str
    text: str | None = None


class ThinkingBlockIn(msgspec.Struct):
    """Signed reasoning as LiteLLM and OpenAI-compatible doors of Anthropic carry it."""

    type: str
    thinking: str = ""
    signature: str | None = None
    data: str | None = None


class PartIn(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: ImageUrlIn | str | None = None
    refusal: str | None = None
    thinking: list[ThoughtIn] | str | None = None
    signature: str | None = None


class MessageIn(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[PartIn] | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[ThinkingBlockIn] | None = None


class ToolFunctionIn(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(msgspec.Struct):
    """Mistral's clients leave ``type`` out: there was only one."""

    type: str = "function"
    function: ToolFunctionIn | None = None


class NamedFunctionIn(msgspec.Struct):
    name: str


class NamedChoiceIn(msgspec.Struct):
    """``function`` is missing on choices of other types, which only OpenAI knows."""

    type: str
    function: NamedFunctionIn | None = None


class JsonSchemaIn(msgspec.Struct):
    """Perplexity and others ask for no name."""

    name: str = "response"
    schema: dict[str, Any] = {}
    strict: bool | None = None
    description: str | None = None


class ResponseFormatIn(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaIn | None = None


class StreamOptionsIn(msgspec.Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatIn(msgspec.Struct):
    model: str
    messages: list[MessageIn]
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    random_seed: int | None = None
    n: int | None = None
    tools: list[ToolIn] | None = None
    tool_choice: Literal["auto", "none", "required", "any"] | NamedChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatIn | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    service_tier: str | None = None
    models: list[str] | None = None
