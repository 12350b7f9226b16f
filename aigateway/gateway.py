"""THE PIPELINE: the life of one request, top to bottom.

resolve preferences -> plan targets -> for each attempt: reserve, send, settle -> answer with its explanation.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from aigateway import errors
from aigateway.callers import Caller
from aigateway.dialects.base import Call, Explanation
from aigateway.rate_limits import COUNTED_ALONE, Allowance, tokens_expected
from aigateway.runtime import DataPlane
from preferences.resolve import preferred_models
from providers.upstream import dispatch, routing
from providers.upstream import errors as upstream
from providers.upstream.dispatch import AllTargetsFailed, AttemptOutcome, AttemptRecord, Billing, StreamAnswer, WholeAnswer, preset_bytes
from providers.upstream.errors import RoutingError
from providers.upstream.transport import Deadline
from providers.upstream.types import (
    Capability,
    ChatRequest,
    CountTokensRequest,
    InferenceRequest,
    InferenceResponse,
    Plan,
    PriceCard,
    StreamEvent,
    Target,
    TokenUsage,
    Wire,
    Wishes,
    allows,
)
from usage import money
from usage.ledger import ESTIMATED, MEASURED, UNPRICED, BudgetExceeded, ReserveOrder, Settlement, StaleConfiguration, Void
from usage.limits import RateLimitExceeded, Verdict

STALE_RETRIES_MAX = 5
UNKNOWN_WINDOW_TOKENS = 400_000
"""Taken for a context window nobody wrote down, where only the window bounds the input: as large as those of most models that
keep conversations; an administrator who uses a larger one writes it down."""
FREE = PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0)
"""What counting tokens costs wherever it is offered."""
_log = structlog.get_logger("aigateway.gateway")
_dice = random.Random()  # noqa: S311 - seeded from the system; attempt ids must be unique, not secret
T = TypeVar("T")
Reauthenticate = Callable[[], Awaitable[Caller]]


@dataclass(slots=True)
class Ticket:
    """An open attempt: its id on the ledger and what was reserved for it."""

    attempt_id: uuid.UUID
    target: Target
    price: PriceCard
    hold_nano: int
    taken: Verdict | None = None
    """What it took of rate limits."""


@dataclass(frozen=True, slots=True)
class Answer:
    response: InferenceResponse
    explanation: Explanation


@dataclass(slots=True)
class Stream:
    """An answer under way. ``next_batch`` waits for events, none after the end; then ``explain`` is complete."""

    target: Target
    attempts: tuple[AttemptRecord, ...]
    plan: Plan
    next_batch: Callable[[], Awaitable[list[StreamEvent]]]
    explain: Callable[[], Explanation]
    aclose: Callable[[], Awaitable[None]]
    wire: Wire
    degraded: tuple[str, ...] = ()


@dataclass(slots=True)
class Meter:
    """Opens and closes attempts on the ledger: no call leaves unreserved, none ends unsettled (``AttemptLedger``)."""

    plane: DataPlane
    call: Call
    caller: Caller
    request_id: str
    config_version: int
    allowance: Allowance
    attempt_no: int = 0
    cost_nano: int = 0
    measured: bool = True
    usage: TokenUsage = field(default_factory=TokenUsage)
    model_asked: str = ""
    exhausted: BudgetExceeded | None = None
    """The budget that sent the request to its fallback route."""

    def __post_init__(self) -> None:
        self.model_asked = self.call.request.model

    def reroute(self, exhausted: BudgetExceeded) -> bool:
        """Goes on with the route a used-up budget names, once; ``False`` where it names none or that one does not fit either."""
        if self.exhausted is not None or exhausted.fallback_route in ("", self.call.request.model):
            return False
        self.exhausted = exhausted
        request = replace(self.call.request, model=exhausted.fallback_route)  # type: ignore[arg-type]  # all of the union have it
        self.call = replace(self.call, request=request, provider=None, policy=None)
        return True

    @property
    def degraded(self) -> tuple[str, ...]:
        alone = (COUNTED_ALONE,) if self.allowance.limits and self.plane.limits.is_degraded else ()
        if self.exhausted is None:
            return alone
        spent = f"the {self.exhausted.scope}'s {self.exhausted.measure} budget per {self.exhausted.period} is used up"
        return (
            *alone,
            f"model: {self.call.request.model} instead of {self.model_asked}, {spent}",
        )

    async def open(self, target: Target, attempt_no: int) -> Ticket:  # noqa: ARG002 - numbers go on across a re-plan
        """Reserves the worst case of ``target`` on every limit and budget; raises what ``Allowance.take`` and ``Ledger.reserve``
        raise."""
        request = self.call.request
        assert target.price is not None, "routing leaves unpriced targets out"
        now = self.plane.ledger.now()
        if self.plane.price_is_due(now):
            raise StaleConfiguration(self.config_version)
        is_free = isinstance(request, CountTokensRequest)
        price = FREE if is_free else money.card_at(target.price, now)
        bounds = (_input_bytes(request, target), target.output_cap_tokens(request.max_output_tokens), request.choices)
        hold_nano = money.worst_case(*bounds, price, images=request.images_by_address, tool_calls=_tool_calls_max(request))
        ticket = Ticket(uuid.UUID(int=_dice.getrandbits(128), version=4), target, price, hold_nano)
        order = ReserveOrder(
            attempt_id=ticket.attempt_id,
            request_id=self.request_id,
            attempt_no=self.attempt_no + 1,
            user_id=self.caller.user_id,
            api_key_id=self.caller.api_key_id,
            context=self.call.context,
            dialect=self.call.dialect.value,
            model_asked=self.model_asked,
            target=target,
            stream=request.stream,
            hold_nano=hold_nano,
            budgets=tuple(budget for budget in self.caller.budgets if budget.binds(target.provider.id, self.call.context)),
            config_version=self.config_version,
            dispatched_at=now,
            price=price if not is_free else None,
            hold_tokens=0 if is_free else sum(money.most_tokens(*bounds, images=request.images_by_address)),
            team_id=self.caller.team_id,
        )
        await self._reserve(ticket, order, 0 if is_free else tokens_expected(request, target, preset_bytes(target.provider)))
        return ticket

    async def _reserve(self, ticket: Ticket, order: ReserveOrder, tokens: int) -> None:
        """On the rate limits, then on the ledger: what the ledger refuses has used no limit either."""
        if self.allowance.limits:
            ticket.taken = await self.allowance.take(ticket.target.provider, tokens)
        try:
            await self.plane.ledger.reserve(order)
        except BaseException:
            if ticket.taken is not None:
                await self.allowance.give_back(ticket.taken)
            raise
        self.attempt_no += 1

    async def close(self, ticket: Ticket, outcome: AttemptOutcome) -> None:
        """Settles at the provider's own usage, at a flagged estimate, or voids the reservation."""
        if outcome.billing is Billing.NOTHING:
            await self.plane.ledger.void(Void(ticket.attempt_id, outcome.error_code, outcome.latency_ms))
            await self._book(ticket, 0)
            return
        usage, cost_nano, basis = _priced(ticket, outcome, self.call.request)
        self.cost_nano += cost_nano
        self.measured = self.measured and basis == MEASURED
        self.usage = usage
        await self.plane.ledger.settle(
            Settlement(
                attempt_id=ticket.attempt_id,
                cost_nano=cost_nano,
                usage=usage,
                basis=basis,
                upstream_id=outcome.upstream_id,
                error_code=outcome.error_code,
                latency_ms=outcome.latency_ms,
                first_byte_ms=outcome.first_byte_ms,
            )
        )
        read, written = usage.total_input_tokens, usage.total_output_tokens
        await self._book(ticket, None if read is None or written is None else read + written)

    async def _book(self, ticket: Ticket, tokens: int | None) -> None:
        if ticket.taken is not None:
            await self.allowance.book(ticket.taken, tokens)


def _input_bytes(request: InferenceRequest, target: Target) -> int:
    """What bounds the input tokens from above, for reservations and estimates: a token is at least one byte."""
    window = (target.context_window_tokens or UNKNOWN_WINDOW_TOKENS) if request.has_input_elsewhere else 0
    runs = 1 + _tool_calls_max(request)  # a model reads everything again after each call of the provider's own tools
    return request.body_bytes + preset_bytes(target.provider) + window * runs


def _tool_calls_max(request: InferenceRequest) -> int:
    tools = request.provider_tools if isinstance(request, ChatRequest) else None
    return (tools.calls_max or 0) if tools is not None else 0


def _priced(ticket: Ticket, outcome: AttemptOutcome, request: InferenceRequest) -> tuple[TokenUsage, int, str]:
    if ticket.price.is_ceiling:
        return outcome.usage, ticket.hold_nano, UNPRICED
    has_tool_fees = bool(ticket.price.tool_call_nano) and _tool_calls_max(request) > 0
    if outcome.billing is Billing.MEASURED:
        # Where the provider does not say how often it used its tools, as often as it was allowed to: no measurement.
        is_bound = has_tool_fees and outcome.usage.provider_tool_calls is None
        usage = replace(outcome.usage, provider_tool_calls=_tool_calls_max(request)) if is_bound else outcome.usage
        try:
            return usage, money.cost_of(usage, ticket.price), ESTIMATED if is_bound else MEASURED
        except money.UsageUnknown as reason:
            _log.warning("usage_estimated", target=ticket.target.address, reason=str(reason))
    if not request.stream or has_tool_fees or Capability.REASONING in ticket.target.capabilities:
        # What was generated unseen, a lost answer or hidden reasoning, has no other bound than what was reserved.
        return outcome.usage, ticket.hold_nano, ESTIMATED
    input_bytes = _input_bytes(request, ticket.target)
    usage, cost_nano = money.estimate(input_bytes, outcome.delivered_output_bytes, outcome.events, ticket.price, ticket.hold_nano)
    return usage, cost_nano, ESTIMATED


def _headers(request_id: str) -> dict[str, str]:
    """OpenAI keeps a client's own id in its logs (platform.openai.com, "Debugging requests"): lost answers stay traceable."""
    return {"X-Client-Request-Id": request_id}


async def answer(
    plane: DataPlane, call: Call, caller: Caller, request_id: str, config_version: int, again: Reauthenticate, allowance: Allowance
) -> Answer:
    """Answers one request. ``config_version`` is what ``caller`` is at least as new as; ``again`` authenticates anew
    after the configuration moved. Raises errors of ``aigateway.errors``."""

    async def attempt(meter: Meter, plan: Plan, deadline: Deadline) -> Answer:
        whole = await dispatch.answer(plan, meter.call.request, plane.upstreams, meter, deadline, _headers(request_id))
        return Answer(whole.response, _explain(meter, plan, whole))

    return await _on_fresh_configuration(plane, call, caller, request_id, config_version, again, allowance, attempt)


async def stream(
    plane: DataPlane, call: Call, caller: Caller, request_id: str, config_version: int, again: Reauthenticate, allowance: Allowance
) -> Stream:
    """Starts one stream and returns at its first content, so that every fail-over happens before the client sees a byte."""

    async def attempt(meter: Meter, plan: Plan, deadline: Deadline) -> Stream:
        answer = await dispatch.stream(plan, meter.call.chat, plane.upstreams, meter, deadline, _headers(request_id))
        return Stream(
            target=answer.target,
            attempts=answer.attempts,
            plan=plan,
            next_batch=answer.next_batch,
            explain=lambda: _explain(meter, plan, answer),
            aclose=answer.aclose,
            wire=answer.wire,
            degraded=(*meter.degraded, *_passed_over(plan, answer.target, answer.attempts), *answer.degraded),
        )

    return await _on_fresh_configuration(plane, call, caller, request_id, config_version, again, allowance, attempt)


async def _on_fresh_configuration(
    plane: DataPlane,
    call: Call,
    caller: Caller,
    request_id: str,
    config_version: int,
    again: Reauthenticate,
    allowance: Allowance,
    attempt: Callable[[Meter, Plan, Deadline], Awaitable[T]],
) -> T:
    """Runs ``attempt``. Neither a call nor a refusal rests on stale configuration: when it moved, catches up and starts over."""
    deadline = Deadline(plane.snapshot.routing.deadline_s, time.monotonic)
    meter = Meter(plane, call, caller, request_id, config_version, allowance)
    for _ in range(STALE_RETRIES_MAX):
        try:
            plan = await _plan(plane, meter.call, meter.caller)
        except (RoutingError, errors.GatewayError):
            if meter.exhausted is not None:
                raise meter.exhausted from None
            if not await plane.caught_up(meter.config_version):
                raise
        else:
            try:
                return await attempt(meter, plan, deadline)
            except StaleConfiguration:
                await plane.refresh()
            except (AllTargetsFailed, RateLimitExceeded) as refused:
                if not _rests_on_configuration(refused) or not await plane.caught_up(meter.config_version):
                    raise
            except BudgetExceeded as exhausted:
                if not meter.reroute(exhausted):
                    raise meter.exhausted or exhausted from None
                continue
        meter.config_version = plane.version
        meter.caller = await again()
    raise errors.access_unknown()


_OF_CONFIGURATION = (
    upstream.UnpricedTool, upstream.AuthRejected, upstream.PermissionRefused, upstream.QuotaExhausted, upstream.CredentialLocked,
    upstream.GatewayLimited, upstream.CircuitOpen, upstream.PoolExhausted, upstream.ConnectFailed, upstream.EgressDenied,
    upstream.ModelNotFound,
)  # fmt: skip
"""What an administrator mends by a key, an address, a price, a limit or another target. Budgets are not here: the ledger reads them."""


def _rests_on_configuration(refused: AllTargetsFailed | RateLimitExceeded) -> bool:
    return isinstance(refused, RateLimitExceeded) or isinstance(refused.last, _OF_CONFIGURATION)


async def _plan(plane: DataPlane, call: Call, caller: Caller) -> Plan:
    """The targets this caller may use, and what became of the model it prefers."""
    if not allows(caller.allowed_contexts, call.context):
        raise errors.context_not_allowed(call.context)
    snapshot = plane.snapshot
    wishes = Wishes(
        model=call.request.model,
        provider=call.provider,
        preferred=preferred_models(caller.preferences, call.context),
        policy=call.policy,
        allowed_models=caller.allowed_models,
        allow_fallback=call.allow_fallback,
    )
    plan = routing.plan(snapshot, call.request, wishes, plane.breakers.open_for_s)
    if not plan.targets:
        raise errors.from_empty_plan(plan)
    plan = await plane.entitlements.only_entitled(plan, caller)
    return routing.with_wish(plan, snapshot, call.request, wishes)


def _passed_over(plan: Plan, answered: Target, attempts: tuple[AttemptRecord, ...]) -> tuple[str, ...]:
    """That the preferred model did not answer, for ``X-Gateway-Degraded`` (C11): left out of the plan, or tried in vain."""
    if not plan.wished or plan.wished == answered.address:
        return ()
    codes = [record.code for record in attempts if record.target.address == plan.wished]
    failed = f"{plan.wished} is preferred, but it failed ({', '.join(codes)})"
    return (f"preference: {plan.unmet or failed}",)


def log_answer(explanation: Explanation, *, stream: bool) -> None:
    """One line a request: the decision, the calls it took, what it cost. No prompts, no answers (R603)."""
    _log.info(
        "answered",
        ledger_request_id=explanation.request_id,
        target=explanation.target.address,
        policy=explanation.plan.policy.value,
        why=explanation.plan.why,
        skipped=[f"{skipped.address}: {skipped.reason}" for skipped in explanation.plan.skipped],
        attempts=[f"{record.target.address}: {record.code}" for record in explanation.attempts],
        cost_nano=explanation.cost_nano,
        measured=explanation.cost_measured,
        stream=stream,
    )


def _explain(meter: Meter, plan: Plan, answered: WholeAnswer | StreamAnswer) -> Explanation:
    source = meter.call.request.source
    return Explanation(
        request_id=meter.request_id,
        target=answered.target,
        plan=plan,
        attempts=answered.attempts,
        cost_nano=meter.cost_nano,
        cost_measured=meter.measured,
        usage=meter.usage,
        context=meter.call.context,
        degraded=(*meter.degraded, *_passed_over(plan, answered.target, answered.attempts), *answered.degraded),
        asked=source.body if source is not None else {},
    )
