"""Tests a provider for an administrator: can it be reached, does it take the key, does it chat, does it stream.

Chat and stream are real calls with at most eight output tokens on the cheapest priced model, reserved and settled on the
ledger like any other. The report carries error classes and our own sentences, never what the host said.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.http import require_POST
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from providers.client import exchange, open_exchange
from providers.health import advice_for
from providers.models import ConfigVersion, Provider
from providers.registry import current_prices, deployment_target, provider_spec
from providers.serializers import NothingSerializer
from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS
from providers.upstream.sse import SseEvent, SseParser
from providers.upstream.types import (
    Capability,
    ChatRequest,
    HttpResponse,
    Message,
    PriceCard,
    ProviderSpec,
    Role,
    Target,
    TextPart,
    TokenUsage,
)
from providers.upstream.types import HttpRequest as UpstreamRequest
from usage import ledger, money
from usage.access import budgets_for
from usage.ledger_types import ESTIMATED, MEASURED

MAX_OUTPUT_TOKENS = 8
LIST_TIMEOUT_S = 5.0
CHAT_TIMEOUT_S = 60.0
CONTEXT = "provider-test"
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


@dataclass(slots=True)
class _Call:
    """What one metered call brought so far; read when it is settled, however it ended."""

    body_bytes: int
    usage: TokenUsage = field(default_factory=TokenUsage)
    upstream_id: str = ""
    output_bytes: int = 0
    events: int = 0


def test_provider(provider_id: int, actor: User) -> TestReport:
    """Runs every step that still makes sense. ``actor`` pays: the calls count on that user's budgets.

    Raises ``Provider.DoesNotExist``.
    """
    provider = Provider.objects.prefetch_related("credentials").get(pk=provider_id, deleted_at=None)
    spec = provider_spec(provider)
    steps = _reach(spec)
    target = _cheapest_target(provider, spec)
    reason = _why_no_call(steps, target)
    for name, run in (("chat", _chat), ("stream", _stream)):
        if target is None or reason:
            steps.append(TestStep(name, SKIPPED, reason))
        elif name == "stream" and Capability.STREAM not in target.capabilities:
            steps.append(TestStep(name, SKIPPED, f"{target.name} does not stream."))
        else:
            steps.append(_metered(name, run, target, actor))
    return TestReport(provider.slug, tuple(steps), model=target.address if target and not reason else "")


def _reach(spec: ProviderSpec) -> list[TestStep]:
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
    return "" if target else "No enabled model has a price. Import models, or set a price."


def _cheapest_target(provider: Provider, spec: ProviderSpec) -> Target | None:
    deployments = provider.deployments.filter(enabled=True)
    prices = current_prices(deployments)
    targets = [deployment_target(row, spec, prices[row.pk]) for row in deployments if row.pk in prices]
    chatting = [target for target in targets if Capability.CHAT in target.capabilities]
    return min(chatting, key=lambda target: (_price_rank(target), target.name), default=None)


def _price_rank(target: Target) -> int:
    return money.worst_case(len(PROMPT), MAX_OUTPUT_TOKENS, 1, target.price) if target.price else money.MAX_NANO


# --------------------------------------------------------------------------- metered calls


def _metered(name: str, run: Callable[[Target, UpstreamRequest, _Call], None], target: Target, actor: User) -> TestStep:
    """Reserve, call, settle or void: the same order of things as on the data plane."""
    request = _request(target, stream=name == "stream")
    rendered = ADAPTERS[target.provider.adapter].render_chat(request, target)
    call = _Call(body_bytes=len(rendered.body))
    card = target.price
    assert card is not None, "only priced targets are called"
    hold_nano = money.worst_case(call.body_bytes, MAX_OUTPUT_TOKENS, 1, card)
    try:
        attempt_id = _reserve(request, target, actor, hold_nano)
    except ledger.LedgerError as refusal:
        return TestStep(name, FAILED, _refusal_sentence(refusal), None, "ledger_refused")
    started = time.monotonic()
    try:
        run(target, rendered, call)
    except errors.UpstreamError as error:
        latency_ms = _ms_since(started)
        _close_failed(attempt_id, error, call, card, hold_nano, int(latency_ms))
        return TestStep(name, FAILED, advice_for(error)[1], latency_ms, error.code)
    latency_ms = _ms_since(started)
    _settle(attempt_id, call, card, hold_nano, int(latency_ms))
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


def _reserve(request: ChatRequest, target: Target, actor: User, hold_nano: int) -> uuid.UUID:
    """Raises ``LedgerError``. Tries again when the configuration moved between reading and reserving."""
    attempt_id = uuid.uuid4()
    for _ in range(3):
        order = ledger.ReserveOrder(
            attempt_id=attempt_id,
            request_id=f"test-{attempt_id.hex}",
            attempt_no=1,
            user_id=actor.pk,
            api_key_id="",
            context=CONTEXT,
            dialect="native",
            model_asked=request.model,
            target=target,
            stream=request.stream,
            hold_nano=hold_nano,
            config_version=ConfigVersion.current(),
            budgets=budgets_for(actor.pk, ""),
            dispatched_at=timezone.now(),
        )
        try:
            ledger.reserve_now(order)
        except ledger.StaleConfiguration:
            continue
        return attempt_id
    raise ledger.LedgerUnavailable("the configuration keeps moving")


def _refusal_sentence(refusal: ledger.LedgerError) -> str:
    if isinstance(refusal, ledger.BudgetExceeded):
        return f"The {refusal.period} budget of the {refusal.scope} has no room for the test."
    return "The ledger did not take the reservation, so nothing was sent. Try again."


def _close_failed(
    attempt_id: uuid.UUID, error: errors.UpstreamError, call: _Call, card: PriceCard, hold_nano: int, latency_ms: int
) -> None:
    if error.may_have_billed:
        _settle(attempt_id, call, card, hold_nano, latency_ms, error.code)
    else:
        ledger.void_now(ledger.Void(attempt_id, error.code, latency_ms))


def _settle(attempt_id: uuid.UUID, call: _Call, card: PriceCard, hold_nano: int, latency_ms: int, error_code: str = "") -> None:
    """At the provider's own usage, else at a flagged estimate."""
    usage, basis = call.usage, MEASURED
    try:
        cost_nano = money.cost_of(usage, card)
    except money.UsageUnknown:
        usage, cost_nano = money.estimate(call.body_bytes, call.output_bytes, call.events, card, hold_nano)
        basis = ESTIMATED
    ledger.settle_now(
        ledger.Settlement(
            attempt_id=attempt_id,
            cost_nano=cost_nano,
            usage=usage,
            basis=basis,
            upstream_id=call.upstream_id,
            error_code=error_code,
            latency_ms=latency_ms,
        )
    )


def _chat(target: Target, rendered: UpstreamRequest, call: _Call) -> None:
    response = ADAPTERS[target.provider.adapter].parse_chat(exchange(target.provider, rendered, CHAT_TIMEOUT_S))
    call.usage, call.upstream_id = response.usage, response.id
    call.output_bytes = sum(len(choice.text.encode()) for choice in response.choices)


def _stream(target: Target, rendered: UpstreamRequest, call: _Call) -> None:
    adapter = ADAPTERS[target.provider.adapter]
    blocks, meaning = SseParser(), adapter.stream_parser()
    with open_exchange(target.provider, rendered, CHAT_TIMEOUT_S) as (head, chunks):
        if not 200 <= head.status < 300:
            raise adapter.parse_error(HttpResponse(head.status, head.headers, b"".join(chunks), head.received_at_s))
        try:
            for event in _events(blocks, chunks):
                delta = meaning.feed(event)
                call.events += 1
                call.output_bytes += len((delta.text + delta.reasoning).encode())
                if delta.is_end:
                    break
        finally:
            call.upstream_id = meaning.upstream_id
            call.usage = meaning.usage if meaning.usage_is_final else TokenUsage()
    if not meaning.is_complete:
        raise errors.StreamTruncated("the stream ended without its finish marker")


def _events(blocks: SseParser, chunks: Iterator[bytes]) -> Iterator[SseEvent]:
    for chunk in chunks:
        yield from blocks.feed(chunk)
    yield from blocks.finish()


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
        return Response(TestReportSerializer(test_provider(pk, request.user)).data)


urlpatterns = [path("admin/providers/provider/<int:pk>/test/", admin.site.admin_view(admin_test_view), name="provider-test")]
"""Above the admin's own URLs."""

api_patterns = [path("admin/providers/<int:pk>/test", ProviderTestView.as_view(), name="provider-test-api")]
"""Paths below ``/api/v1/ai/``."""
