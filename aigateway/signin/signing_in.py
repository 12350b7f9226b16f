"""What happens when somebody signs in, and how refusals to look at a password read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from aigateway.api.errors import Category, error_body, wants_json
from aigateway.api.request_id import request_id_of
from aigateway.models import SignIn
from aigateway.signin import origin, standing
from aigateway.signin.bounds import TooManyTries
from aigateway.signin.hashing import HashingBusy
from aigateway.signin.origin import Origin
from aigateway.signin.session_store import SEEN_AT, SIGN_IN, SIGNED_IN_AT

OPENID_BACKEND = "aigateway.signin.openid.OpenIdBackend"


def user_signed_in(request: HttpRequest, user: User, **_: object) -> None:
    """Django tells of every login, by whatever page. The session has its new key by now, except after one of another user."""
    session = request.session
    if session.session_key is None:
        session.save()
    by_openid = getattr(user, "backend", "") == OPENID_BACKEND
    now = timezone.now()
    sign_in = record(user, SignIn.Kind.SESSION, SignIn.Method.OPENID if by_openid else SignIn.Method.PASSWORD, request)
    SignIn.objects.filter(pk=sign_in.pk).update(session_key=session.session_key)
    session[SIGN_IN] = str(sign_in.pk)
    session[SIGNED_IN_AT] = session[SEEN_AT] = int(now.timestamp())
    request.signed_in_as = user.pk  # type: ignore[attr-defined]


def record(user: User, kind: SignIn.Kind, method: SignIn.Method, request: HttpRequest) -> SignIn:
    standing.epoch_of(user)
    where, now = Origin.of(request), timezone.now()
    return SignIn.objects.create(
        user=user, kind=kind, method=method, address=where.address, device=where.device, signed_in_at=now, seen_at=now
    )


class AccessMiddleware:
    """Remembers browsers that signed in, and answers tries that were refused unseen."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        user_id = getattr(request, "signed_in_as", None)
        if user_id is not None:
            origin.remember(request, response, user_id)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        match exception:
            case TooManyTries():
                return _refused(request, 429, "too_many_tries", "There were too many tries.", exception.wait_s)
            case HashingBusy():
                return _refused(request, 503, "sign_in_busy", "Too many people sign in at this moment.", exception.wait_s)
        return None


def _refused(request: HttpRequest, status: int, code: str, message: str, wait_s: int) -> HttpResponseBase:
    headers = {"Retry-After": str(wait_s), "Cache-Control": "private, no-store"}
    if wants_json(request):
        body = error_body(Category.RATE_LIMIT, code, message, "Wait for the time in Retry-After.", request_id_of(request))
        return JsonResponse(body, status=status, headers=headers)
    context: dict[str, Any] = {"message": message, "wait": _in_words(wait_s), "title": "Not now"}
    response = render(request, "signin/refused.html", context, status=status)
    for name, value in headers.items():
        response[name] = value
    return response


def _in_words(wait_s: int) -> str:
    return f"{wait_s} seconds" if wait_s < 120 else f"{-(-wait_s // 60)} minutes"
