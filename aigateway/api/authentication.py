"""Who is calling the REST surface: a gateway key, else a browser session."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from aigateway.api.credentials import AMBIGUOUS, AMBIGUOUS_WORDS, AmbiguousKey, sent_key
from aigateway.api.errors import ServiceUnavailable
from aigateway.api.scopes import ScopedAuthentication
from providers.audit import acting
from usage import keys
from usage.models import ApiKey

INVALID = "The API key is not valid: unknown, expired, revoked, or its user is inactive."


class ApiKeyAuthentication(ScopedAuthentication):
    """``Authorization: Bearer gw_...`` or ``X-API-Key``; sets ``request.auth`` to the ``ApiKey`` row.

    A database that is away is 503 and never 401: unknown is not invalid.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        found = super().authenticate(request)
        if found is not None:
            acting(found[0], f"API key {found[1].pk}")
        return found

    def identify(self, request: Request) -> tuple[User, ApiKey] | None:
        """Whose key it is, whatever it may do; ``None`` without a key."""
        try:
            plaintext = sent_key(request.META)
        except AmbiguousKey:
            raise AuthenticationFailed(AMBIGUOUS_WORDS, AMBIGUOUS) from None
        if plaintext is None:
            return None
        try:
            key = _find(keys.lookup_id(plaintext))
        except (OperationalError, InterfaceError):
            raise ServiceUnavailable("Access cannot be checked right now.", "access_unknown") from None
        stored = keys.NO_KEY if key is None else bytes(key.secret_sha256)
        if not keys.matches(stored, plaintext) or key is None or not _is_usable(key):
            raise AuthenticationFailed(INVALID)
        return key.user, key

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - the framework's signature
        return 'Bearer realm="ai gateway"'


def _find(key_id: str | None) -> ApiKey | None:
    """Asks the database for ids of the wrong form as well: a stranger cannot tell the reasons apart by time."""
    return ApiKey.objects.select_related("user").filter(pk=key_id or "").first()


def _is_usable(key: ApiKey) -> bool:
    expired = key.expires_at is not None and key.expires_at <= timezone.now()
    return key.revoked_at is None and not expired and key.user.is_active


class SessionAuthentication(authentication.SessionAuthentication):
    """The browser's session, CSRF token required on every write."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise PermissionDenied(str(error.detail), "csrf_failed") from None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - the framework's signature
        return 'Session realm="ai gateway"'
