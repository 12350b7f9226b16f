"""One rule for text that others wrote: lists of models, webhooks, endpoints and files. It is kept as it is, cleaned, or refused.

Plain is what a person sees as it is stored: no control characters (NUL, CR, LF), none that turn or hide the text around them (U+202E,
U+200B), no halves of a surrogate pair, no blanks at the ends.
"""

from __future__ import annotations


def is_plain(text: str) -> bool:
    """Whether the text may be a name or an identifier. Empty text is."""
    return text.isprintable() and text == text.strip()


def plain(text: str, longest: int) -> str:
    """The text as people may be shown it: what is not plain becomes a blank or nothing."""
    kept = ("".join(sign if sign.isprintable() else " " if sign.isspace() else "" for sign in text[: 4 * longest])).split()
    return " ".join(kept)[:longest].rstrip()


def spelt(text: str, longest: int = 60) -> str:
    r"""The text in a message about it: what is not plain as its code (``\x00``, ``\u202e``), cut."""
    spelling = text[: longest + 1].encode("unicode_escape").decode("ascii") if not is_plain(text[: longest + 1]) else text
    return spelling if len(spelling) <= longest else spelling[:longest] + "..."
