"""The request id: taken from the caller or made here, on every answer and every log line."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, ClassVar

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from structlog.contextvars import bound_contextvars

HEADER = "X-Request-ID"
META_KEY = "HTTP_X_REQUEST_ID"
WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


_dice = random.Random()  # noqa: S311 - seeded from the system; ids must be unique, not secret, and a system call each is dear


def new_request_id() -> str:
    return f"req_{_dice.getrandbits(128):032x}"


def accepted_request_id(sent: str | None) -> str:
    """``sent`` when it is well formed (1 to 64 of ``A-Za-z0-9._-``), else a new id: a bad id is never echoed."""
    return sent if sent is not None and WELL_FORMED.fullmatch(sent) else new_request_id()


def request_id_of(request: Any) -> str:
    """The id of a Django or REST framework request; empty when the middleware did not see it."""
    return getattr(request, "request_id", "")


class RequestIdMiddleware:
    """Sets ``request.request_id`` and the answer's header, for synchronous and asynchronous stacks alike."""

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        request_id = accepted_request_id(request.META.get(META_KEY))
        request.request_id = request_id  # type: ignore[attr-defined]
        if self.is_async:
            return self._answer_async(request, request_id)
        with bound_contextvars(request_id=request_id):
            response: HttpResponseBase = self.get_response(request)
        response.headers[HEADER] = request_id
        return response

    async def _answer_async(self, request: HttpRequest, request_id: str) -> HttpResponseBase:
        with bound_contextvars(request_id=request_id):
            response: HttpResponseBase = await self.get_response(request)
        response.headers[HEADER] = request_id
        return response
