"""The control plane's guard: ``requests`` that dials only addresses it has checked, until a deadline that covers the whole exchange.

The timeouts of ``requests`` are for one operation on the socket each: a host that sends its headers byte by byte, or says "100
Continue" for ever, passes them. So every read here has the time that is left, and what is read is counted, whatever it is.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from providers.upstream.egress.classes import is_literal
from providers.upstream.egress.policy import EgressPolicy
from providers.upstream.errors import BodyTooLarge, EgressDenied

LOOKUP_TIMEOUT_S = 3.0
OVERHEAD_BYTES_MAX = 1024 * 1024
"""Head, interim answers, chunk sizes and trailers: what an answer may have besides its body."""
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class Bounds:
    """What one exchange may take: the time until ``expires_at`` (monotonic), and ``bytes_max`` of answer, all of its bytes counted."""

    def __init__(self, timeout_s: float, body_bytes_max: int) -> None:
        self.expires_at = time.monotonic() + timeout_s
        self.bytes_left = body_bytes_max + OVERHEAD_BYTES_MAX

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.expires_at

    def left_s(self) -> float:
        """Raises ``TimeoutError`` when nothing is left."""
        left = self.expires_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this exchange is over")
        return left

    def took(self, size: int) -> None:
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise BodyTooLarge("the answer is larger than it may be, with all that surrounds it")


class GuardedHTTPAdapter(HTTPAdapter):
    """``requests`` transport that dials only addresses it has checked; TLS still sees the name."""

    def __init__(self, policy: EgressPolicy, bounds: Bounds, ssl_context: ssl.SSLContext | None) -> None:
        self._policy = policy
        self._bounds = bounds
        self._ssl_context = ssl_context
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        manager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        manager.pool_classes_by_scheme = _pool_classes(self._policy, self._bounds)
        self.poolmanager = manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, tls if self._ssl_context is None else {"ssl_context": self._ssl_context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """``requests`` would add the public authorities to a context of our own."""
        if self._ssl_context is None:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, *_: Any, **__: Any) -> Any:
        raise EgressDenied("proxies are not used")


class GuardedSession(requests.Session):
    """One exchange: no redirects, no proxies or credentials from the environment, no retries."""

    def __init__(self, policy: EgressPolicy, bounds: Bounds, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Accept-Encoding"] = "identity"
        adapter = GuardedHTTPAdapter(policy, bounds, ssl_context)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Every answer is final."""
        return


def guarded_session(policy: EgressPolicy, bounds: Bounds, ssl_context: ssl.SSLContext | None = None) -> GuardedSession:
    """A session for one exchange of the control plane. Calls raise ``EgressDenied`` and ``BodyTooLarge`` besides the exceptions of
    ``requests``; time that is over is its read timeout."""
    return GuardedSession(policy, bounds, ssl_context)


def _pool_classes(policy: EgressPolicy, bounds: Bounds) -> dict[str, type[HTTPConnectionPool]]:
    class BoundedAnswer(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(_BoundedReader(sock, bounds), *args, **kwargs)  # type: ignore[arg-type]

    class GuardedHTTPConnection(HTTPConnection):
        response_class = BoundedAnswer

        def _new_conn(self) -> socket.socket:
            return _dial(self, policy, bounds, is_clear=True)

    class GuardedHTTPSConnection(HTTPSConnection):
        response_class = BoundedAnswer

        def _new_conn(self) -> socket.socket:
            return _dial(self, policy, bounds, is_clear=False)

    class GuardedHTTPPool(HTTPConnectionPool):
        ConnectionCls = GuardedHTTPConnection

    class GuardedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHTTPSConnection

    return {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}


class _BoundedReader:
    """A socket as ``http.client`` reads it: through a file."""

    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._bounds = bounds

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedFile(self._sock, self._bounds))


class _BoundedFile(io.RawIOBase):
    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._bounds = bounds
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._bounds.left_s())
        size = self._file.readinto(buffer)
        self._bounds.took(size or 0)
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _dial(connection: HTTPConnection, policy: EgressPolicy, bounds: Bounds, *, is_clear: bool) -> socket.socket:
    """Resolves once, checks every answer, then connects to those very addresses in order."""
    host, port = connection.host, connection.port or connection.default_port
    infos = _looked_up(host, port, connection, bounds)
    for info in infos:
        policy.check_address(host, port, str(info[4][0]), is_clear=is_clear)
    failure: OSError | None = None
    for family, kind, proto, _, address in infos:
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(_time_to_connect(connection, bounds))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            sock.settimeout(bounds.left_s())
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"connection to {host} timed out") from failure
    raise NewConnectionError(connection, f"no address of {host} accepts connections") from failure


def _time_to_connect(connection: HTTPConnection, bounds: Bounds) -> float:
    wanted = connection.timeout
    return min(wanted, bounds.left_s()) if isinstance(wanted, (int, float)) else bounds.left_s()


def _looked_up(host: str, port: int, connection: HTTPConnection, bounds: Bounds) -> list[AddressInfo]:
    """``getaddrinfo`` knows no timeout, so a name is looked up beside: a name server that says nothing keeps its thread, not us."""
    if is_literal(host):
        return _addresses(host, port, connection)
    answers: SimpleQueue[list[AddressInfo] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_addresses(host, port, connection))
        except (NameResolutionError, OSError) as error:  # raised again by whoever waits
            answers.put(error)

    Thread(target=look_up, daemon=True).start()
    try:
        answer = answers.get(timeout=min(LOOKUP_TIMEOUT_S, bounds.left_s()))
    except (Empty, TimeoutError) as error:
        raise NameResolutionError(host, connection, socket.gaierror("no answer in time")) from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _addresses(host: str, port: int, connection: HTTPConnection) -> list[AddressInfo]:
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (socket.gaierror, UnicodeError) as error:
        raise NameResolutionError(host, connection, socket.gaierror(str(error))) from error
