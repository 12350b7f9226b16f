"""Vectors of embeddings answers that come as plain lists of numbers."""

from __future__ import annotations

from typing import Any

from providers.upstream.errors import InvalidBody


def vectors_of(rows: Any, expected: int) -> tuple[tuple[float, ...], ...]:
    """One vector per input. Raises ``InvalidBody`` for another number of them, and for whatever is no list of numbers."""
    if not isinstance(rows, list) or len(rows) != expected:
        raise InvalidBody(f"{len(rows) if isinstance(rows, list) else 'no'} vectors for {expected} inputs")
    return tuple(_vector(row) for row in rows)


def _vector(row: Any) -> tuple[float, ...]:
    if not isinstance(row, list) or not row or any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in row):
        raise InvalidBody("a vector that is no list of numbers")
    return tuple(float(number) for number in row)
