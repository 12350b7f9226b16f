"""LangChain's client of OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import openai
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.aigateway.clients.base import OPENAI_TOOL, OUTPUT_TOKENS, SUNNY, TIMEOUT_S, WEATHER_QUESTION, Heard, OfficialClient, Talk


@dataclass
class LangChainClient(OfficialClient):
    name: ClassVar = "langchain-openai"
    refusals: ClassVar = {401: openai.AuthenticationError, 404: openai.NotFoundError, 503: openai.InternalServerError}
    breaks: ClassVar = openai.APIError
    adds_up_usage: ClassVar = True

    def chat(self, model: str) -> ChatOpenAI:
        return ChatOpenAI(
            model=model,
            base_url=f"{self.base_url}/v1",
            api_key=self.key,
            max_retries=0,
            timeout=TIMEOUT_S,
            max_tokens=OUTPUT_TOKENS,
            stream_usage=True,
        )

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return heard_of(send(self.chat(model), [HumanMessage(prompt)], stream=stream))

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        chat = self.chat(model)
        return heard_of(send(chat.bind(stop=list(talk.stop)) if talk.stop else chat, talk.as_openai(), stream=stream))

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        chat = self.chat(model).bind_tools([OPENAI_TOOL], tool_choice="get_weather")
        message = send(chat, [HumanMessage(WEATHER_QUESTION)], stream=stream)
        return heard_of(message), message

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        results = [ToolMessage(SUNNY, tool_call_id=call["id"]) for call in turn.tool_calls]
        messages = [HumanMessage(WEATHER_QUESTION), turn, *results]
        return heard_of(send(self.chat(model).bind_tools([OPENAI_TOOL]), messages, stream=stream))

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, openai.APIStatusError)
        return error.status_code


def send(chat: Any, messages: list[Any], *, stream: bool) -> AIMessage:
    if not stream:
        return chat.invoke(messages)
    first, *others = chat.stream(messages)
    for chunk in others:
        first += chunk
    return first


def heard_of(message: AIMessage) -> Heard:
    usage = message.usage_metadata or {}
    calls = tuple((call["name"], call["args"]) for call in message.tool_calls)
    finish = message.response_metadata.get("finish_reason", "")
    return Heard(message.text, finish, usage.get("input_tokens"), usage.get("output_tokens"), calls)
