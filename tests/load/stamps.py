"""``python -m tests.load.stamps``: a provider whose every event says when it was sent, to measure how long forwarding takes.

Times are those of ``time.monotonic_ns``, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop

MODEL = "stamps"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"data: [DONE]\n\n"


def stamped() -> bytes:
    return _event({"content": f"@{time.monotonic_ns()}@"}, None)


def _event(delta: dict[str, str], finish: str | None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {"id": "chatcmpl-stamps", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice], **more}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """``max_tokens`` events, on average ``seed`` milliseconds apart: fields that pass every gateway."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if head.startswith(b"get "):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                continue
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            await _stream(writer, asked["max_tokens"], asked["seed"] / 1000)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _stream(writer: asyncio.StreamWriter, events: int, pause_s: float) -> None:
    def write(event: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))

    writer.write(_HEAD)
    for _ in range(events):
        write(stamped())
        await asyncio.sleep(pause_s * (0.5 + random.random()))  # streams that began together do not stay together
    usage = {"prompt_tokens": 1, "completion_tokens": events, "total_tokens": events + 1}
    write(_event({}, "stop", usage=usage))
    write(_END)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
