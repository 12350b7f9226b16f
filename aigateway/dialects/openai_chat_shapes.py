"""What OpenAI chat clients send, as types: msgspec refuses wrong ones and names the field."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class FunctionIn(msgspec.Struct):
    name: str
    arguments: str = "{}"


class ToolCallIn(msgspec.Struct):
    id: str
    function: FunctionIn
    type: Literal["function"] = "function"


class ImageUrlIn(msgspec.Struct):
    url: str
    detail: str | None = None


class PartIn(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: ImageUrlIn | None = None


class MessageIn(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[PartIn] | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class ToolFunctionIn(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(msgspec.Struct):
    type: str
    function: ToolFunctionIn | None = None


class NamedFunctionIn(msgspec.Struct):
    name: str


class NamedChoiceIn(msgspec.Struct):
    type: Literal["function"]
    function: NamedFunctionIn


class JsonSchemaIn(msgspec.Struct):
    name: str
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
    n: int | None = None
    tools: list[ToolIn] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatIn | None = None
    reasoning_effort: str | None = None
