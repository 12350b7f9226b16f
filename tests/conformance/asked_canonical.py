"""The gateway's own form of a request that came in a format no client of the gateway speaks (Ollama, Cohere, text generation)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from providers.upstream.types import (
    ChatRequest,
    EmbeddingsRequest,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    Role,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
)
from tests.conformance.asked import Asked, Turn
from tests.conformance.verdict import Refused

_EFFORTS = {"on": "high", "off": "none"}


def embeddings_request(asked: Asked) -> EmbeddingsRequest:
    return EmbeddingsRequest(asked.model, tuple(asked.inputs), body_bytes=0, dimensions=asked.dimensions)


def chat_request(asked: Asked) -> ChatRequest:
    """Raises ``Refused`` for content that has no place in it."""
    system = [Message(Role.SYSTEM, (TextPart(asked.system),))] if asked.system else []
    wanted = asked.format
    return ChatRequest(
        model=asked.model,
        messages=(*system, *_messages(asked.turns)),
        body_bytes=0,
        stream=asked.stream,
        max_output_tokens=asked.limit,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop=tuple(asked.stop),
        seed=asked.seed,
        tools=tuple(ToolSpec(tool.name, tool.description or None, tool.parameters or {}, tool.strict) for tool in asked.tools),
        tool_choice=_choice(asked.choice),
        response_format=None if wanted is None else ResponseFormat(schema=wanted.schema, strict=wanted.strict),
        reasoning_effort=_EFFORTS.get(asked.effort or "", asked.effort),
    )


def _choice(choice: str) -> ToolChoice | None:
    if choice == "auto":
        return None
    return ToolChoice(ToolChoiceMode.NAMED, choice[1:]) if choice.startswith("=") else ToolChoice(ToolChoiceMode(choice))


def _messages(turns: list[Turn]) -> Iterator[Message]:
    """Calls without an id get one, and so do their results: the first of that name that has none yet, else the first at all."""
    waiting: list[ToolCall] = []
    for number, turn in enumerate(turns):
        calls = [
            ToolCall(call.id or f"call_{number}_{index}", call.name, json.dumps(call.arguments)) for index, call in enumerate(turn.calls)
        ]
        waiting += calls
        answers = turn.answers or None
        if turn.role == "tool" and answers is None:
            asked = next((call for call in waiting if call.name == turn.name), waiting[0] if waiting else None)
            answers = asked.id if asked else None
        waiting = [call for call in waiting if call.id != answers]
        parts = ((ReasoningPart(turn.reasoning),) if turn.reasoning else ()) + tuple(_parts(turn))
        yield Message(Role(turn.role), parts, tuple(calls), answers, turn.name or None)


def _parts(turn: Turn) -> Iterator[Part]:
    for (kind, value), (after, detail) in zip(turn.pieces, [*turn.pieces, ("", None)][1:], strict=True):
        part = _part(kind, value) if kind != "detail" else None
        if isinstance(part, ImagePart) and after == "detail":
            part = replace(part, detail=detail)
        if part is not None:
            yield part


def _part(kind: str, value: str) -> Part:
    if kind == "text":
        return TextPart(value)
    if kind != "image":
        raise Refused(f"no client format of the gateway holds such content: {str(value)[:120]}")
    head, comma, payload = value.partition(",")
    if comma and head.startswith("data:"):
        return ImagePart(data=payload, media_type=head[5:].partition(";")[0])
    return ImagePart(url=value) if value.startswith("http") else ImagePart(data=value, media_type="image/png")
