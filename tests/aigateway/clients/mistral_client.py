"""Mistral's own client, which posts to the same path as OpenAI's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mistralai.client import Mistral
from mistralai.client.errors import MistralError, SDKError

from tests.aigateway.clients.base import (
    OPENAI_TOOL,
    OUTPUT_TOKENS,
    TIMEOUT_S,
    WEATHER_QUESTION,
    Heard,
    OfficialClient,
    Pieces,
    Talk,
    tool_turn,
)


@dataclass
class MistralClient(OfficialClient):
    sdk: Mistral = field(init=False)

    name: ClassVar = "mistralai"
    refusals: ClassVar = dict.fromkeys((401, 404, 503), SDKError)
    breaks: ClassVar = MistralError

    def __post_init__(self) -> None:
        self.sdk = Mistral(api_key=self.key, server_url=self.base_url, timeout_ms=int(TIMEOUT_S * 1000))

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return self._send(model, [{"role": "user", "content": prompt}], stream=stream)[0]

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        return self._send(model, talk.as_openai(), stream=stream, **({"stop": list(talk.stop)} if talk.stop else {}))[0]

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        question = [{"role": "user", "content": WEATHER_QUESTION}]
        return self._send(model, question, stream=stream, tools=[OPENAI_TOOL], tool_choice="any")

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        messages = tool_turn(turn, [call["id"] for call in turn["tool_calls"]])
        return self._send(model, messages, stream=stream, tools=[OPENAI_TOOL])[0]

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, MistralError)
        return error.status_code

    def _send(self, model: str, messages: list[Any], *, stream: bool, **fields: Any) -> tuple[Heard, dict[str, Any]]:
        if stream:
            return self._read(model, messages, **fields)
        answer = self.sdk.chat.complete(model=model, messages=messages, max_tokens=OUTPUT_TOKENS, **fields)
        [choice] = answer.choices
        calls = tuple((call.function.name, arguments_of(call)) for call in choice.message.tool_calls or ())
        heard = Heard(text_of(choice.message.content), choice.finish_reason, *counted(answer.usage), calls)
        return heard, choice.message.model_dump(exclude_none=True)

    def _read(self, model: str, messages: list[Any], **fields: Any) -> tuple[Heard, dict[str, Any]]:
        pieces, usage = Pieces(), None
        with self.sdk.chat.stream(model=model, messages=messages, max_tokens=OUTPUT_TOKENS, **fields) as events:
            for event in events:
                usage = event.data.usage or usage
                choice = event.data.choices[0]
                pieces.text += text_of(choice.delta.content)
                pieces.finish = choice.finish_reason or pieces.finish
                for call in choice.delta.tool_calls or ():
                    pieces.add_call(call.index or 0, call.id, call.function.name, call.function.arguments)
        calls = tuple((pieces.names[index], json.loads(pieces.arguments[index])) for index in sorted(pieces.ids))
        return Heard(pieces.text, pieces.finish, *counted(usage), calls), pieces.as_message()


def counted(usage: Any) -> tuple[int | None, int | None]:
    return (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)


def arguments_of(call: Any) -> dict[str, Any]:
    arguments = call.function.arguments
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def text_of(content: Any) -> str:
    """Content is a text, chunks of which some are text, or nothing."""
    return content if isinstance(content, str) else "".join(chunk.text for chunk in content or () if chunk.type == "text")
