"""The one error body of the REST surface, and the table from exceptions to it.

``{"error": {"category", "code", "message", "recovery", "request_id", "fields"?}}``: ``category`` says what kind of trouble it
is, ``code`` is stable for programs, ``message`` and ``recovery`` are for people, ``fields`` names what to correct. Only
exceptions listed here reach a client with their own words; everything else is an internal error without details.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import InterfaceError, OperationalError
from django.db.models import ProtectedError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from aigateway.api.request_id import request_id_of
from preferences import actions as preferences
from providers.secrets import KeyRingMissing
from usage.errors import ActionRefused

JSON_PATHS = ("/api/", "/v1/")
DATABASE_RETRY_AFTER_S = 2


class Category(StrEnum):
    """What kind of trouble it is; what a client can do about it follows from it."""

    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    BUDGET = "budget"
    MODEL = "model"
    NETWORK = "network"
    SERVICE = "service"
    VALIDATION = "validation"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """``fields`` maps the dotted path of a field to what is wrong with it."""

    category: str
    code: str
    message: str
    recovery: str
    request_id: str
    fields: Mapping[str, Sequence[str]] | None = None

    def as_dict(self) -> dict[str, Any]:
        error: dict[str, Any] = {
            "category": str(self.category),
            "code": self.code,
            "message": self.message,
            "recovery": self.recovery,
            "request_id": self.request_id,
        }
        if self.fields:
            error["fields"] = {name: list(messages) for name, messages in self.fields.items()}
        return {"error": error}


def error_body(
    category: str, code: str, message: str, recovery: str, request_id: str, fields: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """The body every error answer has, whoever makes it."""
    return ErrorBody(category, code, message, recovery, request_id, fields).as_dict()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an exception class means to a client. ``message`` replaces the exception's own words, ``None`` passes them on."""

    status: int
    category: Category
    code: str
    recovery: str
    message: str | None = None


class ServiceUnavailable(exceptions.APIException):
    """Something the answer depends on is away; ``wait`` becomes ``Retry-After`` (seconds)."""

    status_code = 503
    default_detail = "The gateway cannot answer right now."
    default_code = "service_unavailable"

    def __init__(self, detail: str | None = None, code: str | None = None, wait: float = DATABASE_RETRY_AFTER_S) -> None:
        super().__init__(detail, code)
        self.wait = wait


class PayloadTooLarge(exceptions.APIException):
    status_code = 413
    default_detail = "The body is too large."
    default_code = "body_too_large"


CORRECT = "Correct the request and send it again."
SIGN_IN = "Send a gateway key as 'Authorization: Bearer gw_...', or sign in."
NOT_YOURS = "Use an account or a key that has this permission, or ask an administrator for it."
LOOK_UP = "Check the address; the resource may have been deleted or belong to somebody else."
RETRY_SOON = "Try again in a few seconds."
NO_KEY_RING = "Provider keys can be neither stored nor used: the key ring is missing."
OTHER_MODEL = "Choose another model; GET /api/v1/ai/models lists them."

MEANINGS: tuple[tuple[type[Exception], Meaning], ...] = (
    (preferences.ProviderUnknown, Meaning(400, Category.VALIDATION, "provider_unknown", CORRECT)),
    (preferences.ModelUnknown, Meaning(400, Category.MODEL, "model_unknown", OTHER_MODEL)),
    (preferences.ModelUnavailable, Meaning(409, Category.MODEL, "model_unavailable", OTHER_MODEL)),
    (preferences.ModelNotAllowed, Meaning(403, Category.PERMISSION, "model_not_allowed", NOT_YOURS)),
    (preferences.ContextNotAllowed, Meaning(403, Category.PERMISSION, "context_not_allowed", NOT_YOURS)),
    (preferences.ContextInvalid, Meaning(400, Category.VALIDATION, "context_invalid", CORRECT)),
    (preferences.PreferenceAbsent, Meaning(404, Category.NOT_FOUND, "preference_absent", "GET /api/v1/ai/preferences lists yours.")),
    (KeyRingMissing, Meaning(503, Category.SERVICE, "key_ring_missing", "An administrator must restore the key ring.", NO_KEY_RING)),
    (ActionRefused, Meaning(400, Category.VALIDATION, "refused", CORRECT)),
    (exceptions.NotAuthenticated, Meaning(401, Category.AUTHENTICATION, "missing_api_key", SIGN_IN, "No API key was sent.")),
    (exceptions.AuthenticationFailed, Meaning(401, Category.AUTHENTICATION, "invalid_api_key", SIGN_IN)),
    (exceptions.PermissionDenied, Meaning(403, Category.PERMISSION, "permission_denied", NOT_YOURS)),
    (exceptions.NotFound, Meaning(404, Category.NOT_FOUND, "not_found", LOOK_UP)),
    (exceptions.MethodNotAllowed, Meaning(405, Category.VALIDATION, "method_not_allowed", "Use one of the methods in the header Allow.")),
    (exceptions.NotAcceptable, Meaning(406, Category.VALIDATION, "not_acceptable", "Ask for application/json.")),
    (exceptions.UnsupportedMediaType, Meaning(415, Category.VALIDATION, "unsupported_media_type", "Send JSON as 'application/json'.")),
    (exceptions.Throttled, Meaning(429, Category.RATE_LIMIT, "rate_limited", "Wait for the time in the header Retry-After.")),
    (exceptions.ParseError, Meaning(400, Category.VALIDATION, "invalid_json", CORRECT)),
    (exceptions.ValidationError, Meaning(400, Category.VALIDATION, "invalid_request", CORRECT)),
    (PayloadTooLarge, Meaning(413, Category.VALIDATION, "body_too_large", "Send less in one request.")),
    (ServiceUnavailable, Meaning(503, Category.SERVICE, "service_unavailable", RETRY_SOON)),
    (ModelValidationError, Meaning(400, Category.VALIDATION, "invalid_request", CORRECT)),
    (Http404, Meaning(404, Category.NOT_FOUND, "not_found", LOOK_UP, "There is no such resource.")),
    (PermissionDenied, Meaning(403, Category.PERMISSION, "permission_denied", NOT_YOURS, "You may not do this.")),
    (SuspiciousOperation, Meaning(400, Category.VALIDATION, "bad_request", CORRECT, "The request was refused as malformed.")),
    (ProtectedError, Meaning(409, Category.CONFLICT, "still_in_use", "Remove what refers to it first.", "It is still in use.")),
    (OperationalError, Meaning(503, Category.SERVICE, "database_unavailable", RETRY_SOON, "The database cannot be reached.")),
    (InterfaceError, Meaning(503, Category.SERVICE, "database_unavailable", RETRY_SOON, "The database cannot be reached.")),
)


def meaning_of(exc: Exception) -> Meaning | None:
    """The first row whose class ``exc`` is an instance of; ``None`` for what no client may read about."""
    return next((meaning for kind, meaning in MEANINGS if isinstance(exc, kind)), None)


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """REST framework hook. ``None`` hands the exception to Django, which logs it and answers with ``handler500``."""
    meaning = meaning_of(exc)
    if meaning is None:
        return None
    fields = _fields(exc)
    message = meaning.message or _message(exc, fields)
    status = exc.status_code if isinstance(exc, exceptions.APIException) else meaning.status
    body = error_body(meaning.category, _code(exc, meaning), message, meaning.recovery, request_id_of(context.get("request")), fields)
    return Response(body, status=status, headers=_headers(exc, status))


def _code(exc: Exception, meaning: Meaning) -> str:
    """An exception raised with a code of its own keeps it; the framework's default codes are replaced by ours."""
    if not isinstance(exc, exceptions.APIException):
        return meaning.code
    codes = exc.get_codes()
    return codes if isinstance(codes, str) and codes != exc.default_code else meaning.code


def _headers(exc: Exception, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    challenge = getattr(exc, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    wait = getattr(exc, "wait", None) or (DATABASE_RETRY_AFTER_S if status == 503 else None)
    if wait:
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _message(exc: Exception, fields: Mapping[str, Sequence[str]] | None) -> str:
    if isinstance(exc, exceptions.APIException) and isinstance(exc.detail, str):
        return str(exc.detail)
    if fields:
        named = [f"{name}: {messages[0]}" for name, messages in list(fields.items())[:3]]
        return " ".join(named) + ("" if len(fields) <= 3 else f" And {len(fields) - 3} more.")
    return str(exc)


def _fields(exc: Exception) -> dict[str, list[str]] | None:
    if isinstance(exc, ModelValidationError):
        return exc.message_dict if hasattr(exc, "error_dict") else {NON_FIELD_ERRORS: exc.messages}
    if isinstance(exc, exceptions.ValidationError):
        fields: dict[str, list[str]] = {}
        for name, message in _flat(exc.detail, ""):
            fields.setdefault(name or NON_FIELD_ERRORS, []).append(message)
        return fields
    blamed = getattr(exc, "field", None)
    return {blamed: [str(getattr(exc, "detail", exc))]} if isinstance(blamed, str) else None


def _flat(detail: Any, path: str) -> Iterator[tuple[str, str]]:
    """Nested details as (``targets[0].name``, message); the framework's ``non_field_errors`` belongs to its parent."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flat(inner, _joined(path, name))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            yield from _flat(inner, path if isinstance(inner, str) else _joined(path, index))
    else:
        yield path, str(detail)


def _joined(path: str, name: str | int) -> str:
    if name in ("non_field_errors", NON_FIELD_ERRORS):
        return path
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


# --------------------------------------------------------------------------- outside REST framework views


def wants_json(request: HttpRequest) -> bool:
    return f"{request.path}/".startswith(JSON_PATHS)


def _json(request: HttpRequest, status: int, category: Category, code: str, message: str, recovery: str) -> HttpResponse:
    return JsonResponse(error_body(category, code, message, recovery, request_id_of(request)), status=status)


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not wants_json(request):
        return defaults.bad_request(request, exception)
    return _json(request, 400, Category.VALIDATION, "bad_request", "The request was refused as malformed.", CORRECT)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not wants_json(request):
        return defaults.permission_denied(request, exception)
    return _json(request, 403, Category.PERMISSION, "permission_denied", "You may not do this.", NOT_YOURS)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not wants_json(request):
        return defaults.page_not_found(request, exception)
    return _json(request, 404, Category.NOT_FOUND, "not_found", "There is nothing at this address.", LOOK_UP)


def handler500(request: HttpRequest) -> HttpResponse:
    if not wants_json(request):
        return defaults.server_error(request)
    recovery = "Try again; if it stays, tell an administrator the request id."
    return _json(request, 500, Category.INTERNAL, "internal_error", "The gateway failed to answer.", recovery)
