"""REST surface of providers: the public model list, and administration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar

import django_filters
from django.db.models import Avg, Case, Count, FloatField, Q, QuerySet, Value, When
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import quote_etag
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.generics import GenericAPIView, ListAPIView, RetrieveAPIView
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

from providers import actions, discovery, health, scopes
from providers.audit import Actor
from providers.filters import InstantFilter
from providers.models import Deployment, HealthCheck, HealthCheckJob, Provider
from providers.registry import current_prices, live_deployments
from providers.serializers import (
    SUPERUSER_FIELDS,
    AcceptedJobSerializer,
    HealthCheckJobSerializer,
    HealthCheckOrderSerializer,
    HealthCheckSerializer,
    ImportOrderSerializer,
    ImportReportSerializer,
    ModelSerializer,
    OverallStatusSerializer,
    ProviderHealthSerializer,
    ProviderSerializer,
    ToggleSerializer,
)
from providers.upstream.errors import UpstreamError
from providers.upstream.types import HealthStatus, NameList, Secret

TrafficStatistics = Callable[[], Mapping[int, tuple[float, float]]]
"""Average latency in milliseconds and success rate (0 to 1) of the last 24 hours, by deployment id."""


BarredTiers = Callable[[int], frozenset[str]]
"""The tiers a user, by id, has not subscribed to."""


def no_statistics() -> Mapping[int, tuple[float, float]]:
    return {}


def no_tiers(user_id: int) -> frozenset[str]:  # noqa: ARG001 - the default
    return frozenset()


# --------------------------------------------------------------------------- models, for everybody


class AnonymousRate(AnonRateThrottle):
    """60 requests a minute and address. ``X-Forwarded-For`` is not asked: anybody can write it."""

    rate = "60/min"
    scope = "anonymous_models"

    def get_ident(self, request: Request) -> str:
        return str(request.META.get("REMOTE_ADDR", ""))


class ModelFilter(django_filters.FilterSet):  # type: ignore[misc]
    provider = django_filters.CharFilter(field_name="provider__slug")
    search = django_filters.CharFilter(method="by_text", help_text="Part of a name.")

    class Meta:
        model = Deployment
        fields: ClassVar = ["recommended"]

    def by_text(self, models: QuerySet[Deployment], _: str, text: str) -> QuerySet[Deployment]:
        return models.filter(Q(name__icontains=text) | Q(display_name__icontains=text))


_ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200, 304], description="Send it back as `If-None-Match`.")
_IF_NONE_MATCH = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="The `ETag` of what you have.")


@extend_schema_view(
    get=extend_schema(
        parameters=[_ETAG, _IF_NONE_MATCH],
        responses={200: ModelSerializer(many=True), 304: OpenApiResponse(description="You have it already.")},
    )
)
class ModelListView(ListAPIView[Deployment]):
    """Models with price, availability and what their traffic was like: strangers see all, callers what they may use (C14)."""

    scope = "public"
    permission_classes = (AllowAny,)
    throttle_classes = (AnonymousRate,)
    serializer_class = ModelSerializer
    filterset_class = ModelFilter
    traffic_statistics: TrafficStatistics = staticmethod(no_statistics)
    barred_tiers: BarredTiers = staticmethod(no_tiers)

    def get_queryset(self) -> QuerySet[Deployment]:
        listed = _usable_by(self.request, live_deployments(), self.barred_tiers)
        listed = listed.select_related("provider").prefetch_related("provider__credentials")
        return listed.order_by("-recommended", "name", "provider__priority", "pk")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "prices": current_prices(live_deployments()), "statistics": self.traffic_statistics()}

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Any:
        """What strangers see may be kept for half a minute; who asks again with the tag of what he has gets an empty 304."""
        final = super().finalize_response(request, response, *args, **kwargs)
        patch_vary_headers(final, ["Authorization", "X-API-Key", "Cookie"])
        if final.status_code != status.HTTP_200_OK or request.user.is_authenticated:
            return final
        etag = quote_etag(hashlib.sha256(JSONRenderer().render(final.data)).hexdigest()[:32])
        final["Cache-Control"] = "public, max-age=30"
        final["ETag"] = etag
        return get_conditional_response(_plain(request), etag=etag, response=final)


def _usable_by(request: Request, models: QuerySet[Deployment], barred_tiers: BarredTiers) -> QuerySet[Deployment]:
    """What the key allows, without what needs a tier its user has not subscribed to."""
    barred = barred_tiers(request.user.pk) if request.user.is_authenticated else None
    if barred:
        models = models.exclude(provider__preset__required_tier__in=barred)
    allowed = NameList.of(getattr(request.auth, "allowed_models", None) or ())
    if allowed is None:
        return models
    rows = models.select_related("provider").only("name", "address_only", "provider__slug")
    return models.filter(pk__in=[row.pk for row in rows if allowed.allows(*row.names)])


def _plain(request: Request) -> HttpRequest:
    plain: HttpRequest = request._request
    return plain


# --------------------------------------------------------------------------- administration


class ProviderPermission(BasePermission):
    """Staff with Django's own permission on providers: view, add, change or delete."""

    message = "This needs a staff account with the permission for it."
    needed: ClassVar[Mapping[str, str]] = {
        "GET": "view", "HEAD": "view", "OPTIONS": "view", "POST": "change", "PUT": "change", "PATCH": "change", "DELETE": "delete",
    }  # fmt: skip

    def has_permission(self, request: Request, view: APIView) -> bool:
        verb = getattr(view, "verbs", {}).get(request.method, self.needed.get(request.method or "", "change"))
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False) and user.has_perm(f"providers.{verb}_provider"))


class ProviderFilter(django_filters.FilterSet):  # type: ignore[misc]
    search = django_filters.CharFilter(field_name="label", lookup_expr="icontains", help_text="Part of the name.")

    class Meta:
        model = Provider
        fields: ClassVar = ["slug", "kind", "enabled", "health"]


def _kept() -> QuerySet[Provider]:
    return Provider.objects.filter(deleted_at=None).prefetch_related("credentials").annotate(models_count=Count("deployments"))


class ProviderAdministration(GenericAPIView[Provider]):
    """What every administrative view of providers shares."""

    scope = scopes.BY_METHOD
    permission_classes = (ProviderPermission,)
    serializer_class: type[BaseSerializer[Provider]] = ProviderSerializer

    def get_queryset(self) -> QuerySet[Provider]:
        return _kept().order_by("priority", "slug")

    @property
    def actor(self) -> Actor:
        return Actor.of(self.request.user)

    def sent(self, serializer: Any) -> ProviderSerializer:
        """The checked body."""
        serializer.is_valid(raise_exception=True)
        checked: ProviderSerializer = serializer
        return checked

    def provider(self, pk: int) -> Provider:
        return get_object_or_404(self.get_queryset(), pk=pk)

    def refuse_superuser_fields(self) -> None:
        sent = self.request.data
        if isinstance(sent, dict) and SUPERUSER_FIELDS & set(sent) and not self.actor.is_superuser:
            raise PermissionDenied("Only a superuser may set the key or the address of a provider.")


@extend_schema_view(get=extend_schema(operation_id="providers_list", summary="All providers with their health"))
class ProvidersView(ProviderAdministration, ListAPIView[Provider]):
    filterset_class = ProviderFilter
    verbs: ClassVar = {"POST": "add"}

    @extend_schema(operation_id="providers_create", summary="Add a provider", responses={201: ProviderSerializer})
    def post(self, request: Request) -> Response:
        self.refuse_superuser_fields()
        serializer = self.sent(self.get_serializer(data=request.data))
        key = serializer.validated_data.get("api_key")
        provider = actions.create_provider(serializer.applied_to(Provider()), self.actor, Secret(key) if key else None)
        return Response(self.get_serializer(_kept().get(pk=provider.pk)).data, status=status.HTTP_201_CREATED)


@extend_schema_view(get=extend_schema(operation_id="providers_retrieve", summary="One provider"))
class ProviderView(ProviderAdministration, RetrieveAPIView[Provider]):
    @extend_schema(operation_id="providers_update", summary="Change a provider; running processes follow at once")
    def put(self, request: Request, pk: int) -> Response:
        return self._update(request, pk, partial=False)

    @extend_schema(operation_id="providers_partial_update", summary="Change some fields of a provider")
    def patch(self, request: Request, pk: int) -> Response:
        return self._update(request, pk, partial=True)

    @extend_schema(operation_id="providers_destroy", summary="Retire a provider; its keys are destroyed, its history stays")
    def delete(self, request: Request, pk: int) -> Response:
        actions.delete_provider(self.provider(pk).pk, Actor.of(request.user))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _update(self, request: Request, pk: int, *, partial: bool) -> Response:
        self.refuse_superuser_fields()
        serializer = self.sent(self.get_serializer(self.provider(pk), data=request.data, partial=partial))
        key = serializer.validated_data.get("api_key")
        drops_key = key is None and "api_key" in serializer.validated_data
        secret = None if key is None else Secret(key)
        provider = actions.update_provider(serializer.applied_to(self.provider(pk)), self.actor, secret, drops_key=drops_key)
        return Response(self.get_serializer(_kept().get(pk=provider.pk)).data)


class ProviderToggleView(ProviderAdministration):
    serializer_class = ToggleSerializer

    @extend_schema(operation_id="providers_toggle", summary="Take a provider into or out of service", responses=ProviderSerializer)
    def post(self, request: Request, pk: int) -> Response:
        provider = self.provider(pk)
        order = self.get_serializer(data=request.data)
        order.is_valid(raise_exception=True)
        actions.toggle_provider(provider.pk, order.validated_data.get("enabled", not provider.enabled), self.actor)
        return Response(ProviderSerializer(_kept().get(pk=pk), context=self.get_serializer_context()).data)


class ModelImportView(ProviderAdministration):
    serializer_class = ImportOrderSerializer

    @extend_schema(operation_id="providers_import", summary="Import models and prices", responses=ImportReportSerializer)
    def post(self, request: Request, pk: int) -> Response:
        self.get_serializer(data=request.data).is_valid(raise_exception=True)
        provider = self.provider(pk)
        order = self.get_serializer(data=request.data)
        order.is_valid(raise_exception=True)
        try:
            report = discovery.import_from_provider(provider.pk, Actor.of(request.user), shares_names=order.validated_data["share_names"])
        except UpstreamError as error:
            # From None: what the host said stays out of every log.
            raise ValidationError({"provider": [health.advice_for(error)[1]]}) from None
        return Response(ImportReportSerializer(report).data)


# --------------------------------------------------------------------------- health


def _with_error_rate() -> QuerySet[Provider]:
    recent = Q(health_checks__checked_at__gte=timezone.now() - timedelta(hours=24))
    is_red = Case(When(health_checks__status=HealthStatus.RED, then=Value(1.0)), default=Value(0.0))
    rate = Avg(Cast(is_red, FloatField()), filter=recent)
    return Provider.objects.filter(deleted_at=None).annotate(error_rate_24h=rate).order_by("priority", "slug")


class ProvidersHealthView(ProviderAdministration, ListAPIView[Provider]):
    """Current health of every provider."""

    serializer_class = ProviderHealthSerializer
    filterset_class = ProviderFilter

    def get_queryset(self) -> QuerySet[Provider]:
        return _with_error_rate()


class ProviderHealthView(ProviderAdministration, RetrieveAPIView[Provider]):
    """Current health of one provider."""

    serializer_class = ProviderHealthSerializer

    def get_queryset(self) -> QuerySet[Provider]:
        return _with_error_rate()


class HealthHistoryFilter(django_filters.FilterSet):  # type: ignore[misc]
    since = InstantFilter(field_name="checked_at", lookup_expr="gte")

    class Meta:
        model = HealthCheck
        fields: ClassVar = ["status"]


class HealthHistoryView(ListAPIView[HealthCheck]):
    """Probes of one provider, newest first."""

    scope = scopes.BY_METHOD
    permission_classes = (ProviderPermission,)
    serializer_class = HealthCheckSerializer
    filterset_class = HealthHistoryFilter
    queryset = HealthCheck.objects.none()

    def get_queryset(self) -> QuerySet[HealthCheck]:
        provider = get_object_or_404(Provider, pk=self.kwargs["pk"], deleted_at=None)
        return HealthCheck.objects.filter(provider=provider)


class StatusView(APIView):
    scope = scopes.BY_METHOD
    permission_classes = (ProviderPermission,)

    @extend_schema(operation_id="providers_status", summary="Health of all providers in one word", responses=OverallStatusSerializer)
    def get(self, _: Request) -> Response:
        overall = health.overall_status()
        return Response({"status": overall.status, "counts": overall.counts})


class HealthCheckJobsView(GenericAPIView[HealthCheckJob]):
    scope = scopes.BY_METHOD
    permission_classes = (ProviderPermission,)
    serializer_class = HealthCheckOrderSerializer

    @extend_schema(
        operation_id="providers_health_check",
        summary="Queue a health check",
        responses={202: AcceptedJobSerializer, 404: OpenApiResponse(description="There is no such provider.")},
    )
    def post(self, request: Request) -> Response:
        order = self.get_serializer(data=request.data)
        order.is_valid(raise_exception=True)
        wanted = order.validated_data.get("provider")
        if wanted is not None:
            get_object_or_404(Provider, pk=wanted, deleted_at=None)
        job = health.queue_job(Actor.of(request.user).user, wanted)
        status_url = request.build_absolute_uri(reverse("provider-health-check-job", args=[job.pk]))
        return Response({"job_id": str(job.pk), "status_url": status_url}, status=status.HTTP_202_ACCEPTED)


class HealthCheckJobView(RetrieveAPIView[HealthCheckJob]):
    """How far a queued health check is."""

    scope = scopes.BY_METHOD
    permission_classes = (ProviderPermission,)
    serializer_class = HealthCheckJobSerializer
    queryset = HealthCheckJob.objects.all()
