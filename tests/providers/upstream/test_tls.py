"""U04: certificates are always checked, against the public authorities or the ones a provider's row names, and by name."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
import trustme

from providers.client import exchange
from providers.upstream.egress import EgressPolicy
from providers.upstream.errors import TlsFailed, UpstreamError
from providers.upstream.tls import CaBundleInvalid, trust_context
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import CredentialRef, HttpRequest, ProviderSpec, Secret
from tests.providers.upstream import rig

KEY = CredentialRef("k", Secret("sk-canary"))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CALL = HttpRequest("/models", b"", method="GET")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@dataclass
class TlsServer:
    base_url: str
    received: bytearray


@contextlib.asynccontextmanager
async def tls_server(certificate: trustme.LeafCert, newest: ssl.TLSVersion | None = None) -> AsyncIterator[TlsServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest
    certificate.configure_cert(context)
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            received.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    try:
        yield TlsServer(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", received)
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def transport_to(spec: ProviderSpec) -> AsyncIterator[Transport]:
    carrier = Transport(lambda: EgressPolicy.for_providers([spec]))
    await carrier.start()
    try:
        yield carrier
    finally:
        await carrier.close()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_U04_a_server_signed_by_the_rows_own_authority_is_trusted(authority: trustme.CA) -> None:
    async with tls_server(authority.issue_cert("127.0.0.1")) as server:
        spec = replace(rig.provider(server.base_url), ca_bundle=pem(authority))
        async with transport_to(spec) as carrier:
            assert (await carrier.send(spec, KEY, CALL, Deadline(5))).status == 200
        assert b"authorization: bearer sk-canary" in bytes(server.received).lower()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")  # which is why a server of it must be refused
@pytest.mark.parametrize("fault", ["self-signed", "other authority", "wrong host", "expired", "TLS 1.1"])
async def test_U04_nothing_is_sent_where_the_certificate_does_not_hold(authority: trustme.CA, fault: str) -> None:
    certificate, bundle, newest = authority.issue_cert("127.0.0.1"), pem(authority), None
    refused: type[UpstreamError] = TlsFailed
    if fault == "self-signed":
        bundle = ""
    elif fault == "other authority":
        bundle = pem(trustme.CA())
    elif fault == "wrong host":
        certificate = authority.issue_cert("other.example")
    elif fault == "expired":
        certificate = authority.issue_cert("127.0.0.1", not_after=LONG_AGO)
    else:
        newest, refused = ssl.TLSVersion.TLSv1_1, UpstreamError  # the server hangs up on our hello
    async with tls_server(certificate, newest) as server:
        spec = replace(rig.provider(server.base_url), ca_bundle=bundle)
        async with transport_to(spec) as carrier:
            with pytest.raises(refused):
                await carrier.send(spec, KEY, CALL, Deadline(5))
        with pytest.raises(refused):
            await asyncio.to_thread(exchange, replace(spec, credentials=(KEY,)), CALL, 5.0)
        assert bytes(server.received) == b""


async def test_U04_the_control_plane_trusts_the_same_authority(authority: trustme.CA) -> None:
    async with tls_server(authority.issue_cert("127.0.0.1")) as server:
        spec = replace(rig.provider(server.base_url), ca_bundle=pem(authority), credentials=(KEY,))
        assert (await asyncio.to_thread(exchange, spec, CALL, 5.0)).status == 200


def test_U04_an_own_authority_replaces_the_public_ones_and_verification_stays_on(authority: trustme.CA) -> None:
    context = trust_context(pem(authority))
    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("text", ["-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", "hello", "é"])
def test_a_text_without_an_authority_is_refused(text: str) -> None:
    with pytest.raises(CaBundleInvalid):
        trust_context(text)
