"""What every adapter implements, and the few rules they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from providers.upstream.adapters.translation import refusal
from providers.upstream.errors import CredentialLocked, UpstreamError
from providers.upstream.sse import SseEvent, SseParser
from providers.upstream.types import (
    AuthStyle,
    ChatDelta,
    ChatRequest,
    ChatResponse,
    CountTokensRequest,
    EmbeddingsRequest,
    EmbeddingsResponse,
    HttpRequest,
    HttpResponse,
    InferenceRequest,
    InferenceResponse,
    ModelListing,
    RateLimitState,
    Secret,
    Target,
    TokenCount,
    TokenUsage,
    Wire,
)


class EventParser(Protocol):
    """Cuts a stream of bytes into events. The raws of all events and the bytes still waiting add up to the input.

    Raises ``BodyTooLarge`` for an event above its size limit, however it arrives.
    """

    def feed(self, chunk: bytes) -> list[SseEvent]: ...

    def finish(self) -> list[SseEvent]: ...


class StreamParser(ABC):
    """Reads one stream. ``usage`` holds the latest figures even after ``feed`` raised."""

    __slots__ = ("is_complete", "upstream_id", "usage", "usage_is_final")

    def __init__(self) -> None:
        self.is_complete = False
        """The provider's own finish marker was seen: an end before it is a truncation."""
        self.usage = TokenUsage()
        self.usage_is_final = False
        """``usage`` covers the whole answer; earlier figures may be running totals."""
        self.upstream_id = ""

    @abstractmethod
    def feed(self, event: SseEvent) -> ChatDelta:
        """The meaning of one event. Raises ``UpstreamError`` subclasses for error events and ``InvalidBody``."""


class Adapter(ABC):
    """One upstream wire format. Pure: no HTTP client, no clock, no secrets."""

    wire: Wire
    not_streams: tuple[str, ...] = ("application/json", "text/html")
    """Content types that are no stream of this format, whatever the status says."""

    @abstractmethod
    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        """The call to make. Raises ``UnsupportedRequest`` naming the field this wire format cannot express."""

    @abstractmethod
    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        """A whole answer. Raises ``InvalidBody``, and the class of an error that came with a success status."""

    @abstractmethod
    def stream_parser(self) -> StreamParser:
        """A fresh parser for one stream."""

    def event_parser(self) -> EventParser:
        """How this wire format frames its streams: server-sent events unless it says otherwise."""
        return SseParser()

    def render_embeddings(self, request: EmbeddingsRequest, target: Target) -> HttpRequest:
        """The call that embeds. Raises ``UnsupportedRequest`` where the wire format has none."""
        raise refusal("embeddings", f"{target.provider.label} offers none")

    def parse_embeddings(self, request: EmbeddingsRequest, response: HttpResponse) -> EmbeddingsResponse:
        """A whole answer with one vector per input. Raises ``InvalidBody``."""
        raise refusal("embeddings")

    def render_count_tokens(self, request: CountTokensRequest, target: Target) -> HttpRequest:
        """The free call that counts input tokens. Raises ``UnsupportedRequest`` where the wire format has none."""
        raise refusal("count_tokens", f"{target.provider.label} does not count tokens")

    def parse_count_tokens(self, response: HttpResponse) -> TokenCount:
        """Raises ``InvalidBody``."""
        raise refusal("count_tokens")

    def render(self, request: InferenceRequest, target: Target) -> HttpRequest:
        """The call for any kind of request."""
        if isinstance(request, ChatRequest):
            return self.render_chat(request, target)
        if isinstance(request, EmbeddingsRequest):
            return self.render_embeddings(request, target)
        return self.render_count_tokens(request, target)

    def parse(self, request: InferenceRequest, response: HttpResponse) -> InferenceResponse:
        """The whole answer to ``request``."""
        if isinstance(request, ChatRequest):
            return self.parse_chat(response)
        if isinstance(request, EmbeddingsRequest):
            return self.parse_embeddings(request, response)
        return self.parse_count_tokens(response)

    @abstractmethod
    def parse_error(self, response: HttpResponse) -> UpstreamError:
        """The error behind an answer whose status is not a success."""

    @abstractmethod
    def render_models(self, cursor: str | None) -> HttpRequest:
        """The call that lists models: the zero-cost probe as well. ``cursor`` continues an earlier page."""

    @abstractmethod
    def parse_models(self, response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
        """The models of one page and the cursor of the next one. Raises ``InvalidBody``."""

    @abstractmethod
    def parse_rate_limit(self, headers: Mapping[str, str]) -> RateLimitState | None:
        """The provider's own limit as its headers tell it, ``None`` when they say nothing."""


_HEADERS = {AuthStyle.X_API_KEY: "x-api-key", AuthStyle.API_KEY: "api-key", AuthStyle.X_GOOG_API_KEY: "x-goog-api-key"}


def credential_headers(style: AuthStyle, secret: Secret) -> dict[str, str]:
    """The header that carries a key. Raises ``CredentialLocked`` when no header can carry it; the key is never echoed."""
    if style is AuthStyle.NONE:
        return {}
    key = secret.reveal().strip()
    if not key or not key.isascii() or not key.isprintable():
        raise CredentialLocked("the credential is empty or contains characters that no header may carry")
    if style is AuthStyle.BEARER:
        return {"authorization": f"Bearer {key}"}
    return {_HEADERS[style]: key}
