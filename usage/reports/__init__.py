"""Reports: sums of the ledger by any dimension, projections, savings."""

from __future__ import annotations

from usage.reports.answers import cost_report
from usage.reports.questions import DateRange, LineFilter, lines_in, month_around
from usage.reports.serializers import CostReportSerializer, LineQuerySerializer
from usage.reports.sums import Asked, snapshot
from usage.reports.totals import roll_up, start_over

__all__ = [
    "Asked",
    "CostReportSerializer",
    "DateRange",
    "LineFilter",
    "LineQuerySerializer",
    "cost_report",
    "lines_in",
    "month_around",
    "roll_up",
    "snapshot",
    "start_over",
]
