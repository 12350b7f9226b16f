"""Tests a provider for an administrator: can it be reached, does it take the key, does it chat, does it stream.

Chat and stream are real calls with at most eight output tokens on the cheapest priced model, reserved and settled on the
ledger like any other. The report carries error classes and our own sentences, never what the host said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

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
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aigateway.trials.metered_calls import NotForThisKey, Payer, call_chat, call_stream, refusal_sentence
from providers.client import exchange
from providers.health import advice_for
from providers.models import Provider
from providers.registry import current_prices, deployment_target, provider_spec
from providers.serializers import NothingSerializer
from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import (
    Capability,
    ChatRequest,
    Message,
    ProviderSpec,
    Role,
    Target,
    TextPart,
)
from usage import money
from usage.ledger import LedgerError
from usage.models import ApiKey

MAX_OUTPUT_TOKENS = 8
LIST_TIMEOUT_S = 5.0
PROMPT = "Reply with the single word: ready"
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_COLOURS = {OK: "green", FAILED: "red", SKIPPED: "unknown"}


@dataclass(frozen=True, slots=True)
class TestStep:
    """One step. ``result`` is ``ok``, ``failed`` or ``skipped``; ``error_code`` is the class of what went wrong."""

    name: str
    result: str
    message: str
    latency_ms: float | None = None
    error_code: str = ""

    @property
    def colour(self) -> str:
        return _COLOURS[self.result]


@dataclass(frozen=True, slots=True)
class TestReport:
    """Outcome of one test. ``model`` is the one chat and stream used, empty when there was none."""

    provider: str
    steps: tuple[TestStep, ...]
    model: str = ""
    max_output_tokens: int = MAX_OUTPUT_TOKENS

    @property
    def passed(self) -> bool:
        return all(step.result != FAILED for step in self.steps)


def test_provider(provider_id: int, actor: User, key: ApiKey | None = None) -> TestReport:  # noqa: PT028 - no test of ours
    """Runs every step that still makes sense. ``actor`` pays: the calls count on that user's budgets, and on those of ``key``, with
    which it was asked.

    Raises ``Provider.DoesNotExist`` and ``NotForThisKey``.
    """
    payer = Payer(actor, key)
    payer.require_context()
    provider = Provider.objects.prefetch_related("credentials").get(pk=provider_id, deleted_at=None)
    spec = provider_spec(provider)
    steps = reach(spec)
    target = cheapest_target(provider, spec, payer)
    reason = _why_no_call(steps, target)
    for name in ("chat", "stream"):
        if target is None or reason:
            steps.append(TestStep(name, SKIPPED, reason))
        elif name == "stream" and Capability.STREAM not in target.capabilities:
            steps.append(TestStep(name, SKIPPED, f"{target.name} does not stream."))
        else:
            steps.append(_called(name, target, payer))
    return TestReport(provider.slug, tuple(steps), model=target.address if target and not reason else "")


def reach(spec: ProviderSpec) -> list[TestStep]:
    """Connectivity and authentication, both told by one free call for the model list."""
    adapter = ADAPTERS[spec.adapter]
    started = time.monotonic()
    try:
        adapter.parse_models(exchange(spec, adapter.render_models(None), LIST_TIMEOUT_S))
    except errors.UpstreamError as error:
        return _reach_failure(error, _ms_since(started))
    latency_ms = _ms_since(started)
    key = "The key is accepted." if spec.credentials else "No key is stored, and none was asked for."
    return [TestStep("connectivity", OK, "The provider answers.", latency_ms), TestStep("authentication", OK, key, latency_ms)]


def _reach_failure(error: errors.UpstreamError, latency_ms: float) -> list[TestStep]:
    _, sentence = advice_for(error)
    about_key = isinstance(error, errors.AuthRejected | errors.PermissionRefused | errors.QuotaExhausted)
    if about_key:
        return [
            TestStep("connectivity", OK, "The provider answers.", latency_ms),
            TestStep("authentication", FAILED, sentence, latency_ms, error.code),
        ]
    if isinstance(error, errors.CredentialLocked):
        return [
            TestStep("connectivity", SKIPPED, "Nothing is sent without the key."),
            TestStep("authentication", FAILED, sentence, None, error.code),
        ]
    return [
        TestStep("connectivity", FAILED, sentence, latency_ms if error.status else None, error.code),
        TestStep("authentication", SKIPPED, "Needs a connection first."),
    ]


def _why_no_call(steps: list[TestStep], target: Target | None) -> str:
    if any(step.result == FAILED for step in steps):
        return "Mend the step above first."
    return "" if target else "No enabled model that you may use has a price. Import models, or set a price."


def cheapest_target(provider: Provider, spec: ProviderSpec, payer: Payer) -> Target | None:
    deployments = provider.deployments.filter(enabled=True)
    prices = current_prices(deployments)
    targets = [deployment_target(row, spec, prices[row.pk]) for row in deployments if row.pk in prices]
    chatting = [target for target in targets if Capability.CHAT in target.capabilities and payer.may_use(target)]
    return min(chatting, key=lambda target: (_price_rank(target), target.name), default=None)


def _price_rank(target: Target) -> int:
    return money.worst_case(len(PROMPT), MAX_OUTPUT_TOKENS, 1, target.price) if target.price else money.MAX_NANO


# --------------------------------------------------------------------------- metered calls


def _called(name: str, target: Target, payer: Payer) -> TestStep:
    request = _request(target, stream=name == "stream")
    started = time.monotonic()
    try:
        _, latency_ms = call_stream(request, target, payer) if request.stream else call_chat(request, target, payer)
    except LedgerError as refusal:
        return TestStep(name, FAILED, refusal_sentence(refusal), None, "ledger_refused")
    except errors.UpstreamError as error:
        return TestStep(name, FAILED, advice_for(error)[1], _ms_since(started), error.code)
    return TestStep(name, OK, f"{target.name} answers.", latency_ms)


def _request(target: Target, *, stream: bool) -> ChatRequest:
    return ChatRequest(
        model=target.address,
        messages=(Message(Role.USER, (TextPart(PROMPT),)),),
        body_bytes=len(PROMPT),
        stream=stream,
        include_usage=stream,
        max_output_tokens=MAX_OUTPUT_TOKENS,
    )


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000


# --------------------------------------------------------------------------- admin page and endpoint


@require_POST
def admin_test_view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The Test button of a provider's admin page."""
    user = request.user
    if not isinstance(user, User) or not user.is_superuser:
        raise PermissionDenied
    provider = get_object_or_404(Provider, pk=pk, deleted_at=None)
    report = test_provider(pk, user)
    context = {**admin.site.each_context(request), "title": f"Test of {provider}", "provider": provider, "report": report}
    return TemplateResponse(request, "admin/providers/provider/test_report.html", context)


class SuperuserOnly(BasePermission):
    """A test dials an address and spends money: both are a superuser's business."""

    message = "Only a superuser may test a provider."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        return bool(request.user.is_active and getattr(request.user, "is_superuser", False))


def key_of(request: Request) -> ApiKey | None:
    return request.auth if isinstance(request.auth, ApiKey) else None


class TestStepSerializer(serializers.Serializer[TestStep]):
    name = serializers.ChoiceField(choices=["connectivity", "authentication", "chat", "stream"])
    result = serializers.ChoiceField(choices=[OK, FAILED, SKIPPED])
    message = serializers.CharField(help_text="What it means and what to do.")
    latency_ms = serializers.FloatField(allow_null=True)
    error_code = serializers.CharField(help_text="Class of the error; empty without one.")


class TestReportSerializer(serializers.Serializer[TestReport]):
    provider = serializers.CharField()
    passed = serializers.BooleanField(help_text="No step failed.")
    model = serializers.CharField(help_text="The model chat and stream used; empty when there was none.")
    max_output_tokens = serializers.IntegerField()
    steps = TestStepSerializer(many=True)


class ProviderTestView(APIView):
    scope = "manage_providers"
    permission_classes = (SuperuserOnly,)

    @extend_schema(
        operation_id="providers_test",
        summary="Test a provider: connectivity, authentication, chat, stream",
        description="Chat and stream are real calls of at most eight output tokens on the cheapest priced model, on your budgets.",
        request=NothingSerializer,
        responses=TestReportSerializer,
    )
    def post(self, request: Request, pk: int) -> Response:
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        get_object_or_404(Provider, pk=pk, deleted_at=None)
        assert isinstance(request.user, User), "SuperuserOnly lets users pass only"
        try:
            report = test_provider(pk, request.user, key_of(request))
        except NotForThisKey as error:
            raise exceptions.PermissionDenied(str(error), "context_not_allowed") from None
        return Response(TestReportSerializer(report).data)


urlpatterns = [path("admin/providers/provider/<int:pk>/test/", admin.site.admin_view(admin_test_view), name="provider-test")]
"""Above the admin's own URLs."""

api_patterns = [path("admin/providers/<int:pk>/test", ProviderTestView.as_view(), name="provider-test-api")]
"""Paths below ``/api/v1/ai/``."""
