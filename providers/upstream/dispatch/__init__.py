"""The fail-over loop: targets in, answer and attempts out. Knows no money; every physical call goes through a ledger."""

from __future__ import annotations

from providers.upstream.dispatch.answers import StreamAnswer, WholeAnswer, answer, stream
from providers.upstream.dispatch.attempts import (
    AllTargetsFailed,
    AttemptLedger,
    AttemptOutcome,
    AttemptRecord,
    Billing,
    Ticket,
    Upstreams,
)
from providers.upstream.dispatch.presets import preset_bytes

__all__ = [
    "AllTargetsFailed",
    "AttemptLedger",
    "AttemptOutcome",
    "AttemptRecord",
    "Billing",
    "StreamAnswer",
    "Ticket",
    "Upstreams",
    "WholeAnswer",
    "answer",
    "preset_bytes",
    "stream",
]
