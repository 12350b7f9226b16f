"""What REST endpoints of several rooms are built from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from usage.teams import is_finance, owned_teams


class FormatParameterNegotiation(DefaultContentNegotiation):
    """``format`` is a parameter of the report, checked like the others, and not the framework's choice of a renderer."""

    def select_renderer(
        self,
        request: Request,  # noqa: ARG002 - the framework's signature
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,  # noqa: ARG002 - the framework's signature
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


def checked_query(serializer_class: Any, request: Request) -> dict[str, Any]:
    """The checked parameters; ``group_by`` may be sent twice instead of with a comma. Raises ``ValidationError``."""
    sent = dict(request.query_params.lists())
    twice = [name for name, values in sent.items() if len(values) > 1 and name != "group_by"]
    if twice:
        raise ValidationError({name: ["Send it once."] for name in twice})
    serializer = serializer_class(data={name: ",".join(values) for name, values in sent.items()})
    serializer.is_valid(raise_exception=True)
    wanted: dict[str, Any] = serializer.validated_data
    return wanted


class IsFinance(BasePermission):
    """Who ``is_finance``."""

    message = "Usage and costs of all users are open to finance staff only."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        return is_finance(request.user)


class SeesReports(IsFinance):
    """Finance, and owners of teams for the reports of their teams: see ``team_for``."""

    message = "Usage and costs are open to finance staff, and to owners for their teams."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return super().has_permission(request, view) or bool(owned_teams(request.user))


NO_SUCH_TEAM = {404: OpenApiResponse(description="There is no such team, or the caller does not own it.")}


def team_for(request: Request, asked: int | None) -> int | None:
    """The team whose lines a report is made of. Finance chooses; an owner has his own, and all others are absent for him.

    Raises ``NotFound`` for a team that is not his, ``ValidationError`` when he has several and names none.
    """
    if IsFinance().has_permission(request, APIView()):
        return asked
    owned = owned_teams(request.user)
    if asked is None and len(owned) == 1:
        return next(iter(owned))
    if asked is None:
        raise ValidationError({"team": [f"Name one of your teams: {', '.join(map(str, sorted(owned)))}."]})
    if asked not in owned:
        raise NotFound("There is no such team.")
    return asked


class StrictSerializer(serializers.Serializer[Any]):
    """Unknown fields are refused by name: a misspelt limit must not look accepted (M06)."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["Unknown field."] for name in unknown})
        return super().to_internal_value(data)


NAMES_MAX = 200


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class NamesField(serializers.Field):  # type: ignore[type-arg]
    """An object of texts; in a form, its JSON."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if isinstance(data, str):
            try:
                data = json.loads(data) if data.strip() else {}
            except (json.JSONDecodeError, RecursionError):
                raise serializers.ValidationError("This is not JSON.") from None
        if not isinstance(data, dict) or len(data) > NAMES_MAX or not all(isinstance(value, str) for value in data.values()):
            raise serializers.ValidationError(f"Send an object of at most {NAMES_MAX} texts.")
        return data

    def to_representation(self, value: Any) -> Any:
        return value
