"""What the dialects share: strict decoding, field-named errors and the shape of a parsed call."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec

from aigateway.api.parsing import InvalidJson, parse_strict
from aigateway.errors import GatewayError, invalid_request
from providers.upstream.dispatch import AttemptRecord
from providers.upstream.types import (
    ChatDelta,
    ChatRequest,
    InferenceRequest,
    InferenceResponse,
    Plan,
    Policy,
    StreamEvent,
    Target,
    TokenUsage,
    Wire,
)

DEFAULT_CONTEXT = "default"
T = TypeVar("T", bound=msgspec.Struct)
_CONTEXT = re.compile(r"[A-Za-z0-9_-]{1,50}")
_FIELD_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


@dataclass(frozen=True, slots=True)
class Sent:
    """What came beside the body. ``headers`` have lower-case names; ``path`` holds the URL's parameters."""

    headers: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)


NOTHING_SENT = Sent()


@dataclass(frozen=True, slots=True)
class Call:
    """One parsed client call: the canonical request and what routing should respect."""

    request: InferenceRequest
    dialect: Wire
    provider: str | None = None
    policy: Policy | None = None
    context: str = DEFAULT_CONTEXT
    allow_fallback: bool = True
    streams_end_in_usage: bool = False
    """The client's own provider reports usage at the end of every stream, asked for or not."""

    @property
    def chat(self) -> ChatRequest:
        """The request of a call that can stream."""
        assert isinstance(self.request, ChatRequest)
        return self.request


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
    degraded: tuple[str, ...] = ()
    """Fields of the request that the target has no use for and that were left out."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The client's body, for formats whose answers repeat it."""


class StreamRenderer(Protocol):
    """Turns upstream events into the bytes of one client's stream. ``end`` is called after a real finish only."""

    def event(self, event: StreamEvent) -> bytes: ...

    def end(self, explain: Callable[[], Explanation]) -> bytes: ...

    def error(self, error: GatewayError, request_id: str) -> bytes: ...


class Dialect(ABC):
    """One client wire format. ``keep_alive`` is what its clients read over while they wait for a stream's first content."""

    wire: Wire
    stream_content_type = "text/event-stream"
    keep_alive = b": keep-alive\n\n"

    @abstractmethod
    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        """Raises ``GatewayError`` (400) naming the field."""

    @abstractmethod
    def render(self, response: InferenceResponse, explain: Explanation) -> bytes:
        """The whole answer; the upstream's own bytes where ``response.wire`` is this format."""

    @abstractmethod
    def stream_renderer(self, call: Call, target: Target, wire: Wire) -> StreamRenderer:
        """``wire`` is the format of the upstream's events: the same one passes byte for byte."""

    def render_error(self, error: GatewayError, request_id: str) -> bytes:
        """A refusal as this format's clients expect it: OpenAI's envelope unless the format has its own."""
        return error.encoded(request_id)

    def render_stream_error(self, error: GatewayError, request_id: str) -> bytes:
        """The only event of a stream that failed after its status line and before any target answered."""
        return b"event: error\ndata: " + self.render_error(error, request_id) + b"\n\n"

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Headers this format's clients look for in every answer."""
        return {}


def decode(body: bytes, shape: type[T]) -> tuple[T, dict[str, Any]]:
    """The body as ``shape`` and as a plain object; raises ``GatewayError`` 400 that names the field and the mend."""
    decoded = parse_object(body)
    try:
        return msgspec.convert(decoded, shape), decoded
    except msgspec.ValidationError as error:
        raise field_error(str(error)) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a plain object. Raises ``GatewayError`` 400 naming the field."""
    try:
        decoded = parse_strict(body)
    except InvalidJson as error:
        raise invalid_request(str(error.detail), code=str(error.get_codes()), param=error.field, status=error.status_code) from None
    if not isinstance(decoded, dict):
        raise invalid_request("The body must be a JSON object.", code="invalid_json")
    return decoded


def field_error(text: str, where: str = "") -> GatewayError:
    """msgspec's complaint as a 400 that names the field; ``where`` is the path of the object it complained about."""
    found = _FIELD_PATH.search(text)
    if found is None:
        unknown = re.search(r"unknown field `([^`]*)`", text)
        missing = re.search(r"missing required field `([^`]*)`", text)
        name = unknown or missing
        inner = name[1] if name else ""
        return invalid_request(f"{where}: {text}." if where else f"{text}.", param=_joined(where, inner) or None)
    path = _joined(where, found["path"])
    reason = text[: found.start()]
    return invalid_request(f"{path}: {reason}.", param=path)


def _joined(where: str, inner: str) -> str:
    return f"{where}.{inner}" if where and inner else where or inner


def refuse_unknown(decoded: Mapping[str, Any], known: frozenset[str]) -> None:
    """Unknown top-level fields are refused by name, never dropped: a misspelt limit must not look accepted (M06, S01). Null asks
    for nothing: some clients send every field they know."""
    for name, value in decoded.items():
        if name not in known and value is not None:
            raise invalid_request(f"'{name[:60]}' is not a field of this request.", param=name[:60], code="unknown_field")


def beyond(where: str, given: Any, known: Collection[str]) -> set[str]:
    """The fields of an object that say something and are not ``known``, by their paths: another wire format would lose them."""
    fields = given if isinstance(given, Mapping) else {}
    return {f"{where}.{name[:60]}" for name, value in fields.items() if name not in known and value}


def check_number(name: str, value: float | None, low: float, high: float) -> None:
    """Raises ``GatewayError`` 400 naming the field when a given value is out of bounds."""
    if value is not None and not low <= value <= high:
        raise invalid_request(f"{name}: use a number from {low} to {high}.", param=name)


def checked_context(context: str, where: str) -> str:
    """Raises ``GatewayError`` 400 unless ``context`` is a slug of at most 50 characters. ``where`` names its field or header."""
    if _CONTEXT.fullmatch(context) is None:
        raise invalid_request(f"{where}: use 1 to 50 letters, digits, '-' or '_'.", param=where)
    return context


def thought_signature(call: Mapping[str, Any]) -> str | None:
    """Gemini's opaque state of a tool call, where Google's OpenAI-compatible API carries it
    (https://ai.google.dev/gemini-api/docs/thought-signatures): ``extra_content.google.thought_signature``."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) and signature else None


def now_s() -> int:
    return int(time.time())


def ignored_delta(delta: ChatDelta) -> bool:
    """Nothing in it for a client of another wire format."""
    return not (delta.has_content or delta.finish_reason or delta.usage)
