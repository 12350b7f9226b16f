"""B10: a header whose name has an underscore ends at the gateway's own protocol, whatever the layers behind it would make of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from aigateway.door.protocol import BoundedHttpProtocol

SPOOFED = (b"X_Gateway_Context", b"X-Gateway_Context", b"x_forwarded_for", b"Content_Encoding", b"Transfer_Encoding", b"_", b"X-Real_")


async def names_seen(scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """An application that answers with the header names it was given."""
    body = json.dumps([name.decode() for name, _ in scope["headers"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("spoofed", SPOOFED)
async def test_B10_a_name_with_an_underscore_never_arrives_and_its_neighbours_do(spoofed: bytes) -> None:
    config = uvicorn.Config(names_seen, http=BoundedHttpProtocol, lifespan="off", log_config=None)
    config.load()
    server_state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=server_state, app_state={}, _loop=loop), "127.0.0.1", 0
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        stack.callback(writer.close)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Before: 1\r\n" + spoofed + b": chunked\r\nX-After: 1\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(5):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body) == ["host", "x-before", "x-after", "connection"]
