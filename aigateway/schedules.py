"""The beat schedule of a new gateway, and with it the tasks that people may put on a schedule of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line of the beat schedule. A message nobody took within the interval is dropped: the next one does the work."""

    name: str
    task: str
    every_s: int


SCHEDULES = (
    Schedule("check the health of providers", "providers.check_providers", 300),
    Schedule("do health checks whose wake-up was lost", "providers.sweep_health_check_jobs", 60),
    Schedule("drop old probe results", "providers.sweep_history", 86_400),
    Schedule("close attempts of processes that died", "usage.sweep", 15),
    Schedule("sum up the days", "usage.roll_up", 60),
    Schedule("seal finished days of the ledger", "usage.seal", 3600),
    Schedule("tell of budgets that run out", "aigateway.deliver_alerts", 60),
    Schedule("drop old bookkeeping", "usage.prune", 3600),
    Schedule("make exports whose wake-up was lost", "usage.make_waiting_exports", 60),
    Schedule("export the month before", "usage.ensure_monthly_export", 3600),
    Schedule("drop exports after 90 days", "usage.prune_exports", 86_400),
)
