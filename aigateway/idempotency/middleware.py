"""``Idempotency-Key`` on writes of the REST surface. Requests without it pass untouched."""

from __future__ import annotations

from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from aigateway.api.authentication import ApiKeyAuthentication
from aigateway.api.errors import wants_json
from aigateway.api.request_id import new_request_id, request_id_of
from aigateway.errors import GatewayError, access_unknown
from aigateway.idempotency import store

WRITES = ("POST", "PUT", "PATCH", "DELETE")


class IdempotencyMiddleware:
    """A success is kept and replayed. A refused write changed nothing, so it frees the key and is decided anew."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        key = request.META.get(store.META_KEY)
        if key is None or request.method not in WRITES or not wants_json(request):
            return self.get_response(request)
        caller = _caller_of(request)
        if caller is None:
            return self.get_response(request)
        sha256 = store.fingerprint(request.method, request.get_full_path(), "", request.body)
        try:
            question = store.Question(caller, store.checked_key(key), sha256, new_request_id(), None)
            claimed = store.claim(question)
        except GatewayError as error:
            return _refused(error, request)
        except (OperationalError, InterfaceError):
            return _refused(access_unknown(), request)
        if isinstance(claimed, store.StoredAnswer):
            headers = {**claimed.headers, store.REPLAYED: "true"}
            return HttpResponse(claimed.body, status=claimed.status, content_type=claimed.content_type, headers=headers)
        return self._first(request, claimed)

    def _first(self, request: HttpRequest, claimed: store.Claim) -> HttpResponseBase:
        response = self.get_response(request)
        if isinstance(response, StreamingHttpResponse) or not 200 <= response.status_code < 300:
            store.release(claimed)
            return response
        assert isinstance(response, HttpResponse)
        headers = {name: value for name, value in response.items() if name not in ("Content-Type", "Content-Length")}
        content_type = response.get("Content-Type", "")
        try:
            store.finish(claimed, store.StoredAnswer(response.status_code, content_type, headers, response.content))
        except (OperationalError, InterfaceError) as error:  # the write is made and its answer is true; only repeating it must wait
            store.log.warning("idempotent_answer_not_kept", error=type(error).__name__)
        return response


def _refused(error: GatewayError, request: HttpRequest) -> HttpResponse:
    body = error.encoded(request_id_of(request))
    return HttpResponse(body, status=error.status, content_type="application/json", headers=error.http_headers())


def _caller_of(request: HttpRequest) -> str | None:
    """Who is calling, proven; ``None`` for nobody or a bad key, whom the view answers itself."""
    try:
        found = ApiKeyAuthentication().identify(Request(request))
    except APIException:
        return None
    if found is not None:
        return f"key:{found[1].pk}"
    user = request.user
    return f"user:{user.pk}" if user.is_authenticated else None
