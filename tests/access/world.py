"""One of everything the pages and addresses can be about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.auth.models import User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from preferences.models import Preference
from providers.models import Deployment, HealthCheck, HealthCheckJob, Price, PriceProposal, Provider, Route, RoutingConfiguration
from tests.access.rows import one_row
from tests.usage.lines import line, post
from usage.models import Budget, ClosedMonth, Export, RateLimit, Statement, UsageTotal

ABSENT_ID = 9_999_999
ABSENT_UUID = UUID(int=7)
MONTH = "2026-10"


@dataclass(slots=True)
class World:
    provider: Provider
    deployment: Deployment
    proposal: PriceProposal
    statement: Statement
    export: Export
    job: HealthCheckJob
    user: User
    rows: dict[str, Any]

    def address(self, template: str, *, absent: bool = False) -> str:
        """The route with its parameters filled in."""
        ids: dict[str, Any] = {
            "<str:context>": "nothing" if absent else "writing",
            "<uuid:export_id>": ABSENT_UUID if absent else self.export.pk,
            "<str:month>": "2026-13" if absent else MONTH,
            "<int:statement_id>": ABSENT_ID if absent else self.statement.pk,
            "<int:user_id>": ABSENT_ID if absent else self.user.pk,
            "<uuid:pk>": ABSENT_UUID if absent else self.job.pk,
            "<int:pk>": ABSENT_ID if absent else self._row_behind(template),
            "<str:format_name>": "csv",
            "<uuid:sign_in_id>": ABSENT_UUID,
            "<uidb64>": "MQ",
            "<token>": "x-y",
            "<id>": self.user.pk,
        }
        for placeholder, value in ids.items():
            template = template.replace(placeholder, str(value))
        return "/" + template

    def _row_behind(self, template: str) -> Any:
        if "logentry" in template:
            return self.row_of("auditlog.logentry")
        return self.proposal.pk if "proposal" in template else self.provider.pk

    def row_of(self, label: str) -> Any:
        """The primary key of one row of a model: where it matters whose it is, one that belongs to the user, who is in the team."""
        return (self.rows[label] if label in self.rows else one_row(apps.get_model(label))).pk


def build_world(base_url: str, user: User, other: User) -> World:
    now = timezone.now()
    provider = Provider.objects.create(slug="sim", label="Sim", kind="openai_compatible", base_url=base_url, allow_private=True)
    small = Deployment.objects.create(provider=provider, name="small", upstream_model="alpha-small", capabilities=["chat", "stream"])
    price = Price.objects.create(deployment=small, input_nano_per_mtok=10**9, output_nano_per_mtok=10**9, source="test")
    figures = {"input_nano_per_mtok": 2 * 10**9, "output_nano_per_mtok": 3 * 10**9, "source": "list"}
    proposal = PriceProposal.objects.create(deployment=small, current=price, figures=figures, found_at=now)
    HealthCheck.objects.create(provider=provider, status="green", latency_ms=1.5)
    job = HealthCheckJob.objects.create(provider=provider, requested_by=user)
    Route.objects.create(name="fast").choices.create(deployment=small)
    for owner in User.objects.all():
        for context in ("default", "writing"):
            Preference.objects.create(user=owner, context=context, deployment=small)
    Preference.objects.create(user=other, context="others", deployment=small)
    Budget.objects.create(scope="user", user=user, cap_nano=10**12)
    RateLimit.objects.create(scope="user", user=user, measure="requests", window="minute", limit=100_000)
    team = user.groups.get()
    entry = post(line(user_id=user.pk, team_id=team.pk, dispatched_at=datetime(2026, 10, 15, 12, tzinfo=UTC)))[0]
    export = Export.objects.create(format="csv", query={"month": MONTH}, status=Export.Status.FAILED, error="no", created_at=now)
    every = IntervalSchedule.objects.create(every=5, period="minutes")
    rows = {
        "auth.user": user,
        "providers.routingconfiguration": RoutingConfiguration.objects.get_or_create(pk=1)[0],
        "auth.group": team,
        "usage.apikey": user.api_keys.get(name="user's key"),
        "usage.closedmonth": _closed_september(now),
        "usage.ledgerentry": entry,
        "usage.usagetotal": one_row(UsageTotal, team_id=team.pk),
        "django_celery_beat.periodictask": PeriodicTask.objects.create(name="check", task="providers.check_all", interval=every),
    }
    return World(provider, small, proposal, statement_with_a_finding(now), export, job, user, rows)


def _closed_september(now: datetime) -> ClosedMonth:
    begins, ends = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    return ClosedMonth.objects.create(
        month="2026-09", starts_at=begins, ends_at=ends, cutoff_at=ends, lines=0, late_lines=0, cost_nano=0, columns=30, sha256="0" * 64,
        closed_at=now,
    )  # fmt: skip


def statement_with_a_finding(now: datetime) -> Statement:
    split = {"price": 1, "tokens": 0, "missing": 0, "extra": 0, "zone": 0}
    summary = {
        "billed_nano": 5, "ledger_nano": 4, "variance_nano": 1, "split_nano": split, "lines": {"price": 1}, "file_lines": 1,
        "rounded_lines": 0,
    }  # fmt: skip
    day = date(2026, 10, 15)
    statement = Statement.objects.create(
        provider_slug="sim", layout="openai", file_name="a.csv", file_sha256="0" * 64, starts_on=day, ends_on=day, uploaded_at=now,
        summary=summary,
    )  # fmt: skip
    statement.lines.create(number=1, finding="price", day=day, model_name="small", billed_nano=5, ledger_nano=4)
    return statement
