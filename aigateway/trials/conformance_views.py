"""The conformance run for people: a button in admin, an endpoint below the API."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django.views.decorators.http import require_POST
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aigateway.trials.conformance import CHECKS, ConformanceReport, NothingToCheck, conform
from aigateway.trials.metered_calls import NotForThisKey
from aigateway.trials.provider_tests import FAILED, OK, SKIPPED, SuperuserOnly, key_of
from providers.conformance import CheckResult
from providers.models import Deployment, Provider
from providers.strict import StrictSerializer

_COLOURS = {OK: "green", FAILED: "red", SKIPPED: "unknown"}


@require_POST
def admin_conform_view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The Conformance button of a provider's admin page; ``model`` names one of its models, empty for the cheapest."""
    user = request.user
    if not isinstance(user, User) or not user.is_superuser:
        raise PermissionDenied
    provider = get_object_or_404(Provider, pk=pk, deleted_at=None)
    report, reason = None, ""
    try:
        report = conform(pk, user, request.POST.get("model", ""))
    except NothingToCheck as nothing:
        reason = str(nothing)
    context = {
        **admin.site.each_context(request),
        "title": f"Conformance of {provider}",
        "provider": provider,
        "report": report,
        "reason": reason,
        "rows": [(result, _label(result.name), _COLOURS[result.result]) for result in (report.results if report else ())],
        "models": Deployment.objects.filter(provider=provider, enabled=True).values_list("name", flat=True),
        "chosen": report.model.partition("/")[2] if report else "",
    }
    return TemplateResponse(request, "admin/providers/provider/conformance_report.html", context)


def _label(check_name: str) -> str:
    return check_name.replace("_", " ").capitalize().replace("Json", "JSON")


class ConformanceRequestSerializer(StrictSerializer):
    model = serializers.CharField(required=False, allow_blank=True, max_length=150, help_text="Empty: the cheapest model.")


class CheckResultSerializer(serializers.Serializer[CheckResult]):
    name = serializers.ChoiceField(choices=["connectivity", "authentication", *(check.name for check in CHECKS)])
    result = serializers.ChoiceField(choices=[OK, FAILED, SKIPPED])
    message = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)
    error_code = serializers.CharField(help_text="Class of the error; empty without one.")


class ConformanceReportSerializer(serializers.Serializer[ConformanceReport]):
    provider = serializers.CharField()
    model = serializers.CharField()
    passed = serializers.BooleanField(help_text="No check failed.")
    results = CheckResultSerializer(many=True)


class ConformanceView(APIView):
    scope = "manage_providers"
    permission_classes = (SuperuserOnly,)

    @extend_schema(
        operation_id="providers_conform",
        summary="Check what a provider's model really can do",
        description="About ten small real calls on your budgets. The results are stored, and routing relies on them.",
        request=ConformanceRequestSerializer,
        responses=ConformanceReportSerializer,
    )
    def post(self, request: Request, pk: int) -> Response:
        wanted = ConformanceRequestSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        get_object_or_404(Provider, pk=pk, deleted_at=None)
        assert isinstance(request.user, User), "SuperuserOnly lets users pass only"
        try:
            report = conform(pk, request.user, wanted.validated_data.get("model", ""), key_of(request))
        except NotForThisKey as error:
            raise exceptions.PermissionDenied(str(error), "model_not_allowed") from None
        except NothingToCheck as reason:
            raise exceptions.ValidationError({"model": [str(reason)]}) from None
        return Response(ConformanceReportSerializer(report).data)


urlpatterns = [path("admin/providers/provider/<int:pk>/conform/", admin.site.admin_view(admin_conform_view), name="provider-conform")]
"""Above the admin's own URLs."""

api_patterns = [path("admin/providers/<int:pk>/conform", ConformanceView.as_view(), name="provider-conform-api")]
"""Paths below ``/api/v1/ai/``."""
