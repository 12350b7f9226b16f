"""Takes known secrets out of text that others wrote, before it is cut: what a cut leaves of a key is still a key.

Linear (faults.md, S34): fixed strings are searched for; the only pattern is one run of characters, which never tries twice. A
known secret shows as ``***``, also any part of it of eight characters or more, and what a cut leaves of it at either end. A text
that repeats one in disguise (encoded, or broken up by spaces) is withheld as a whole: nobody needs such a text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

READ_MAX: Final = 64 * 1024
"""Characters of a foreign text that are looked at; the rest is dropped."""
PART_MIN: Final = 8
"""The shortest part of a secret that is taken out wherever it stands."""
EDGE_MIN: Final = 4
"""The shortest part of a secret that is taken out at the end of a text that was cut."""
SECRET_MIN: Final = 8
"""A shorter one is a word: taking it out would only make texts unreadable."""
MASK: Final = "***"
WITHHELD: Final = "(withheld: the text repeats a secret)"

_FORM_PART: Final = 12
"""So much of an encoded form tells it, whatever a cut left of the rest."""
_MARKS: Final = ("bearer ", "gw_", "sk-", "whsec_", "sessionid=", "csrftoken=", "aiza")
"""What secrets nobody told us of begin with, in lower case. A path or a sentence has none of them followed by so long a word."""
_MARKED_MIN: Final = 16
_WORD: Final = re.compile(r"[A-Za-z0-9_.~+/=*-]+")


@dataclass(frozen=True, slots=True, repr=False)
class _Search:
    """A secret as it is looked for; ``disguises`` are the beginnings and ends of its encoded forms."""

    secret: str
    parts: tuple[str, ...]
    disguises: frozenset[str]


_own: dict[str, _Search] = {}


def remember(secrets: Iterable[str]) -> None:
    """From now on every text loses these too: the secrets of this process itself, which no caller need know."""
    for secret in _worth_it(secrets):
        _own[secret] = _search(secret)


def redact(text: str, secrets: Iterable[str] = (), limit: int = READ_MAX) -> str:
    """``text`` on one line without ``secrets`` and without what looks like a key, at most ``limit`` characters.

    ``secrets`` are plaintexts; those shorter than ``SECRET_MIN`` are ignored.
    """
    was_cut = len(text) > READ_MAX
    text = " ".join(text[:READ_MAX].split())
    joined = _joined(text)
    for search in (*map(_search, _worth_it(secrets)), *_own.values()):
        if _is_disguised(text, joined, search):
            return WITHHELD[:limit]
        text = _without(text, search, was_cut=was_cut)
    return _without_marked(text)[:limit]


def redact_lines(text: str, secrets: Iterable[str] = ()) -> str:
    """The same line by line, for traces of exceptions."""
    known = [*secrets]
    return "\n".join(line and line[: len(line) - len(line.lstrip())] + redact(line, known) for line in text[:READ_MAX].split("\n"))


def disguises(secret: str) -> frozenset[str]:
    """How ``secret`` reads in base64 (at any offset), in hexadecimal, percent-encoded, in JSON and backwards, where that differs."""
    raw = secret.encode("utf-8", "surrogatepass")
    quoted = quote(secret, safe="", errors="replace")
    forms = {quoted, quoted.lower(), json.dumps(secret)[1:-1], raw.hex(), raw.hex().upper(), secret[::-1]}
    forms |= {"".join(f"%{byte:02X}" for byte in raw), "".join(f"%{byte:02x}" for byte in raw)}
    forms.add("".join(f"\\u{ord(character):04x}" for character in secret))
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw).decode()
        inner = encoded[(0, 2, 3)[lead] :].rstrip("=")
        inner = inner if (lead + len(raw)) % 3 == 0 else inner[:-1]  # the last one also holds bits of what follows
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return frozenset(form for form in forms if form != secret and len(form) >= SECRET_MIN)


def _worth_it(secrets: Iterable[str]) -> set[str]:
    return {stripped for secret in secrets if len(stripped := secret.strip()) >= SECRET_MIN}


def _search(secret: str) -> _Search:
    parts = tuple(secret[start : start + PART_MIN] for start in range(len(secret) - PART_MIN + 1))
    pieces = {piece for form in disguises(secret) for piece in (form[:_FORM_PART], form[-_FORM_PART:]) if piece not in secret}
    return _Search(secret, parts, frozenset(pieces))


def _is_disguised(text: str, joined: str, search: _Search) -> bool:
    """Whether the secret is there encoded or broken up, but not as it is."""
    if any(piece in text for piece in search.disguises):
        return True
    if len(joined) == len(text):
        return False
    return any(part in joined and part not in text for part in search.parts)


def _joined(text: str) -> str:
    """Without spaces, escaped line ends and characters that nobody sees."""
    for gap in ("\\n", "\\r", "\\t", '"', "'", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad"):
        if gap in text:
            text = text.replace(gap, "")
    return "".join(text.split())


def _without(text: str, search: _Search, *, was_cut: bool) -> str:
    spans = [span for part in search.parts for span in _found(text, part)]
    if was_cut or text.endswith(("…", "...")):
        spans += _edges(text, search.secret)
    return _masked(text, sorted(spans)) if spans else text


def _found(text: str, part: str) -> Iterator[tuple[int, int]]:
    start = text.find(part)
    while start >= 0:
        yield start, start + len(part)
        start = text.find(part, start + 1)


def _edges(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """What a cut left of ``secret`` at the end of ``text``, and at its beginning."""
    end = len(text.rstrip("…."))
    for length in range(min(PART_MIN, len(secret)) - 1, EDGE_MIN - 1, -1):
        if text.endswith(secret[:length], 0, end):
            yield end - length, end
            break
    for length in range(min(PART_MIN, len(secret)) - 1, EDGE_MIN - 1, -1):
        if text.startswith(secret[-length:]):
            yield 0, length
            break


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end in spans:
        if start > at or not pieces:
            pieces += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _without_marked(text: str) -> str:
    """By structure: a long word behind a mark that keys begin with."""
    lowered = text.lower()
    if len(lowered) != len(text):
        return text  # a character whose lower case is two: positions would differ; known secrets are out already
    spans: list[tuple[int, int]] = []
    for mark in _MARKS:
        start = lowered.find(mark)
        while start >= 0:
            end = begin = start + len(mark)
            if word := _WORD.match(text, begin):
                end = word.end()
            begins_a_word = mark.endswith((" ", "=")) or not start or _WORD.match(text, start - 1, start) is None
            if begins_a_word and end - begin >= _MARKED_MIN:
                spans.append((begin, end))
            start = lowered.find(mark, end)
    return _masked(text, sorted(spans)) if spans else text
