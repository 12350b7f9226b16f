"""How a connection to Redis is made: over which road, as whom, and within what time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from tests.usage.limits.redis_servers import connection, pong, serving
from usage.limits.redis_connection import RedisAway, RedisConnection


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


@pytest.mark.parametrize(
    ("who", "path", "said"),
    [
        ("", "/0", [b"PING"]),
        ("", "", [b"PING"]),
        ("", "/3", [b"SELECT 3", b"PING"]),
        (":word@", "/0", [b"AUTH word", b"PING"]),
        ("ann:word@", "/3", [b"AUTH ann word", b"SELECT 3", b"PING"]),
    ],
)
async def test_a_greeting_says_who_is_there_and_which_database(who: str, path: str, said: list[bytes]) -> None:
    heard = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while words := (await reader.read(4096)).split(b"\r\n"):
            if words == [b""]:
                return
            heard.append(b" ".join(words[2::2]))
            writer.write(b"+OK\r\n")

    async with serving(listen) as port:
        guest = connection(f"redis://{who}127.0.0.1:{port}{path}")
        await guest.connect()
        await guest.close()
    assert heard == said


async def test_an_address_without_host_and_port_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def nobody_there(make: object, host: str, port: int, ssl: object) -> None:
        asked.append((host, port, ssl))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", nobody_there)
    with pytest.raises(RedisAway, match="ConnectionRefusedError"):
        await connection("redis://").connect()
    assert asked == [("localhost", 6379, None)]


async def test_a_server_that_cannot_be_reached_in_time_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", nowhere)
    with pytest.raises(RedisAway, match="TimeoutError"):
        await RedisConnection("redis://127.0.0.1:1", connect_s=0.01).connect()
