"""The ledger as a state machine: whatever is done to it, in whatever order, its sums, caps and lines stay right.

A plain model in memory says what must be true; the real posting transaction runs on the real database. Every example has
budgets of its own, so examples need no clean tables.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.db.models import QuerySet
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from providers.upstream.types import PriceCard, TokenUsage
from tests.usage.world import TARGET
from usage.budgets.adjustments import adjust_attempt
from usage.errors import ActionRefused
from usage.ledger import posting
from usage.ledger.posting import CommitUncertain, Outcome, PeriodIds, Work, apply_batch, closing_row
from usage.ledger.sweeper import ALIVE_FOR, sweep
from usage.ledger.types import BudgetExceeded, BudgetRef, LedgerError, ReserveOrder, Settlement, Void
from usage.models import Attempt, Budget, BudgetPeriod, GatewayProcess, LedgerEntry, Period
from usage.money import card_from_json, cost_of

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILPOINTS = ("close_attempts", "lock_periods", "insert_attempts", "change_periods")
OPEN, SETTLED, ESTIMATED, VOIDED = "dispatched", "settled", "estimated", "voided"


@dataclass(slots=True)
class Call:
    """What the model knows of one attempt. ``cost`` and ``tokens`` are what was posted in all, ``forgiven`` what of both was given
    back to budgets that do not charge failed attempts."""

    order: ReserveOrder
    card: PriceCard
    periods: list[int]
    status: str = OPEN
    cost: int = 0
    tokens: int = 0
    forgiven: tuple[int, int] = (0, 0)
    orphaned: bool = False
    has_lines: bool = False


@dataclass(slots=True)
class Ceiling:
    """What a period may hold at most: its cap, or what it had when the cap was lowered below that."""

    nano: int = 0
    tokens: int = 0
    requests: int = 0


@dataclass(slots=True)
class Model:
    calls: dict[uuid.UUID, Call] = field(default_factory=dict)
    ceilings: dict[int, Ceiling] = field(default_factory=dict)
    lines: dict[int, tuple[Any, ...]] = field(default_factory=dict)


class Read:
    """A query that is asked after every step: put into SQL once, and its values are the database's own."""

    def __init__(self, query: QuerySet[Any, Any]) -> None:
        self._sql = query.query.sql_with_params()

    def __call__(self) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(*self._sql)
            return list(cursor.fetchall())


class LedgerMachine(RuleBasedStateMachine):
    @initialize(caps=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2000), st.integers(0, 40)), min_size=4, max_size=4))
    def begin(self, caps: list[tuple[int, int, int]]) -> None:
        """The first example of hypothesis has the least of everything, for every seed: no budget, and a clock that goes back."""
        assume(any(any(cap) for cap in caps))
        self.now = START
        self.model = Model()
        self.known: PeriodIds = {}
        self.made = 0
        self.card = PriceCard(id=1, input_nano_per_mtok=1_000_000, output_nano_per_mtok=2_000_000, tool_call_nano=3)
        self.user = User.objects.create(username=uuid.uuid4().hex)
        self.process = GatewayProcess.objects.create(host="machine", pid=1, heartbeat_at=self.now)
        units = (Period.TOTAL, Period.HOUR, Period.DAY, Period.MONTH)
        rows = [
            Budget(scope=Budget.Scope.USER, user=self.user, period=unit, cap_nano=nano, cap_tokens=tokens, cap_requests=requests)
            for unit, (nano, tokens, requests) in zip(units, caps, strict=True)
        ]
        rows[2].charge_failed_attempts = False
        rows[3].enforcement = "warn"
        self.budgets = Budget.objects.bulk_create(rows)
        columns = ("pk", "posted_nano", "held_nano", "posted_tokens", "held_tokens", "requests", "budget_id", "budget__enforcement")
        self._periods = Read(BudgetPeriod.objects.filter(budget__in=[budget.pk for budget in rows]).values_list(*columns))
        self._attempts = Read(Attempt.objects.filter(user_id=self.user.pk).values_list("pk", "status"))
        self._lines = Read(LedgerEntry.objects.filter(user_id=self.user.pk).values_list())

    # ------------------------------------------------------------------ doing

    @rule(wanted=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 300), st.sets(st.integers(0, 3))), min_size=1, max_size=4),
          again=st.booleans())  # fmt: skip
    def reserve(self, wanted: list[tuple[int, int, set[int]]], again: bool) -> None:
        orders = [self._order(nano, tokens, chosen) for nano, tokens, chosen in wanted]
        outcome = self._apply(orders=orders)
        if again:
            assert self._apply(orders=orders).refusals.keys() == outcome.refusals.keys()
        self._note_reserved(orders, outcome)

    @rule(data=st.data(), batch=st.integers(1, 4))
    def close(self, data: st.DataObject, batch: int) -> None:
        """Settles and voids, also twice, also those closed long ago, in any order within one batch."""
        if not self.model.calls:
            return
        chosen = [data.draw(st.sampled_from([*self.model.calls])) for _ in range(batch)]
        closings: dict[uuid.UUID, Settlement | Void] = {}
        for attempt_id in chosen:
            closings.setdefault(attempt_id, self._closing(data, self.model.calls[attempt_id]))
        self._apply(closings=[*closings.values(), *closings.values()])
        for closing in closings.values():
            self._note_closed(closing)

    @precondition(lambda self: any(call.status == OPEN for call in self.model.calls.values()))
    @rule()
    def expire(self) -> None:
        """The process dies with everything it had open."""
        GatewayProcess.objects.filter(pk=self.process.pk).update(heartbeat_at=self.now - ALIVE_FOR - timedelta(seconds=1))
        sweep(self.now)
        self.process = GatewayProcess.objects.create(host="machine", pid=1, heartbeat_at=self.now)
        for call in self.model.calls.values():
            if call.status == OPEN:
                call.status, call.orphaned, call.has_lines = ESTIMATED, True, True
                call.cost, call.tokens = call.order.hold_nano, call.order.hold_tokens

    @rule(data=st.data(), amount=st.integers(-400, 400))
    def adjust(self, data: st.DataObject, amount: int) -> None:
        if not self.model.calls:
            return
        call = self.model.calls[data.draw(st.sampled_from([*self.model.calls]))]
        try:
            adjust_attempt(Attempt.objects.get(pk=call.order.attempt_id), amount, "by the machine", 1)
        except ActionRefused:
            assert amount == 0 or not call.has_lines or call.cost + amount < 0
            return
        assert call.has_lines
        assert amount != 0
        call.cost += amount
        for period_id in call.periods:
            self.model.ceilings[period_id].nano += max(0, amount)

    @rule(place=st.sampled_from(FAILPOINTS), nano=st.integers(0, 300))
    def crash_inside(self, place: str, nano: int) -> None:
        """The connection breaks within the transaction: nothing of it happened."""
        order = self._order(nano, 10, {0, 1, 2, 3})
        closings = [Void(attempt_id) for attempt_id, call in self.model.calls.items() if call.status == OPEN][:2]
        statements = posting.current_statements()

        def broken(*_: Any) -> None:
            raise OperationalError("the machine pulled the plug")

        with mock.patch.object(type(statements), place, broken):
            try:
                apply_batch(Work(self.process.pk, self.now, [order], [closing_row(each) for each in closings]), self.known)
            except OperationalError:
                return
        # The failpoint was not on the way: the batch was applied.
        self._note_reserved([order], self._apply(orders=[order]))
        for each in closings:
            self._note_closed(each)

    @rule(nano=st.integers(0, 300), chosen=st.sets(st.integers(0, 3)))
    def crash_after_commit(self, nano: int, chosen: set[int]) -> None:
        """The connection breaks while committing: the batch is applied again, and counts once."""
        order = self._order(nano, 10, chosen)
        first = self._apply(orders=[order])
        second = self._apply(orders=[order])
        assert (order.attempt_id in first.refusals) == (order.attempt_id in second.refusals)
        self._note_reserved([order], second)

    @rule(jump=st.sampled_from((timedelta(hours=-1), timedelta(seconds=-1), timedelta(hours=1), timedelta(days=1), timedelta(days=31))))
    def jump(self, jump: timedelta) -> None:
        self.now += jump
        GatewayProcess.objects.filter(pk=self.process.pk).update(heartbeat_at=self.now)

    @rule(inp=st.integers(0, 5_000_000), out=st.integers(0, 5_000_000), fee=st.none() | st.integers(0, 50))
    def reprice(self, inp: int, out: int, fee: int | None) -> None:
        self.card = replace(self.card, id=self.card.id + 1, input_nano_per_mtok=inp, output_nano_per_mtok=out, tool_call_nano=fee)

    @rule(index=st.integers(0, 2), nano=st.integers(0, 5000), tokens=st.integers(0, 3000), requests=st.integers(0, 60))
    def recap(self, index: int, nano: int, tokens: int, requests: int) -> None:
        budget = self.budgets[index]
        Budget.objects.filter(pk=budget.pk).update(cap_nano=nano, cap_tokens=tokens, cap_requests=requests)
        budget.cap_nano, budget.cap_tokens, budget.cap_requests = nano, tokens, requests
        for period in BudgetPeriod.objects.filter(budget=budget):
            self.model.ceilings[period.pk] = _ceiling(budget, period)

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def sums_and_caps_hold(self) -> None:
        if not hasattr(self, "model"):
            return
        expected = {pk: [0, 0, 0, 0, 0] for pk in self.model.ceilings}
        found = self._periods()
        forgiving = {pk for pk, *_, budget, _ in found if budget == self.budgets[2].pk}
        for call in self.model.calls.values():
            for period_id in call.periods:
                sums = expected[period_id]
                nano, tokens = call.forgiven if period_id in forgiving else (0, 0)
                sums[0] += call.cost - nano
                sums[2] += call.tokens - tokens
                sums[4] += call.order.requests
                if call.status == OPEN:
                    sums[1] += call.order.hold_nano
                    sums[3] += call.order.hold_tokens
        for pk, *sums, _, enforcement in found:
            assert sums == expected.get(pk, [0, 0, 0, 0, 0])
            ceiling = self.model.ceilings.get(pk)
            if enforcement == "hard" and ceiling is not None:
                assert sums[0] + sums[1] <= ceiling.nano
                assert sums[2] + sums[3] <= ceiling.tokens
                assert sums[4] <= ceiling.requests

    @invariant()
    def every_attempt_has_one_end_and_no_line_changes(self) -> None:
        if not hasattr(self, "model"):
            return
        stored = {uuid.UUID(str(pk)): status for pk, status in self._attempts()}
        assert stored == {attempt_id: call.status for attempt_id, call in self.model.calls.items()}
        lines = {row[0]: row[1:] for row in self._lines()}
        assert {pk: lines.get(pk) for pk in self.model.lines} == self.model.lines
        self.model.lines = lines

    def teardown(self) -> None:
        """At the end of each example: every cost follows from the line's own usage and card."""
        if not hasattr(self, "model"):
            return
        posted: dict[uuid.UUID, int] = {}
        for line in LedgerEntry.objects.filter(user_id=self.user.pk).order_by("pk"):
            if line.kind != LedgerEntry.Kind.ADJUSTMENT:
                posted[line.attempt_id] = posted.get(line.attempt_id, 0) + line.cost_nano
                if line.basis == LedgerEntry.Basis.MEASURED and line.input_tokens is not None:
                    assert cost_of(line.usage, card_from_json(line.price_card)) == posted[line.attempt_id]

    # ------------------------------------------------------------------ the model's side

    def _order(self, nano: int, tokens: int, chosen: set[int]) -> ReserveOrder:
        self.made += 1
        attempt_id = uuid.UUID(int=(self.user.pk << 64) + self.made)
        return ReserveOrder(
            attempt_id=attempt_id,
            request_id=attempt_id.hex,
            attempt_no=random.Random(nano + tokens).choice((1, 1, 2)),
            user_id=self.user.pk,
            api_key_id="",
            context="default",
            dialect="native",
            model_asked="small",
            target=TARGET,
            stream=False,
            hold_nano=nano,
            budgets=tuple(BudgetRef(self.budgets[index].pk, self.budgets[index].period) for index in sorted(chosen)),
            config_version=1_000_000,
            dispatched_at=self.now,
            price=self.card,
            hold_tokens=tokens,
        )

    def _closing(self, data: st.DataObject, call: Call) -> Settlement | Void:
        """Within the hold: a measured cost is one of tokens that fit it, an estimate any part of it."""
        attempt_id, hold = call.order.attempt_id, call.order.hold_nano
        code = data.draw(st.sampled_from(("", "client_closed", "upstream_truncated")))
        if data.draw(st.booleans()):
            usage = TokenUsage(
                input_tokens=data.draw(st.integers(0, 200)),
                output_tokens=data.draw(st.integers(0, 100)),
                provider_tool_calls=data.draw(st.none() | st.integers(0, 3)),
            )
            cost = cost_of(usage, call.card)
            if cost <= hold and (usage.input_tokens or 0) + (usage.output_tokens or 0) <= call.order.hold_tokens:
                return Settlement(attempt_id, cost, usage, error_code=code)
        if data.draw(st.booleans()):
            return Settlement(attempt_id, data.draw(st.integers(0, hold)), TokenUsage(), "estimated", error_code=code)
        return Void(attempt_id, "upstream_failed")

    def _apply(self, orders: list[ReserveOrder] | None = None, closings: list[Settlement | Void] | None = None) -> Outcome:
        work = Work(self.process.pk, self.now, orders or [], [closing_row(each) for each in closings or []])
        try:
            return apply_batch(work, self.known)
        except CommitUncertain:
            return apply_batch(work, self.known)

    def _note_reserved(self, orders: list[ReserveOrder], outcome: Outcome) -> None:
        for order in orders:
            refusal: LedgerError | None = outcome.refusals.get(order.attempt_id)
            if refusal is not None:
                assert isinstance(refusal, BudgetExceeded)
                assert refusal.posted + refusal.held + refusal.wanted > refusal.cap
                continue
            attempt = Attempt.objects.get(pk=order.attempt_id)
            self.model.calls[order.attempt_id] = Call(order, card_from_json(attempt.price_card), attempt.budget_period_ids)
            assert len(attempt.budget_period_ids) == len(order.budgets)
            for period in BudgetPeriod.objects.filter(pk__in=attempt.budget_period_ids).select_related("budget"):
                self.model.ceilings.setdefault(period.pk, _cap(period.budget))

    def _note_closed(self, closing: Settlement | Void) -> None:
        call = self.model.calls[closing.attempt_id]
        may_correct = call.orphaned and call.status == ESTIMATED
        if call.status != OPEN and not may_correct:
            return
        adjusted = call.cost - call.order.hold_nano if may_correct else 0
        call.orphaned = call.orphaned and call.status == ESTIMATED
        if isinstance(closing, Void):
            call.status, call.cost, call.tokens = VOIDED, adjusted, 0
        else:
            known = closing.usage.input_tokens is not None
            call.status, call.has_lines = SETTLED if closing.basis == "measured" else ESTIMATED, True
            call.cost = closing.cost_nano + adjusted
            call.tokens = (closing.usage.input_tokens or 0) + (closing.usage.output_tokens or 0) if known else call.order.hold_tokens
            if closing.error_code == "upstream_truncated":
                call.forgiven = closing.cost_nano, call.tokens if known or not may_correct else 0
        if may_correct:
            call.orphaned = False


def _cap(budget: Budget) -> Ceiling:
    assert budget.cap_nano is not None
    assert budget.cap_tokens is not None
    assert budget.cap_requests is not None
    return Ceiling(budget.cap_nano, budget.cap_tokens, budget.cap_requests)


def _ceiling(budget: Budget, period: BudgetPeriod) -> Ceiling:
    cap = _cap(budget)
    return Ceiling(
        max(cap.nano, period.posted_nano + period.held_nano),
        max(cap.tokens, period.posted_tokens + period.held_tokens),
        max(cap.requests, period.requests),
    )
