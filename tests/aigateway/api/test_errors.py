"""One error body, everywhere, saying what happened and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, SuspiciousOperation, ValidationError
from django.db import InterfaceError, OperationalError
from django.db.models import ProtectedError
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions, serializers
from rest_framework.test import APIClient

from aigateway.api import errors
from aigateway.api.errors import Category, error_body, exception_handler
from preferences import actions
from providers.secrets import KeyRingMissing
from usage.errors import ActionRefused

pytestmark = pytest.mark.django_db


def refused(exc: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    request = RequestFactory().get("/api/x")
    request.request_id = "mine"  # type: ignore[attr-defined]
    response = exception_handler(exc, {"request": request})
    assert response is not None
    return response.status_code, response.data["error"], dict(response.headers)


TABLE = [
    (exceptions.NotAuthenticated(), 401, "authentication", "missing_api_key"),
    (exceptions.AuthenticationFailed(), 401, "authentication", "invalid_api_key"),
    (exceptions.AuthenticationFailed("no", "ambiguous_api_key"), 401, "authentication", "ambiguous_api_key"),
    (exceptions.PermissionDenied(), 403, "permission", "permission_denied"),
    (exceptions.PermissionDenied("no", "csrf_failed"), 403, "permission", "csrf_failed"),
    (exceptions.NotFound(), 404, "not_found", "not_found"),
    (exceptions.MethodNotAllowed("PUT"), 405, "validation", "method_not_allowed"),
    (exceptions.NotAcceptable(), 406, "validation", "not_acceptable"),
    (exceptions.UnsupportedMediaType("text/plain"), 415, "validation", "unsupported_media_type"),
    (exceptions.ParseError(), 400, "validation", "invalid_json"),
    (exceptions.ValidationError({"a": ["no"]}), 400, "validation", "invalid_request"),
    (exceptions.Throttled(12), 429, "rate_limit", "rate_limited"),
    (errors.PayloadTooLarge(), 413, "validation", "body_too_large"),
    (errors.ServiceUnavailable(), 503, "service", "service_unavailable"),
    (errors.ServiceUnavailable("no", "access_unknown"), 503, "service", "access_unknown"),
    (ValidationError({"a": ["no"]}), 400, "validation", "invalid_request"),
    (Http404("SELECT secret"), 404, "not_found", "not_found"),
    (PermissionDenied("secret"), 403, "permission", "permission_denied"),
    (SuspiciousOperation("secret"), 400, "validation", "bad_request"),
    (ProtectedError("secret", set()), 409, "conflict", "still_in_use"),
    (OperationalError("host=secret"), 503, "service", "database_unavailable"),
    (InterfaceError("host=secret"), 503, "service", "database_unavailable"),
    (KeyRingMissing("secret"), 503, "service", "key_ring_missing"),
    (ActionRefused("m"), 400, "validation", "refused"),
    (actions.ProviderUnknown("m"), 400, "validation", "provider_unknown"),
    (actions.ModelUnknown("m"), 400, "model", "model_unknown"),
    (actions.ModelUnavailable("m"), 409, "model", "model_unavailable"),
    (actions.ModelNotAllowed("m"), 403, "permission", "model_not_allowed"),
    (actions.ContextNotAllowed("m"), 403, "permission", "context_not_allowed"),
    (actions.ContextInvalid("m"), 400, "validation", "context_invalid"),
    (actions.PreferenceAbsent("m"), 404, "not_found", "preference_absent"),
]


@pytest.mark.parametrize(("exc", "status", "category", "code"), TABLE, ids=lambda value: type(value).__name__)
def test_every_listed_exception_has_a_status_a_category_a_code_and_a_recovery(
    exc: Exception, status: int, category: str, code: str
) -> None:
    found_status, error, _ = refused(exc)
    assert (found_status, error["category"], error["code"]) == (status, category, code)
    assert error["request_id"] == "mine"
    assert error["message"].strip()
    assert error["recovery"].strip()
    assert "secret" not in json.dumps(error)


def test_the_table_above_covers_the_whole_mapping() -> None:
    shown = {type(exc) for exc, *_ in TABLE}
    assert {kind for kind, _ in errors.MEANINGS} <= shown


def test_what_is_not_listed_is_left_to_django() -> None:
    assert exception_handler(RuntimeError("secret"), {"request": None}) is None


def test_retry_after_in_whole_seconds() -> None:
    assert refused(exceptions.Throttled(12.2))[2]["Retry-After"] == "13"
    assert refused(OperationalError())[2]["Retry-After"] == "2"
    assert "Retry-After" not in refused(exceptions.NotFound())[2]


class Target(serializers.Serializer[Any]):
    name = serializers.CharField()


class Nested(serializers.Serializer[Any]):
    title = serializers.CharField()
    targets = Target(many=True)


def test_validation_errors_name_the_field_by_its_path() -> None:
    serializer = Nested(data={"targets": [{"name": "x"}, {}]})
    with pytest.raises(exceptions.ValidationError) as raised:
        serializer.is_valid(raise_exception=True)
    error = refused(raised.value)[1]
    assert error["fields"] == {"title": ["This field is required."], "targets[1].name": ["This field is required."]}
    assert "targets[1].name: This field is required." in error["message"]


def test_errors_of_the_whole_body_have_a_name_too() -> None:
    serializer = Nested(data=[1])
    with pytest.raises(exceptions.ValidationError) as raised:
        serializer.is_valid(raise_exception=True)
    assert list(refused(raised.value)[1]["fields"]) == ["__all__"]


def test_many_field_errors_stay_readable() -> None:
    error = refused(exceptions.ValidationError({f"f{number}": ["no"] for number in range(9)}))[1]
    assert error["message"] == "f0: no f1: no f2: no And 6 more."
    assert len(error["fields"]) == 9


def test_error_body_without_fields_has_no_fields() -> None:
    body = error_body(Category.QUOTA, "used_up", "m", "r", "id")
    assert body == {"error": {"category": "quota", "code": "used_up", "message": "m", "recovery": "r", "request_id": "id"}}


# --------------------------------------------------------------------------- over HTTP


@pytest.mark.parametrize("path", ["/api/nothing", "/api/v1/ai/nothing", "/v1/nothing"])
def test_unknown_paths_below_the_api_answer_json(path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert response.json()["error"]["request_id"] == response["X-Request-ID"]


def test_unknown_paths_elsewhere_answer_html() -> None:
    response = Client().get("/nothing")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_an_internal_error_tells_nothing_but_the_request_id() -> None:
    client = Client(raise_request_exception=False)
    response = client.get("/api/broken", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    error = response.json()["error"]
    assert (error["category"], error["code"], error["request_id"]) == ("internal", "internal_error", "mine")
    assert b"secret" not in response.content
    html = client.get("/broken")
    assert (html.status_code, html["Content-Type"].split(";")[0]) == (500, "text/html")
    assert b"secret" not in html.content


@pytest.mark.parametrize(("path", "kind"), [("/api/x", "application/json"), ("/x", "text/html")])
def test_django_s_own_refusals_have_both_forms(path: str, kind: str) -> None:
    request = RequestFactory().get(path)
    for status, response in (
        (400, errors.handler400(request, SuspiciousOperation("secret"))),
        (403, errors.handler403(request, PermissionDenied("secret"))),
        (404, errors.handler404(request, Http404("secret"))),
    ):
        assert response.status_code == status
        assert response["Content-Type"].split(";")[0] == kind


def test_wrong_host_is_refused_as_json() -> None:
    response = Client().get("/api/v1/ai/usage", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


@pytest.fixture
def caller() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create(username="ada"))
    return client


@pytest.mark.parametrize(
    ("method", "content_type", "body", "status", "code"),
    [
        ("POST", "application/json", b"{}", 405, "method_not_allowed"),
        ("PUT", "text/plain", b"{}", 415, "unsupported_media_type"),
        ("PUT", "application/x-www-form-urlencoded", b"a=1", 415, "unsupported_media_type"),
        ("PUT", "multipart/form-data; boundary=x", b"--x--", 415, "unsupported_media_type"),
        ("PUT", "application/json", b"{", 400, "invalid_json"),
        ("PUT", "application/json", b'{"model": "a", "model": "b"}', 400, "duplicate_key"),
        ("PUT", "application/json", b"[" * 100_000, 400, "too_deep"),
        ("PUT", "application/json", b"", 400, "invalid_request"),
        ("PUT", "application/json", b"[]", 400, "not_an_object"),
        ("PUT", "application/json", b'"' + b"x" * 1024 * 1024 + b'"', 413, "body_too_large"),
        ("PUT", "application/json; charset=latin-1", b"{}", 415, "unsupported_media_type"),
    ],
)
def test_B01_malformed_requests(caller: APIClient, method: str, content_type: str, body: bytes, status: int, code: str) -> None:
    response = caller.generic(method, "/api/v1/ai/preferences", body, content_type=content_type, headers={"X-Request-ID": "mine"})
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["request_id"]) == (code, "mine")


def test_an_unacceptable_answer_format_is_refused(caller: APIClient) -> None:
    response = caller.get("/api/v1/ai/preferences", headers={"Accept": "application/xml"})
    assert response.status_code == 406
    assert response.json()["error"]["code"] == "not_acceptable"


def test_a_page_that_does_not_exist_is_404(caller: APIClient) -> None:
    response = caller.get("/api/v1/ai/preferences?page=9")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
