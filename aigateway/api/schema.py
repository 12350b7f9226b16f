"""The OpenAPI document: standard error answers on every operation, and who may call what."""

from __future__ import annotations

from typing import Any

from drf_spectacular import openapi
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.permissions import AllowAny

from aigateway.api.errors import Category

TAGS_BY_SEGMENT = {"admin": "administration"}
PREFIX = ("api", "v1", "ai")


class ErrorDetailSerializer(serializers.Serializer[Any]):
    category = serializers.ChoiceField(choices=[(category.value, category.value) for category in Category])
    code = serializers.CharField(help_text="Stable, for programs.")
    message = serializers.CharField(help_text="What happened, for people.")
    recovery = serializers.CharField(help_text="What to do about it.")
    request_id = serializers.CharField(help_text="Quote it when you ask for help; also in the header X-Request-ID.")
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False, help_text="What is wrong, by field."
    )


class ErrorAnswerSerializer(serializers.Serializer[Any]):
    error = ErrorDetailSerializer()


WRITES = ("POST", "PUT", "PATCH", "DELETE")
DESCRIPTIONS = {
    "400": "The request is malformed or has wrong values; `fields` names them.",
    "401": "No valid API key and no session.",
    "403": "The caller may not do this.",
    "404": "There is no such resource or page, or it belongs to somebody else.",
    "406": "`Accept` asks for something else than this answer can be.",
    "409": "A request with this `Idempotency-Key` is being answered; see `Retry-After`.",
    "413": "The body is too large.",
    "415": "The body is not `application/json`.",
    "422": "This `Idempotency-Key` was used with another request.",
    "429": "Too many requests; see `Retry-After`.",
    "503": "The gateway cannot answer right now; see `Retry-After`.",
}


class AutoSchema(openapi.AutoSchema):
    """Adds the error answers an operation can give; a view declares others, or other words for one, by a description alone."""

    def get_tags(self) -> list[str]:
        segments = [part for part in self._tokenize_path() if part not in PREFIX]
        return [TAGS_BY_SEGMENT.get(segments[0], segments[0])] if segments else ["gateway"]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        declared = {status for status in bodies if status.startswith(("4", "5"))}
        for status in declared.union(self._error_statuses()):
            description = bodies.get(status, {}).get("description") or DESCRIPTIONS[status]
            answer = OpenApiResponse(ErrorAnswerSerializer, description=description)
            bodies[status] = self._get_response_for_code(answer, status, ["application/json"], direction)  # type: ignore[no-untyped-call]
        return dict(sorted(bodies.items()))

    def _error_statuses(self) -> list[str]:
        statuses = ["406", "429", "503"]
        if self.view.get_authenticators():
            statuses.append("401")
        if not any(isinstance(permission, AllowAny) for permission in self.view.get_permissions()):
            statuses.append("403")
        if self.method in WRITES:
            statuses += ["400", "409", "413", "415", "422"]
        elif self._get_parameters():
            statuses.append("400")
        if "{" in self.path or self._is_list_view() or any(each["name"] == "page" for each in self._get_parameters()):
            statuses.append("404")
        return statuses


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aigateway.api.authentication.ApiKeyAuthentication"
    name = ["bearerKey", "headerKey"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:  # noqa: ARG002 - the framework's signature
        """One of the two is enough."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:  # noqa: ARG002 - the framework's signature
        return [
            {"type": "http", "scheme": "bearer", "description": "A gateway key: `Authorization: Bearer gw_...`"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key in a header of its own."},
        ]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aigateway.signin.authentication.TokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:  # noqa: ARG002 - the framework's signature
        text = "A short access token, of the gateway's own or of a named issuer: `Authorization: Bearer eyJ...`"
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "aigateway.api.authentication.SessionAuthentication"
    name = "cookieAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:  # noqa: ARG002 - the framework's signature
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The session of the admin pages; writes also need the header `X-CSRFToken`.",
        }
