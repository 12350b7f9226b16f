"""The asynchronous inference views and their URLconf: authenticate, parse, call the gateway, answer or stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path

from aigateway import errors, gateway
from aigateway.api.request_id import META_KEY, new_request_id
from aigateway.callers import Caller
from aigateway.dialects.base import Call, Dialect, StreamRenderer, checked_context
from aigateway.dialects.native import Native
from aigateway.dialects.openai_chat import OpenAIChat
from aigateway.edge import EdgeRequest, EdgeStream
from aigateway.errors import GatewayError
from providers.fields import dollars
from providers.upstream.routing import names_for
from providers.upstream.types import Plan, Target

_log = structlog.get_logger("aigateway.inference")
_JSON = "application/json"
View = Callable[[EdgeRequest], Awaitable[HttpResponseBase]]
DjangoView = Callable[..., Any]


def _answering(method: str, view: View) -> DjangoView:
    """Admission and the one border where errors become answers."""

    async def answer(request: EdgeRequest, **_: Any) -> HttpResponseBase:
        plane = request.plane
        if request.method != method:
            return _refused(_wrong_method(method), request.request_id)
        if plane.in_flight >= plane.in_flight_max:
            return _refused(errors.overloaded(), request.request_id)
        plane.in_flight += 1
        try:
            return await view(request)
        except Exception as error:  # noqa: BLE001 - outermost edge: unlisted errors are logged and answered without details
            return _refused(_listed(error), request.request_id)
        finally:
            plane.in_flight -= 1

    return answer


def _listed(error: Exception) -> GatewayError:
    known = errors.to_gateway_error(error)
    if known is None:
        _log.exception("unexpected_error", error=type(error).__name__)
        return errors.unexpected()
    _log.info("refused", code=known.code, status=known.status)
    return known


def _wrong_method(allowed: str) -> GatewayError:
    error = errors.invalid_request(f"Use {allowed}.", code="method_not_allowed", status=405)
    error.headers = {"Allow": allowed}
    return error


def _refused(error: GatewayError, request_id: str) -> HttpResponse:
    return HttpResponse(error.encoded(request_id), status=error.status, content_type=_JSON, headers=error.http_headers())


async def _authenticate(request: EdgeRequest) -> Caller:
    return await request.plane.callers.authenticate(request.META.get("HTTP_AUTHORIZATION", ""), request.META.get("HTTP_X_API_KEY", ""))


def _chat_view(dialect: Dialect) -> View:
    async def view(request: EdgeRequest) -> HttpResponseBase:
        version_before_caller = request.plane.version
        caller = await _authenticate(request)
        call = dialect.parse(request.body, _context(request))
        ledger_id = _ledger_request_id(request)
        arguments = (request.plane, call, caller, ledger_id, version_before_caller, lambda: _authenticate(request))
        if call.request.stream:
            return _stream_response(dialect, call, await gateway.stream(*arguments), request, ledger_id)
        answer = await gateway.chat(*arguments)
        gateway.log_answer(answer.explanation, stream=False)
        headers = _headers(answer.explanation.target, answer.explanation.plan, len(answer.explanation.attempts))
        headers["X-Gateway-Request-ID"] = ledger_id
        headers["X-Gateway-Cost-USD"] = str(dollars(answer.explanation.cost_nano))
        return HttpResponse(dialect.render(answer.response, answer.explanation), content_type=_JSON, headers=headers)

    return view


def _ledger_request_id(request: EdgeRequest) -> str:
    """The gateway's own name of the request. A client's ``X-Request-ID`` may repeat, so money never goes by it."""
    return new_request_id() if META_KEY in request.META else request.request_id


def _context(request: EdgeRequest) -> str | None:
    context = request.META.get("HTTP_X_GATEWAY_CONTEXT")
    return None if context is None else checked_context(context, "X-Gateway-Context")


def _headers(target: Target, plan: Plan, attempts: int) -> dict[str, str]:
    return {
        "X-Gateway-Provider": target.provider.slug,
        "X-Gateway-Model": _header_text(target.name),
        "X-Gateway-Attempts": str(attempts),
        "X-Gateway-Cached": "false",
        "X-Gateway-Policy": plan.policy.value,
        "X-Gateway-Why": _header_text(plan.why),
        "Cache-Control": "private, no-store",
    }


def _header_text(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("\r", " ").replace("\n", " ")[:300]


def _stream_response(dialect: Dialect, call: Call, stream: gateway.Stream, request: EdgeRequest, ledger_id: str) -> EdgeStream:
    renderer = dialect.stream_renderer(call, stream.target)
    return EdgeStream(
        _rendered(renderer, stream, request),
        stream.aclose,
        content_type="text/event-stream",
        headers={
            **_headers(stream.target, stream.plan, len(stream.attempts)),
            "X-Gateway-Request-ID": ledger_id,
            "X-Accel-Buffering": "no",
        },
    )


async def _rendered(renderer: StreamRenderer, stream: gateway.Stream, request: EdgeRequest) -> AsyncGenerator[bytes, None]:
    """The client's bytes. A broken upstream ends in an explicit error and never in an invented finish (U09)."""
    plane = request.plane
    plane.in_flight += 1
    try:
        async for event in stream.events:
            if chunk := renderer.event(event):
                yield chunk
        if last := renderer.end(stream.explain):
            yield last
        gateway.log_answer(stream.explain(), stream=True)
    except Exception as error:  # noqa: BLE001 - outermost edge of a stream: the status line is long gone
        yield renderer.error(_listed(error), request.request_id)
    finally:
        plane.in_flight -= 1


async def _models(request: EdgeRequest) -> HttpResponse:
    """R105: what this caller may ask for, in OpenAI's listing."""
    caller = await _authenticate(request)
    listing = [
        {"id": name, "object": "model", "created": 0, "owned_by": owner}
        for name, owner in names_for(request.plane.snapshot, caller.allowed_models)
    ]
    return HttpResponse(msgspec.json.encode({"object": "list", "data": listing}), content_type=_JSON)


def _not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001 - Django's signature
    error = errors.invalid_request("There is no such path.", code="not_found", status=404)
    return _refused(error, getattr(request, "request_id", ""))


def _failed(request: HttpRequest) -> HttpResponse:
    return _refused(errors.unexpected(), getattr(request, "request_id", ""))


_chat = _answering("POST", _chat_view(OpenAIChat()))
_generate = _answering("POST", _chat_view(Native()))
_list_models = _answering("GET", _models)

urlpatterns = [
    path("v1/chat/completions", _chat),
    path("api/v1/ai/v1/chat/completions", _chat),
    path("api/v1/ai/chat/completions", _chat),
    path("api/v1/ai/generate", _generate),
    path("api/ai/generate", _generate),
    path("v1/models", _list_models),
    path("api/v1/ai/v1/models", _list_models),
]
handler404 = _not_found
handler500 = _failed
INFERENCE_PATHS = frozenset("/" + str(pattern.pattern) for pattern in urlpatterns)
