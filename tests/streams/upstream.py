"""A provider on a real socket that plays scripts. The seed is the last word of the prompt; the wire follows from the path."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from tests.streams.script import Ending, script

PATHS = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ScriptedUpstream:
    """``mark`` is what its texts begin with."""

    mark: str
    base_url: str


@contextlib.contextmanager
def scripted_upstream(mark: str) -> Iterator[ScriptedUpstream]:
    ready, ports, stop = threading.Event(), [], asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(lambda reader, writer: _answer(mark, reader, writer), "127.0.0.1", 0) as server:
            ports.append((server.sockets[0].getsockname()[1], asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: uvloop.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    port, loop = ports[0]
    try:
        yield ScriptedUpstream(mark, f"http://127.0.0.1:{port}/v1")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


async def _answer(mark: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        length = int(next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length")))
        asked = json.loads(await reader.readexactly(length))
        played = script(PATHS[head.split()[1]], _seed(asked), mark)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in played.pieces:
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
        if played.ending is Ending.RESET and not played.terminal_sent:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            writer.transport.abort()
            return
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    writer.close()


def _seed(asked: dict[str, object]) -> int:
    content = asked["messages"][-1]["content"]  # type: ignore[index]
    text = content if isinstance(content, str) else content[0]["text"]
    return int(text.split()[-1])
