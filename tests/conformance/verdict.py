"""What is found out about one exchange, and the first difference between what was expected and what came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_LONG = 160


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    """The gateway has no such call; that it invents nothing from the answer is all that was judged."""
    EXPLAINED = "explained"
    """The gateway refuses such a request on purpose; ``tests.conformance.explained`` says why."""
    MALFORMED = "malformed"


class Difference(Exception):
    """``path`` names the field."""

    def __init__(self, path: str, expected: Any, got: Any) -> None:
        super().__init__(f"{path}: expected {_short(expected)}, got {_short(got)}")


class Refused(Exception):
    """On purpose the gateway does not ask what this recording asks; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``api`` and ``provider`` as the recording names them; ``difference`` is empty unless it failed, ``reason`` unless explained."""

    name: str
    provider: str
    api: str
    kind: str
    outcome: Outcome
    is_offered: bool = True
    difference: str = ""
    reason: str = ""


def expect(path: str, expected: Any, got: Any) -> None:
    """Raises ``Difference`` at the first place where the two values differ. True and 1 differ, 1 and 1.0 do not."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            if key not in got:
                raise Difference(f"{path}.{key}", expected[key], _Missing())
            if key not in expected:
                raise Difference(f"{path}.{key}", _Missing(), got[key])
            expect(f"{path}.{key}", expected[key], got[key])
    elif isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)):
        for index, (one, other) in enumerate(zip(expected, got, strict=False)):
            expect(f"{path}[{index}]", one, other)
        if len(expected) != len(got):
            raise Difference(f"{path}.length", len(expected), len(got))
    elif isinstance(expected, bool) is not isinstance(got, bool) or expected != got:
        raise Difference(path, expected, got)


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 40]}...{text[-30:]} ({len(text)} characters)"
