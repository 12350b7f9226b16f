"""Who asks, from where: what the audit log keeps of every request that writes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from aigateway.api.request_id import request_id_of
from providers import audit


class OriginMiddleware:
    """Stands behind authentication by session; a key names its owner later (``providers.audit.acting``)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        user = request.user if isinstance(request.user, User) and request.user.is_authenticated else None
        with audit.requested(user, remote_address(request), request_id_of(request)):
            return self.get_response(request)


def remote_address(request: HttpRequest) -> str | None:
    """The peer's; behind a proxy of one's own the one that proxy saw. What a client says of itself is not believed."""
    told = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        told = request.headers.get("X-Forwarded-For", told).rpartition(",")[2].strip()
    try:
        return str(ip_address(told))
    except ValueError:
        return None
