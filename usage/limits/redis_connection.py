"""One multiplexed connection to Redis: every caller writes at once, answers come back in order, nobody waits for a dead server.

A pooled client costs 130 to 190 us of processor time a call, this one about 20. For what may be lost only (limits, caches).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

import hiredis
import redis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url

from providers.upstream.redaction import redact

CONNECT_S: Final = 0.1
COMMAND_S: Final = 0.05
RETRY_S: Final = 1.0
"""Between two tries to reach a server that is away."""
UNDER_WAY_MAX: Final = 10_000
KEEPING_POLICIES: Final = ("noeviction", "volatile-ttl")
"""What a full Redis may do: refuse writes, or drop what ends next anyway."""

Word = str | bytes | int
log = structlog.get_logger("usage.redis")


class RedisAway(Exception):
    """No connection, or no answer in time."""


class RedisRefused(Exception):
    """Redis answered with an error; the message starts with its code."""


class _Wire(asyncio.Protocol):
    """Bytes to replies, in the order of the commands."""

    def __init__(self, command_s: float) -> None:
        self.transport: asyncio.Transport | None = None
        self._command_s = command_s
        self._reader = hiredis.Reader(replyError=RedisRefused)
        self._waiting: deque[asyncio.Future[Any]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                future = self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop("not the Redis protocol")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.drop("connection lost")

    def send(self, words: tuple[Word, ...]) -> asyncio.Future[Any]:
        """Raises ``RedisAway`` when the connection is gone or hopelessly behind."""
        if self.transport is None or len(self._waiting) >= UNDER_WAY_MAX:
            raise RedisAway("not connected")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(future)
        self.transport.write(hiredis.pack_command(cast("tuple[str | int | float | bytes | memoryview]", words)))
        loop.call_later(self._command_s, self._is_due, loop, future)
        return future

    def _is_due(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        """A loop that was held up looks at its sockets once more before it blames the server."""
        if not future.done():
            loop.call_later(0.001, self._is_overdue, future)

    def _is_overdue(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            self.drop("no answer in time")

    def drop(self, reason: str) -> None:
        """Replies come in order: after one that is missing, none can be trusted."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(RedisAway(reason))


def evicting_policy(client: redis.Redis) -> str | None:
    """The ``maxmemory-policy`` by which this server drops counters in use when it is full (I06); ``None``: it drops none.

    ``INFO`` is open where ``CONFIG`` is not, as with hosted servers; where it is not, nobody can tell. Raises ``redis.RedisError``.
    """
    try:
        memory = client.info("memory")
    except redis.ResponseError:
        return None
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    return policy if int(memory.get("maxmemory", 0)) and policy not in KEEPING_POLICIES else None


class RedisConnection:
    """Belongs to one event loop. A lost connection is looked for again in the background, at most once a second."""

    def __init__(self, url: str, *, connect_s: float = CONNECT_S, command_s: float = COMMAND_S) -> None:
        self._address: Mapping[str, Any] = parse_url(url)
        self._connect_s = connect_s
        self._command_s = command_s
        self._wire = _Wire(command_s)
        self._connecting: asyncio.Task[None] | None = None
        self._retry_at_s = 0.0

    @property
    def is_connected(self) -> bool:
        return self._wire.transport is not None

    async def connect(self) -> None:
        """Raises ``RedisAway`` within ``connect_s`` and the time of two commands."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        try:
            await asyncio.shield(self._connecting)
        finally:
            if self._connecting is not None and self._connecting.done():
                self._connecting = None

    async def execute(self, *words: Word) -> Any:
        """One command. Raises ``RedisAway`` at once while there is no connection, and ``RedisRefused``."""
        if not self.is_connected:
            self._look_again()
        return await self._wire.send(words)

    async def close(self) -> None:
        self._retry_at_s = float("inf")
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self._wire.drop("closed")

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._connecting is None and loop.time() >= self._retry_at_s:
            self._connecting = loop.create_task(self._connect())
            self._connecting.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled() and isinstance(task.exception(), RedisRefused):
            log.warning("redis_refuses_to_connect", error=redact(str(task.exception()), limit=100))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._retry_at_s = loop.time() + RETRY_S
        wire = _Wire(self._command_s)
        try:
            await self._dial(loop, wire)
            await self._greet(wire)
        except BaseException:
            wire.drop("not reachable")
            raise
        self._wire = wire

    async def _dial(self, loop: asyncio.AbstractEventLoop, wire: _Wire) -> None:
        address = self._address
        try:
            async with asyncio.timeout(self._connect_s):
                if "path" in address:
                    await loop.create_unix_connection(lambda: wire, address["path"])
                else:
                    tls = _tls(address) if address.get("connection_class") is SSLConnection else None
                    await loop.create_connection(lambda: wire, address.get("host", "localhost"), address.get("port", 6379), ssl=tls)
        except OSError as error:
            raise RedisAway(type(error).__name__) from error

    async def _greet(self, wire: _Wire) -> None:
        if password := self._address.get("password"):
            user = self._address.get("username")
            await wire.send(("AUTH", user, password) if user else ("AUTH", password))
        if database := self._address.get("db"):
            await wire.send(("SELECT", database))
        await wire.send(("PING",))  # a server that accepts and does not answer is away


def _tls(address: Mapping[str, Any]) -> ssl.SSLContext:
    """``ssl_ca_certs`` and ``ssl_cert_reqs=none`` of the URL, as redis-py understands them."""
    context = ssl.create_default_context(cafile=address.get("ssl_ca_certs"))
    if address.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
