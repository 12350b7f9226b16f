"""What translating from one wire format to another may not lose in silence."""

from __future__ import annotations

from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import ChatRequest, EmbeddingsRequest


def refuse_untranslatable(request: ChatRequest | EmbeddingsRequest) -> None:
    """Raises ``UnsupportedRequest`` naming the first thing asked for that only the client's own wire format can carry."""
    if request.wire_only:
        raise refusal(min(request.wire_only))


def left_out(request: ChatRequest | EmbeddingsRequest, *more: str) -> tuple[str, ...]:
    """What a translation leaves out without changing the answer: the request's hints and ``more``, for ``HttpRequest.degraded``."""
    return tuple(sorted({*request.hints, *more}))


def refusal(field: str, reason: str = "") -> UnsupportedRequest:
    """The error that names a field the target's wire format cannot express; its words are ours and may be shown."""
    message = f"{field} cannot be expressed for this model{': ' + reason if reason else ''}"
    return UnsupportedRequest(message, status=400, provider_message=message)
