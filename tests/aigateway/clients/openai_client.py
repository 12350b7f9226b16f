"""OpenAI's own client."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import openai
from openai.types.chat import ChatCompletion

from tests.aigateway.clients.base import (
    OPENAI_CHOICE,
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
class OpenAIClient(OfficialClient):
    sdk: openai.OpenAI = field(init=False)

    name: ClassVar = "openai"
    refusals: ClassVar = {401: openai.AuthenticationError, 404: openai.NotFoundError, 503: openai.InternalServerError}
    breaks: ClassVar = openai.APIError

    def __post_init__(self) -> None:
        self.sdk = openai.OpenAI(base_url=f"{self.base_url}/v1", api_key=self.key, max_retries=0, timeout=TIMEOUT_S)

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return self._send(model, [{"role": "user", "content": prompt}], stream=stream)[0]

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        return self._send(model, talk.as_openai(), stream=stream, **({"stop": list(talk.stop)} if talk.stop else {}))[0]

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        question = [{"role": "user", "content": WEATHER_QUESTION}]
        return self._send(model, question, stream=stream, tools=[OPENAI_TOOL], tool_choice=OPENAI_CHOICE)

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        messages = tool_turn(turn, [call["id"] for call in turn["tool_calls"]])
        return self._send(model, messages, stream=stream, tools=[OPENAI_TOOL])[0]

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, openai.APIStatusError)
        return error.status_code

    def _send(self, model: str, messages: list[Any], *, stream: bool, **fields: Any) -> tuple[Heard, dict[str, Any]]:
        if stream:
            return self._read(model, messages, **fields)
        answer = self.sdk.chat.completions.create(model=model, messages=messages, max_completion_tokens=OUTPUT_TOKENS, **fields)
        return heard_of(answer), answer.choices[0].message.model_dump(exclude_none=True)

    def _read(self, model: str, messages: list[Any], **fields: Any) -> tuple[Heard, dict[str, Any]]:
        pieces, usage = Pieces(), None
        options = {"stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": OUTPUT_TOKENS}
        for chunk in self.sdk.chat.completions.create(model=model, messages=messages, **options, **fields):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.text += choice.delta.content or ""
                pieces.finish = choice.finish_reason or pieces.finish
                for call in choice.delta.tool_calls or ():
                    pieces.add_call(call.index, call.id, call.function.name, call.function.arguments)
        calls = tuple((pieces.names[index], json.loads(pieces.arguments[index])) for index in sorted(pieces.ids))
        counted = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        return Heard(pieces.text, pieces.finish, *counted, calls), pieces.as_message()


def heard_of(answer: ChatCompletion) -> Heard:
    [choice] = answer.choices
    calls = tuple((call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ())
    counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else (None, None)
    return Heard(choice.message.content or "", choice.finish_reason, *counted, calls)
