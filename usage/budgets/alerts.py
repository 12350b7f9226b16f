"""Which budgets crossed 50, 80 or 100 per cent: each threshold of a period is noted once, whoever looks and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from usage.models import Budget, BudgetAlert, BudgetPeriod, Period
from usage.periods import period_key

THRESHOLDS_PERCENT: Final = (50, 80, 100)


@dataclass(frozen=True, slots=True)
class _Use:
    measure: str
    used: int
    cap: int

    @property
    def crossed(self) -> tuple[int, ...]:
        """Exact: no rounding of per cents. A cap of 0 is no threshold to come near to."""
        return tuple(each for each in THRESHOLDS_PERCENT if self.cap and self.used * 100 >= self.cap * each)


def note_crossed(now: datetime) -> None:
    """Notes what the current periods crossed since the last look.

    Lower thresholds that were jumped over are noted as well, as done: nobody needs three messages at once.
    """
    for period in _current_periods(now):
        with transaction.atomic():
            for use in _uses(period):
                _note(period, use, now)


def undelivered(tries_max: int) -> list[BudgetAlert]:
    """Alerts that a person has not been told of yet."""
    waiting = BudgetAlert.objects.filter(Q(mailed_at=None) | Q(posted_at=None), tries__lt=tries_max)
    return [*waiting.select_related("period__budget__user", "period__budget__api_key", "period__budget__team", "period__budget__provider")]


def _current_periods(now: datetime) -> Iterator[BudgetPeriod]:
    tz = timezone.get_default_timezone()
    for unit in Period.values:
        periods = BudgetPeriod.objects.filter(budget__period=unit, key=period_key(now, unit, tz))
        yield from periods.select_related("budget").order_by("pk").iterator(chunk_size=500)


def _uses(period: BudgetPeriod) -> Iterator[_Use]:
    budget: Budget = period.budget
    for measure, used, cap in (
        (BudgetAlert.Measure.MONEY, period.posted_nano, budget.cap_nano),
        (BudgetAlert.Measure.TOKENS, period.posted_tokens, budget.cap_tokens),
        (BudgetAlert.Measure.REQUESTS, period.requests, budget.cap_requests),
    ):
        if cap is not None:
            yield _Use(measure, used, cap)


def _note(period: BudgetPeriod, use: _Use, now: datetime) -> None:
    known = set(period.alerts.filter(measure=use.measure).values_list("threshold_percent", flat=True))
    fresh = [percent for percent in use.crossed if percent not in known]
    alerts = [
        BudgetAlert(
            period=period,
            measure=use.measure,
            threshold_percent=percent,
            used=use.used,
            cap=use.cap,
            crossed_at=now,
            mailed_at=None if percent == fresh[-1] else now,
            posted_at=None if percent == fresh[-1] else now,
        )
        for percent in fresh
    ]
    BudgetAlert.objects.bulk_create(alerts, ignore_conflicts=True)
