"""The multiplexed connection against servers that are none, leave, or answer too much, too little or too late."""

from __future__ import annotations

import asyncio

import pytest
import redis

from tests.servers import free_port
from tests.usage.limits.redis_servers import PATIENCE_S, connection, pong, serving
from usage.limits import redis_connection
from usage.limits.redis_connection import RedisAway


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()


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


async def test_a_caller_that_left_is_not_told_of_the_end() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with serving(mute) as port:
        closing = connection(f"redis://127.0.0.1:{port}/0")
        await closing.connect()
        leaving, staying = (asyncio.ensure_future(closing.execute("GET", "name")) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        await closing.close()
        with pytest.raises(RedisAway, match="closed"):
            await staying
        assert leaving.cancelled()


async def test_two_who_connect_at_once_share_the_connection() -> None:
    async with serving(pong) as port:
        shared = connection(f"redis://127.0.0.1:{port}/0")
        await asyncio.gather(shared.connect(), shared.connect())
        assert await shared.execute("PING") == b"PONG"
        await shared.close()


async def test_a_caller_that_leaves_while_it_connects_does_not_end_it_for_the_other() -> None:
    greetings = []

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.read(4096))
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with serving(polite) as port:
        shared = connection(f"redis://127.0.0.1:{port}/0")
        leaving, staying = asyncio.ensure_future(shared.connect()), asyncio.ensure_future(shared.connect())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        await asyncio.gather(staying, shared.connect())
        assert (leaving.cancelled(), shared.is_connected, len(greetings)) == (True, True, 1)
        await shared.close()


async def test_what_is_lost_is_connected_again_on_demand() -> None:
    async with serving(pong) as port:
        again = connection(f"redis://127.0.0.1:{port}/0")
        for _ in range(2):
            await again.connect()
            assert await again.execute("PING") == b"PONG"
            again._wire.drop("lost")
            assert not again.is_connected
        await again.close()


async def test_an_answer_that_is_late_ends_the_connection_and_one_that_is_there_does_not() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.read(4096)
            writer.write(b"+PONG\r\n")
        await reader.read()

    async with serving(once) as port:
        hasty = connection(f"redis://127.0.0.1:{port}/0")
        await hasty.connect()
        answered = hasty._wire.send(("PING",))
        await answered
        hasty._wire._is_due(asyncio.get_running_loop(), answered)
        hasty._wire._is_overdue(answered)
        assert hasty.is_connected
        hasty._wire._command_s = 0.02
        with pytest.raises(RedisAway, match="no answer in time"):
            await hasty.execute("PING")
        assert not hasty.is_connected
        await hasty.close()


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


async def test_a_server_that_is_away_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said()
    monkeypatch.setattr(redis_connection, "log", said)
    absent = connection(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(RedisAway):
        await absent.execute("PING")
    looking = absent._connecting
    assert looking is not None
    await asyncio.wait({looking})
    await asyncio.sleep(0)
    assert (absent._connecting, said.lines) == (None, [])
    await absent.close()


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


@pytest.mark.parametrize(
    ("told", "policy"),
    [
        ({"maxmemory": 1, "maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"maxmemory": "0", "maxmemory_policy": "allkeys-lru"}, None),
        ({"maxmemory": 1, "maxmemory_policy": "noeviction"}, None),
        ({"maxmemory": 1, "maxmemory_policy": "volatile-ttl"}, None),
        ({"maxmemory_policy": "allkeys-lru"}, None),
        ({"maxmemory": 1}, None),
    ],
)
def test_I06_only_a_server_with_a_bound_and_a_policy_that_drops_is_named(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, object], policy: str | None
) -> None:
    client = redis.Redis()
    monkeypatch.setattr(client, "info", lambda section: told)
    assert redis_connection.evicting_policy(client) == policy
