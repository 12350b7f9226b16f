"""Lists of names that people type: read in every form people write them, and matched by what they meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

ANY = "*"
NEAREST_MAX = 3
NAMES_COMPARED_MAX = 2_000
REMEMBERED_MAX = 4_096


class NamesInvalid(ValueError):
    """A typed list that cannot be meant; the text names the first wrong name and those near to it."""


@dataclass(frozen=True, slots=True)
class NameList:
    """What a list of names allows: a name exactly, a pattern with ``*`` whatever the case. Made once, asked often."""

    exact: frozenset[str]
    patterns: tuple[tuple[str, ...], ...] = ()
    _seen: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, names: Iterable[str]) -> NameList | None:
        """``None`` allows everything: an empty list, or one with ``*`` in it."""
        listed = frozenset(names)
        if not listed or any(is_pattern(name) and not name.strip(ANY) for name in listed):
            return None
        patterns = sorted(name for name in listed if is_pattern(name))
        return cls(listed.difference(patterns), tuple(tuple(pattern.casefold().split(ANY)) for pattern in patterns))

    def allows(self, *names: str) -> bool:
        """Whether one of ``names`` (a model's name and its address) is in the list."""
        if not self.exact.isdisjoint(names):
            return True
        return bool(self.patterns) and any(map(self._fits, names))

    def _fits(self, name: str) -> bool:
        seen = self._seen.get(name)
        if seen is None:
            if len(self._seen) >= REMEMBERED_MAX:  # contexts are chosen by clients
                self._seen.clear()
            folded = name.casefold()
            seen = self._seen[name] = any(_matches(parts, folded) for parts in self.patterns)
        return seen


def allows(allowed: NameList | None, *names: str) -> bool:
    return allowed is None or allowed.allows(*names)


def is_pattern(name: str) -> bool:
    return ANY in name


def _matches(parts: tuple[str, ...], name: str) -> bool:
    """``parts`` are what stands between the stars. Linear: each part is looked for once, behind the one before."""
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def split_names(typed: str | Iterable[str]) -> list[str]:
    """Single names from text: one a line, with commas, or as a JSON list; each once, in its order. Raises ``NamesInvalid``."""
    texts = [typed] if isinstance(typed, str) else typed
    return list(dict.fromkeys(name for text in texts for name in _split(text)))


def _split(text: str) -> list[str]:
    text = text.strip()
    if text.startswith("["):
        return _from_json(text)
    names = (name.strip().strip("\"'").strip() for line in text.splitlines() for name in line.split(","))
    return [name for name in names if name]


def _from_json(text: str) -> list[str]:
    try:
        listed = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise NamesInvalid('This begins like a JSON list and is none: write ["one", "two"], or one name a line.') from None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise NamesInvalid("A JSON list of names holds texts only.")
    return [name.strip() for name in listed if name.strip()]


def understood(typed: Iterable[str], known: Collection[str], kept: Collection[str] = ()) -> list[str]:
    """``typed`` as the names that exist: another case is put right. Raises ``NamesInvalid`` for what matches nothing.

    ``kept`` are names that are stored already and stay valid whatever became of what they named.
    """
    by_folded: dict[str, list[str]] = {}
    for name in known:
        by_folded.setdefault(name.casefold(), []).append(name)
    return list(dict.fromkeys(name if name in kept or name in known else _meant(name, by_folded) for name in typed))


def _meant(name: str, by_folded: dict[str, list[str]]) -> str:
    folded = name.casefold()
    if is_pattern(name):
        parts = tuple(folded.split(ANY))
        if name.strip(ANY) and not any(_matches(parts, each) for each in by_folded):
            raise NamesInvalid(f"'{name[:200]}' matches nothing.{nearest(name, by_folded)}")
        return name
    found = by_folded.get(folded, [])
    if len(found) != 1:
        raise NamesInvalid(f"'{name[:200]}' matches nothing.{nearest(name, by_folded)}")
    return found[0]


def nearest(name: str, by_folded: dict[str, list[str]]) -> str:
    """What was probably meant, as a sentence; empty when nothing is near."""
    compared = sorted(by_folded)[:NAMES_COMPARED_MAX]
    folded = name.casefold()[:200]
    close = difflib.get_close_matches(folded, compared, n=NEAREST_MAX, cutoff=0.4)
    near = [each for match in close for each in by_folded[match]]
    if any(each.startswith(f"{folded}/") for each in by_folded):
        near.insert(0, f"{folded}/{ANY}")
    return f" Nearest: {', '.join(near)}." if near else ""
