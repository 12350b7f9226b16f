"""Exchanges that nobody can have through this gateway, on purpose: told by the shape of the request, each with its reason.

Their answers are judged like all others; what is explained is that the gateway would not send such a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from providers.upstream.types import Wire
from tests.conformance.exchange import Exchange
from tests.conformance.route import Operation, Way


@dataclass(frozen=True, slots=True)
class Explained:
    """``fits`` tells the shape; ``reason`` is a sentence for people."""

    fits: Callable[[Exchange, Way], bool]
    reason: str


def explanation_of(exchange: Exchange, way: Way) -> str:
    """Empty where the gateway has no excuse."""
    return next((row.reason for row in EXPLAINED if row.fits(exchange, way)), "")


_MODEL_IN_BODY = frozenset({Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES})
_MODEL_IN_PATH = ("/models/", "/deployments/")
_INFERENCE = frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS})


def _names_no_model(exchange: Exchange, way: Way) -> bool:
    return (
        way.is_asked
        and way.operation in _INFERENCE
        and way.wire in _MODEL_IN_BODY
        and isinstance(exchange.request_body, dict)
        and not exchange.request_body.get("model")
        and not any(word in exchange.path for word in _MODEL_IN_PATH)
    )


EXPLAINED: tuple[Explained, ...] = (
    Explained(
        _names_no_model,
        "The request names no model (a prompt stored at the provider chooses it): it can be neither routed nor priced, so it is refused.",
    ),
)
