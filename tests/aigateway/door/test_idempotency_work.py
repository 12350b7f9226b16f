"""A request with a key, from its claim to the keeping of its answer, whatever becomes of its client and of the database."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from io import BytesIO
from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from aigateway.api.errors import Category
from aigateway.dialects.openai_chat.dialect import OpenAIChat
from aigateway.door import idempotency
from aigateway.door.handler import EdgeRequest, EdgeStream
from aigateway.errors import GatewayError
from aigateway.idempotency import store
from aigateway.runtime import DataPlane
from providers.upstream.dispatch import AttemptRecord
from tests.usage.world import TARGET

pytestmark = pytest.mark.both_databases

ASKED, NOT_ASKED = AttemptRecord(TARGET, 1, "bad_request", 5), AttemptRecord(TARGET, 0, "rate_limit_exceeded", 0)


def refused(status: int, *attempts: AttemptRecord) -> GatewayError:
    return GatewayError(status, Category.VALIDATION, "no", "No.", "Change it.", retry_after_s=3, attempts=attempts)


class Asking:
    """A client that repeats one request. Its provider answers with ``answer``, which may be an error; ``calls`` counts."""

    def __init__(self) -> None:
        self.plane = DataPlane()
        self.answer: Callable[[], HttpResponseBase | BaseException] = lambda: HttpResponse(b"hello", content_type="text/x", status=201)
        self.calls = 0
        self.request: EdgeRequest

    async def ask(self, request_id: str, **meta: str) -> HttpResponseBase:
        headers = [(b"idempotency-key", b"order-1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": meta.pop("method", "POST"), "path": "/v1/x", "query_string": b"", "headers": headers}
        self.request = EdgeRequest(scope, BytesIO(b"{}"))
        self.request.META.update(meta)
        self.request.plane, self.request.request_id = self.plane, request_id
        return await idempotency.once(self.request, OpenAIChat(), "key:a", request_id, self._make)

    async def _make(self) -> HttpResponseBase:
        self.calls += 1
        answer = self.answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def over(self) -> None:
        """Waits for what goes on without the client."""
        assert await self.plane.upstreams.drain_pending(30) == 0


@pytest.fixture
async def asking(transactional_db: None) -> Asking:
    return Asking()


async def read(response: HttpResponseBase) -> list[bytes]:
    assert isinstance(response, EdgeStream)
    chunks = [chunk async for chunk in response.chunks]
    await response.aclose()
    return chunks


class Upstream:
    """A stream of ``count`` numbered chunks. ``read`` and ``closed`` count; ``at_end`` happens after the last one."""

    def __init__(self, count: int, at_end: Callable[[], None] = lambda: None) -> None:
        self.count, self.read, self.closed, self.at_end = count, 0, 0, at_end

    def response(self) -> EdgeStream:
        return EdgeStream(self._chunks(), self._close, status=200, headers={"Content-Type": "text/event-stream", "X-One": "1"})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        for number in range(self.count):
            self.read += 1
            yield b"%d." % number
        self.at_end()

    async def _close(self) -> None:
        self.closed += 1

    @property
    def whole(self) -> bytes:
        return b"".join(b"%d." % number for number in range(self.count))


# --------------------------------------------------------------------------- whole answers


async def test_M01_whoever_asks_again_gets_the_first_answer_at_no_cost(asking: Asking) -> None:
    first = await asking.ask("first")
    again = await asking.ask("second")
    assert isinstance(again, HttpResponse)
    assert (asking.calls, first.status_code, again.status_code, again.content) == (1, 201, 201, b"hello")
    assert dict(again.items()) == {"Content-Type": "text/x", "Idempotent-Replayed": "true", "X-Gateway-Cost-USD": "0.000000000"}
    for changed in ({"method": "PUT"}, {"HTTP_X_GATEWAY_CONTEXT": "writing"}):
        with pytest.raises(GatewayError, match="idempotency_key_reused"):
            await asking.ask("third", **changed)


async def test_what_the_provider_refused_for_good_is_kept_and_the_first_one_hears_it_as_it_was(asking: Asking) -> None:
    error = refused(400, ASKED)
    asking.answer = lambda: error
    with pytest.raises(GatewayError) as heard:
        await asking.ask("first")
    assert heard.value is error
    again = await asking.ask("second")
    assert isinstance(again, HttpResponse)
    assert (asking.calls, again.status_code, again["Content-Type"], again["Retry-After"]) == (1, 400, "application/json", "3")
    assert again.content == OpenAIChat().render_error(error, "first")


@pytest.mark.parametrize("error", [refused(400), refused(503, ASKED), ValueError("a defect"), asyncio.CancelledError()])
async def test_any_other_failure_frees_the_key(asking: Asking, error: BaseException) -> None:
    usual, asking.answer = asking.answer, lambda: error
    with pytest.raises(type(error)):
        await asking.ask("first")
    asking.answer = usual
    assert "Idempotent-Replayed" not in await asking.ask("second")
    assert asking.calls == 2


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(status, True) for status in (400, 401, 403, 404, 407, 410, 424, 426, 428, 430, 499)]
    + [(status, False) for status in (200, 399, 402, 408, 409, 425, 429, 500, 501)],
)
def test_final_is_what_was_wrong_with_the_request_itself(status: int, is_final: bool) -> None:
    assert idempotency._is_final(refused(status, ASKED)) is is_final


def test_only_whoever_was_asked_refuses_for_good() -> None:
    assert not idempotency._is_final(refused(400))
    assert not idempotency._is_final(refused(400, NOT_ASKED))
    assert idempotency._is_final(refused(400, NOT_ASKED, ASKED))


@pytest.mark.parametrize("stream", [False, True])
async def test_the_work_of_a_client_that_left_goes_on_and_counts_as_in_flight_until_it_answers(asking: Asking, stream: bool) -> None:
    under_way, may_end, upstream = asyncio.Event(), asyncio.Event(), Upstream(200)

    async def slow() -> HttpResponseBase:
        asking.calls += 1
        under_way.set()
        await may_end.wait()
        return upstream.response() if stream else HttpResponse(upstream.whole)

    asking._make = slow  # type: ignore[method-assign]
    leaving = asyncio.ensure_future(asking.ask("first"))
    await under_way.wait()
    assert asking.plane.in_flight == 0, "its view counts it"
    leaving.cancel()
    await asyncio.wait({leaving})
    assert (leaving.cancelled(), asking.plane.in_flight) == (True, 1)
    may_end.set()
    await asking.over()
    await asking.over()  # what reads a stream began meanwhile
    assert asking.plane.in_flight == 0
    again = await asking.ask("second")
    assert isinstance(again, HttpResponse)
    assert (again.content, asking.calls) == (upstream.whole, 1)


# --------------------------------------------------------------------------- streams


async def test_a_stream_is_delivered_as_it_comes_and_kept_whole(asking: Asking) -> None:
    upstream = Upstream(200)
    asking.answer = upstream.response
    first = await asking.ask("first")
    assert (first.status_code, first["X-One"], first["Content-Type"]) == (200, "1", "text/event-stream")
    assert await read(first) == [b"%d." % number for number in range(200)]
    await asking.over()
    assert upstream.closed == 1
    again = await asking.ask("second")
    assert isinstance(again, HttpResponse)
    assert (again.content, again["X-One"], again["Content-Type"]) == (upstream.whole, "1", "text/event-stream")


async def test_a_stream_is_read_64_chunks_ahead_of_its_client_and_to_the_end_without_it(asking: Asking) -> None:
    upstream = Upstream(200)
    asking.answer = upstream.response
    response = await asking.ask("first")
    assert isinstance(response, EdgeStream)
    assert await anext(response.chunks) == b"0."
    for _ in range(1000):
        await asyncio.sleep(0)
    assert upstream.read == 1 + 64 + 1, "one delivered, 64 waiting, one in hand"
    await response.aclose()
    await asking.over()
    assert (upstream.read, upstream.closed) == (200, 1)
    again = await asking.ask("second")
    assert isinstance(again, HttpResponse)
    assert again.content == upstream.whole


async def test_a_stream_that_broke_off_is_not_kept(asking: Asking) -> None:
    asking.answer = Upstream(3, lambda: setattr(asking.request, "broke_off", True)).response
    assert len(await read(await asking.ask("first"))) == 3
    await asking.over()
    await asking.ask("second")
    assert asking.calls == 2
    await asking.over()


async def test_a_stream_that_raised_is_not_kept_and_ends_for_its_client(asking: Asking) -> None:
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context["exception"]))

    def fail() -> None:
        raise ValueError("a defect")

    upstream = Upstream(3, fail)
    asking.answer = upstream.response
    assert len(await read(await asking.ask("first"))) == 3
    await asking.over()
    asking.answer = Upstream(3).response
    assert len(await read(await asking.ask("second"))) == 3
    await asking.over()
    assert (asking.calls, upstream.closed) == (2, 1)
    gc.collect()
    assert [type(error) for error in unheard] == [ValueError], "and the log has it"


@pytest.mark.parametrize(("size", "is_kept"), [(6, True), (5, False)])
async def test_a_stream_is_kept_up_to_the_largest_body(asking: Asking, monkeypatch: pytest.MonkeyPatch, size: int, is_kept: bool) -> None:
    monkeypatch.setattr(store, "BODY_BYTES_MAX", size)
    asking.answer = Upstream(3).response
    assert b"".join(await read(await asking.ask("first"))) == b"0.1.2."
    await asking.over()
    if is_kept:
        assert isinstance(await asking.ask("second"), HttpResponse)
    else:
        with pytest.raises(GatewayError, match="idempotent_result_not_stored"):
            await asking.ask("second")
    assert asking.calls == 1


async def test_a_stream_too_large_to_keep_ends_with_its_client(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BODY_BYTES_MAX", 10)
    upstream = Upstream(500)
    asking.answer = upstream.response
    response = await asking.ask("first")
    assert isinstance(response, EdgeStream)
    for _ in range(100):
        await anext(response.chunks)
    await response.aclose()
    await asking.over()
    assert upstream.read < 200
    assert upstream.closed == 1
    with pytest.raises(GatewayError, match="idempotent_result_not_stored"):
        await asking.ask("second")


# --------------------------------------------------------------------------- a database that is away


class Said:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **words: object) -> None:
        self.lines.append((event, words))

    error = warning


@pytest.mark.parametrize("failures", [1, 4, 5])
@pytest.mark.parametrize("kept", ["finish", "release"])
async def test_an_answer_is_delivered_at_once_and_kept_when_the_database_is_back(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, failures: int, kept: str
) -> None:
    said, slept, tries, work = Said(), [], [], getattr(store, kept)

    def away_for_a_while(*words: Any) -> None:
        tries.append(words)
        if len(tries) <= failures:
            raise OperationalError("away")
        work(*words)

    async def sleep(pause_s: float) -> None:
        slept.append(pause_s)

    monkeypatch.setattr(store, "log", said)
    monkeypatch.setattr(store, kept, away_for_a_while)
    monkeypatch.setattr(idempotency.asyncio, "sleep", sleep)
    if kept == "finish":
        await asking.ask("first")
    else:
        asking.answer = lambda: ValueError("a defect")
        with pytest.raises(ValueError, match="a defect"):
            await asking.ask("first")
    await asking.over()
    assert slept == [0.5, 2.0, 8.0, 30.0][:failures]
    assert len(tries) == min(failures + 1, 5)
    lost = [("idempotent_answer_not_kept", {"request_id": "first"})]
    assert said.lines == [("idempotent_answer_not_kept_yet", {"error": "OperationalError"})] * failures + lost * (failures == 5)


async def test_every_use_of_a_thread_lets_go_of_a_connection_that_is_broken(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = []
    monkeypatch.setattr(idempotency, "close_old_connections", lambda: let_go.append(1))

    def fail() -> None:
        raise OperationalError("away")

    with pytest.raises(OperationalError):
        await idempotency._in_thread(fail)
    assert await idempotency._in_thread(lambda: 5) == 5
    assert len(let_go) == 2
