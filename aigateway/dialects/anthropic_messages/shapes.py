"""What Anthropic clients send, as types: msgspec refuses wrong ones and names the field.

Content blocks and tools stay plain objects in their lists, because the API has many kinds that only it understands; those
the gateway can translate have a shape here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class TurnIn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class ToolChoiceIn(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingIn(msgspec.Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class FormatIn(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfigIn(msgspec.Struct, forbid_unknown_fields=True):
    effort: str | None = None
    format: FormatIn | None = None


class MetadataIn(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str | None = None


class MessagesIn(msgspec.Struct):
    model: str
    messages: list[TurnIn]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoiceIn | None = None
    thinking: ThinkingIn | None = None
    output_config: OutputConfigIn | None = None
    output_format: FormatIn | None = None
    metadata: MetadataIn | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: dict[str, Any] | None = None
    container: str | dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    context_management: dict[str, Any] | None = None
    compaction: dict[str, Any] | None = None
    diagnostics: dict[str, Any] | None = None
    inference_geo: str | None = None
    speed: str | None = None


class TextIn(msgspec.Struct):
    text: str


class SourceIn(msgspec.Struct):
    type: str
    data: str | None = None
    media_type: str | None = None
    url: str | None = None


class ImageIn(msgspec.Struct):
    source: SourceIn


class DocumentIn(msgspec.Struct):
    source: dict[str, Any]


class ThinkingBlockIn(msgspec.Struct):
    thinking: str
    signature: str | None = None


class RedactedThinkingIn(msgspec.Struct):
    data: str


class ToolUseIn(msgspec.Struct):
    id: str
    name: str
    input: dict[str, Any]


class ToolResultIn(msgspec.Struct):
    tool_use_id: str
    content: str | list[dict[str, Any]] | None = None
    is_error: bool | None = None


class ToolIn(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
