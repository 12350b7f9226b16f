"""Exports made in the background: rows in the database that a worker turns into files. A lost wake-up is no loss."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4, uuid5

import structlog
from celery import current_app
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from providers.fields import dollars
from usage.errors import ActionRefused
from usage.exports import files
from usage.exports.lines import LineSource, Tally, fixed, month_source
from usage.exports.months import BillingMonths, month_around, month_before, span_of
from usage.models import Export
from usage.reports import DateRange, LineFilter, lines_in

MAKE_TASK: Final = "usage.make_export"
KEPT: Final = timedelta(days=90)
GIVEN_UP_AFTER: Final = timedelta(days=1)
PROGRESS_LINES: Final = 20_000
MONTHLY_DAY: Final = 3
"""Of the month, in the gateway's time zone: late settlements of the last day have arrived."""
_MONTHLY: Final = UUID("6a0f3c52-7f0e-4a53-9c0b-1f4f0b7f2f10")

log = structlog.get_logger(__name__)


class ExportFailed(Exception):
    """Why there is no file; the text is for people."""


def request_export(format_name: str, query: dict[str, Any], actor_id: int | None, export_id: UUID | None = None) -> Export:
    """Queues an export and wakes a worker after commit. ``query``: ``month``, or ``start`` and ``end`` with filters, checked before."""
    with transaction.atomic():
        export = Export.objects.create(
            id=export_id or uuid4(), format=format_name, query=query, created_by_id=actor_id, created_at=timezone.now()
        )
        transaction.on_commit(lambda: _wake(export.pk))
    return export


def restart_export(export: Export) -> Export:
    """Queues a failed export again, or one whose worker died. Raises ``ActionRefused`` for any other."""
    with files.only_one(export.pk) as free:
        restartable = (Export.Status.FAILED, Export.Status.RUNNING)
        if not free or not Export.objects.filter(pk=export.pk, status__in=restartable).update(
            status=Export.Status.WAITING, error="", lines_done=0, created_at=timezone.now()
        ):
            raise ActionRefused("Only an export that failed or whose worker died can be started again.")
    transaction.on_commit(lambda: _wake(export.pk))
    export.refresh_from_db()
    return export


def _wake(export_id: UUID) -> None:
    try:
        current_app.send_task(MAKE_TASK, args=[str(export_id)], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("no worker could be woken", export=str(export_id), error=type(error).__name__)


def make_export(export_id: UUID) -> bool:
    """Makes the file of a waiting export, or of one whose worker died. Two calls at once make it once; says whether it did."""
    with files.only_one(export_id) as free:
        open_states = (Export.Status.WAITING, Export.Status.RUNNING)
        export = Export.objects.filter(pk=export_id, status__in=open_states).first() if free else None
        if export is None:
            return False
        export.status, export.started_at, export.lines_done = Export.Status.RUNNING, timezone.now(), 0
        export.save(update_fields=["status", "started_at", "lines_done"])
        try:
            _make(export)
        except ExportFailed as error:
            _fail(export, str(error))
        except OSError as error:
            _fail(export, f"The file could not be written: {error.strerror}.")
        except DatabaseError as error:
            log.warning("export lost its database", export=str(export_id), error=type(error).__name__)
            _fail(export, "The database did not answer.")
    return True


def _make(export: Export) -> None:
    source = source_of(export.query)
    tally = Tally()
    export.lines_total = source.lines.order_by().count()
    export.save(update_fields=["lines_total"])
    written = files.write_file(export, source, _moment_of(export), tally, _progress(export, tally))
    closed = source.months.closed(export.query.get("month", ""))
    if closed is not None and export.format == Export.Format.CSV and not export.query.get("bom") and written.sha256 != closed.sha256:
        raise ExportFailed("The file is not the one this month was closed with. Run verify_ledger.")
    export.lines_done, export.cost_nano, export.bytes, export.sha256 = tally.lines, tally.nano, written.bytes, written.sha256
    export.status, export.finished_at, export.error = Export.Status.DONE, timezone.now(), ""
    files.write_manifest(export, _manifest(export, source, tally, written))
    export.save()


def source_of(query: dict[str, Any]) -> LineSource:
    """The lines an export was asked for."""
    months = BillingMonths.current()
    if "month" in query:
        return month_source(query["month"], months)
    period = DateRange(date.fromisoformat(query["start"]), date.fromisoformat(query["end"]))
    only = LineFilter(
        provider=query.get("provider"),
        model=query.get("model"),
        user_id=query.get("user"),
        key=query.get("key"),
        context=query.get("context"),
    )
    return fixed(lines_in(period, only), months)


def _moment_of(export: Export) -> datetime:
    """What a workbook says it was made at: the end of a month, so that the same lines are the same file."""
    return span_of(export.query["month"]).ends_at if "month" in export.query else export.created_at


def _progress(export: Export, tally: Tally) -> Callable[[], None]:
    told = 0

    def tell() -> None:
        nonlocal told
        if tally.lines - told >= PROGRESS_LINES:
            told = tally.lines
            Export.objects.filter(pk=export.pk).update(lines_done=told)

    return tell


def _manifest(export: Export, source: LineSource, tally: Tally, written: files.Written) -> dict[str, Any]:
    closed = source.months.closed(export.query.get("month", ""))
    return {
        "id": str(export.pk),
        "file": files.file_of(export).name,
        "format": export.format,
        "query": export.query,
        "time_zone": settings.TIME_ZONE,
        "columns": list(written.columns),
        "control_total": {"lines": tally.lines, "late_lines": tally.late_lines, "cost_usd": dollars(tally.nano)},
        "bytes": written.bytes,
        "sha256": written.sha256,
        "snapshot": {
            "last_entry_id": source.last_id,
            "month_closed": closed is not None,
            "cutoff_at": None if closed is None else closed.cutoff_at.isoformat(),
        },
        "created_by": export.created_by_id,
        "created_at": export.created_at.isoformat(),
        "finished_at": export.finished_at.isoformat() if export.finished_at else None,
    }


def _fail(export: Export, sentence: str) -> None:
    Export.objects.filter(pk=export.pk).update(status=Export.Status.FAILED, error=sentence[:200], finished_at=timezone.now())


def make_waiting(now: datetime) -> int:
    """Makes what is waiting or was left by a worker that died, oldest first; what does not end within a day has failed."""
    made = 0
    unfinished = Export.objects.filter(status__in=(Export.Status.WAITING, Export.Status.RUNNING)).order_by("created_at")
    for export in unfinished:
        if export.created_at < now - GIVEN_UP_AFTER:
            with files.only_one(export.pk) as free:
                if free:
                    _fail(export, "It did not end within a day. Ask for a shorter range.")
        else:
            made += make_export(export.pk)
    return made


def ensure_monthly(now: datetime) -> Export | None:
    """From the third day of a month on: the CSV of the month before, once, whether it is closed or not."""
    if timezone.localtime(now, timezone.get_default_timezone()).day < MONTHLY_DAY:
        return None
    month = month_before(month_around(now))
    export_id = uuid5(_MONTHLY, month)
    if Export.objects.filter(pk=export_id).exists() or not BillingMonths.current().lines(month).exists():
        return None
    return request_export(Export.Format.CSV, {"month": month}, None, export_id)


def prune_exports(now: datetime) -> int:
    """Deletes exports older than 90 days with their files, and files nobody knows; returns how many exports."""
    old = Export.objects.filter(created_at__lt=now - KEPT).exclude(status=Export.Status.RUNNING)
    pruned = 0
    for export in old:
        files.remove(export.pk)
        pruned += export.delete()[0]
    files.remove_strays({str(pk) for pk in Export.objects.values_list("pk", flat=True)}, now)
    return pruned
