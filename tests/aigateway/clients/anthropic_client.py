"""Anthropic's own client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import anthropic

from tests.aigateway.clients.base import OUTPUT_TOKENS, SUNNY, TIMEOUT_S, WEATHER_QUESTION, WEATHER_SCHEMA, Heard, OfficialClient, Talk

TOOL = {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER_SCHEMA}


@dataclass
class AnthropicClient(OfficialClient):
    sdk: anthropic.Anthropic = field(init=False)

    name: ClassVar = "anthropic"
    stopped: ClassVar = "end_turn"
    called: ClassVar = "tool_use"
    refusals: ClassVar = {401: anthropic.AuthenticationError, 404: anthropic.NotFoundError, 503: anthropic.InternalServerError}
    breaks: ClassVar = anthropic.APIStatusError
    cached_are_input: ClassVar = False

    def __post_init__(self) -> None:
        self.sdk = anthropic.Anthropic(base_url=self.base_url, api_key=self.key, max_retries=0, timeout=TIMEOUT_S)

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return heard_of(self._send(model, [{"role": "user", "content": prompt}], stream=stream))

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        messages = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(talk.turns)]
        if talk.picture:
            shown = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": talk.picture}}
            messages[-1]["content"] = [{"type": "text", "text": talk.turns[-1]}, shown]
        system = talk.system or anthropic.omit
        stops = list(talk.stop) or anthropic.omit
        return heard_of(self._send(model, messages, stream=stream, system=system, stop_sequences=stops))

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        question = [{"role": "user", "content": WEATHER_QUESTION}]
        choice = {"type": "tool", "name": "get_weather"}
        message = self._send(model, question, stream=stream, tools=[TOOL], tool_choice=choice)
        return heard_of(message), message

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": SUNNY} for block in turn.content if block.type == "tool_use"]
        messages = [
            {"role": "user", "content": WEATHER_QUESTION},
            {"role": "assistant", "content": turn.content},
            {"role": "user", "content": results},
        ]
        return heard_of(self._send(model, messages, stream=stream, tools=[TOOL]))

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, anthropic.APIStatusError)
        return error.status_code

    def _send(self, model: str, messages: list[Any], *, stream: bool, **fields: Any) -> anthropic.types.Message:
        if not stream:
            return self.sdk.messages.create(model=model, messages=messages, max_tokens=OUTPUT_TOKENS, **fields)
        with self.sdk.messages.stream(model=model, messages=messages, max_tokens=OUTPUT_TOKENS, **fields) as events:
            return events.get_final_message()


def heard_of(message: anthropic.types.Message) -> Heard:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = tuple((block.name, dict(block.input)) for block in message.content if block.type == "tool_use")
    return Heard(text, message.stop_reason or "", message.usage.input_tokens, message.usage.output_tokens, calls)
