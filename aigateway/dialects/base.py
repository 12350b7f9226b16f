"""What the dialects share: strict decoding, field-named errors and the shape of a parsed call."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from aigateway.api.parsing import InvalidJson, parse_strict
from aigateway.errors import GatewayError, invalid_request
from providers.upstream.dispatch import AttemptRecord
from providers.upstream.types import ChatDelta, ChatRequest, ChatResponse, Plan, Policy, StreamEvent, Target, TokenUsage, Wire

DEFAULT_CONTEXT = "default"
T = TypeVar("T", bound=msgspec.Struct)
_CONTEXT = re.compile(r"[A-Za-z0-9_-]{1,50}")
_FIELD_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


@dataclass(frozen=True, slots=True)
class Call:
    """One parsed client call: the canonical request and what routing should respect."""

    request: ChatRequest
    dialect: Wire
    provider: str | None = None
    policy: Policy | None = None
    context: str = DEFAULT_CONTEXT
    allow_fallback: bool = True


@dataclass(frozen=True, slots=True)
class AttemptCost:
    """What one attempt cost in nano-dollars and whether that was measured or estimated."""

    record: AttemptRecord | None
    cost_nano: int
    measured: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything a client may know about how its answer came to be."""

    request_id: str
    target: Target
    plan: Plan
    attempts: tuple[AttemptRecord, ...]
    cost_nano: int
    cost_measured: bool
    usage: TokenUsage
    context: str


class StreamRenderer(Protocol):
    """Turns upstream events into the bytes of one client's stream. ``end`` is called after a real finish only."""

    def event(self, event: StreamEvent) -> bytes: ...

    def end(self, explain: Callable[[], Explanation]) -> bytes: ...

    def error(self, error: GatewayError, request_id: str) -> bytes: ...


class Dialect(Protocol):
    """One client wire format."""

    wire: Wire

    def parse(self, body: bytes, context: str | None) -> Call: ...

    def render(self, response: ChatResponse, explain: Explanation) -> bytes: ...

    def stream_renderer(self, call: Call, target: Target) -> StreamRenderer: ...


def decode(body: bytes, shape: type[T]) -> tuple[T, dict[str, Any]]:
    """The body as ``shape`` and as a plain object; raises ``GatewayError`` 400 that names the field and the mend."""
    try:
        decoded = parse_strict(body)
    except InvalidJson as error:
        raise invalid_request(str(error.detail), code=str(error.get_codes()), param=error.field) from None
    if not isinstance(decoded, dict):
        raise invalid_request("The body must be a JSON object.", code="invalid_json")
    try:
        return msgspec.convert(decoded, shape), decoded
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from None


def _field_error(text: str) -> GatewayError:
    found = _FIELD_PATH.search(text)
    if found is None:
        unknown = re.search(r"unknown field `([^`]*)`", text)
        missing = re.search(r"missing required field `([^`]*)`", text)
        name = unknown or missing
        return invalid_request(f"{text}.", param=name[1] if name else None)
    path = found["path"]
    reason = text[: found.start()]
    return invalid_request(f"{path}: {reason}.", param=path)


def refuse_unknown(decoded: Mapping[str, Any], known: frozenset[str]) -> None:
    """Unknown top-level fields are refused by name, never dropped: a misspelt limit must not look accepted (M06, S01)."""
    for name in decoded:
        if name not in known:
            raise invalid_request(f"'{name[:60]}' is not a field of this request.", param=name[:60], code="unknown_field")


def checked_context(context: str, where: str) -> str:
    """Raises ``GatewayError`` 400 unless ``context`` is a slug of at most 50 characters. ``where`` names its field or header."""
    if _CONTEXT.fullmatch(context) is None:
        raise invalid_request(f"{where}: use 1 to 50 letters, digits, '-' or '_'.", param=where)
    return context


def now_s() -> int:
    return int(time.time())


def ignored_delta(delta: ChatDelta) -> bool:
    """Nothing in it for a client of another wire format."""
    return not (delta.has_content or delta.finish_reason or delta.usage)
