"""What an attempt is charged: which counts of the provider are believed, and what they cost at the price fixed when it was opened."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

import structlog

from providers.upstream.dispatch import AttemptOutcome, Billing, preset_bytes
from providers.upstream.types import Capability, ChatRequest, InferenceRequest, PriceCard, Target, TokenUsage
from usage import money
from usage.ledger import ESTIMATED, MEASURED, UNPRICED
from usage.limits import Verdict

UNKNOWN_WINDOW_TOKENS = 400_000
"""Taken for a context window nobody wrote down, where only the window bounds the input: as large as those of most models that
keep conversations; an administrator who uses a larger one writes it down."""
BELIEVED_TIMES = 2
BELIEVED_TOKENS = 100_000
TOOL_RUNS_UNSAID = 100
"""How often a model may read everything again for tools of the provider whose calls nothing bounds."""
_log = structlog.get_logger("aigateway.gateway")


@dataclass(slots=True)
class Ticket:
    """An open attempt: its id on the ledger and what was reserved for it."""

    attempt_id: uuid.UUID
    target: Target
    price: PriceCard
    hold_nano: int
    taken: Verdict | None = None
    """What it took of rate limits."""


def input_bytes(request: InferenceRequest, target: Target) -> int:
    """What bounds the input tokens from above, for reservations and estimates: a token is at least one byte."""
    window = (target.context_window_tokens or UNKNOWN_WINDOW_TOKENS) if request.has_input_elsewhere else 0
    runs = 1 + tool_calls_max(request)  # a model reads everything again after each call of the provider's own tools
    return request.body_bytes + preset_bytes(target.provider) + window * runs


def tool_calls_max(request: InferenceRequest) -> int:
    tools = request.provider_tools if isinstance(request, ChatRequest) else None
    return (tools.calls_max or 0) if tools is not None else 0


def believed(ticket: Ticket, outcome: AttemptOutcome, request: InferenceRequest) -> tuple[AttemptOutcome, str]:
    """Without counts that this request to this model cannot have used; and what the provider said instead, for the line's note.

    Generous: windows and limits are often written down too small, and templates and tools of the provider add to a prompt.
    """
    target = ticket.target
    runs = 1 + tool_calls_max(request) + (TOOL_RUNS_UNSAID if isinstance(request, ChatRequest) and request.provider_tools else 0)
    window = max(target.context_window_tokens or UNKNOWN_WINDOW_TOKENS, target.output_cap_tokens(request.max_output_tokens))
    asked, _ = money.most_tokens(input_bytes(request, target), 0, 0, images=request.images_by_address)
    most_input = BELIEVED_TIMES * max(asked, window) * runs + BELIEVED_TOKENS
    most_output = BELIEVED_TIMES * window * request.choices * runs + BELIEVED_TOKENS
    usage, note = money.believable(outcome.usage, most_input, most_output)
    if note:
        _log.warning("usage_not_believed", target=target.address, note=note)
    return (replace(outcome, usage=usage) if note else outcome), note


def priced(ticket: Ticket, outcome: AttemptOutcome, request: InferenceRequest) -> tuple[TokenUsage, int, str]:
    if ticket.price.is_ceiling:
        return outcome.usage, ticket.hold_nano, UNPRICED
    has_tool_fees = bool(ticket.price.tool_call_nano) and tool_calls_max(request) > 0
    if outcome.billing is Billing.MEASURED:
        # Where the provider does not say how often it used its tools, as often as it was allowed to: no measurement.
        is_bound = has_tool_fees and outcome.usage.provider_tool_calls is None
        usage = replace(outcome.usage, provider_tool_calls=tool_calls_max(request)) if is_bound else outcome.usage
        try:
            return usage, money.cost_of(usage, ticket.price), ESTIMATED if is_bound else MEASURED
        except money.UsageUnknown as reason:
            _log.warning("usage_estimated", target=ticket.target.address, reason=str(reason))
    if not request.stream or has_tool_fees or Capability.REASONING in ticket.target.capabilities:
        # What was generated unseen, a lost answer or hidden reasoning, has no other bound than what was reserved.
        return outcome.usage, ticket.hold_nano, ESTIMATED
    sent_bytes = input_bytes(request, ticket.target)
    usage, cost_nano = money.estimate(sent_bytes, outcome.delivered_output_bytes, outcome.events, ticket.price, ticket.hold_nano)
    return usage, cost_nano, ESTIMATED
