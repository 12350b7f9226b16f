"""What is said about rate limits: the limit, what is asked of it, how it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

WINDOW_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
SLOTS: Final = 120
"""A sliding window counts in so many slots (500 ms, 30 s, 12 min): memory is bounded whatever the limit, never more than the
limit fits into any window, and what was used is free again at most one slot late."""
REQUESTS: Final = "requests"
TOKENS: Final = "tokens"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as it binds one caller. ``key`` names its counter: the row, and for a tier the user as well.

    With ``burst`` a token bucket that holds so much and is refilled by ``limit`` per window; without, a sliding window.
    ``provider_id`` is set where only calls to that provider count.
    """

    key: str
    scope: str
    measure: str
    window: str
    limit: int
    burst: int | None = None
    provider_id: int | None = None

    @property
    def window_ms(self) -> int:
        return WINDOW_MS[self.window]

    @property
    def capacity(self) -> int:
        """The most that fits at once; 0 blocks."""
        return 0 if self.limit == 0 else self.burst or self.limit

    @property
    def name(self) -> str:
        """``100 requests per minute of the user``, for people."""
        at_once = "" if self.burst is None else f" (at most {self.burst} at once)"
        whose = "whole gateway" if self.scope == "gateway" else self.scope
        return f"{self.limit} {self.measure} per {self.window}{at_once} of the {whose}"

    def share(self, processes: int) -> Limit:
        """What one of so many processes enforces alone, at least 1 of what is not blocked."""
        if self.limit == 0:
            return self
        burst = None if self.burst is None else max(1, self.burst // processes)
        return replace(self, limit=max(1, self.limit // processes), burst=burst)


@dataclass(frozen=True, slots=True)
class Ask:
    """``amount`` of a limit; 0 only looks. In a correction: what to add, or give back where negative, to what was taken at
    ``taken_at_ms``."""

    limit: Limit
    amount: int
    taken_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """How a limit stands after the decision.

    ``reset_ms``: until nothing counts any more. ``wait_ms``: until what was asked would fit, 0 where it does, ``None`` where it
    never will. ``at_ms`` is the counter's own clock, which never goes back.
    """

    limit: Limit
    remaining: int
    reset_ms: int
    wait_ms: int | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about all that was asked at once, as it was asked. ``is_shared``: made for all processes together, else for
    this one."""

    admitted: bool
    asks: tuple[Ask, ...]
    states: tuple[State, ...]
    is_shared: bool


class Mode(StrEnum):
    """``take``: all or nothing. ``correct``: without question, also beyond a limit."""

    TAKE = "take"
    CORRECT = "correct"


class RateLimitExceeded(Exception):
    """The caller has used what its limits allow. ``limit`` is the one to wait longest for; ``wait_ms is None``: waiting never helps."""

    def __init__(self, limit: Limit, wait_ms: int | None) -> None:
        super().__init__(limit.name)
        self.limit = limit
        self.wait_ms = wait_ms
