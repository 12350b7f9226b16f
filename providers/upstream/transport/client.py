"""The aiohttp session of this process."""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import aiohttp
from yarl import URL

from providers.upstream import hops
from providers.upstream.adapters import credential_headers
from providers.upstream.egress import EgressPolicy, GuardedResolver, join_url
from providers.upstream.errors import ConnectFailed, ConnectionLost, ConnectTimeout, InvalidBody
from providers.upstream.tls import trust_context
from providers.upstream.transport.failures import as_upstream_error, redirected
from providers.upstream.transport.limits import Deadline, Limits, Pool, PoolState
from providers.upstream.transport.stream import MAX_BODY_BYTES, READ_BYTES_MAX, UpstreamStream
from providers.upstream.types import CredentialRef, HttpRequest, HttpResponse, ProviderSpec

_NO_HEADERS: Mapping[str, str] = {}
WRITTEN_AT_ONCE_BYTES_MAX = 256 * 1024


class Transport:
    """One aiohttp session per process. ``policy_source`` tells which addresses are allowed, at the moment of asking."""

    def __init__(
        self,
        policy_source: Callable[[], EgressPolicy],
        *,
        ssl_context: ssl.SSLContext | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy_source = policy_source
        self._ssl_context = ssl_context
        self._wall_clock = wall_clock
        self._pools: defaultdict[int, Pool] = defaultdict(Pool)
        """By provider id."""
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_on_opened)
        trace.on_connection_reuseconn.append(_on_reused)
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(self._policy_source),
            use_dns_cache=False,
            limit=0,
            ssl=self._ssl_context if self._ssl_context is not None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=READ_BYTES_MAX,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_read=None),
            headers={"accept-encoding": "identity", "user-agent": "aigateway"},
            trace_configs=[trace],
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def pool_states(self) -> tuple[PoolState, ...]:
        """One for every provider called since the start of the process."""
        return tuple(pool.state(provider_id) for provider_id, pool in self._pools.items())

    async def send(
        self,
        provider: ProviderSpec,
        credential: CredentialRef | None,
        http_request: HttpRequest,
        deadline: Deadline,
        request_headers: Mapping[str, str] = _NO_HEADERS,
        *,
        bytes_max: int = MAX_BODY_BYTES,
    ) -> HttpResponse:
        """One call, whole answer (at most ``bytes_max``), any status but a redirect. Raises the classes of ``errors``."""
        stream = await self.open_stream(provider, credential, http_request, deadline, request_headers)
        try:
            return await stream.read_response(bytes_max)
        except ConnectionLost as error:
            raise InvalidBody("the answer was cut off") from error
        finally:
            await stream.aclose()

    async def open_stream(
        self,
        provider: ProviderSpec,
        credential: CredentialRef | None,
        http_request: HttpRequest,
        deadline: Deadline,
        request_headers: Mapping[str, str] = _NO_HEADERS,
    ) -> UpstreamStream:
        """Returns at the answer's headers. The caller must ``aclose()`` the stream on every path."""
        url = join_url(provider.base_url, http_request.path)
        self._policy_source().check_literal(url)
        headers = {**http_request.headers, **provider.extra_headers, **request_headers}
        if provider.hop:
            headers[hops.HEADER] = hops.signed(provider.hop)
        if credential is not None:
            headers.update(credential_headers(provider.auth_style, credential.secret))
        pool = self._pools[provider.id]
        await pool.take(provider.max_connections)
        try:
            limits = Limits(provider.timeouts, deadline)
            response = await self._open(provider, http_request, url, headers, limits, pool)
        except BaseException:
            pool.free()
            raise
        return UpstreamStream(response, limits, pool.free, self._wall_clock)

    async def _open(
        self, provider: ProviderSpec, http_request: HttpRequest, url: str, headers: Mapping[str, str], limits: Limits, pool: Pool
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise ConnectFailed("the transport is not started")
        timeouts = aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=limits.connect_s)
        try:
            async with asyncio.timeout_at(limits.at) as timeout:
                response = await self._session.request(
                    http_request.method,
                    URL(url, encoded=True),
                    data=_sent(http_request.body),
                    headers=headers,
                    allow_redirects=False,
                    ssl=trust_context(provider.ca_bundle) if provider.ca_bundle else True,
                    timeout=timeouts,
                    trace_request_ctx=_Phase(limits, timeout, pool),
                )
        except TimeoutError as error:
            raise ConnectTimeout("no connection in time") if isinstance(error, aiohttp.ClientError) else limits.error() from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise as_upstream_error(error) from error
        if 300 <= response.status < 400:
            response.close()
            raise redirected(response)
        return response


def _sent(body: bytes) -> bytes | io.BytesIO | None:
    """aiohttp writes bytes at once, however many, and a file piece by piece."""
    return body or None if len(body) <= WRITTEN_AT_ONCE_BYTES_MAX else io.BytesIO(body)


class _Phase:
    """Moves a call's deadline when the connection stands."""

    __slots__ = ("_limits", "_timeout", "pool")

    def __init__(self, limits: Limits, timeout: asyncio.Timeout, pool: Pool) -> None:
        self._limits = limits
        self._timeout = timeout
        self.pool = pool

    def connected(self) -> None:
        self._limits.connected()
        self._timeout.reschedule(self._limits.at)


async def _on_opened(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.pool.opened += 1
    context.trace_request_ctx.connected()


async def _on_reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.pool.reused += 1
    context.trace_request_ctx.connected()
