"""Bodies made to keep a server busy, as large as the gateway takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aigateway.api.parsing import VALUES_MAX

LARGEST = 10 * 1024 * 1024
ROOM = 400
"""For what stands around the value of an attack."""
MANY = VALUES_MAX - 1_000


def values() -> Iterator[tuple[str, bytes]]:
    """JSON texts to stand as the value of some field."""
    room = LARGEST - ROOM
    yield "tiny lists, 10 MiB of them", b"[" + b"[]," * (room // 3 - 1) + b"[]]"
    yield "tiny lists, as many as pass", b"[" + b"[]," * (MANY // 2) + b"[]]"
    yield "small objects", b"[" + b",".join([b'{"a":{"b":[1]}}'] * (MANY // 6)) + b"]"
    yield "numbers", b"[" + b"1," * MANY + b"1]"
    yield "fractions", b"[" + b"1.2345678," * MANY + b"1]"
    yield "deep lists", b"[" * (room // 2) + b"]" * (room // 2)
    yield "levels up to the bound, again and again", b"[" + b",".join([b"[" * 60 + b"]" * 60] * (MANY // 121)) + b"]"
    yield "closed and never opened", b"]" * room
    yield "digits", b"9" * room
    yield "digits as text", b'"' + b"9" * (room - 2) + b'"'
    yield "line ends as escapes", b'"' + b"\\n" * ((room - 2) // 2) + b'"'
    yield "quotes as escapes", b'"' + b'\\"' * ((room - 2) // 2) + b'"'
    yield "letters as escapes", b'"' + b"\\u0041" * ((room - 2) // 6) + b'"'
    yield "pairs of surrogates as escapes", b'"' + b"\\ud83d\\ude00" * ((room - 2) // 12) + b'"'
    yield "backslashes", b'"' + b"\\\\" * ((room - 2) // 2) + b'"'
    yield "an unfinished escape", b'"' + b"\\" * (room - 1)
    yield "braces", b'"' + b"{" * (room - 2) + b'"'
    yield "placeholders", b'"' + b"{{a}}" * ((room - 2) // 5) + b'"'
    yield "letters beyond ASCII", b'"' + "\u00e9".encode() * ((room - 2) // 2) + b'"'
    yield "signs beyond 16 bits", b'"' + "\U0001f600".encode() * ((room - 2) // 4) + b'"'
    yield "many keys", b"{" + b",".join(b'"key%d":1' % number for number in range(MANY // 2)) + b"}"
    yield "one key again and again", b"{" + b",".join([b'"key":1'] * (MANY // 2)) + b"}"
    yield "one long key", b'{"' + b"k" * (room - 8) + b'":1}'
    yield "a picture", b'"data:image/png;base64,' + b"iVBORw0KGgo" * (room // 11 - 3) + b'"'
    yield "white space", b" " * (room - 1) + b"1"
    yield "surrogates without a partner", b"[" + b'"\\ud800",' * (MANY // 2) + b"1]"


def around(body: dict[str, Any], value: bytes, field: str = "metadata") -> bytes:
    """``body`` with ``value`` as one more field."""
    return json.dumps(body).encode()[:-1] + b',"' + field.encode() + b'":' + value + b"}"


def heavy_conversations() -> Iterator[tuple[str, str, bytes]]:
    """Name, path and body of requests that are in order, and large."""
    turn = {"role": "user", "content": "Hi, you."}
    tool = {"type": "function", "function": {"name": "f%d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    chat = "/v1/chat/completions"
    yield "10,000 messages", chat, _json({"model": "sim-small", "messages": [turn] * 10_000})
    parts = {"role": "user", "content": [{"type": "text", "text": "x"}] * 39_000}
    yield "39,000 parts", chat, _json({"model": "sim-small", "messages": [parts]})
    tools = [{**tool, "function": {**tool["function"], "name": f"f{number}"}} for number in range(256)]  # type: ignore[dict-item]
    yield "256 tools", chat, _json({"model": "sim-small", "messages": [turn], "tools": tools})
    yield "300 tools", chat, _json({"model": "sim-small", "messages": [turn], "tools": tools + tools[:44]})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgoA" * 780_000}}
    yield "a picture of 9 MiB", chat, _json({"model": "sim-small", "messages": [{"role": "user", "content": [picture]}]})
    yield "10 MiB of text", chat, _json({"model": "sim-small", "messages": [{"role": "user", "content": "word, " * 1_700_000}]})
    turns = [turn, {"role": "assistant", "content": "Yes."}] * 5_000
    yield "10,000 turns of Anthropic's", "/v1/messages", _json({"model": "sim-small", "max_tokens": 9, "messages": turns})
    contents = [{"role": role, "parts": [{"text": "Hi"}]} for role in ("user", "model")] * 5_000
    yield "10,000 turns of Google's", "/v1beta/models/sim-small:generateContent", _json({"contents": contents})
    yield "10,000 items of a response", "/v1/responses", _json({"model": "sim-small", "input": [turn] * 10_000})
    tokens = [[1] * 90] * 2_000
    yield "180,000 tokens to embed", "/v1/embeddings", _json({"model": "sim-embed", "input": tokens})


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
