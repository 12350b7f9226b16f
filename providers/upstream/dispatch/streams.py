"""One open stream: events as they come, one settlement whatever happens."""

from __future__ import annotations

import asyncio
from collections import deque

from providers.upstream.dispatch.attempts import DRAINS_MAX, AttemptOutcome, Billing
from providers.upstream.dispatch.failover import CLIENT_CLOSED, INTERNAL_ERROR, PhysicalCall, redact
from providers.upstream.errors import BodyTooLarge, InvalidBody, StreamTruncated, UpstreamError
from providers.upstream.sse import SseEvent
from providers.upstream.transport import UpstreamStream
from providers.upstream.types import ChatDelta, DisconnectPolicy, StreamEvent, Wire

DRAIN_S = 60.0
DRAIN_BYTES_MAX = 8 * 1024 * 1024
# What has arrived when the client leaves takes no waiting; a provider that sends faster than this is read no further.
CATCH_UP_S = 0.25
CATCH_UP_PAUSE_S = 0.005
CATCH_UP_BYTES_MAX = 1024 * 1024
# What may come before the first content: lifecycle events and keep-alives.
PREAMBLE_BYTES_MAX = 1024 * 1024


class LiveStream:
    """An asynchronous iterator of ``StreamEvent``; ``next_batch`` hands out all events of one network read at once.

    It ends after the provider's own end, never before: an upstream that breaks off raises ``UpstreamError`` once the
    events before the break are delivered. Leaving early (``aclose``, or cancellation of a waiting ``anext``) follows the
    provider's disconnect policy.
    """

    def __init__(self, call: PhysicalCall, upstream: UpstreamStream) -> None:
        self._call = call
        self._upstream = upstream
        self._framing = call.adapter.event_parser()
        self._parser = call.adapter.stream_parser()
        self._batch: list[StreamEvent] = []
        self._handed_out: deque[StreamEvent] = deque()
        self._failure: UpstreamError | None = None
        self._has_content = False
        self._is_over = False
        self._is_left = False
        self._received_bytes = 0
        self._output_bytes = 0
        self._events = 0
        self._first_content_ms: int | None = None

    @property
    def wire(self) -> Wire:
        return self._call.adapter.wire

    @property
    def degraded(self) -> tuple[str, ...]:
        return self._call.http_request.degraded

    async def begin(self) -> None:
        """Reads to the first content or to a proper end. Raises ``UpstreamError``; then everything is settled."""
        try:
            await self._refuse_other_answers()
            while not (self._has_content or self._is_over or self._failure is not None):
                await self._advance()
                if self._received_bytes > PREAMBLE_BYTES_MAX and not self._has_content:
                    self._failure = BodyTooLarge("too much before the first content")
        except UpstreamError as error:
            self._failure = error
        except BaseException as cause:
            self._leave(CLIENT_CLOSED if isinstance(cause, asyncio.CancelledError) else INTERNAL_ERROR)
            raise
        if self._failure is not None and not self._has_content:
            await self._fail(self._failure)

    def __aiter__(self) -> LiveStream:
        return self

    async def __anext__(self) -> StreamEvent:
        if not self._handed_out:
            self._handed_out.extend(await self.next_batch())
        if not self._handed_out:
            raise StopAsyncIteration
        return self._handed_out.popleft()

    async def next_batch(self) -> list[StreamEvent]:
        """Waits for events, empty after the provider's own end. Raises ``UpstreamError``."""
        try:
            while not self._batch:
                if self._is_left:
                    return []
                if self._failure is not None:
                    await self._fail(self._failure)
                if self._is_over:
                    await self._succeed()
                    return []
                await self._advance()
        except asyncio.CancelledError:
            self._leave(CLIENT_CLOSED)
            raise
        batch, self._batch = self._batch, []
        return batch

    async def aclose(self) -> None:
        """Safe to call at any time, any number of times. Does not wait for a drain."""
        closing = self._leave(CLIENT_CLOSED)
        if closing is not None:
            await asyncio.wait({closing})

    # ----------------------------------------------------------------- reading

    async def _refuse_other_answers(self) -> None:
        """An error status, or a success that is no stream: JSON may hold an error, a page for people is none of ours."""
        is_success = 200 <= self._upstream.status < 300
        if is_success and not self._upstream.headers.get("content-type", "").startswith(self._call.adapter.not_streams):
            return
        response = await self._upstream.read_response()
        if not is_success:
            raise self._call.adapter.parse_error(response)
        self._call.adapter.parse_chat(response)
        raise InvalidBody("a whole answer where a stream was asked for")

    async def _advance(self) -> None:
        """One network chunk. Failures are kept: the events before them are delivered first."""
        try:
            chunk = await self._upstream.next_chunk()
        except UpstreamError as error:
            if self._parser.is_complete:
                self._is_over = True  # everything was said; how the connection ends does not matter any more
            else:
                self._failure = error
            return
        self._received_bytes += len(chunk)
        try:
            if chunk:
                self._take(self._framing.feed(chunk))
            else:
                self._take_the_rest()
        except UpstreamError as error:
            if not self._is_over:
                self._failure = error
        self._is_over = self._is_over or not chunk

    def _take_the_rest(self) -> None:
        """At the end of the body: an event may lack its blank line, and half an event is a cut, not nonsense."""
        complete = len(self._batch)
        try:
            self._take(self._framing.finish())
        except InvalidBody:
            if not self._parser.is_complete:
                del self._batch[complete:]
                raise StreamTruncated("the stream ended inside an event") from None
        if not self._parser.is_complete:
            del self._batch[complete:]  # what we say next must not run into the client's half-read line
            raise StreamTruncated("the stream ended without its finish marker")
        self._batch[complete:] = [event for event in self._batch[complete:] if _means_something(event.delta)]

    def _take(self, events: list[SseEvent]) -> None:
        """Idleness is measured in events: bytes that complete none are no progress."""
        if events:
            self._upstream.progress()
        parser, batch = self._parser, self._batch
        for event in events:
            delta = parser.feed(event)
            if delta.is_end:
                if not parser.is_complete:
                    raise StreamTruncated("the stream ended without its finish marker")
                self._is_over = True
            if event.data:
                self._events += 1
            if delta.reasoning_signature and self.wire is Wire.OPENAI_RESPONSES:
                self._call.remember((delta.reasoning_signature,))
            if delta.has_content:
                self._count(delta)
            batch.append(StreamEvent(event.raw, delta))
            for other in delta.others:
                if other.has_content:
                    self._count(other)
                batch.append(StreamEvent(b"", other))

    def _count(self, delta: ChatDelta) -> None:
        self._output_bytes += _output_bytes(delta)
        if not self._has_content:
            self._has_content = True
            self._first_content_ms = self._call.elapsed_ms

    # ----------------------------------------------------------------- ending

    async def _succeed(self) -> None:
        self._is_left = True
        if self.wire is Wire.OPENAI_RESPONSES:
            self._call.remember((self._parser.upstream_id,))
        if self._upstream.at_eof:
            await self._upstream.aclose()
        else:  # the end of the body is still under way; waiting for it saves the connection, but not on the client's time
            self._call.up.supervise(self._upstream.finish())
        await self._call.settle(self._outcome(""), None)

    async def _fail(self, error: UpstreamError) -> None:
        self._is_left = True
        redact(error, self._call.target.provider)
        await self._upstream.aclose()
        await self._call.settle(self._outcome(error.code, error), error)
        raise error

    def _leave(self, code: str) -> asyncio.Task[None] | None:
        """The client is gone. Returns the task that closes and settles, ``None`` when there is nothing to wait for."""
        if self._is_left:
            return None
        self._is_left = True
        self._batch.clear()
        self._handed_out.clear()
        if self._parser.is_complete and self._parser.usage_is_final:
            return self._call.up.settle(self._close("" if self._is_over else code))
        drains = self._call.target.provider.disconnect_policy is DisconnectPolicy.DRAIN
        if drains and code == CLIENT_CLOSED and self._failure is None and self._call.up.drains < DRAINS_MAX:
            self._call.up.settle(self._drain(code))
            return None
        return self._call.up.settle(self._catch_up(code))

    async def _close(self, code: str) -> None:
        await self._upstream.aclose()
        closing = self._call.abandon(self._outcome(code))
        if closing is not None:
            await asyncio.wait({closing})

    async def _catch_up(self, code: str) -> None:
        """Reads what has arrived before it closes: what the provider sent is on its bill, whoever takes it."""
        try:
            await self._read_on(CATCH_UP_S, CATCH_UP_BYTES_MAX, CATCH_UP_PAUSE_S)
        finally:
            await self._close(code)

    async def _drain(self, code: str) -> None:
        """Reads on for the exact usage."""
        self._call.up.drains += 1
        try:
            await self._read_on(DRAIN_S, DRAIN_BYTES_MAX)
        finally:
            self._call.up.drains -= 1
            await self._close(code)

    async def _read_on(self, within_s: float, bytes_max: int, pause_s: float | None = None) -> None:
        """To the end of the stream, to a limit, or to a pause; what is known by then is what is settled."""
        limit = self._received_bytes + bytes_max
        try:
            async with asyncio.timeout(within_s):
                while not (self._is_over or self._failure is not None or self._received_bytes > limit):
                    async with asyncio.timeout(pause_s):
                        await self._advance()
                    self._batch.clear()
        except TimeoutError:
            pass

    def _outcome(self, code: str, error: UpstreamError | None = None) -> AttemptOutcome:
        usage = self._parser.usage
        if self._parser.usage_is_final and usage.is_complete:
            billing = Billing.MEASURED
        elif error is None or error.may_have_billed or self._output_bytes:
            billing = Billing.ESTIMATE
        else:
            billing = Billing.NOTHING
        return AttemptOutcome(
            billing,
            usage,
            delivered_output_bytes=self._output_bytes,
            upstream_id=self._parser.upstream_id,
            error_code=code,
            latency_ms=self._call.elapsed_ms,
            first_byte_ms=self._first_content_ms,
            events=self._events,
        )


def _means_something(delta: ChatDelta) -> bool:
    return delta.has_content or delta.is_end or delta.finish_reason is not None or delta.usage is not None


def _output_bytes(delta: ChatDelta) -> int:
    size = _utf8_bytes(delta.text)
    if delta.reasoning or delta.tool_calls or delta.refusal:
        size += _utf8_bytes(delta.reasoning) + _utf8_bytes(delta.refusal) + sum(_utf8_bytes(call.arguments) for call in delta.tool_calls)
    return size


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
