"""The two entrances: a whole answer and a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from providers.upstream.dispatch.affinity import states_of
from providers.upstream.dispatch.attempts import AttemptLedger, AttemptOutcome, AttemptRecord, Billing, Upstreams
from providers.upstream.dispatch.failover import Failover, PhysicalCall, abandoned_outcome, failure_outcome
from providers.upstream.dispatch.streams import LiveStream
from providers.upstream.dispatch.threads import away_from_loop
from providers.upstream.errors import UpstreamError
from providers.upstream.transport import Deadline
from providers.upstream.types import (
    ChatRequest,
    ChatResponse,
    HttpResponse,
    InferenceRequest,
    InferenceResponse,
    Plan,
    StreamEvent,
    Target,
    Wire,
)

_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """``degraded`` names the fields of the request that the target has no use for."""

    response: InferenceResponse
    target: Target
    attempts: tuple[AttemptRecord, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A stream whose first content has arrived. ``aclose`` must be called on every path; it settles what is left to settle.
    ``wire`` is the format of its events.

    ``events`` raises ``UpstreamError`` where the upstream failed after its first content. ``next_batch`` gives the same events
    by network read, empty after the end: use one or the other.
    """

    target: Target
    attempts: tuple[AttemptRecord, ...]
    events: AsyncIterator[StreamEvent]
    next_batch: Callable[[], Awaitable[list[StreamEvent]]]
    aclose: Callable[[], Awaitable[None]]
    wire: Wire
    degraded: tuple[str, ...] = ()


async def answer(
    plan: Plan,
    request: InferenceRequest,
    up: Upstreams,
    ledger: AttemptLedger,
    deadline: Deadline,
    request_headers: Mapping[str, str] = _NO_HEADERS,
) -> WholeAnswer:
    """The first whole answer. Raises ``AllTargetsFailed``, and whatever ``ledger.open`` raises."""

    async def attempt(call: PhysicalCall) -> tuple[InferenceResponse, tuple[str, ...]]:
        return await _answer_once(call, request, request_headers), call.http_request.degraded

    failover = Failover(plan, request, up, ledger, deadline)
    (response, degraded), target = await failover.run(attempt)
    return WholeAnswer(response, target, tuple(failover.records), degraded)


async def stream(
    plan: Plan,
    request: ChatRequest,
    up: Upstreams,
    ledger: AttemptLedger,
    deadline: Deadline,
    request_headers: Mapping[str, str] = _NO_HEADERS,
) -> StreamAnswer:
    """The first stream that delivers content (or ends properly without any): fail-over before that is invisible.

    Raises ``AllTargetsFailed``, and whatever ``ledger.open`` raises.
    """

    async def attempt(call: PhysicalCall) -> LiveStream:
        return await _stream_once(call, request_headers)

    failover = Failover(plan, request, up, ledger, deadline)
    live, target = await failover.run(attempt)
    return StreamAnswer(target, tuple(failover.records), live, live.next_batch, live.aclose, live.wire, live.degraded)


async def _answer_once(call: PhysicalCall, request: InferenceRequest, request_headers: Mapping[str, str]) -> InferenceResponse:
    try:
        response = await call.up.transport.send(call.target.provider, call.credential, call.http_request, call.deadline, request_headers)
        answer = await away_from_loop(len(response.body), partial(_parsed, call, request, response))
        if answer.wire is Wire.OPENAI_RESPONSES and isinstance(answer, ChatResponse):
            call.remember(states_of(answer))
        await call.settle(_success_outcome(call, answer), None)
    except UpstreamError as error:
        await call.settle(failure_outcome(call, error), error)
        raise
    except BaseException as cause:
        call.abandon(abandoned_outcome(call, cause))
        raise
    return answer


def _parsed(call: PhysicalCall, request: InferenceRequest, response: HttpResponse) -> InferenceResponse:
    if not 200 <= response.status < 300:
        raise call.adapter.parse_error(response)
    return call.adapter.parse(request, response)


def _success_outcome(call: PhysicalCall, answer: InferenceResponse) -> AttemptOutcome:
    return AttemptOutcome(
        Billing.MEASURED if answer.usage.is_complete else Billing.ESTIMATE,
        answer.usage,
        delivered_output_bytes=answer.output_bytes,
        upstream_id=answer.id,
        latency_ms=call.elapsed_ms,
    )


async def _stream_once(call: PhysicalCall, request_headers: Mapping[str, str]) -> LiveStream:
    try:
        upstream = await call.up.transport.open_stream(
            call.target.provider, call.credential, call.http_request, call.deadline, request_headers
        )
    except UpstreamError as error:
        await call.settle(failure_outcome(call, error), error)
        raise
    except BaseException as cause:
        call.abandon(abandoned_outcome(call, cause))
        raise
    live = LiveStream(call, upstream)
    await live.begin()
    return live
