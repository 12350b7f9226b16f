"""The lean ASGI door for inference: Django's request, URLconf and asynchronous views without what costs a millisecond.

Stock ``ASGIHandler`` opens a thread pool, sends signals through threads, starts two tasks and spools the body to a file for
every request. This subclass of Django 5.2's handler drops these; ``tests/aigateway/door/test_handler.py`` pins what it relies on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Mapping
from io import BytesIO
from typing import Any

import structlog
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, set_urlconf

from aigateway import stopping
from aigateway.api.request_id import RequestIdMiddleware
from aigateway.door import bodies
from aigateway.door.bodies import Bodies
from aigateway.door.receipt import Incoming, Receive, Scope
from aigateway.rate_limits import Allowance
from aigateway.runtime import DataPlane

Send = Callable[[dict[str, Any]], Awaitable[None]]

EDGE_URLCONF = "aigateway.door.views"
CLIENT_STALL_S = 60.0
_log = structlog.get_logger("aigateway.edge")


class ClientStalled(Exception):
    """The client holds the connection and does not read."""


class EdgeRequest(ASGIRequest):
    """A request that knows the data plane that answers it."""

    plane: DataPlane
    request_id: str
    path_parameters: Mapping[str, str]
    allowance: Allowance
    incoming: Incoming
    bodies: Bodies
    watch: Callable[[], None]
    """From now on, a client that leaves ends the request."""
    broke_off: bool = False
    """Its stream ended in an error."""
    client_left: bool = False

    @property
    def is_cut_by_shutdown(self) -> bool:
        """Why it was cancelled: not because its client left, but because the drain time is over."""
        return stopping.PROCESS.begun and not self.client_left

    async def receive_body(self, caller: Hashable) -> None:
        """Reads the body of a known caller. Raises what ``Incoming.body`` raises; a client that left meanwhile ends the request."""
        if self.incoming.is_received:
            return
        body = await self.incoming.body(bodies.of_known_caller(self.bodies, caller))
        if body is None:
            self.client_left = True
            raise asyncio.CancelledError
        self._body = body  # bounded there; spares Django's own read and its smaller limit
        self.watch()

    @property
    def headers_sent(self) -> dict[str, str]:
        """Lower-case names as ASGI delivers them; of a repeated header the last one."""
        return {name.decode("latin1"): value.decode("latin1") for name, value in self.scope["headers"]}


class EdgeStream(StreamingHttpResponse):
    """A streamed answer that owns its upstream: ``aclose`` ends both, started or not, exactly once."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], release: Callable[[], Awaitable[None]], **headers: Any) -> None:
        super().__init__(chunks, **headers)
        self.chunks = chunks
        self._release = release

    async def aclose(self) -> None:
        try:
            await self.chunks.aclose()
        finally:
            await self._release()


class EdgeHandler(ASGIHandler):
    """Answers inference paths. Only asynchronous middleware runs here; the ORM never does."""

    def __init__(self, plane: DataPlane, held: Bodies | None = None) -> None:
        self.plane = plane
        self._bodies = held or Bodies()
        self._resolved: dict[str, ResolverMatch] = {}
        super().__init__()

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002 - Django's signature
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        inner = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        self._middleware_chain = convert_exception_to_response(RequestIdMiddleware(inner))

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """A path without parameters is resolved once."""
        match = self._resolved.get(request.path_info)
        if match is None:
            match = super().resolve_request(request)
            if not match.kwargs:
                self._resolved[request.path_info] = match
        request.resolver_match = match
        return match

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        request = EdgeRequest(scope, BytesIO())
        request.plane = self.plane
        request.allowance = Allowance(self.plane.limits)
        request.incoming = Incoming(scope, receive)
        request.bodies = self._bodies
        request.urlconf = EDGE_URLCONF
        try:
            await self._answer(request, receive, send)
        finally:
            request.incoming.release()

    async def _answer(self, request: EdgeRequest, receive: Receive, send: Send) -> None:
        """Runs the request in this task; once its body is here, a second one waits for the client to leave and then cancels it."""
        task = asyncio.current_task()
        assert task is not None
        watcher: asyncio.Future[None] | None = None

        async def wait_for_the_end() -> None:
            while (await receive())["type"] != "http.disconnect":
                continue
            request.client_left = True
            task.cancel()

        def watch() -> None:
            nonlocal watcher
            watcher = asyncio.ensure_future(wait_for_the_end())

        request.watch = watch
        if request.incoming.is_received:
            watch()
        try:
            set_urlconf(EDGE_URLCONF)
            response = await self._middleware_chain(request)  # type: ignore[misc]
            if not request.incoming.is_received:
                response.headers["Connection"] = "close"
            await send_response(response, send)
        except asyncio.CancelledError:
            if not request.client_left:
                raise
            task.uncancel()
        finally:
            if watcher is not None:
                watcher.cancel()


async def send_response(response: HttpResponseBase, send: Send) -> None:
    """Does not call ``response.close``: it signals the end of the request to the ORM's connections, and there are none."""
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    if isinstance(response, EdgeStream):
        try:
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            await _send_chunks(response.chunks, send)
        except ClientStalled:
            _log.info("client_stalled", after_s=CLIENT_STALL_S)
        finally:
            await response.aclose()
        return
    assert isinstance(response, HttpResponse)
    headers.append((b"content-length", str(len(response.content)).encode("ascii")))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


async def _send_chunks(chunks: AsyncIterator[bytes], send: Send) -> None:
    """Each chunk is sent as it comes; raises ``ClientStalled`` when the client does not read (L05)."""
    with _StallGuard(CLIENT_STALL_S) as guard:
        async for chunk in chunks:
            guard.waits = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            guard.waits = False
            guard.sent += 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _StallGuard:
    """Cancels the task that has been in the same ``send`` for one to two periods. A timer for each chunk would cost more than
    the chunk."""

    def __init__(self, period_s: float) -> None:
        self.waits = False
        self.sent = 0
        self._period_s = period_s
        self._waiting_at: int | None = None
        self._fired = False

    def __enter__(self) -> _StallGuard:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._period_s, self._look)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        if self._fired and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise ClientStalled from error

    def _look(self) -> None:
        if self.waits and self._waiting_at == self.sent:
            self._fired = True
            self._task.cancel()
            return
        self._waiting_at = self.sent if self.waits else None
        self._timer = self._loop.call_later(self._period_s, self._look)
