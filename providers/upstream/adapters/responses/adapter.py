"""OpenAI Responses, as OpenAI, Azure, xAI, OpenRouter, DeepSeek, vLLM and llama.cpp answer them."""

from __future__ import annotations

from providers.upstream.adapters.base import StreamParser
from providers.upstream.adapters.json_values import encode
from providers.upstream.adapters.openai import OpenAIAdapter
from providers.upstream.adapters.responses.answer import parse_answer
from providers.upstream.adapters.responses.request import render_body
from providers.upstream.adapters.responses.stream import ResponsesStreamParser
from providers.upstream.types import ChatRequest, ChatResponse, HttpRequest, HttpResponse, Target, Wire

_JSON = {"content-type": "application/json"}


class ResponsesAdapter(OpenAIAdapter):
    """Errors, models and limits are those of the same hosts' chat completions."""

    wire = Wire.OPENAI_RESPONSES

    def render_chat(self, request: ChatRequest, target: Target) -> HttpRequest:
        body, degraded = render_body(request, target)
        return HttpRequest(path="/responses", body=encode(body), headers=_JSON, degraded=degraded)

    def parse_chat(self, response: HttpResponse) -> ChatResponse:
        return parse_answer(response)

    def stream_parser(self) -> StreamParser:
        return ResponsesStreamParser()
