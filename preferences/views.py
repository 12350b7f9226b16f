"""``/api/v1/ai/preferences``: a caller's own preferences, nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from preferences import actions
from preferences.models import DEFAULT_CONTEXT, Preference
from preferences.serializers import (
    PreferenceDeleteQuerySerializer,
    PreferenceListQuerySerializer,
    PreferenceListSerializer,
    PreferenceSerializer,
    PreferenceWriteSerializer,
)
from providers.models import RoutingConfiguration
from providers.upstream.types import NameList

UsageByModel = Mapping[str, Mapping[str, int | str | None]]
"""Statistics of one user by ``provider/model``, in the shape of ``PreferenceUsageSerializer``."""


def no_statistics(user_id: int) -> UsageByModel:  # noqa: ARG001 - the default
    return {}


class PreferencesView(GenericAPIView[Preference]):
    """``usage_statistics`` is set where the app is composed: this app knows nothing of the ledger."""

    scope = "own_preferences"
    queryset = Preference.objects.none()
    serializer_class = PreferenceSerializer
    filter_backends = ()
    usage_statistics: Callable[[int], UsageByModel] = staticmethod(no_statistics)

    @extend_schema(
        operation_id="preferences_list",
        summary="Your preferences",
        parameters=[PreferenceListQuerySerializer],
        responses=PreferenceListSerializer,
    )
    def get(self, request: Request) -> Response:
        wanted = _query(PreferenceListQuerySerializer, request)
        user, scope = _user(request), _scope(request.auth)
        rows = actions.within(scope, Preference.objects.filter(user=user)).select_related("deployment__provider").order_by("context")
        if "context" in wanted:
            rows = rows.filter(context=wanted["context"])
        usage = self.usage_statistics(user.pk)
        page = self.paginate_queryset(rows) or []
        answer = self.get_paginated_response([_shown(row, usage, scope) for row in page])
        answer.data["effective_default"] = _effective_default(user, scope)
        return answer

    @extend_schema(
        operation_id="preferences_set",
        summary="Set the model of a context",
        request=PreferenceWriteSerializer,
        responses={200: PreferenceSerializer, 409: OpenApiResponse(description="`model_unavailable`: disabled, or its provider is down.")},
    )
    def put(self, request: Request) -> Response:
        wish = PreferenceWriteSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        user, scope, wanted = _user(request), _scope(request.auth), wish.validated_data
        stored = actions.set_preference(user, wanted["context"], wanted.get("provider"), wanted["model"], scope)
        return Response(_shown(stored, self.usage_statistics(user.pk), scope))

    @extend_schema(
        operation_id="preferences_delete_default",
        summary="Delete the default preference, or all",
        parameters=[PreferenceDeleteQuerySerializer],
        request=None,
        responses={204: None, 404: OpenApiResponse(description="`preference_absent`: nothing is stored.")},
    )
    def delete(self, request: Request) -> Response:
        if _query(PreferenceDeleteQuerySerializer, request)["all"]:
            actions.delete_preferences(_user(request), _scope(request.auth))
        else:
            actions.delete_preference(_user(request), DEFAULT_CONTEXT, _scope(request.auth))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PreferenceView(GenericAPIView[Preference]):
    """One context's preference."""

    scope = "own_preferences"
    queryset = Preference.objects.none()
    serializer_class = PreferenceSerializer

    @extend_schema(operation_id="preferences_delete", summary="Delete the preference of a context", request=None, responses={204: None})
    def delete(self, request: Request, context: str) -> Response:
        actions.delete_preference(_user(request), context, _scope(request.auth))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _user(request: Request) -> User:
    """The caller; ``IsAuthenticated`` has refused everybody else."""
    assert isinstance(request.user, User)
    return request.user


def _scope(auth: object) -> actions.Scope:
    """The limits of the API key the request came with; a session has none. An empty list on a key means everything."""
    models, contexts = (getattr(auth, name, None) or () for name in ("allowed_models", "allowed_contexts"))
    return actions.Scope(NameList.of(models), NameList.of(contexts))


def _query(serializer_class: Any, request: Request) -> dict[str, Any]:
    serializer = serializer_class(data=request.query_params.dict())
    serializer.is_valid(raise_exception=True)
    wanted: dict[str, Any] = serializer.validated_data
    return wanted


def _shown(preference: Preference, usage: UsageByModel, scope: actions.Scope) -> dict[str, Any]:
    deployment = preference.deployment
    reason = actions.unavailable_reason(deployment, scope)
    shown = {
        "context": preference.context,
        "provider": deployment.provider.slug,
        "provider_name": deployment.provider.label,
        "model": deployment.name,
        "model_name": deployment.display_name or deployment.name,
        "available": not reason,
        "unavailable_reason": reason,
        "created_at": preference.created_at,
        "updated_at": preference.updated_at,
        "usage": usage.get(str(deployment)),
    }
    return dict(PreferenceSerializer(shown).data)


def _effective_default(user: User, scope: actions.Scope) -> dict[str, Any]:
    stored = Preference.objects.filter(user=user, context=DEFAULT_CONTEXT).select_related("deployment__provider").first()
    if stored is None:
        routing = RoutingConfiguration.objects.filter(pk=1).first() or RoutingConfiguration()
        return {
            "source": "gateway",
            "provider": None,
            "provider_name": None,
            "model": "auto",
            "model_name": "Chosen by the gateway",
            "policy": routing.default_policy,
            "available": True,
            "unavailable_reason": "",
        }
    deployment = stored.deployment
    reason = actions.unavailable_reason(deployment, scope)
    return {
        "source": "preference",
        "provider": deployment.provider.slug,
        "provider_name": deployment.provider.label,
        "model": deployment.name,
        "model_name": deployment.display_name or deployment.name,
        "policy": None,
        "available": not reason,
        "unavailable_reason": reason,
    }
