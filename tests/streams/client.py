"""A client that reads bytes and believes nothing it was not sent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@dataclass(frozen=True, slots=True)
class Received:
    """``body`` is the answer without its transfer coding; ``cut`` when the connection broke instead of ending."""

    status: int
    body: bytes
    cut: bool

    @property
    def events(self) -> list[bytes]:
        """The data of each event, as the standard has it."""
        text = self.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = [block.split(b"\n") for block in text.split(b"\n\n")]
        return [line[5:].removeprefix(b" ") for block in blocks for line in block if line.startswith(b"data:")]


async def ask(host: str, port: int, key: str, dialect: str, model: str, seed: int) -> Received:
    body = {"model": model, "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": f"play {seed}"}]}
    if dialect == "openai":
        body["stream_options"] = {"include_usage": True}
    payload = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
        raw = await reader.read()
    finally:
        writer.close()
    answer, _, rest = raw.partition(b"\r\n\r\n")
    status = int(answer.split()[1])
    if b"transfer-encoding: chunked" not in answer.lower():
        return Received(status, rest, cut=False)
    decoded, complete = _unchunked(rest)
    return Received(status, decoded, cut=not complete)


def _unchunked(raw: bytes) -> tuple[bytes, bool]:
    parts = []
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return b"".join(parts), True
        parts.append(raw[:length])
        raw = raw[length + 2 :]
    return b"".join(parts), False


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a client of the dialect would make of it."""

    text: str
    has_finish: bool
    has_terminal: bool
    has_error: bool


def meaning(dialect: str, received: Received) -> Meaning:
    if received.status != 200:
        return Meaning("", has_finish=False, has_terminal=False, has_error=True)
    text, finish, done, error = "", False, False, False
    for payload in received.events:
        if payload == b"[DONE]":
            done = True
            continue
        try:
            event = json.loads(payload)
        except ValueError:
            raise AssertionError(f"an event that is no JSON: {payload!r} in {received.body[-300:]!r}") from None
        error = error or bool(event.get("error"))
        done = done or event.get("type") == "message_stop"
        if dialect == "openai":
            for choice in event.get("choices", ()):
                text += choice["delta"].get("content") or ""
                finish = finish or choice.get("finish_reason") is not None
        else:
            text += event.get("delta", {}).get("text", "")
            finish = finish or bool(event.get("delta", {}).get("stop_reason"))
    terminal = done or (dialect == "openai" and finish and not error)
    return Meaning(text, finish, terminal, error)
