"""Where a request comes from: address, device, and whether this browser signed in as somebody before."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from aigateway.api.origin import remote_address
from aigateway.models import DEVICE_MAX

COOKIE = "gateway_device"
COOKIE_AGE_S = 180 * 24 * 3600
_SALT = "aigateway.signin.device"
_USERS_MAX = 5


@dataclass(frozen=True, slots=True)
class Device:
    """What a browser's signed cookie says: its random name, and who signed in with it."""

    name: str
    user_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """``address`` is the client's as the server sees it; a proxy's word counts only where it is configured (docs/deployment.md)."""

    address: str | None
    device: str
    known: Device | None

    @classmethod
    def of(cls, request: HttpRequest | None) -> Origin:
        if request is None:
            return cls(None, "", None)
        agent = request.META.get("HTTP_USER_AGENT", "")
        printable = "".join(character for character in agent if character.isprintable())
        return cls(remote_address(request), printable[:DEVICE_MAX], _known(request.COOKIES.get(COOKIE)))

    def knows(self, user_id: int | None) -> bool:
        return self.known is not None and user_id in self.known.user_ids


def remember(request: HttpRequest, response: HttpResponseBase, user_id: int) -> None:
    """The browser signed in as this user: from now on strangers who try the same name do not hold it up."""
    known = _known(request.COOKIES.get(COOKIE))
    others = [other for other in (known.user_ids if known else ()) if other != user_id]
    value: dict[str, Any] = {"d": known.name if known else secrets.token_urlsafe(16), "u": [user_id, *others][:_USERS_MAX]}
    response.set_cookie(
        COOKIE,
        signing.dumps(value, salt=_SALT),
        max_age=COOKIE_AGE_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known(cookie: str | None) -> Device | None:
    if not cookie:
        return None
    try:
        value = signing.loads(cookie, salt=_SALT, max_age=COOKIE_AGE_S)
        return Device(str(value["d"]), tuple(int(user_id) for user_id in value["u"]))
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None
