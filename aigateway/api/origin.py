"""Who asks, from where: what the audit log keeps of every request that writes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

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
    """The peer's, or the one a proxy saw whose word is believed (``process.web``). No header is read here: anybody can write one."""
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))  # without the zone of a link-local one
    except ValueError:
        return None
