"""Servers that speak as much of Redis as a test says, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from usage.limits.redis_connection import RedisConnection

PATIENCE_S = 30.0


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(conversation: Conversation, **where: Any) -> AsyncIterator[int]:
    """A server whose conversations have all ended when it has. Gives its port."""
    under_way: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await conversation(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    if "path" in where:
        server = await asyncio.start_unix_server(converse, **where)
    else:
        server = await asyncio.start_server(converse, "127.0.0.1", **{"port": 0, **where})
    try:
        address = server.sockets[0].getsockname()
        yield address[1] if isinstance(address, tuple) else 0
    finally:
        server.close()
        await asyncio.gather(*under_way)


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As much of Redis as a greeting needs: one answer for each thing said."""
    while await reader.read(4096):
        writer.write(b"+PONG\r\n")


def connection(url: str) -> RedisConnection:
    return RedisConnection(url, connect_s=PATIENCE_S, command_s=PATIENCE_S)
