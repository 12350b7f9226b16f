"""Asks a view of this process what it answers, without rendering: a cell of the matrix takes less than a millisecond."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.test import RequestFactory
from django.urls import ResolverMatch, resolve
from rest_framework.test import APIRequestFactory, force_authenticate

from tests.access.principals import Principal
from tests.undone import undone

_FACTORY, _API = RequestFactory(), APIRequestFactory()
_resolved = cache(resolve)


def ask_admin(path: str, method: str, who: Principal, data: dict[str, str] | None = None) -> int:
    """The status of a page of the admin; what a POST writes is undone."""
    return status_of(_admin_request(path, method, who, data), _resolved(path.partition("?")[0]))


def ask_rest(path: str, method: str, who: Principal) -> int:
    """The status of an address of the REST surface for somebody who is known already; what it writes is undone."""
    body = {} if method in ("GET", "HEAD", "OPTIONS", "DELETE") else {"data": b"{}", "content_type": "application/json"}
    request = _API.generic(method, path, **body)  # type: ignore[arg-type]
    request.session = SessionStore()
    force_authenticate(request, user=who.user)
    return status_of(request, _resolved(path))


def _admin_request(path: str, method: str, who: Principal, data: dict[str, str] | None) -> HttpRequest:
    request: Any = _FACTORY.generic(method, path) if method != "POST" else _FACTORY.post(path, data or {})
    request.user = who.user or AnonymousUser()
    request.session = SessionStore()
    request._messages = CookieStorage(request)
    request._dont_enforce_csrf_checks = True
    request.request_id = "req_test"
    return request  # type: ignore[no-any-return]


def status_of(request: HttpRequest, match: ResolverMatch) -> int:
    request.resolver_match = match
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return _status(request, match)
    with undone():
        return _status(request, match)


def _status(request: HttpRequest, match: ResolverMatch) -> int:
    try:
        return int(match.func(request, *match.args, **match.kwargs).status_code)
    except PermissionDenied:
        return 403
    except Http404:
        return 404
