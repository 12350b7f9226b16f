"""Bytes of a fuzzer as a source of decisions, so that a corpus replays without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Each decision uses up one byte; when they are used up, every decision is the first."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def number(self, below: int) -> int:
        """0 to ``below - 1``."""
        if self._at >= len(self._raw):
            return 0
        self._at += 1
        return self._raw[self._at - 1] % below

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.number(min(len(options), 256))]

    def rest_after(self, size: int) -> bytes:
        """The bytes after the first ``size``, which stay decisions and repeat as often as needed."""
        rest, self._raw = self._raw[size:], self._raw[:size] * (1 + len(self._raw) // max(1, size)) if self._raw else b""
        return rest
