"""Rate limits counted in this process: the twin of the Redis script, decision for decision (``usage.limits.scripts``)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from usage.limits.types import SLOTS, Ask, Limit, Mode, State, Verdict

COUNTERS_MAX: Final = 10_000
"""Counters kept before those without any use are looked for and dropped."""
_TINY: Final = 1e-6
"""Below this a fraction is rounding: a bucket that was waited for to the millisecond has room."""


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass(slots=True)
class _Counter:
    """``slots`` come in the order of time."""

    at_ms: int
    empty_at_ms: int
    used: float = 0
    slots: dict[int, int] = field(default_factory=dict)

    def advance(self, limit: Limit, now_ms: int) -> None:
        """Forgets what has left the window, or drains. Time never goes back here."""
        elapsed_ms = max(0, now_ms - self.at_ms)
        self.at_ms += elapsed_ms
        if limit.burst is None:
            oldest = (self.at_ms - limit.window_ms) // (limit.window_ms // SLOTS)
            while self.slots and (slot := next(iter(self.slots))) < oldest:
                self.used -= self.slots.pop(slot)
            return
        self.used -= elapsed_ms * limit.limit / limit.window_ms
        if self.used <= _TINY:
            self.used, self.empty_at_ms = 0, self.at_ms

    def add(self, ask: Ask) -> None:
        """Adds, also beyond the limit; gives back what still counts."""
        amount, gives_back = ask.amount, ask.amount < 0
        if ask.limit.burst is not None:
            if not gives_back or ask.taken_at_ms >= self.empty_at_ms:
                self.used = max(0.0, self.used + amount)
            return
        slot = (ask.taken_at_ms if gives_back else self.at_ms) // (ask.limit.window_ms // SLOTS)
        if gives_back:
            amount = -min(-amount, self.slots.get(slot, 0))
        if amount:
            self.slots[slot] = self.slots.get(slot, 0) + amount
            self.used += amount

    def wait_ms(self, ask: Ask) -> int | None:
        limit = ask.limit
        excess = self.used + ask.amount - limit.capacity
        if ask.amount == 0 or excess <= _TINY:
            return 0
        if ask.amount > limit.capacity:
            return None
        if limit.burst is not None:
            return math.ceil((excess - _TINY) * limit.window_ms / limit.limit)
        leaving = next(slot for slot in self.slots if (excess := excess - self.slots[slot]) <= 0)
        return self._free_at_ms(limit, leaving) - self.at_ms

    def reset_ms(self, limit: Limit) -> int:
        if self.used <= 0:
            return 0
        if limit.burst is None:
            return self._free_at_ms(limit, next(reversed(self.slots))) - self.at_ms
        return 0 if limit.limit == 0 else math.ceil(self.used * limit.window_ms / limit.limit)

    @staticmethod
    def _free_at_ms(limit: Limit, slot: int) -> int:
        return (slot + 1) * (limit.window_ms // SLOTS) + limit.window_ms


class MemoryBuckets:
    """Safe to use from any thread. ``clock`` is milliseconds that never go back."""

    def __init__(self, clock: Callable[[], int] = monotonic_ms) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str, bool], tuple[_Counter, Limit]] = {}
        self._look_above = COUNTERS_MAX

    def apply(self, mode: Mode, asks: tuple[Ask, ...]) -> Verdict:
        with self._lock:
            now_ms = self._clock()
            counted = [(self._counter(ask.limit, now_ms), ask) for ask in asks]
            waits = [0 if mode is Mode.CORRECT else counter.wait_ms(ask) for counter, ask in counted]
            admitted = not any(wait != 0 for wait in waits)
            if admitted:
                for counter, ask in counted:
                    if ask.amount:
                        counter.add(ask)
                        self._counters[_name(ask.limit)] = (counter, ask.limit)
                self._drop_unused(now_ms)
            states = tuple(_state(counter, ask, wait) for (counter, ask), wait in zip(counted, waits, strict=True))
        return Verdict(admitted, asks, states, is_shared=False)

    def _counter(self, limit: Limit, now_ms: int) -> _Counter:
        found = self._counters.get(_name(limit))
        counter = _Counter(now_ms, empty_at_ms=now_ms) if found is None else found[0]
        counter.advance(limit, now_ms)
        return counter

    def _drop_unused(self, now_ms: int) -> None:
        """Looks again once there are twice as many, or a process with many callers would look at all of them for each call."""
        if len(self._counters) <= self._look_above:
            return
        for counter, limit in self._counters.values():
            counter.advance(limit, now_ms)
        self._counters = {name: kept for name, kept in self._counters.items() if kept[0].used > 0}
        self._look_above = max(COUNTERS_MAX, 2 * len(self._counters))


def _name(limit: Limit) -> tuple[str, str, bool]:
    return limit.key, limit.window, limit.burst is None


def _state(counter: _Counter, ask: Ask, wait_ms: int | None) -> State:
    remaining = max(0, math.floor(ask.limit.capacity - counter.used + _TINY))
    return State(ask.limit, remaining, counter.reset_ms(ask.limit), wait_ms, counter.at_ms)
