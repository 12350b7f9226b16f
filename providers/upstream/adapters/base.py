"""What every adapter implements, and the few rules they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from providers.upstream.errors import CredentialLocked, UpstreamError
from providers.upstream.sse import SseEvent
from providers.upstream.types import (
    AuthStyle,
    ChatDelta,
    ChatRequest,
    ChatResponse,
    HttpRequest,
    HttpResponse,
    ModelListing,
    RateLimitState,
    Secret,
    Target,
    TokenUsage,
    Wire,
)


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

    @abstractmethod
    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        """The call to make. Raises ``UnsupportedRequest`` naming the field this wire format cannot express."""

    @abstractmethod
    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        """A whole answer. Raises ``InvalidBody``, and the class of an error that came with a success status."""

    @abstractmethod
    def stream_parser(self) -> StreamParser:
        """A fresh parser for one stream."""

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


def credential_headers(style: AuthStyle, secret: Secret) -> dict[str, str]:
    """The header that carries a key. Raises ``CredentialLocked`` when no header can carry it; the key is never echoed."""
    if style is AuthStyle.NONE:
        return {}
    key = secret.reveal().strip()
    if not key or not key.isascii() or not key.isprintable():
        raise CredentialLocked("the credential is empty or contains characters that no header may carry")
    if style is AuthStyle.BEARER:
        return {"authorization": f"Bearer {key}"}
    return {"x-api-key" if style is AuthStyle.X_API_KEY else "api-key": key}
