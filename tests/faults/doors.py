"""Every POST path of the inference surface, a body it accepts, and how each says no."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from tests.aigateway.conftest import LiveGateway

TURN = {"role": "user", "content": "Hello"}
CONTENT = {"role": "user", "parts": [{"text": "Hello"}]}


def _openai(body: Any) -> bool:
    return {"message", "type", "code", "param"} <= set(body["error"])


def _anthropic(body: Any) -> bool:
    return body["type"] == "error" and {"type", "message"} <= set(body["error"])


def _google(body: Any) -> bool:
    return isinstance(body["error"]["code"], int) and body["error"]["status"].isupper()


@dataclass(frozen=True)
class Door:
    """``own_words`` recognises this format's error envelope. ``model`` in the path stands as ``{model}``."""

    path: str
    body: dict[str, Any]
    own_words: Callable[[Any], bool]

    def raw(self, **changes: Any) -> bytes:
        return json.dumps({**self.body, **changes}).encode()

    def post(self, gateway: LiveGateway, raw: bytes, *, content_type: str | None = "application/json", query: str = "") -> httpx.Response:
        headers = {} if content_type is None else {"Content-Type": content_type}
        return gateway.client.post(self.path.format(model="sim-small") + query, content=raw, headers=headers)


DOORS = {
    "chat": Door("/v1/chat/completions", {"model": "sim-small", "messages": [TURN]}, _openai),
    "generate": Door("/api/v1/ai/generate", {"model": "sim-small", "prompt": "Hello"}, _openai),
    "messages": Door("/v1/messages", {"model": "sim-small", "max_tokens": 20, "messages": [TURN]}, _anthropic),
    "count_tokens": Door("/v1/messages/count_tokens", {"model": "sim-small", "messages": [TURN]}, _anthropic),
    "embeddings": Door("/v1/embeddings", {"model": "sim-small", "input": "Hello"}, _openai),
    "gemini": Door("/v1beta/models/{model}:generateContent", {"contents": [CONTENT]}, _google),
    "gemini_stream": Door("/v1beta/models/{model}:streamGenerateContent", {"contents": [CONTENT]}, _google),
    "gemini_count": Door("/v1beta/models/{model}:countTokens", {"contents": [CONTENT]}, _google),
    "gemini_embed": Door("/v1beta/models/{model}:embedContent", {"content": CONTENT}, _google),
    "gemini_embeds": Door("/v1beta/models/{model}:batchEmbedContents", {"requests": [{"content": CONTENT}]}, _google),
}
