"""What a past period would have cost under other prices or another policy. Reads only; nothing is invented.

Each call is replayed with the tokens it used. A call that its own price card does not reproduce to the nano-dollar, whose usage
nobody knows, or that has no priced target is left out, counted and named. What other models would have answered, and whether they
could have taken the request, is not known: only their context window is compared with the tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import groupby, islice
from statistics import median_low
from typing import Any, Final

import msgspec

from providers import clock
from providers.fields import divide_half_even
from providers.models import Deployment, Price, Route
from providers.upstream.types import PriceCard, TokenUsage
from usage.models import Attempt, LedgerEntry
from usage.money import COUNTS, PPM, UsageUnknown, card_at, card_from_json, cost_of, knows_fee
from usage.reports import DateRange, LineFilter, lines_in

CALLS_MAX: Final = 100_000
LATENCY_CALLS_MIN: Final = 20
"""Fewer say nothing of a model's latency."""
LATENCY_CALLS_MAX: Final = 1_000
_CHUNK: Final = 1_000


class WhatIfRefused(ValueError):
    """The question cannot be answered; the message is for people."""


class ReplayPolicy(StrEnum):
    """Where a call goes: where it went, or by priority, to the cheapest, or as ``Question.mapping`` says."""

    AS_WAS = "as_was"
    PRIORITY = "priority"
    COST = "cost"
    MAPPING = "mapping"


class ReplayPrices(StrEnum):
    """A call that stays is priced by its own card or by today's; one that moves by today's. ``Question.cards`` go before both."""

    OWN = "own"
    CURRENT = "current"


class Reason(StrEnum):
    USAGE_UNKNOWN = "usage_unknown"
    NOT_REPRODUCIBLE = "not_reproducible"
    NO_PRICE = "no_price"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Models are addresses, ``provider/model``. ``change_ppm`` millionths are added to every replayed cost, rounded half to even."""

    period: DateRange
    only: LineFilter = field(default_factory=LineFilter)
    policy: ReplayPolicy = ReplayPolicy.AS_WAS
    mapping: Mapping[str, str] = field(default_factory=dict)
    prices: ReplayPrices = ReplayPrices.OWN
    cards: Mapping[str, PriceCard] = field(default_factory=dict)
    change_ppm: int = 0


@dataclass(frozen=True, slots=True)
class _Option:
    """A deployment as it is today. ``order`` sorts by priority, first is tried first."""

    address: str
    deployment_id: int
    card: PriceCard | None
    order: tuple[int, int, str]
    context_window_tokens: int | None
    address_only: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    address: str
    model_asked: str
    at: datetime
    booked_nano: int
    usage: TokenUsage
    card: PriceCard


@dataclass(slots=True)
class Share:
    """What one model has of the replayed calls. Latency is the median of its own calls in the period; ``None``: too few."""

    calls_before: int = 0
    calls_after: int = 0
    before_nano: int = 0
    after_nano: int = 0
    latency_ms: int | None = None
    latency_calls: int = 0


@dataclass(slots=True)
class LeftOut:
    calls: int = 0
    cost_nano: int = 0
    models: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Answer:
    """``booked_nano`` is the whole period: replayed before, left out and adjustments."""

    booked_nano: int = 0
    adjustments_nano: int = 0
    shares: dict[str, Share] = field(default_factory=dict)
    left_out: dict[Reason, LeftOut] = field(default_factory=dict)

    @property
    def before_nano(self) -> int:
        return sum(share.before_nano for share in self.shares.values())

    @property
    def after_nano(self) -> int:
        return sum(share.after_nano for share in self.shares.values())

    def latency_ms(self, side: str) -> int | None:
        """The mean of the models' medians, weighted by their calls ``before`` or ``after``; ``None`` where one of them is unknown."""
        weights = [(getattr(share, f"calls_{side}"), share.latency_ms) for share in self.shares.values()]
        used = [(calls, latency) for calls, latency in weights if calls]
        if not used or any(latency is None for _, latency in used):
            return None
        return divide_half_even(sum(calls * (latency or 0) for calls, latency in used), sum(calls for calls, _ in used))


def replay(question: Question) -> Answer:
    """Replays the period. Raises ``WhatIfRefused``."""
    options = _options()
    _check(question, options)
    routes = _routes(options)
    answer = Answer()
    for entries in _attempts(question):
        answer.booked_nano += sum(entry["cost_nano"] for entry in entries)
        answer.adjustments_nano += sum(entry["cost_nano"] for entry in entries if entry["kind"] == LedgerEntry.Kind.ADJUSTMENT)
        if used := [entry for entry in entries if entry["kind"] != LedgerEntry.Kind.ADJUSTMENT]:
            _replay_one(used, question, options, routes, answer)
    _add_latencies(answer, question.period)
    return answer


def _check(question: Question, options: Mapping[str, _Option]) -> None:
    for target in question.mapping.values():
        option = options.get(target)
        if option is None:
            raise WhatIfRefused(f"There is no enabled model {target!r}; name it as provider/model.")
        if option.card is None and target not in question.cards:
            raise WhatIfRefused(f"{target} has no price.")
    if (question.policy == ReplayPolicy.MAPPING) != bool(question.mapping):
        raise WhatIfRefused("A mapping goes with the policy mapping, and the policy with a mapping.")


def _options() -> dict[str, _Option]:
    """Every enabled model by address, with the price that is in force now."""
    now = clock.database_now()
    newest: dict[int, Price] = {}
    for price in Price.objects.filter(valid_from__lte=now).order_by("valid_from", "id"):
        newest[price.deployment_id] = price
    options: dict[str, _Option] = {}
    for deployment in Deployment.objects.filter(enabled=True, provider__enabled=True).select_related("provider"):
        address, provider = str(deployment), deployment.provider
        row = newest.get(deployment.pk)
        card = None if row is None else row.card(provider.discount_ppm)
        order = (provider.priority, -provider.weight, address)
        options[address] = _Option(address, deployment.pk, card, order, deployment.context_window_tokens, deployment.address_only)
    return options


def _routes(options: Mapping[str, _Option]) -> dict[str, tuple[_Option, ...]]:
    """What each name stands for, best first: a route's targets, else every provider's model of that name."""
    by_name: dict[str, list[_Option]] = {}
    for address, option in options.items():
        if not option.address_only:
            by_name.setdefault(address.partition("/")[2], []).append(option)
    names = {name: tuple(sorted(found, key=lambda option: option.order)) for name, found in by_name.items()}
    by_id = {option.deployment_id: option for option in options.values()}
    for route in Route.objects.filter(enabled=True).prefetch_related("choices"):
        choices = sorted(
            (choice.priority, -choice.weight, by_id[choice.deployment_id].order, choice.deployment_id)
            for choice in route.choices.all()
            if choice.deployment_id in by_id
        )
        names[route.name] = tuple(by_id[choice[-1]] for choice in choices)
    return names


def _attempts(question: Question) -> Iterator[list[dict[str, Any]]]:
    """The entries of each attempt, with ``model_asked`` in the first of them."""
    rows = (
        lines_in(question.period, question.only)
        .order_by("dispatched_at", "attempt_id", "id")
        .values("attempt_id", "kind", "provider_slug", "model_name", "cost_nano", "dispatched_at", "price_card", *COUNTS)
        .iterator(chunk_size=2 * _CHUNK)
    )
    attempts = ([*entries] for _, entries in groupby(rows, key=lambda row: row["attempt_id"]))
    read = 0
    while chunk := [*islice(attempts, _CHUNK)]:
        read += len(chunk)
        if read > CALLS_MAX:
            raise WhatIfRefused(f"More than {CALLS_MAX} calls; ask for fewer days or filter them.")
        asked = dict(Attempt.objects.filter(pk__in=[entries[0]["attempt_id"] for entries in chunk]).values_list("pk", "model_asked"))
        for entries in chunk:
            entries[0]["model_asked"] = asked.get(entries[0]["attempt_id"], "")
            yield entries


def _replay_one(
    entries: list[dict[str, Any]],
    question: Question,
    options: Mapping[str, _Option],
    routes: Mapping[str, tuple[_Option, ...]],
    answer: Answer,
) -> None:
    booked = sum(entry["cost_nano"] for entry in entries)
    address = f"{entries[0]['provider_slug']}/{entries[0]['model_name']}"
    call = _call(entries, address, booked)
    placed = call if isinstance(call, Reason) else _placed(call, question, options, routes)
    if isinstance(placed, Reason):
        out = answer.left_out.setdefault(placed, LeftOut())
        out.calls += 1
        out.cost_nano += booked
        out.models.add(address)
        return
    target, cost = placed
    before = answer.shares.setdefault(address, Share())
    before.calls_before += 1
    before.before_nano += booked
    after = answer.shares.setdefault(target, Share())
    after.calls_after += 1
    after.after_nano += divide_half_even(cost * (PPM + question.change_ppm), PPM)


def _call(entries: list[dict[str, Any]], address: str, booked: int) -> _Call | Reason:
    """The call as it was booked, or why it cannot be replayed. A correction's counts replace those of the estimate."""
    first, last = entries[0], entries[-1]
    usage = TokenUsage(**{name: last[name] for name in COUNTS})
    try:
        card = card_from_json(first["price_card"])
        own = cost_of(usage, card)
    except UsageUnknown:
        return Reason.USAGE_UNKNOWN
    except msgspec.ValidationError:
        return Reason.NOT_REPRODUCIBLE
    if own != booked:
        return Reason.NOT_REPRODUCIBLE
    return _Call(address, first["model_asked"], first["dispatched_at"], booked, usage, card)


def _placed(
    call: _Call, question: Question, options: Mapping[str, _Option], routes: Mapping[str, tuple[_Option, ...]]
) -> tuple[str, int] | Reason:
    """Where the call goes and what it costs there."""
    if question.policy == ReplayPolicy.AS_WAS:
        targets = [call.address]
    elif question.policy == ReplayPolicy.MAPPING:
        own_name = call.address.partition("/")[2]
        targets = [question.mapping.get(call.address) or question.mapping.get(own_name) or call.address]
    else:
        known = _known(call, options, routes)
        targets = [option.address for option in known] or [call.address]
    costs = [(cost, target) for target in targets if (cost := _cost_at(call, target, question, options)) is not None]
    if not costs:
        return Reason.NO_PRICE
    cost, target = min(costs, key=lambda each: each[0]) if question.policy == ReplayPolicy.COST else costs[0]
    return target, cost


def _known(call: _Call, options: Mapping[str, _Option], routes: Mapping[str, tuple[_Option, ...]]) -> Iterable[_Option]:
    """The models behind the name that was asked for; those whose context window is too short for the call are passed over."""
    asked = call.model_asked
    found = (options[asked],) if asked in options else routes.get(asked, ())
    tokens = (call.usage.total_input_tokens or 0) + (call.usage.total_output_tokens or 0)
    return [option for option in found if option.context_window_tokens is None or tokens <= option.context_window_tokens]


def _cost_at(call: _Call, target: str, question: Question, options: Mapping[str, _Option]) -> int | None:
    card = question.cards.get(target)
    if card is None and target == call.address and question.prices == ReplayPrices.OWN:
        card = call.card
    if card is None and target in options:
        card = options[target].card
    if card is None or (card is not call.card and not knows_fee(card, call.usage.provider_tool_calls)):
        return None
    try:
        return cost_of(call.usage, card_at(card, call.at))
    except UsageUnknown:
        return None


def _add_latencies(answer: Answer, period: DateRange) -> None:
    for address, share in answer.shares.items():
        slug, _, name = address.partition("/")
        attempts = Attempt.objects.filter(
            provider_slug=slug, model_name=name, status=Attempt.Status.SETTLED, error_code="", latency_ms__isnull=False,
            dispatched_at__gte=period.start_at, dispatched_at__lt=period.end_at,
        )  # fmt: skip
        latencies = [*attempts.order_by("-dispatched_at").values_list("latency_ms", flat=True)[:LATENCY_CALLS_MAX]]
        share.latency_calls = len(latencies)
        share.latency_ms = median_low(latencies) if len(latencies) >= LATENCY_CALLS_MIN else None  # type: ignore[type-var]
