"""What every official client is asked to do, whatever its words for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

WEATHER_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER_QUESTION = "What is the weather?"
SUNNY = "Sunny, 21 degrees"
OUTPUT_TOKENS = 500
TIMEOUT_S = 20.0
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER_SCHEMA},
}
OPENAI_CHOICE = {"type": "function", "function": {"name": "get_weather"}}


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as the client's own objects tell it. ``calls`` are pairs of a tool's name and its decoded arguments; tokens
    are counted as the client's API counts them; ``finish`` is the client's own word."""

    text: str
    finish: str
    input_tokens: int | None
    output_tokens: int | None
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation so far: ``turns`` are questions and answers in turn, a question last. ``picture`` is the base64 of a PNG
    shown with the last question."""

    turns: tuple[str, ...]
    system: str = ""
    stop: tuple[str, ...] = ()
    picture: str = ""

    def as_openai(self) -> list[dict[str, Any]]:
        """The messages of OpenAI's chat completions."""
        said = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(self.turns)]
        if self.picture:
            shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{self.picture}"}}
            said[-1]["content"] = [{"type": "text", "text": self.turns[-1]}, shown]
        return [{"role": "system", "content": self.system}, *said] if self.system else said


@dataclass
class OfficialClient(ABC):
    """``refusals`` names the class of the exception for each HTTP status, ``breaks`` what a stream that breaks off raises.
    ``cached_are_input``: the input tokens of this API include those read from a cache; ``thoughts_are_output`` likewise.
    ``adds_up_usage``: the client takes the sum of what the chunks of a stream tell."""

    base_url: str
    key: str

    name: ClassVar[str]
    stopped: ClassVar[str] = "stop"
    called: ClassVar[str] = "tool_calls"
    refusals: ClassVar[Mapping[int, type[Exception]]]
    breaks: ClassVar[type[Exception]]
    cached_are_input: ClassVar[bool] = True
    thoughts_are_output: ClassVar[bool] = True
    adds_up_usage: ClassVar[bool] = False

    def close(self) -> None:  # noqa: B027 - most keep nothing that must be ended
        """Ends what the client keeps open."""

    @abstractmethod
    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        """A whole text answer."""

    @abstractmethod
    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        """The next answer of a conversation."""

    @abstractmethod
    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        """The answer to ``WEATHER_QUESTION`` with ``get_weather`` forced, and what ``answer_tool`` needs to go on."""

    @abstractmethod
    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        """The answer after the tool said ``SUNNY``."""

    @staticmethod
    @abstractmethod
    def status_of(error: Exception) -> int:
        """The HTTP status the client tells of a refusal."""


@dataclass
class Pieces:
    """What a stream of OpenAI's chunks adds up to. Tool calls are put together by their index."""

    text: str = ""
    finish: str = ""
    names: dict[int, str] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    arguments: dict[int, str] = field(default_factory=dict)

    def add_call(self, index: int, call_id: str | None, name: str | None, arguments: str | None) -> None:
        self.ids[index] = self.ids.get(index) or call_id or ""
        self.names[index] = self.names.get(index, "") + (name or "")
        self.arguments[index] = self.arguments.get(index, "") + (arguments or "")

    def as_message(self) -> dict[str, Any]:
        calls = [
            {"id": self.ids[index], "type": "function", "function": {"name": self.names[index], "arguments": self.arguments[index]}}
            for index in sorted(self.ids)
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}


def tool_turn(message: Mapping[str, Any], calls: list[str]) -> list[dict[str, Any]]:
    """OpenAI's messages after the tools ``calls`` (their ids) were run."""
    results = [{"role": "tool", "tool_call_id": call_id, "content": SUNNY} for call_id in calls]
    return [{"role": "user", "content": WEATHER_QUESTION}, dict(message), *results]
