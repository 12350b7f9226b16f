"""Usage objects of real traffic, put back into the shortest answer of their wire format that carries them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from providers.upstream.adapters import ADAPTERS, Adapter
from providers.upstream.adapters.base import StreamParser
from providers.upstream.types import ContextTier, HttpResponse, JsonObject, PriceCard, PriceWindow, TokenUsage, Wire

HERE = Path(__file__).parent
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
_encode = msgspec.json.Encoder(decimal_format="number").encode
_BLOCK = {"type": "text", "text": "ok"}
_TEXT = {"role": "assistant", "content": "ok"}


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    vendor: str
    wire: Wire
    shows: str
    stream: bool
    usages: list[JsonObject]
    card: PriceCard
    arithmetic: str
    nano: int
    at: datetime = NOON
    reported: Decimal | None = None
    disconnected: bool = False

    def __str__(self) -> str:
        return f"{self.id}-{self.vendor}-{self.shows}"


@cache
def cases() -> tuple[Case, ...]:
    rows = json.loads((HERE / "cases.json").read_text(), parse_float=Decimal)
    return tuple(_case(row) for row in rows)


def _case(row: JsonObject) -> Case:
    known = {**row, "wire": Wire(row["wire"]), "card": card(row["card"])}
    if "at" in row:
        known["at"] = datetime.fromisoformat(row["at"])
    if "reported" in row:
        known["reported"] = Decimal(row["reported"])
    return Case(**known)


@cache
def card(name: str) -> PriceCard:
    row = json.loads((HERE / "cards.json").read_text())[name]
    return PriceCard(
        id=1,
        **_rates(row),
        request_nano=_nano(row.get("request", "0")),
        context_tiers=tuple(_tier(tier) for tier in row.get("context_tiers", ())),
        windows=tuple(_window(window) for window in row.get("windows", ())),
        discount_ppm=int(Decimal(row.get("discount_percent", "0")) * 10_000),
    )


def _tier(row: JsonObject) -> ContextTier:
    return ContextTier(above_input_tokens=row["above_input_tokens"], **_rates(row))


def _window(row: JsonObject) -> PriceWindow:
    return PriceWindow(start=row["start"], end=row["end"], zone=row["zone"], **_rates(row))


_NO_RATES = ("request", "discount_percent", "context_tiers", "windows", "above_input_tokens", "start", "end", "zone")


def _rates(row: JsonObject) -> dict[str, Any]:
    return {f"{name}_nano_per_mtok": _nano(amount) for name, amount in row.items() if name not in _NO_RATES}


def _nano(dollars: str) -> int:
    return int(Decimal(dollars).scaleb(9))


# --------------------------------------------------------------------------- the real parsers


def usage_of(case: Case) -> TokenUsage:
    """What the adapter reads. A stream that broke off never has a final usage, every other one has."""
    adapter = ADAPTERS[case.wire]
    if not case.stream:
        return adapter.parse_chat(HttpResponse(200, {}, _encode(_whole(case.wire, case.usages[-1])))).usage
    parser = read_stream(adapter, b"".join(_events(case)))
    assert parser.usage_is_final is not case.disconnected
    return parser.usage


def read_stream(adapter: Adapter, body: bytes) -> StreamParser:
    events, parser = adapter.event_parser(), adapter.stream_parser()
    for event in [*events.feed(body), *events.finish()]:
        parser.feed(event)
    return parser


def _whole(wire: Wire, usage: JsonObject) -> JsonObject:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}
    return {
        Wire.OPENAI_CHAT: {"id": "c", "model": "m", "choices": [{"index": 0, "message": _TEXT, "finish_reason": "stop"}], **usage},
        Wire.OPENAI_RESPONSES: {"id": "r", "status": "completed", "output": [message], "usage": usage},
        Wire.ANTHROPIC_MESSAGES: {
            "type": "message",
            "content": [{"type": "text", "text": "ok"}],
            "stop_reason": "end_turn",
            "usage": usage,
        },
        Wire.GEMINI: {"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}], "usageMetadata": usage},
        Wire.COHERE: {"id": "c", "message": {"content": [_BLOCK]}, "finish_reason": "COMPLETE", "usage": usage},
        Wire.OLLAMA: {"message": _TEXT, "done": True, "done_reason": "stop", **usage},
    }[wire]


def _events(case: Case) -> list[bytes]:
    last = len(case.usages) - 1
    parts = [_part(case.wire, usage, place, is_last=place == last and not case.disconnected) for place, usage in enumerate(case.usages)]
    whole = [_start(case.wire), *parts]
    if not case.disconnected:
        whole += [b'data: {"type":"message_stop"}\n\n'] if case.wire is Wire.ANTHROPIC_MESSAGES else []
        whole += [b"data: [DONE]\n\n"] if case.wire is Wire.OPENAI_CHAT else []
    return whole


def _start(wire: Wire) -> bytes:
    return _event({"type": "response.created", "response": {"id": "r"}}) if wire is Wire.OPENAI_RESPONSES else b""


def _part(wire: Wire, usage: JsonObject, place: int, *, is_last: bool) -> bytes:
    match wire:
        case Wire.OPENAI_CHAT:
            choice = {"index": 0, "delta": _TEXT, "finish_reason": "stop" if is_last else None}
            return _event({"id": "c", "choices": [choice], **usage})
        case Wire.OPENAI_RESPONSES:
            return _event({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [], "usage": usage}})
        case Wire.ANTHROPIC_MESSAGES if place == 0:
            return _event({"type": "message_start", "message": {"id": "m", "usage": usage}})
        case Wire.ANTHROPIC_MESSAGES:
            return _event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
        case Wire.GEMINI:
            finish = {"finishReason": "STOP"} if is_last else {}
            return _event({"candidates": [{"content": {"parts": [{"text": "o"}]}, **finish}], "usageMetadata": usage})
        case Wire.COHERE:
            return _event({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}})
        case _:
            return _encode({"message": _TEXT, "done": True, "done_reason": "stop", **usage}) + b"\n"


def _event(body: JsonObject) -> bytes:
    return b"data: " + _encode(body) + b"\n\n"
