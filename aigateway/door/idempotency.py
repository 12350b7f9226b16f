"""Requests with an ``Idempotency-Key`` on the data plane: executed once, answered as often as asked.

The work goes on when its client leaves, so that whoever repeats the request gets the answer that was paid for. What is final
is kept: success, and a refusal of the request itself by whoever was asked. Everything else frees the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from aigateway import errors
from aigateway.dialects.base import Dialect
from aigateway.door.handler import EdgeRequest, EdgeStream
from aigateway.errors import GatewayError
from aigateway.idempotency import store

THREADS = 2
CHUNKS_AHEAD = 64
"""A stream is read so far ahead of its client."""
KEEP_AGAIN_AFTER_S = (0.5, 2.0, 8.0, 30.0)
"""Waits before each further try to keep an answer, should the database be away just then."""
NOT_FINAL = frozenset({402, 408, 409, 425, 429})
T = TypeVar("T")
Make = Callable[[], Awaitable[HttpResponseBase]]


async def once(request: EdgeRequest, dialect: Dialect, caller: str, request_id: str, make: Make) -> HttpResponseBase:
    """What ``make`` answers, or what it answered the first time. Raises what ``make`` and ``store.claim`` raise."""
    plane = request.plane
    path = request.get_full_path()
    sha256 = store.fingerprint(request.method or "", path, request.META.get("HTTP_X_GATEWAY_CONTEXT", ""), request.body)
    key = store.checked_key(request.META[store.META_KEY])
    process_id: UUID = plane.ledger.process_id
    claimed = await _in_thread(partial(store.claim, store.Question(caller, key, sha256, request_id, process_id)))
    if isinstance(claimed, store.StoredAnswer):
        return _replayed(claimed)
    work = _Work(request, dialect, claimed)
    answering = plane.upstreams.supervise(work.answer(make))
    try:
        return await asyncio.shield(answering)
    except asyncio.CancelledError:
        work.client_left(answering)
        raise


class _Work:
    """One request under way, and the keeping of its answer."""

    def __init__(self, request: EdgeRequest, dialect: Dialect, claimed: store.Claim) -> None:
        self._request = request
        self._dialect = dialect
        self._claimed = claimed
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._is_left = False

    async def answer(self, make: Make) -> HttpResponseBase:
        try:
            response = await make()
        except BaseException as error:
            await self._keep(self._refusal(error))
            raise
        headers = {name: value for name, value in response.items() if name != "Content-Type"}
        if isinstance(response, EdgeStream):
            self._request.plane.upstreams.supervise(self._read(response, headers))
            return EdgeStream(self._chunks(), self._leave, status=response.status_code, headers=dict(response.items()))
        assert isinstance(response, HttpResponse)
        await self._keep(store.StoredAnswer(response.status_code, response["Content-Type"], headers, response.content))
        return response

    def client_left(self, answering: asyncio.Task[HttpResponseBase]) -> None:
        """It goes on without the client and counts as in flight until it is done."""
        self._is_left = True
        plane = self._request.plane
        plane.in_flight += 1

        def done(_: object) -> None:
            plane.in_flight -= 1

        answering.add_done_callback(done)

    # ----------------------------------------------------------------- streams

    async def _read(self, stream: EdgeStream, headers: dict[str, str]) -> None:
        """Reads to the end whether or not the client does; a stream too large to keep ends with its client."""
        kept: list[bytes] | None = []
        size, is_whole = 0, False
        try:
            async for chunk in stream.chunks:
                size += len(chunk)
                if kept is not None:
                    kept = _appended(kept, chunk, size)
                if not self._is_left:
                    await self._queue.put(chunk)
                elif kept is None:
                    break
            else:
                is_whole = not self._request.broke_off
        finally:
            await stream.aclose()
            body = b"".join(kept) if kept is not None else bytes(store.BODY_BYTES_MAX + 1)
            answer = store.StoredAnswer(stream.status_code, stream["Content-Type"], headers, body)
            await self._keep(answer if is_whole or kept is None else None)
            if not self._is_left:
                await self._queue.put(None)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk

    async def _leave(self) -> None:
        self._is_left = True
        while not self._queue.empty():
            self._queue.get_nowait()

    # ----------------------------------------------------------------- keeping

    def _refusal(self, error: BaseException) -> store.StoredAnswer | None:
        """What to keep of a failure: the provider's refusal of the request itself; it would be refused again."""
        known = errors.to_gateway_error(error) if isinstance(error, Exception) else None
        if known is None or not _is_final(known):
            return None
        body = self._dialect.render_error(known, self._request.request_id)
        return store.StoredAnswer(known.status, "application/json", known.http_headers(), body)

    async def _keep(self, answer: store.StoredAnswer | None) -> None:
        """Returns after the first try; where the database is away, the others follow in the background."""
        if not await self._kept(answer):
            self._request.plane.upstreams.supervise(self._keep_later(answer))

    async def _keep_later(self, answer: store.StoredAnswer | None) -> None:
        for pause_s in KEEP_AGAIN_AFTER_S:
            await asyncio.sleep(pause_s)
            if await self._kept(answer):
                return
        store.log.error("idempotent_answer_not_kept", request_id=self._claimed.request_id)

    async def _kept(self, answer: store.StoredAnswer | None) -> bool:
        work = partial(store.release, self._claimed) if answer is None else partial(store.finish, self._claimed, answer)
        return await _in_thread(partial(_succeeds, work))


def _succeeds(work: Callable[[], None]) -> bool:
    """``False`` where the database is away just then."""
    try:
        work()
    except (DatabaseError, InterfaceError) as error:
        store.log.warning("idempotent_answer_not_kept_yet", error=type(error).__name__)
        return False
    return True


def _appended(kept: list[bytes], chunk: bytes, size: int) -> list[bytes] | None:
    """``None`` once it is more than can be kept."""
    if size > store.BODY_BYTES_MAX:
        return None
    kept.append(chunk)
    return kept


def _is_final(error: GatewayError) -> bool:
    was_asked = any(record.attempt_no for record in error.attempts)
    return was_asked and 400 <= error.status < 500 and error.status not in NOT_FINAL


def _replayed(answer: store.StoredAnswer) -> HttpResponse:
    """The first answer, byte for byte, at no cost."""
    headers = {**answer.headers, store.REPLAYED: "true", "X-Gateway-Cost-USD": "0.000000000"}
    return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type, headers=headers)


_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="idempotency")


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, _with_own_connection, work)


def _with_own_connection(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        close_old_connections()
