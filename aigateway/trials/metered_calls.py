"""Real calls an administrator makes for a test: reserved and settled on the ledger like any other, on that person's budgets."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from django.contrib.auth.models import User

from providers import clock
from providers.client import exchange, open_exchange
from providers.models import ConfigVersion
from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import ChatDelta, ChatRequest, ChatResponse, HttpResponse, NameList, PriceCard, Target, TokenUsage, allows
from providers.upstream.types import HttpRequest as UpstreamRequest
from usage import ledger, money
from usage.budgets import budgets_for
from usage.ledger import ESTIMATED, MEASURED
from usage.models import ApiKey

CALL_TIMEOUT_S = 60.0
CONTEXT = "provider-test"
_RESERVE_TRIES = 3
T = TypeVar("T")


class NotForThisKey(Exception):
    """The API key a test was asked with may not use the model, or the context of tests."""


@dataclass(frozen=True, slots=True)
class Payer:
    """Who asks for real calls and pays for them; with an API key, within what it may use and on its budgets too."""

    user: User
    key: ApiKey | None = None

    @property
    def key_id(self) -> str:
        return self.key.pk if self.key is not None else ""

    def may_use(self, target: Target) -> bool:
        return self.key is None or allows(NameList.of(self.key.allowed_models), target.name, target.address)

    def require_context(self) -> None:
        """Raises ``NotForThisKey``."""
        if self.key is not None and not allows(NameList.of(self.key.allowed_contexts), CONTEXT):
            raise NotForThisKey(f"This API key may not use the context '{CONTEXT}', in which tests are made.")


@dataclass(slots=True)
class StreamedAnswer:
    """What a stream brought. ``has_final_usage``: the provider told the usage of the whole answer in the stream."""

    text: str = ""
    events: int = 0
    has_final_usage: bool = False
    left_early: bool = False


@dataclass(slots=True)
class _Spent:
    """What a call brought so far; read when it is settled, however it ended."""

    body_bytes: int
    usage: TokenUsage = field(default_factory=TokenUsage)
    upstream_id: str = ""
    output_bytes: int = 0
    events: int = 0
    left_early: bool = False


def call_chat(request: ChatRequest, target: Target, payer: Payer) -> tuple[ChatResponse, float]:
    """One whole answer and its latency in milliseconds. Raises ``UpstreamError`` and ``LedgerError``."""

    def run(rendered: UpstreamRequest, spent: _Spent) -> ChatResponse:
        answer = ADAPTERS[target.provider.adapter].parse_chat(exchange(target.provider, rendered, CALL_TIMEOUT_S))
        spent.usage, spent.upstream_id, spent.output_bytes = answer.usage, answer.id, answer.output_bytes
        return answer

    return _metered(request, target, payer, run)


def call_stream(
    request: ChatRequest, target: Target, payer: Payer, leave: Callable[[ChatDelta], bool] = lambda _: False
) -> tuple[StreamedAnswer, float]:
    """One stream, read to its end or until ``leave`` says so. Raises ``UpstreamError`` and ``LedgerError``."""

    def run(rendered: UpstreamRequest, spent: _Spent) -> StreamedAnswer:
        return _read_stream(target, rendered, spent, leave)

    return _metered(request, target, payer, run)


def _read_stream(target: Target, rendered: UpstreamRequest, spent: _Spent, leave: Callable[[ChatDelta], bool]) -> StreamedAnswer:
    adapter = ADAPTERS[target.provider.adapter]
    framing, meaning, answer = adapter.event_parser(), adapter.stream_parser(), StreamedAnswer()
    with open_exchange(target.provider, rendered, CALL_TIMEOUT_S) as (head, chunks):
        if not 200 <= head.status < 300:
            raise adapter.parse_error(HttpResponse(head.status, head.headers, b"".join(chunks), head.received_at_s))
        try:
            for event in (event for batch in (*map(framing.feed, chunks), framing.finish()) for event in batch):
                delta = meaning.feed(event)
                answer.text += delta.text
                answer.events += 1
                spent.output_bytes += len((delta.text + delta.reasoning).encode())
                answer.left_early = leave(delta)
                if delta.is_end or answer.left_early:
                    break
        finally:
            spent.events, spent.upstream_id, spent.left_early = answer.events, meaning.upstream_id, answer.left_early
            answer.has_final_usage = meaning.usage_is_final and meaning.usage.is_complete
            spent.usage = meaning.usage if answer.has_final_usage else TokenUsage()
    if not meaning.is_complete and not answer.left_early:
        raise errors.StreamTruncated("the stream ended without its finish marker")
    return answer


def _metered(request: ChatRequest, target: Target, payer: Payer, run: Callable[[UpstreamRequest, _Spent], T]) -> tuple[T, float]:
    """Reserve, call, settle or void: the same order of things as on the data plane."""
    rendered = ADAPTERS[target.provider.adapter].render_chat(request, target)
    spent = _Spent(body_bytes=len(rendered.body))
    card = target.price
    assert card is not None, "only priced targets are called"
    hold_nano = money.worst_case(spent.body_bytes, target.output_cap_tokens(request.max_output_tokens), 1, card)
    attempt_id = _reserve(request, target, payer, hold_nano)
    started = time.monotonic()
    try:
        answer = run(rendered, spent)
    except errors.UpstreamError as error:
        _close_failed(attempt_id, error, spent, card, hold_nano, _ms_since(started))
        raise
    latency_ms = _ms_since(started)
    _settle(attempt_id, spent, card, hold_nano, latency_ms)
    return answer, latency_ms


def _reserve(request: ChatRequest, target: Target, payer: Payer, hold_nano: int) -> uuid.UUID:
    """Raises ``LedgerError``. Tries again when the configuration moved between reading and reserving."""
    attempt_id = uuid.uuid4()
    for _ in range(_RESERVE_TRIES):
        order = ledger.ReserveOrder(
            attempt_id=attempt_id,
            request_id=f"test-{attempt_id.hex}",
            attempt_no=1,
            user_id=payer.user.pk,
            api_key_id=payer.key_id,
            context=CONTEXT,
            dialect="native",
            model_asked=request.model,
            target=target,
            stream=request.stream,
            hold_nano=hold_nano,
            config_version=ConfigVersion.current(),
            budgets=tuple(budget for budget in budgets_for(payer.user.pk, payer.key_id) if budget.binds(target.provider.id, CONTEXT)),
            dispatched_at=clock.database_now(),
        )
        try:
            ledger.reserve_now(order)
        except ledger.StaleConfiguration:
            continue
        return attempt_id
    raise ledger.LedgerUnavailable("the configuration keeps moving")


def refusal_sentence(refusal: ledger.LedgerError) -> str:
    """Why the ledger refused, for the person who tests."""
    if isinstance(refusal, ledger.BudgetExceeded):
        return f"The {refusal.period} budget of the {refusal.scope} has no room for the test."
    return "The ledger did not take the reservation, so nothing was sent. Try again."


def _close_failed(
    attempt_id: uuid.UUID, error: errors.UpstreamError, spent: _Spent, card: PriceCard, hold_nano: int, latency_ms: float
) -> None:
    if error.may_have_billed:
        _settle(attempt_id, spent, card, hold_nano, latency_ms, error.code)
    else:
        ledger.void_now(ledger.Void(attempt_id, error.code, int(latency_ms)))


def _settle(attempt_id: uuid.UUID, spent: _Spent, card: PriceCard, hold_nano: int, latency_ms: float, error_code: str = "") -> None:
    """At the provider's own usage, else at a flagged estimate."""
    usage, basis = spent.usage, MEASURED
    try:
        cost_nano = money.cost_of(usage, card)
    except money.UsageUnknown:
        usage, cost_nano = money.estimate(spent.body_bytes, spent.output_bytes, spent.events, card, hold_nano)
        cost_nano = hold_nano if spent.left_early else cost_nano  # how much was written before it noticed, nobody says
        basis = ESTIMATED
    ledger.settle_now(
        ledger.Settlement(
            attempt_id=attempt_id,
            cost_nano=cost_nano,
            usage=usage,
            basis=basis,
            upstream_id=spent.upstream_id,
            error_code=error_code,
            latency_ms=int(latency_ms),
        )
    )


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
