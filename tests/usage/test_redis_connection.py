"""The multiplexed connection against servers that are none, or speak over other roads."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.servers import free_port
from usage import redis_connection
from usage.redis_connection import RedisAway, RedisConnection

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


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


def connection(url: str) -> RedisConnection:
    return RedisConnection(url, connect_s=PATIENCE_S, command_s=PATIENCE_S)


async def test_what_does_not_speak_redis_is_away() -> None:
    async with serving(babble) as port:
        other = connection(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(RedisAway, match="not the Redis protocol"):
            await other.connect()
        await other.close()


async def test_more_answers_than_questions_end_the_connection() -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"+PONG\r\n+PONG\r\n")
        await reader.read()

    async with serving(twice) as port:
        chatty = connection(f"redis://127.0.0.1:{port}/0")
        await chatty.connect()
        assert not chatty.is_connected
        await chatty.close()


async def test_a_unix_socket_is_a_road_to_redis(tmp_path: Path) -> None:
    async with serving(pong, path=tmp_path / "redis.sock"):
        local = connection(f"unix://{tmp_path}/redis.sock")
        await local.connect()
        assert await local.execute("PING") == b"PONG"
        await local.close()


@pytest.mark.parametrize("trusts", [True, False])
async def test_tls_checks_the_certificate_unless_told_otherwise(tmp_path: Path, trusts: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(pong, ssl=context) as port:
        address = f"rediss://127.0.0.1:{port}/0"
        stranger = connection(address)
        with pytest.raises(RedisAway, match="SSL"):
            await stranger.connect()
        known = connection(f"{address}?ssl_ca_certs={tmp_path}/ca.pem" if trusts else f"{address}?ssl_cert_reqs=none")
        await known.connect()
        assert await known.execute("PING") == b"PONG"
        await known.close()


async def test_a_caller_that_leaves_does_not_shift_the_answers_of_others() -> None:
    async def slow_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.readuntil(b"second\r\n")
        writer.write(b"+first\r\n+second\r\n")
        await reader.read()

    async with serving(slow_echo) as port:
        shared = connection(f"redis://127.0.0.1:{port}/0")
        await shared.connect()
        leaving = asyncio.ensure_future(shared.execute("ECHO", "first"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await shared.execute("ECHO", "second") == b"second"
        await shared.close()


async def test_nobody_waits_for_a_connection_that_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "RETRY_S", 0.0)
    port = free_port()
    absent = connection(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(RedisAway):
        await absent.execute("PING")
    async with serving(pong, port=port):
        looking = absent._connecting
        assert looking is not None
        await asyncio.wait({looking})
        while not absent.is_connected:
            with pytest.raises(RedisAway):
                await absent.execute("PING")
            if absent._connecting is not None:
                await asyncio.wait({absent._connecting})
        assert await absent.execute("PING") == b"PONG"
        await absent.close()


async def test_closing_ends_the_search() -> None:
    absent = connection(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(RedisAway):
        await absent.execute("PING")
    await absent.close()
    assert not absent.is_connected
    with pytest.raises(RedisAway):
        await absent.execute("PING")


class Said:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str]]] = []

    def warning(self, event: str, **words: str) -> None:
        self.lines.append((event, words))


async def test_a_lost_connection_ends_what_waits_on_it_at_once() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.readuntil(b"name\r\n")

    async with serving(leave) as port:
        lost = connection(f"redis://127.0.0.1:{port}/0")
        await lost.connect()
        with pytest.raises(RedisAway, match="connection lost"):
            await lost.execute("GET", "name")
        assert not lost.is_connected
        await lost.close()


async def test_two_who_connect_at_once_share_the_connection() -> None:
    async with serving(pong) as port:
        shared = connection(f"redis://127.0.0.1:{port}/0")
        await asyncio.gather(shared.connect(), shared.connect())
        assert await shared.execute("PING") == b"PONG"
        await shared.close()


async def test_no_more_than_so_many_wait_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "UNDER_WAY_MAX", 2)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with serving(mute) as port:
        behind = connection(f"redis://127.0.0.1:{port}/0")
        await behind.connect()
        waiting = [asyncio.ensure_future(behind.execute("GET", "name")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RedisAway, match="not connected"):
            await behind.execute("GET", "name")
        assert not any(each.done() for each in waiting)
        await behind.close()
        assert [str(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == ["closed", "closed"]


async def test_a_server_that_is_away_is_not_asked_again_for_a_while() -> None:
    asked = []

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(4096))

    async with serving(slam) as port:
        unwelcome = connection(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(RedisAway):
            await unwelcome.connect()
        unwelcome._retry_at_s = asyncio.get_running_loop().time() + PATIENCE_S
        for _ in range(3):
            with pytest.raises(RedisAway):
                await unwelcome.execute("PING")
            assert unwelcome._connecting is None
        await unwelcome.close()
    assert len(asked) == 1


async def test_a_search_puts_off_the_next_one() -> None:
    absent = connection(f"redis://127.0.0.1:{free_port()}/0")
    before = asyncio.get_running_loop().time()
    with pytest.raises(RedisAway):
        await absent.connect()
    assert absent._retry_at_s >= before + redis_connection.RETRY_S


async def test_what_is_closed_while_it_looks_is_closed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "RETRY_S", 0.0)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(mute) as port:
        closing = connection(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(RedisAway):
            await closing.execute("PING")
        looking = closing._connecting
        assert looking is not None
        await closing.close()
        assert looking.cancelled()
        await asyncio.sleep(0)
        with pytest.raises(RedisAway):
            await closing.execute("PING")
        assert closing._connecting is None
    assert complaints == []


async def test_a_refusal_met_in_the_background_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said()
    monkeypatch.setattr(redis_connection, "log", said)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"-WRONGPASS " + b"x" * 200 + b"\r\n")
        await reader.read()

    async with serving(refuse) as port:
        refused = connection(f"redis://:secret-word@127.0.0.1:{port}/0")
        with pytest.raises(RedisAway):
            await refused.execute("PING")
        looking = refused._connecting
        assert looking is not None
        await asyncio.wait({looking})
        await asyncio.sleep(0)
        await refused.close()
    assert said.lines == [("redis_refuses_to_connect", {"error": "WRONGPASS " + "x" * 90})]
