"""Limits of the HTTP client, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib

import pytest
import trustme

from providers.upstream.egress import EgressPolicy
from providers.upstream.errors import BodyTooLarge, ConnectFailed, EgressDenied, InvalidBody, PoolExhausted, TlsFailed
from providers.upstream.transport import MAX_BODY_BYTES, Deadline, PoolState, Transport
from providers.upstream.types import AuthStyle, CredentialRef, HttpRequest, Secret
from tests.providers.upstream import rig

CALL = HttpRequest("/chat/completions", b"{}", {"content-type": "application/json"})


async def send(transport, fake, http_request=CALL, seconds: float = 10.0, **changes):
    spec = rig.provider(fake.base_url, **changes)
    return await transport.send(spec, next(iter(spec.credentials), None), http_request, Deadline(seconds))


async def test_headers_of_answer_and_request_arrive_as_they_should(alpha, transport) -> None:
    async def script(exchange: rig.Exchange) -> None:
        await exchange.answer(418, b"{}", X_Request_Id="abc")

    alpha.will(script)
    spec = rig.provider(alpha.base_url, auth_style=AuthStyle.X_API_KEY, extra_headers={"x-extra": "1"})
    response = await transport.send(spec, spec.credentials[0], CALL, Deadline(5), {"x-trace": "t"})
    assert (response.status, response.headers["x-request-id"], response.body) == (418, "abc", b"{}")
    assert response.received_at_s is not None
    seen = alpha.seen[0].headers
    assert (seen["x-api-key"], seen["x-extra"], seen["x-trace"]) == ("sk-canary-one", "1", "t")
    assert "authorization" not in seen
    assert "cookie" not in seen


async def test_get_requests_carry_no_body(alpha, transport) -> None:
    alpha.will(rig.ok)
    await send(transport, alpha, HttpRequest("/models", b"", method="GET"))
    assert alpha.seen[0].path == "/v1/models"
    assert alpha.seen[0].body == b""


async def test_R312_connections_are_kept_alive(alpha, transport) -> None:
    alpha.will(rig.ok)
    for _ in range(5):
        await send(transport, alpha)
    assert alpha.connections == 1


async def test_R312_the_state_of_a_pool_is_told(alpha, transport) -> None:
    release, arrived = asyncio.Event(), asyncio.Event()

    async def held(exchange: rig.Exchange) -> None:
        arrived.set()
        await release.wait()
        await rig.ok(exchange)

    assert transport.pool_states() == ()
    alpha.will(rig.ok, rig.ok, held, rig.ok)
    for _ in range(2):
        await send(transport, alpha, max_connections=1)
    running = asyncio.create_task(send(transport, alpha, max_connections=1))
    await arrived.wait()
    waiting = asyncio.create_task(send(transport, alpha, max_connections=1))
    await asyncio.sleep(0)
    assert transport.pool_states() == (PoolState(1, in_use=1, waiting=1, opened=1, reused=2, refused=0),)
    with pytest.raises(PoolExhausted):
        await waiting
    release.set()
    await running
    assert transport.pool_states() == (PoolState(1, in_use=0, waiting=0, opened=1, reused=2, refused=1),)


async def test_cookies_are_not_kept(alpha, transport) -> None:
    async def script(exchange: rig.Exchange) -> None:
        await exchange.answer(200, b"{}", Set_Cookie="session=1; Path=/")

    alpha.will(script)
    await send(transport, alpha)
    await send(transport, alpha)
    assert "cookie" not in alpha.seen[1].headers


async def test_U21_a_body_above_the_cap_is_cut_off(alpha, transport) -> None:
    async def huge(exchange: rig.Exchange) -> None:
        await exchange.head(200, content_type="application/json", content_length=str(1 << 40))
        block = b"x" * 1_048_576
        for _ in range(MAX_BODY_BYTES // len(block) + 40):
            await exchange.send(block)

    alpha.will(huge)
    with pytest.raises(BodyTooLarge):
        await send(transport, alpha)


async def test_U23_a_gzip_bomb_is_defused(alpha, transport) -> None:
    bomb = gzip.compress(bytes(30_000_000))

    async def script(exchange: rig.Exchange) -> None:
        await exchange.answer(200, bomb, content_encoding="gzip")

    alpha.will(script)
    with pytest.raises(BodyTooLarge):
        await send(transport, alpha)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_U23_an_honest_compressed_answer_is_read(alpha, transport, encoding, compress) -> None:
    async def script(exchange: rig.Exchange) -> None:
        await exchange.answer(200, compress(b'{"a": 1}'), content_encoding=encoding)

    alpha.will(script)
    assert (await send(transport, alpha)).body == b'{"a": 1}'


@pytest.mark.parametrize(("encoding", "body"), [("br", b"\x0b\x02"), ("zstd", b"x"), ("gzip", b"not gzip at all")])
async def test_U23_other_encodings_and_garbage_are_refused(alpha, transport, encoding, body) -> None:
    async def script(exchange: rig.Exchange) -> None:
        await exchange.answer(200, body, content_encoding=encoding)

    alpha.will(script)
    with pytest.raises(InvalidBody):
        await send(transport, alpha)


async def test_an_answer_that_is_no_http_is_an_invalid_body(alpha, transport) -> None:
    async def script(exchange: rig.Exchange) -> None:
        await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    alpha.will(script)
    with pytest.raises(InvalidBody):
        await send(transport, alpha)


async def test_the_connections_of_one_provider_are_bounded_and_freed(alpha, transport) -> None:
    release = asyncio.Event()
    both_in = asyncio.Barrier(3)

    async def held(exchange: rig.Exchange) -> None:
        await both_in.wait()
        await release.wait()
        await rig.ok(exchange)

    alpha.will(held, held, rig.ok)
    running = [asyncio.create_task(send(transport, alpha, max_connections=2)) for _ in range(2)]
    await both_in.wait()
    with pytest.raises(PoolExhausted):
        await send(transport, alpha, max_connections=2)
    waiting = asyncio.create_task(send(transport, alpha, max_connections=2))
    release.set()
    assert {(await task).status for task in [*running, waiting]} == {200}
    assert (await send(transport, alpha, max_connections=2)).status == 200


async def test_a_cancelled_call_gives_its_slot_back(alpha, transport) -> None:
    arrived = asyncio.Event()

    async def held(exchange: rig.Exchange) -> None:
        arrived.set()
        await exchange.wait_until_client_closes()

    alpha.will(held, rig.ok)
    task = asyncio.create_task(send(transport, alpha, max_connections=1))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await send(transport, alpha, max_connections=1)).status == 200


async def test_a_transport_that_was_not_started_sends_nothing(alpha) -> None:
    with pytest.raises(ConnectFailed):
        await send(Transport(lambda: rig.open_policy(alpha)), alpha)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
async def test_S05_other_spellings_of_loopback_are_not_dialled(alpha, transport, host) -> None:
    spec = rig.provider(f"http://{host}:{alpha.port}/v1")
    with pytest.raises(EgressDenied):
        await transport.send(spec, None, CALL, Deadline(5))
    assert alpha.connections == 0


async def test_U04_a_certificate_of_an_unknown_authority_stops_before_the_key_is_sent() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    carrier = Transport(lambda: EgressPolicy(frozenset({("127.0.0.1", port)})))
    await carrier.start()
    try:
        spec = rig.provider(f"https://127.0.0.1:{port}/v1")
        with pytest.raises(TlsFailed):
            await carrier.send(spec, CredentialRef("k", Secret("sk-canary")), CALL, Deadline(5))
    finally:
        await carrier.close()
        server.close()
        await server.wait_closed()
    assert bytes(received) == b""


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_U27_every_network_chunk_is_handed_on_at_once(alpha, transport, encoding) -> None:
    turn = asyncio.Event()
    packer = zlib.compressobj(wbits=31)

    async def script(exchange: rig.Exchange) -> None:
        await exchange.head(200, content_type="text/event-stream", transfer_encoding="chunked", content_encoding=encoding)
        for letter in (b"a", b"b"):
            packed = packer.compress(letter) + packer.flush(zlib.Z_SYNC_FLUSH)
            await exchange.chunk(letter if encoding == "identity" else packed)
            await turn.wait()
        await exchange.end_stream()

    alpha.will(script)
    spec = rig.provider(alpha.base_url)
    stream = await transport.open_stream(spec, spec.credentials[0], CALL, Deadline(5))
    assert await stream.next_chunk() == b"a"
    turn.set()
    assert [chunk async for chunk in stream.iter_chunks()] == [b"b"]
    await stream.aclose()


def test_a_deadline_only_shrinks() -> None:
    now = 100.0
    deadline = Deadline(10, lambda: now)
    deadline.shrink_to(50)
    assert deadline.remaining_s() == 10
    deadline.shrink_to(3)
    assert deadline.remaining_s() == 3
    now = 104.0
    assert deadline.remaining_s() == -1
