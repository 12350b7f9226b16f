"""Short ways to ask a simulator something and to read what it streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.providers.simulator.fixtures import SimulatorHandle

ANTHROPIC = {"x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01"}
OPENAI = {"authorization": "Bearer sk-test"}


def chat_body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "sim-small", "messages": [{"role": "user", "content": text}], **more}


def messages_body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "sim-claude", "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}


class Answered:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """(event name, decoded data) of a finished stream; data that is not JSON stays text."""
        found = []
        for block in self.body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "data" in fields:
                data = fields["data"]
                found.append((fields.get("event", ""), json.loads(data) if data.startswith("{") else data))
        return found


async def chat(sim: SimulatorHandle, body: Any, headers: dict[str, str] = OPENAI) -> Answered:
    return await post(sim, "/chat/completions", body, headers)


async def messages(sim: SimulatorHandle, body: Any, headers: dict[str, str] = ANTHROPIC) -> Answered:
    return await post(sim, "/messages", body, headers)


async def post(sim: SimulatorHandle, path: str, body: Any, headers: dict[str, str]) -> Answered:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(sim.base_url + path, data=raw, headers=headers, allow_redirects=False) as got,
    ):
        return Answered(got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read())


async def get(sim: SimulatorHandle, path: str, headers: dict[str, str]) -> Answered:
    async with aiohttp.ClientSession() as session, session.get(sim.base_url + path, headers=headers) as got:
        return Answered(got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read())


async def leave_when(
    sim: SimulatorHandle, path: str, body: dict[str, Any], headers: dict[str, str], enough: Callable[[bytes], bool]
) -> bytes:
    """Reads a stream until ``enough`` of it came, then closes the connection. Returns what was read."""
    read = b""
    async with aiohttp.ClientSession() as session, session.post(sim.base_url + path, json=body, headers=headers) as got:
        async for chunk in got.content.iter_any():
            read += chunk
            if enough(read):
                break
        got.close()
    return read
