"""Reading a scripted answer or stream with an adapter, as dispatch does."""

from __future__ import annotations

import json
from typing import Any

from providers.upstream.adapters import ADAPTERS, StreamParser
from providers.upstream.types import ChatDelta, HttpResponse, Wire


def response(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def events(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def read_stream(wire: Wire, stream: bytes) -> tuple[list[ChatDelta], StreamParser]:
    framing, meaning = ADAPTERS[wire].event_parser(), ADAPTERS[wire].stream_parser()
    return [meaning.feed(event) for event in [*framing.feed(stream), *framing.finish()]], meaning


def text_of(deltas: list[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def calls_of(deltas: list[ChatDelta]) -> list[tuple[str | None, str | None, str]]:
    """Id, name and joined arguments of every streamed call."""
    calls: dict[int, tuple[str | None, str | None, str]] = {}
    for delta in deltas:
        for call in delta.tool_calls:
            call_id, name, arguments = calls.get(call.index, (None, None, ""))
            calls[call.index] = (call_id or call.id, name or call.name, arguments + call.arguments)
    return [calls[index] for index in sorted(calls)]
