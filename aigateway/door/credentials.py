"""Whose body the control plane receives (C17): strangers may send forms, whoever is known may send files.

Looks at a key or a session only where a body is larger than a form; what the request may do is decided later, by Django.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import parse_cookie

from aigateway import errors
from aigateway.callers import CallerDirectory
from aigateway.door.bodies import Bodies, Hold, of_known_caller
from aigateway.door.receipt import Incoming, Scope, too_large
from aigateway.errors import GatewayError

FORM_BYTES_MAX: Final = 64 * 1024
"""The largest body of a caller nobody knows: log-ins and small writes."""
STRANGER_BYTES_MAX: Final = 4 * 1024 * 1024
"""What the bodies of all requests from one address may hold together, as long as nobody has looked who they are."""
SIGNED_BYTES_MAX: Final = 1024 * 1024
SIGNED_PATHS: Final = ("/api/v1/ai/webhooks/subscriptions", "/api/ai/webhooks/subscriptions")
"""Their signature covers the body, so it must be read before it can be known."""


async def receive_management_body(scope: Scope, incoming: Incoming, bodies: Bodies, callers: CallerDirectory | None) -> bytes | None:
    """The body, ``None`` when the client left. Raises what ``Incoming.body`` raises, 401 for a key nobody has and 503 where nobody
    can say."""
    address = (scope.get("client") or ("", 0))[0]
    if scope["path"].rstrip("/") in SIGNED_PATHS:
        return await incoming.body(Hold(bodies, ("signed", address), STRANGER_BYTES_MAX), SIGNED_BYTES_MAX)
    if incoming.declared_bytes is not None and incoming.declared_bytes <= FORM_BYTES_MAX:
        return await incoming.body(Hold(bodies, ("address", address), STRANGER_BYTES_MAX), FORM_BYTES_MAX)
    headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
    user_id = await _user_of_key(headers, callers) or await _user_of_session(headers.get("cookie", ""))
    if user_id is None:
        if incoming.declared_bytes is not None:
            raise _stranger(FORM_BYTES_MAX)
        return await incoming.body(Hold(bodies, ("address", address), STRANGER_BYTES_MAX), FORM_BYTES_MAX)
    return await incoming.body(of_known_caller(bodies, user_id))


async def _user_of_key(headers: Mapping[str, str], callers: CallerDirectory | None) -> int | None:
    """``None``: there is no key. Raises ``GatewayError``: 401 for a bad one, 503 where nobody can say."""
    authorization, key = headers.get("authorization", ""), headers.get("x-api-key", "")
    if not authorization and not key:
        return None
    if callers is None:
        raise errors.access_unknown()
    try:
        caller = await callers.authenticate(authorization, key)
    except GatewayError as error:
        if error.code == "missing_api_key":  # a header of another scheme
            return None
        raise
    return caller.user_id


async def _user_of_session(cookies: str) -> int | None:
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME) if cookies else None
    if not key:
        return None
    try:
        return await asyncio.to_thread(_session_user, key)
    except (DatabaseError, InterfaceError) as error:
        raise errors.access_unknown() from error


def _session_user(key: str) -> int | None:
    try:
        user_id = import_module(settings.SESSION_ENGINE).SessionStore(key).get(SESSION_KEY)
        return None if user_id is None else int(user_id)
    finally:
        close_old_connections()


def _stranger(bytes_max: int) -> GatewayError:
    error = too_large(bytes_max)
    error.message = f"Without a key or a session a body has at most {bytes_max} bytes."
    return error
