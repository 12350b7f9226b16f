"""A scripted provider over a real socket, and the values dispatch needs."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from providers.upstream.breaker import Breakers
from providers.upstream.dispatch import AttemptOutcome, Upstreams
from providers.upstream.egress import EgressPolicy
from providers.upstream.transport import Transport
from providers.upstream.types import (
    AuthStyle,
    Capability,
    ChatRequest,
    CredentialRef,
    HealthStatus,
    Message,
    Plan,
    Policy,
    PriceCard,
    ProviderSpec,
    Role,
    RoutingSettings,
    Secret,
    SourceBody,
    Target,
    TextPart,
    Timeouts,
    Wire,
)

ALL_CAPABILITIES = frozenset(Capability)


def provider(base_url: str = "https://api.example.com/v1", **changes: Any) -> ProviderSpec:
    spec = ProviderSpec(
        id=1,
        slug="alpha",
        label="Alpha",
        kind="openai",
        adapter=Wire.OPENAI_CHAT,
        base_url=base_url,
        auth_style=AuthStyle.BEARER,
        credentials=(CredentialRef("key-1", Secret("sk-canary-one")),),
        needs_credential=True,
        timeouts=Timeouts(connect_s=1.0, first_byte_s=5.0, idle_s=5.0, total_s=20.0),
        allow_private=True,
        max_connections=10,
        priority=100,
        weight=1,
        health=HealthStatus.GREEN,
    )
    return replace(spec, **changes)


def target(spec: ProviderSpec | None = None, **changes: Any) -> Target:
    base = Target(
        id=1,
        name="gpt-4o",
        upstream_model="gpt-4o-2024",
        provider=spec or provider(),
        capabilities=ALL_CAPABILITIES,
        max_output_tokens=1000,
        price=PriceCard(id=1, input_nano_per_mtok=1_000_000_000, output_nano_per_mtok=2_000_000_000),
    )
    return replace(base, **changes)


def chat_request(**changes: Any) -> ChatRequest:
    return replace(ChatRequest(model="gpt-4o", messages=(Message(Role.USER, (TextPart("Hi"),)),), body_bytes=60), **changes)


def from_client(wire: Wire, body: dict[str, Any], **changes: Any) -> ChatRequest:
    """A request whose client spoke ``wire``; the canonical part is whatever the test sets."""
    return chat_request(source=SourceBody(wire, body), **changes)


def plan(*targets: Target) -> Plan:
    return Plan(tuple(targets), (), Policy.PRIORITY, "because")


# --------------------------------------------------------------------------- the provider


@dataclass
class Exchange:
    """One request as the provider saw it and the means to answer it byte by byte."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep_open: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def answer(self, status: int, body: bytes | dict[str, Any], **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.head(status, content_length=str(len(raw)), **{"content_type": "application/json", **headers})
        await self.send(raw)
        self.keep_open = True

    async def start_stream(self) -> None:
        await self.head(200, content_type="text/event-stream", transfer_encoding="chunked")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")
        self.keep_open = True

    async def events(self, *events: bytes) -> None:
        await self.start_stream()
        for event in events:
            await self.chunk(event)

    def reset(self) -> None:
        """RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_until_client_closes(self) -> None:
        while await self.reader.read(65536):
            pass


Script = Callable[[Exchange], Awaitable[None]]


@dataclass
class FakeProvider:
    """Plays its scripts in order, the last one again and again."""

    scripts: list[Script] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> FakeProvider:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def will(self, *scripts: Script) -> FakeProvider:
        self.scripts = list(scripts)
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        exchange = Exchange(head[0].split()[1], headers, body, reader, writer)
        self.seen.append(exchange)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        await script(exchange)
        return exchange.keep_open


# --------------------------------------------------------------------------- OpenAI bodies


def completion(text: str = "Hello", **usage: int) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, **usage},
    }


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **extra: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-2024", "choices": choices, **extra}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
HEL = chunk({"content": "Hel"})
LO = chunk({"content": "lo"})
STOP = chunk({}, "stop")
USAGE = chunk(None, usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12})
DONE = b"data: [DONE]\n\n"
WHOLE_STREAM = (ROLE, HEL, LO, STOP, USAGE, DONE)


async def ok(exchange: Exchange) -> None:
    await exchange.answer(200, completion())


async def ok_stream(exchange: Exchange) -> None:
    await exchange.events(*WHOLE_STREAM)
    await exchange.end_stream()


def fails(status: int, message: str = "scripted", **headers: str) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, {"error": {"message": message, "type": "scripted", "code": None}}, **headers)

    return script


# --------------------------------------------------------------------------- the caller's side


@dataclass
class FakeLedger:
    """Remembers what was opened and closed; every ticket must be closed exactly once."""

    opened: list[tuple[int, int]] = field(default_factory=list)
    closed: list[tuple[int, AttemptOutcome]] = field(default_factory=list)
    refuse: Exception | None = None
    gate: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self, chosen: Target, attempt_no: int) -> int:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse is not None:
            raise self.refuse
        self.opened.append((chosen.id, attempt_no))
        return len(self.opened)

    async def close(self, ticket: int, outcome: AttemptOutcome) -> None:
        self.closed.append((ticket, outcome))
        self.changed.set()

    @property
    def outcomes(self) -> list[AttemptOutcome]:
        return [outcome for _, outcome in self.closed]

    async def settled(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.closed) < count:
                self.changed.clear()
                await self.changed.wait()

    def assert_balanced(self) -> None:
        assert sorted(ticket for ticket, _ in self.closed) == list(range(1, len(self.opened) + 1))


class Naps:
    """Stands in for sleeping: moves nothing, remembers for how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def upstreams(transport: Transport, settings: RoutingSettings | None = None, naps: Naps | None = None) -> Upstreams:
    chosen = settings or RoutingSettings(retries_per_target=0)
    return Upstreams(transport, Breakers(lambda: chosen), lambda: chosen, jitter=lambda: 0.5, sleep=naps or Naps())


def open_policy(*providers: FakeProvider, extra: frozenset[tuple[str, int]] = frozenset()) -> EgressPolicy:
    return EgressPolicy(frozenset(("127.0.0.1", one.port) for one in providers) | extra)
