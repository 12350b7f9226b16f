"""The asynchronous inference views and their URLconf: authenticate, parse, call the gateway, answer or stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from aigateway import errors, gateway
from aigateway.api.credentials import sent_keys
from aigateway.api.private import PRIVATE
from aigateway.api.request_id import META_KEY, new_request_id
from aigateway.callers import Caller
from aigateway.dialects.anthropic_messages import AnthropicCountTokens, AnthropicMessages
from aigateway.dialects.azure import AZURE
from aigateway.dialects.base import Call, Dialect, Explanation, Sent, StreamRenderer, checked_context
from aigateway.dialects.gemini import (
    GeminiArrayStream,
    GeminiBatchEmbed,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
)
from aigateway.dialects.native import Native
from aigateway.dialects.openai_chat import OpenAIChat
from aigateway.dialects.openai_embeddings import OpenAIEmbeddings
from aigateway.dialects.openai_responses import OpenAIResponses
from aigateway.door import addresses, idempotency, listings
from aigateway.door.authentication import authenticate
from aigateway.door.handler import EdgeRequest, EdgeStream
from aigateway.door.listings import JSON, speaks_anthropic
from aigateway.door.reading import read_call, receive_body
from aigateway.errors import GatewayError
from aigateway.idempotency import store
from providers.fields import dollars
from providers.upstream import hops, redaction

_log = structlog.get_logger("aigateway.inference")
STATUS_HOLD_S = 10.0
"""How long the status line of a stream waits for the first content."""
MESSAGE_MAX = 2000
"""Characters of an error's message."""
KEEP_ALIVE_S = 10.0
"""A comment (WHATWG HTML, server-sent events): every client of every format skips it."""
View = Callable[[EdgeRequest], Awaitable[HttpResponseBase]]
DjangoView = Callable[..., Any]
_OPENAI_CHAT = OpenAIChat()
_MESSAGES = AnthropicMessages()
_GEMINI = GeminiGenerate()


def _answering(method: str, view: View, dialect: Dialect) -> DjangoView:
    """Admission and the one border where errors become answers, in the words of the client's format."""

    async def answer(request: EdgeRequest, **path: str) -> HttpResponseBase:
        plane = request.plane
        request.path_parameters = path
        if request.method != method:
            return _refused(_wrong_method(method), request.request_id, dialect)
        if not hops.arrive(request.META.get("HTTP_X_GATEWAY_HOPS", ""), plane.hop):
            return _refused(errors.looping(), request.request_id, dialect)
        if plane.in_flight >= plane.in_flight_max:
            return _refused(errors.overloaded(), request.request_id, dialect)
        plane.in_flight += 1
        try:
            response = await view(request)
        except asyncio.CancelledError:
            if not request.is_cut_by_shutdown:
                raise
            response = _refused(errors.shutting_down(), request.request_id, dialect)
        except Exception as error:  # noqa: BLE001 - outermost edge: unlisted errors are logged and answered without details
            response = _refused(_listed(error, request), request.request_id, dialect)
        finally:
            plane.in_flight -= 1
        if request.allowance.limits:
            for name, value in (await request.allowance.headers(may_look=not isinstance(response, EdgeStream))).items():
                response.headers[name] = value
        response.setdefault(*PRIVATE)
        return response

    return answer


def _listed(error: Exception, request: EdgeRequest) -> GatewayError:
    known = errors.to_gateway_error(error)
    if known is None:
        _log.exception("unexpected_error", error=type(error).__name__)
        return errors.unexpected()
    _log.info("refused", code=known.code, status=known.status)
    known.message = redaction.redact(known.message, _secrets_sent(request), MESSAGE_MAX)
    return known


def _secrets_sent(request: EdgeRequest) -> tuple[str, ...]:
    """What a provider may repeat of a prompt into which somebody pasted his own key."""
    return (*sent_keys(request.META), *request.COOKIES.values())


def _wrong_method(allowed: str) -> GatewayError:
    error = errors.invalid_request(f"Use {allowed}.", code="method_not_allowed", status=405)
    error.headers = {"Allow": allowed}
    return error


def _refused(error: GatewayError, request_id: str, dialect: Dialect) -> HttpResponse:
    headers = {PRIVATE[0]: PRIVATE[1], **error.http_headers(), **dialect.headers(request_id)}
    return HttpResponse(dialect.render_error(error, request_id), status=error.status, content_type=JSON, headers=headers)


def _inference_view(dialect: Dialect) -> View:
    async def view(request: EdgeRequest) -> HttpResponseBase:
        version_before_caller = request.plane.version
        caller = await receive_body(request)
        call = await read_call(dialect, request.body, _context(request), Sent(request.headers_sent, request.path_parameters))
        ledger_id = _ledger_request_id(request)
        make = partial(_answer, dialect, call, caller, request, ledger_id, version_before_caller)
        if store.META_KEY in request.META:
            return await idempotency.once(request, dialect, caller.subject, ledger_id, make)
        return await make()

    return view


async def _answer(
    dialect: Dialect, call: Call, caller: Caller, request: EdgeRequest, ledger_id: str, version_before_caller: int
) -> HttpResponseBase:
    allowance = request.allowance
    arguments = (request.plane, call, caller, ledger_id, version_before_caller, lambda: authenticate(request), allowance)
    if call.request.stream:
        return await _stream_response(dialect, call, gateway.stream(*arguments), request, ledger_id)
    answer = await gateway.answer(*arguments)
    gateway.log_answer(answer.explanation, stream=False)
    headers = _headers(dialect, answer.explanation, ledger_id)
    headers["X-Gateway-Cost-USD"] = str(dollars(answer.explanation.cost_nano))
    return HttpResponse(dialect.render(answer.response, answer.explanation), content_type=JSON, headers=headers)


def _ledger_request_id(request: EdgeRequest) -> str:
    """The gateway's own name of the request. A client's ``X-Request-ID`` may repeat, so money never goes by it."""
    return new_request_id() if META_KEY in request.META else request.request_id


def _context(request: EdgeRequest) -> str | None:
    context = request.META.get("HTTP_X_GATEWAY_CONTEXT")
    return None if context is None else checked_context(context, "X-Gateway-Context")


def _headers(dialect: Dialect, answered: Explanation | gateway.Stream, ledger_id: str) -> dict[str, str]:
    headers = {
        **dialect.headers(ledger_id),
        "X-Gateway-Provider": answered.target.provider.slug,
        "X-Gateway-Model": _header_text(answered.target.name),
        "X-Gateway-Attempts": str(len(answered.attempts)),
        "X-Gateway-Cached": "false",
        "X-Gateway-Policy": answered.plan.policy.value,
        "X-Gateway-Why": _header_text(answered.plan.why),
        "X-Gateway-Request-ID": ledger_id,
    }
    if answered.degraded:
        headers["X-Gateway-Degraded"] = _header_text(", ".join(answered.degraded))
    return headers


def _header_text(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("\r", " ").replace("\n", " ")[:300]


async def _stream_response(
    dialect: Dialect, call: Call, opening: Coroutine[Any, Any, gateway.Stream], request: EdgeRequest, ledger_id: str
) -> EdgeStream:
    """The status line waits for the first content, so that a failure has its own status (U12), but not for ever (U05)."""
    opened = asyncio.get_running_loop().create_task(opening)
    try:
        await asyncio.wait({opened}, timeout=STATUS_HOLD_S)
    except asyncio.CancelledError:
        await _give_up(opened)
        raise
    if opened.done():
        stream = opened.result()
        renderer = dialect.stream_renderer(call, stream.target, stream.wire)
        return _streamed(dialect, request, _rendered(renderer, stream, request), stream.aclose, _headers(dialect, stream, ledger_id))
    headers = {**dialect.headers(ledger_id), "X-Gateway-Request-ID": ledger_id}
    return _streamed(dialect, request, _kept_alive(dialect, call, opened, request), lambda: _give_up(opened), headers)


def _streamed(
    dialect: Dialect,
    request: EdgeRequest,
    chunks: AsyncGenerator[bytes, None],
    close: Callable[[], Awaitable[None]],
    headers: dict[str, str],
) -> EdgeStream:
    """Counts as in flight until it is released."""
    request.plane.in_flight += 1

    async def release() -> None:
        request.plane.in_flight -= 1
        await close()

    return EdgeStream(chunks, release, content_type=dialect.stream_content_type, headers={**headers, "X-Accel-Buffering": "no"})


async def _kept_alive(
    dialect: Dialect, call: Call, opened: asyncio.Task[gateway.Stream], request: EdgeRequest
) -> AsyncGenerator[bytes, None]:
    """Comments until the first content; fail-over goes on behind them. A failure can only be an event now."""
    try:
        while not opened.done():
            yield dialect.keep_alive
            await asyncio.wait({opened}, timeout=KEEP_ALIVE_S)
    except asyncio.CancelledError:
        if not request.is_cut_by_shutdown:
            raise
        request.broke_off = True
        yield dialect.render_stream_error(errors.shutting_down(), request.request_id)
        return
    try:
        stream = opened.result()
    except Exception as error:  # noqa: BLE001 - outermost edge of a stream: the status line is long gone
        request.broke_off = True
        yield dialect.render_stream_error(_listed(error, request), request.request_id)
        return
    renderer = dialect.stream_renderer(call, stream.target, stream.wire)
    async with aclosing(_rendered(renderer, stream, request)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _give_up(opened: asyncio.Task[gateway.Stream]) -> None:
    """The client left. What was opened is closed and settled; what is being opened is cancelled."""
    opened.cancel()
    await asyncio.wait({opened})
    if not opened.cancelled() and opened.exception() is None:
        await opened.result().aclose()


async def _rendered(renderer: StreamRenderer, stream: gateway.Stream, request: EdgeRequest) -> AsyncGenerator[bytes, None]:
    """The client's bytes. A broken upstream ends in an explicit error and never in an invented finish (U09)."""
    try:
        while batch := await stream.next_batch():
            chunk = renderer.event(batch[0]) if len(batch) == 1 else b"".join(map(renderer.event, batch))
            if chunk:
                yield chunk
        if last := renderer.end(stream.explain):
            yield last
        gateway.log_answer(stream.explain(), stream=True)
    except asyncio.CancelledError:
        if not request.is_cut_by_shutdown:
            raise
        request.broke_off = True
        yield renderer.error(errors.shutting_down(), request.request_id)
    except Exception as error:  # noqa: BLE001 - outermost edge of a stream: the status line is long gone
        request.broke_off = True
        yield renderer.error(_listed(error, request), request.request_id)


def _speaks_gemini(request: EdgeRequest) -> bool:
    """Google's clients send their key in a header of its own."""
    return "HTTP_X_GOOG_API_KEY" in request.META or "HTTP_X_GOOG_API_CLIENT" in request.META


def _listing(view: View, gemini_view: View) -> DjangoView:
    """The same path in the words of every client."""
    openai, anthropic = _answering("GET", view, _OPENAI_CHAT), _answering("GET", view, _MESSAGES)
    gemini = _answering("GET", gemini_view, _GEMINI)

    async def answer(request: EdgeRequest, **path: str) -> HttpResponseBase:
        chosen = anthropic if speaks_anthropic(request) else gemini if _speaks_gemini(request) else openai
        response: HttpResponseBase = await chosen(request, **path)
        return response

    return answer


def _not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001 - Django's signature
    message = f"There is no such path. {addresses.nearest(request.path, INFERENCE_PATHS)}"
    error = errors.invalid_request(message, code="not_found", status=404)
    return _refused(error, getattr(request, "request_id", ""), _MESSAGES if speaks_anthropic(request) else _OPENAI_CHAT)


def _failed(request: HttpRequest) -> HttpResponse:
    return _refused(errors.unexpected(), getattr(request, "request_id", ""), _OPENAI_CHAT)


async def _gemini_stream(request: EdgeRequest, **path: str) -> HttpResponseBase:
    """Google sends events to those who ask for them and one JSON array to all others."""
    view = _gemini_events if request.GET.get("alt") == "sse" else _gemini_array
    response: HttpResponseBase = await view(request, **path)
    return response


def _post(dialect: Dialect) -> DjangoView:
    return _answering("POST", _inference_view(dialect), dialect)


_chat = _post(_OPENAI_CHAT)
_generate = _post(Native())
_embeddings = _post(OpenAIEmbeddings())
_responses = _post(OpenAIResponses())
_messages = _post(_MESSAGES)
_count_tokens = _post(AnthropicCountTokens())
_gemini_events = _post(GeminiStream())
_gemini_array = _post(GeminiArrayStream())
_gemini_methods: dict[str, DjangoView] = {
    "generateContent": _post(_GEMINI),
    "streamGenerateContent": _gemini_stream,
    "countTokens": _post(GeminiCountTokens()),
    "embedContent": _post(GeminiEmbed()),
    "batchEmbedContents": _post(GeminiBatchEmbed()),
}
_list_models = _listing(listings.models, listings.gemini_models)
_get_model = _listing(listings.model, listings.one_gemini_model)

urlpatterns = [
    # Google's clients choose between the two versions themselves.
    *(path(f"{version}/models/<path:model>:{name}", view) for version in ("v1beta", "v1") for name, view in _gemini_methods.items()),
    path("v1beta/models", _answering("GET", listings.gemini_models, _GEMINI)),
    path("v1beta/models/<path:model>", _answering("GET", listings.one_gemini_model, _GEMINI)),
    *(path(f"openai/deployments/<path:model>/{operation}", _post(dialect)) for operation, dialect in AZURE.items()),
    path("v1/chat/completions", _chat),
    path("api/v1/ai/v1/chat/completions", _chat),
    path("api/v1/ai/chat/completions", _chat),
    path("api/v1/ai/generate", _generate),
    path("api/ai/generate", _generate),
    path("v1/responses", _responses),
    path("api/v1/ai/v1/responses", _responses),
    path("v1/embeddings", _embeddings),
    path("api/v1/ai/v1/embeddings", _embeddings),
    path("v1/messages", _messages),
    path("api/v1/ai/v1/messages", _messages),
    path("v1/messages/count_tokens", _count_tokens),
    path("api/v1/ai/v1/messages/count_tokens", _count_tokens),
    path("v1/models", _list_models),
    path("api/v1/ai/v1/models", _list_models),
    path("v1/models/<path:model>", _get_model),
    path("api/v1/ai/v1/models/<path:model>", _get_model),
]
handler404 = _not_found
handler500 = _failed
INFERENCE_PATHS = frozenset("/" + str(pattern.pattern) for pattern in urlpatterns if "<" not in str(pattern.pattern))
