"""What an answer says, in the plainest form: the common ground on which two readings of it are compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER = "stop", "length", "tool_calls", "content_filter"
BROKEN_OFF = "broken off"
"""The provider says itself that it could not finish: the answer must not look whole."""


@dataclass(slots=True)
class Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Turn:
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish: str | None = None
    calls: dict[int, Call] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """``usage`` has the buckets of ``TokenUsage`` by name. ``error`` is the provider's error object in a successful answer."""

    model: str = ""
    turns: dict[int, Turn] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    is_complete: bool = False

    def turn(self, index: int) -> Turn:
        return self.turns.setdefault(index, Turn())

    def plain(self) -> dict[str, Any]:
        """For comparison. A turn that says nothing is none. A bucket of zero and one that is not reported cost the same, except for
        the two that make a bill."""
        return {
            "model": self.model,
            "turns": {index: _plain_turn(turn) for index, turn in sorted(self.turns.items()) if turn != Turn()},
            "usage": {name: count for name, count in sorted(self.usage.items()) if count or name in ("input_tokens", "output_tokens")},
        }


def _plain_turn(turn: Turn) -> dict[str, Any]:
    return {
        "text": turn.text,
        "reasoning": turn.reasoning,
        "refusal": turn.refusal,
        "finish": turn.finish,
        "calls": [
            {"id": call.id, "name": call.name, "arguments": plain_arguments(call.arguments)} for _, call in sorted(turn.calls.items())
        ],
    }


def plain_arguments(text: str) -> Any:
    """The value where the text is JSON, else the text. Nothing at all is an empty object."""
    if not text.strip():
        return {}
    try:
        return json.loads(text)
    except ValueError:
        return text


def finish_of(word: Any, words: dict[str, str], *, has_calls: bool) -> str | None:
    """A turn that calls tools has finished with them, whatever the provider calls it (wire.md: Gemini, Ollama)."""
    if not isinstance(word, str) or not word:
        return None
    meaning = words.get(word, STOP)
    return TOOL_CALLS if has_calls and meaning == STOP else meaning


def whole(value: Any) -> int:
    """The count, zero where there is none."""
    return int(value) if _is_count(value) else 0


def has_count(usage: dict[str, Any], *names: str) -> bool:
    return any(_is_count(usage.get(name)) for name in names)


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value == int(value)
