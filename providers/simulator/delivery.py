"""Sends one answer, or fails in the way that was asked for, and bills what was written."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from providers.simulator.answers import Answer, Usage
from providers.simulator.bill import Bill, BillLine, cost_nano
from providers.simulator.controls import LONGEST_MS, Behaviour, Fault
from providers.simulator.journal import Entry, Journal
from providers.simulator.questions import InputTooLong, Question
from providers.simulator.wires import ErrorAnswer, Event, UsageReport, WireFormat

SLOW_FIRST_BYTE_S = 5.0
PADDING_BYTES = 2 * 1024 * 1024
PIECE_BYTES = 64 * 1024
EVENTS_PER_TURN = 64
FLUSH_S = 1.0

FAILURES = frozenset(fault for fault in Fault if fault.startswith("http_") or fault in (Fault.QUOTA, Fault.BLOCKED))
"""Faults that are an error answer and nothing else."""

_JSON = {"content-type": "application/json"}
_LINGER_ZERO = struct.pack("ii", 1, 0)
_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in to the network</h1></body></html>\n"


@dataclass(slots=True)
class Written:
    """What has left so far: the output tokens, and whether reasoning came before them."""

    output_tokens: int = 0
    content_events: int = 0


@dataclass(slots=True)
class Exchange:
    """One request and its answer. ``client_request_id`` and ``key`` (a fingerprint) go on the bill."""

    request: web.BaseRequest
    wire: WireFormat
    question: Question
    behaviour: Behaviour
    answer: Answer
    bill: Bill
    journal: Journal
    entry: Entry
    key: str
    written: Written
    squeezer: zlib._Compress | None = None

    async def deliver(self) -> web.StreamResponse:
        """The answer. Raises ``CancelledError`` when the client leaves while nothing is being written; it is billed then, too."""
        try:
            if self.behaviour.latency_s:
                await asyncio.sleep(self.behaviour.latency_s)
            sabotage = _SABOTAGE.get(self.behaviour.fault) if self.behaviour.fault else None
            if sabotage is not None:
                return await sabotage(self)
            return await self._send_stream() if self.question.stream else await self._send_whole()
        except (asyncio.CancelledError, ConnectionError) as error:
            self._close("disconnected")
            if isinstance(error, asyncio.CancelledError):
                raise
            return web.Response(status=499)

    # ------------------------------------------------------------------ healthy answers

    async def _send_whole(self) -> web.StreamResponse:
        body = self.wire.whole(self.answer, self.question, self._usage_report())
        fault = self.behaviour.fault
        if self.behaviour.first_byte_s or self.behaviour.directive.split_bytes or fault in (Fault.GZIP, Fault.HUGE_EVENT):
            response = await self._start(_JSON)
            await self._write(response, body)
            if fault is Fault.HUGE_EVENT or self.behaviour.directive.size_bytes:
                await self._pad(response, b" ")
            await self._end(response)
            self._close("complete")
            return response
        self._stamp()
        self._close("complete")
        return web.Response(body=body, headers={**_JSON, **self.wire.headers})

    async def _send_stream(self) -> web.StreamResponse:
        response = await self._start(self._stream_headers())
        if self.behaviour.fault is Fault.HUGE_EVENT:
            await self._pad_event(response)
        chunk_s, since_turn = self.behaviour.chunk_s, 0
        for event in self.wire.events(self.answer, self.question, self._usage_report()):
            if chunk_s and event.is_content and self.written.content_events:
                await asyncio.sleep(chunk_s)
            elif since_turn == EVENTS_PER_TURN:
                since_turn = 0
                await asyncio.sleep(0)
            since_turn += 1
            await self._write_event(response, event)
        await self._end(response)
        self._close("complete")
        return response

    def _usage_report(self) -> UsageReport:
        fault = self.behaviour.fault
        return UsageReport(
            present=fault is not Fault.NO_USAGE, on_every_event=fault is Fault.CUMULATIVE_USAGE, twice=fault is Fault.DOUBLED_USAGE
        )

    def _stream_headers(self) -> dict[str, str]:
        return {"content-type": self.wire.stream_type, "cache-control": "no-cache"}

    # ------------------------------------------------------------------ writing

    async def _start(self, headers: dict[str, str]) -> web.StreamResponse:
        """Sends the status line, then waits as long as the first body byte has to wait."""
        response = web.StreamResponse(headers={**headers, **self.wire.headers})
        if self.behaviour.fault is Fault.GZIP:
            response.headers["content-encoding"] = "gzip"
            self.squeezer = zlib.compressobj(wbits=31)
        await response.prepare(self.request)
        self.entry.status = response.status
        if self.behaviour.first_byte_s:
            await asyncio.sleep(self.behaviour.first_byte_s)
        return response

    async def _write(self, response: web.StreamResponse, raw: bytes) -> None:
        if self.squeezer is not None:
            raw = self.squeezer.compress(raw) + self.squeezer.flush(zlib.Z_SYNC_FLUSH)
        self._stamp()
        step = self.behaviour.directive.split_bytes
        if step is None:
            await response.write(raw)
            return
        for at in range(0, len(raw), step):
            await response.write(raw[at : at + step])
            await self._flush()

    async def _write_event(self, response: web.StreamResponse, event: Event) -> None:
        await self._write(response, event.raw)
        self.entry.events_written += 1
        self.written.output_tokens = event.output_tokens
        self.written.content_events += event.is_content

    async def _pad(self, response: web.StreamResponse, letter: bytes) -> None:
        left = self.behaviour.directive.size_bytes or PADDING_BYTES
        while left > 0:
            await self._write(response, letter * min(left, PIECE_BYTES))
            left -= PIECE_BYTES

    async def _pad_event(self, response: web.StreamResponse) -> None:
        start, end = self.wire.padding
        await self._write(response, start)
        await self._pad(response, b"x")
        await self._write(response, end)

    async def _end(self, response: web.StreamResponse) -> None:
        await response.write_eof(b"" if self.squeezer is None else self.squeezer.flush())

    def _stamp(self) -> None:
        if self.entry.first_byte_s is None:
            self.entry.first_byte_s = time.time()
            self.entry.status = self.entry.status or 200

    # ------------------------------------------------------------------ sabotage

    async def send_failure(self) -> web.StreamResponse:
        assert self.behaviour.fault is not None
        return self.send_error(self.wire.failure(self.behaviour.fault, self.behaviour.directive.retry_after))

    def send_error(self, error: ErrorAnswer) -> web.Response:
        self.journal.finish(self.entry, "refused", error.status)
        return web.Response(status=error.status, body=error.body, headers=error.headers)

    async def refuse_length(self) -> web.StreamResponse:
        maximum = self.question.model.context_window_tokens
        return self.send_error(self.wire.refusal(InputTooLong(maximum + self.question.input_tokens, maximum)))

    async def redirect(self) -> web.StreamResponse:
        directive = self.behaviour.directive
        return self.send_error(ErrorAnswer(directive.status, b"", {"location": directive.location}))

    async def send_page(self) -> web.StreamResponse:
        return self.send_error(ErrorAnswer(200, _PAGE, {"content-type": "text/html; charset=utf-8"}))

    async def send_error_in_200(self) -> web.StreamResponse:
        body, event = self.wire.error_in_200()
        if not self.question.stream:
            return self.send_error(ErrorAnswer(200, body, _JSON))
        response, _ = await self._send_beginning()
        await self._write(response, event)
        await self._end(response)
        self._close("reset" if self.written.content_events else "refused")
        return response

    async def refuse(self) -> web.StreamResponse:
        self.journal.finish(self.entry, "refused")
        return await self._reset()

    async def reset_before_answer(self) -> web.StreamResponse:
        self._close("reset")
        return await self._reset()

    async def reset_mid_stream(self) -> web.StreamResponse:
        if self.question.stream:
            await self._send_beginning()
        else:
            await self._send_half()
        self._close("reset")
        return await self._reset()

    async def end_without_finish(self) -> web.StreamResponse:
        """A polite end of a stream in the middle; of a plain answer, an empty body."""
        response = (await self._send_beginning())[0] if self.question.stream else await self._start(_JSON)
        await self._end(response)
        self._close("reset")
        return response

    async def truncate(self) -> web.StreamResponse:
        """Half a body, or half an event, then the end of the connection."""
        if self.question.stream:
            response = await self._send_cut()
        else:
            response = await self._send_half()
        self._close("reset")
        await self._flush()
        if self.request.transport is not None:
            self.request.transport.close()
        return response

    async def stall(self) -> web.StreamResponse:
        """Silence after the first events (before a plain answer); then, if the silence was given a length, the rest."""
        begun = await self._send_beginning() if self.question.stream else None
        wait_s = self.behaviour.wait_s
        await asyncio.sleep(LONGEST_MS / 1000 if wait_s is None else wait_s)
        if wait_s is None:
            self._close("reset")
            return await self._reset()
        if begun is None:
            return await self._send_whole()
        response = begun[0]
        for event in list(self._events())[self.entry.events_written :]:
            await self._write_event(response, event)
        await self._end(response)
        self._close("complete")
        return response

    async def delay(self) -> web.StreamResponse:
        wait_s = self.behaviour.wait_s
        await asyncio.sleep(SLOW_FIRST_BYTE_S if wait_s is None else wait_s)
        return await self._send_stream() if self.question.stream else await self._send_whole()

    def _events(self) -> list[Event]:
        return list(self.wire.events(self.answer, self.question, self._usage_report()))

    async def _send_beginning(self) -> tuple[web.StreamResponse, Event]:
        """Sends the events up to the fault: ``after`` content events, or all there are. Returns the next event, too."""
        events = self._events()
        after = min(self.behaviour.after, sum(event.is_content for event in events))
        response = await self._start(self._stream_headers())
        for event in events:
            if self.written.content_events >= after:
                return response, event
            if self.behaviour.chunk_s and event.is_content and self.written.content_events:
                await asyncio.sleep(self.behaviour.chunk_s)
            await self._write_event(response, event)
        return response, events[-1]

    async def _send_cut(self) -> web.StreamResponse:
        """A stream up to ``cut_bytes``, else to the middle of the event after the beginning."""
        left = self.behaviour.directive.cut_bytes
        if left is None:
            response, event = await self._send_beginning()
            await self._write(response, event.raw[: len(event.raw) // 2])
            return response
        response = await self._start(self._stream_headers())
        for event in self._events():
            if len(event.raw) > left:
                await self._write(response, event.raw[:left])
                break
            await self._write_event(response, event)
            left -= len(event.raw)
        return response

    async def _send_half(self) -> web.StreamResponse:
        """Half of a plain body under a Content-Length that promises all of it; all its tokens count as written."""
        body = self.wire.whole(self.answer, self.question, self._usage_report())
        response = await self._start({**_JSON, "content-length": str(len(body))})
        cut = self.behaviour.directive.cut_bytes
        await self._write(response, body[: len(body) // 2 if cut is None else cut])
        self.written = Written(self.answer.usage.output_tokens, 1)
        return response

    async def _flush(self) -> None:
        """Waits until the kernel has everything written so far."""
        transport = self.request.transport
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await asyncio.sleep(0)
                # Transports announce no "all written": only their buffer's size tells.
                while transport is not None and not transport.is_closing() and transport.get_write_buffer_size():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    async def _reset(self) -> web.StreamResponse:
        await self._flush()
        if self.request.transport is not None:
            reset(self.request.transport)
        return web.Response(status=499)

    # ------------------------------------------------------------------ closing

    def _close(self, outcome: str) -> None:
        """Bills the call, once, and closes its journal entry."""
        if self.entry.finished_s is not None:
            return
        finished_s = self.journal.finish(self.entry, "answered" if outcome == "complete" else outcome)
        if outcome == "refused" or not self.question.is_billed:
            return
        usage = self.answer.usage if outcome == "complete" else self._written_usage()
        self.bill.add(
            BillLine(
                id=self.entry.id,
                client_request_id=self.entry.client_request_id,
                model=self.answer.model.name,
                key=self.key,
                wire=self.wire.name,
                input_tokens=usage.input_tokens,
                cached_tokens=usage.cached_tokens,
                output_tokens=usage.output_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                cost_nano=cost_nano(self.answer.model, usage),
                outcome=outcome,
                stream=self.question.stream,
                started_s=self.entry.started_s,
                finished_s=finished_s,
            )
        )

    def _written_usage(self) -> Usage:
        """Reasoning precedes the first content, so it has been done in full once any content was written."""
        whole, written = self.answer.usage, self.written
        return Usage(
            whole.input_tokens, whole.cached_tokens, written.output_tokens, whole.reasoning_tokens if written.content_events else 0
        )


def reset(transport: asyncio.BaseTransport) -> None:
    """Closes with RST instead of FIN: what a crashed or overloaded server does."""
    opened: socket.socket | None = transport.get_extra_info("socket")
    if opened is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    else:
        transport.close()


_SABOTAGE: dict[Fault, Callable[[Exchange], Awaitable[web.StreamResponse]]] = {
    **dict.fromkeys(FAILURES, Exchange.send_failure),
    Fault.TOO_LONG: Exchange.refuse_length,
    Fault.REFUSE: Exchange.refuse,
    Fault.RESET_BEFORE_ANSWER: Exchange.reset_before_answer,
    Fault.RESET_MID_STREAM: Exchange.reset_mid_stream,
    Fault.EOF_NO_FINISH: Exchange.end_without_finish,
    Fault.STALL: Exchange.stall,
    Fault.SLOW_FIRST_BYTE: Exchange.delay,
    Fault.TRUNCATED_JSON: Exchange.truncate,
    Fault.HTML_200: Exchange.send_page,
    Fault.ERROR_IN_200: Exchange.send_error_in_200,
    Fault.REDIRECT: Exchange.redirect,
}
"""Faults that replace the answer; the others only change how a healthy one looks."""
