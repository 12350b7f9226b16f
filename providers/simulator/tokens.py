"""The simulator's tokeniser: deterministic, cheap and documented, so that anybody can recompute a bill by hand.

A text has one token per four UTF-8 bytes, rounded up. A message costs three more, an image 85. The input never has more
tokens than the request body has bytes.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 3
TOKENS_PER_IMAGE = 85


def count_bytes(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def count_text(text: str) -> int:
    return count_bytes(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))


def cut_text(text: str, tokens: int) -> str:
    """The longest beginning of ``text`` that has at most ``tokens`` tokens."""
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= tokens * BYTES_PER_TOKEN else encoded[: tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def split_text(text: str) -> list[tuple[str, int]]:
    """Pieces of about one token, each with the tokens of the text up to its end."""
    if text.isascii():
        return [(text[at : at + BYTES_PER_TOKEN], number) for number, at in enumerate(range(0, len(text), BYTES_PER_TOKEN), 1)]
    pieces: list[tuple[str, int]] = []
    size = start = begin = 0
    for at, character in enumerate(text):
        width = len(character.encode("utf-8", "replace"))
        if at > start and size + width - begin > BYTES_PER_TOKEN:
            pieces.append((text[start:at], count_bytes(size)))
            start, begin = at, size
        size += width
    pieces.append((text[start:], count_bytes(size)))
    return pieces
