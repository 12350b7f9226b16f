"""Embeddings: a unit vector per text, the same every time for the same text."""

from __future__ import annotations

import base64
import hashlib
import math
import random
import struct

DIMENSIONS = 256
DIMENSIONS_MAX = 4096


def vector_of(text: str, dimensions: int | None) -> list[float]:
    """A vector of length one, exact in single precision, so that both encodings say the same."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    drawn = random.Random(seed)  # noqa: S311 - repeatable on purpose
    numbers = [drawn.gauss(0, 1) for _ in range(dimensions or DIMENSIONS)]
    length = math.sqrt(sum(number * number for number in numbers))
    return list(struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *(number / length for number in numbers))))


def as_base64(vector: list[float]) -> str:
    """Little-endian single-precision floats: https://platform.openai.com/docs/api-reference/embeddings ."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
