"""The fail-over loop: targets in, answer and attempts out. Knows no money; every physical call goes through a ledger."""

from __future__ import annotations

from providers.upstream.dispatch.answers import ChatAnswer, StreamAnswer, chat, stream
from providers.upstream.dispatch.attempts import (
    AllTargetsFailed,
    AttemptLedger,
    AttemptOutcome,
    AttemptRecord,
    Billing,
    Ticket,
    Upstreams,
)

__all__ = [
    "AllTargetsFailed",
    "AttemptLedger",
    "AttemptOutcome",
    "AttemptRecord",
    "Billing",
    "ChatAnswer",
    "StreamAnswer",
    "Ticket",
    "Upstreams",
    "chat",
    "stream",
]
