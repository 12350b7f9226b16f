"""The two entrances: a whole answer and a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from providers.upstream.dispatch.attempts import AttemptLedger, AttemptOutcome, AttemptRecord, Billing, Upstreams
from providers.upstream.dispatch.failover import Call, Failover, abandoned_outcome, failure_outcome
from providers.upstream.dispatch.streams import LiveStream
from providers.upstream.errors import UpstreamError
from providers.upstream.transport import Deadline
from providers.upstream.types import ChatRequest, ChatResponse, HttpResponse, Plan, StreamEvent, Target

_NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    response: ChatResponse
    target: Target
    attempts: tuple[AttemptRecord, ...]


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A stream whose first content has arrived. ``aclose`` must be called on every path; it settles what is left to settle.

    ``events`` raises ``UpstreamError`` where the upstream failed after its first content.
    """

    target: Target
    attempts: tuple[AttemptRecord, ...]
    events: AsyncIterator[StreamEvent]
    aclose: Callable[[], Awaitable[None]]


async def chat(
    plan: Plan,
    request: ChatRequest,
    up: Upstreams,
    ledger: AttemptLedger,
    deadline: Deadline,
    request_headers: Mapping[str, str] = _NO_HEADERS,
) -> ChatAnswer:
    """The first whole answer. Raises ``AllTargetsFailed``, and whatever ``ledger.open`` raises."""

    async def attempt(call: Call) -> ChatResponse:
        return await _chat_once(call, request_headers)

    failover = Failover(plan, request, up, ledger, deadline)
    response, target = await failover.run(attempt)
    return ChatAnswer(response, target, tuple(failover.records))


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

    async def attempt(call: Call) -> LiveStream:
        return await _stream_once(call, request_headers)

    failover = Failover(plan, request, up, ledger, deadline)
    live, target = await failover.run(attempt)
    return StreamAnswer(target, tuple(failover.records), live, live.aclose)


async def _chat_once(call: Call, request_headers: Mapping[str, str]) -> ChatResponse:
    try:
        response = await call.up.transport.send(call.target.provider, call.credential, call.http_request, call.deadline, request_headers)
        answer = _parsed(call, response)
        await call.settle(_success_outcome(call, answer), None)
    except UpstreamError as error:
        await call.settle(failure_outcome(call, error), error)
        raise
    except BaseException as cause:
        call.abandon(abandoned_outcome(call, cause))
        raise
    return answer


def _parsed(call: Call, response: HttpResponse) -> ChatResponse:
    if not 200 <= response.status < 300:
        raise call.adapter.parse_error(response)
    return call.adapter.parse_chat(response)


def _success_outcome(call: Call, answer: ChatResponse) -> AttemptOutcome:
    texts = [text for choice in answer.choices for text in (choice.text, choice.refusal or "")]
    texts += [part.text for choice in answer.choices for part in choice.reasoning]
    texts += [tool_call.arguments for choice in answer.choices for tool_call in choice.tool_calls]
    return AttemptOutcome(
        Billing.MEASURED if answer.usage.is_complete else Billing.ESTIMATE,
        answer.usage,
        delivered_output_bytes=sum(len(text.encode("utf-8", "replace")) for text in texts),
        upstream_id=answer.id,
        latency_ms=call.elapsed_ms,
    )


async def _stream_once(call: Call, request_headers: Mapping[str, str]) -> LiveStream:
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
