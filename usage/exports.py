"""The ledger as CSV (RFC 4180, UTF-8, CRLF): one record per line, streamed in constant memory, safe in spreadsheets.

Columns are stable: new ones are only ever added at the end. Amounts are exact decimal strings with nine places, instants
are UTC in ISO 8601, unknown is empty. The last record is the control total: its ``kind`` is ``control_total``, its
``control_lines`` and ``control_total_usd`` say what the records above it count and cost, and its own ``cost_usd`` is zero, so
that the sum of the column is the cost of the lines. A file without it is incomplete.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Max, Q, QuerySet

from providers.fields import dollars
from usage.models import LedgerEntry

CHUNK_LINES = 1000
CONTENT_TYPE = "text/csv; charset=utf-8"
CONTROL_TOTAL = "control_total"

COLUMNS = (
    "entry_id",
    "posted_at",
    "dispatched_at",
    "request_id",
    "attempt_no",
    "kind",
    "basis",
    "provider",
    "model",
    "user_id",
    "user",
    "key_id",
    "context",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "cost_usd",
    "price_id",
    "upstream_id",
    "error_code",
    "note",
    "control_lines",
    "control_total_usd",
)

# What spreadsheets read as the start of a formula or of a command, full-width forms included (S27).
_TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Cell = str | int | None


def safe_text(text: str) -> str:
    """``text`` with a leading apostrophe when a spreadsheet would run it. Numbers never pass through here."""
    return f"'{text}" if text.startswith(_TRIGGERS) else text


def fixed_lines(lines: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
    """What is posted now, in order of dispatch: lines posted during the download are not in it."""
    last_id = lines.order_by().aggregate(last_id=Max("id"))["last_id"] or 0
    return lines.filter(id__lte=last_id).order_by("dispatched_at", "id")


def csv_chunks(lines: QuerySet[LedgerEntry], chunk_lines: int = CHUNK_LINES) -> Iterator[bytes]:
    """The file in pieces, from lines ordered by (``dispatched_at``, ``id``).

    Each query starts after the last line of the one before, and no database connection is held while the client reads. The
    control total counts what was really written.
    """
    written_lines = written_nano = 0
    yield _records([COLUMNS])
    chunk = _chunk_after(lines, None, chunk_lines)
    while chunk:
        piece = _piece(chunk)
        written_lines += len(chunk)
        written_nano += sum(line.cost_nano for line in chunk)
        yield piece
        chunk = _chunk_after(lines, chunk[-1], chunk_lines)
    yield _control_total(written_lines, written_nano)


async def csv_chunks_async(lines: QuerySet[LedgerEntry], chunk_lines: int = CHUNK_LINES) -> AsyncIterator[bytes]:
    """The same bytes for ASGI, which collects a synchronous iterator whole before it sends the first one."""
    chunks = csv_chunks(lines, chunk_lines)
    while (piece := await sync_to_async(_next_or_none)(chunks)) is not None:
        yield piece


def _next_or_none(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _chunk_after(lines: QuerySet[LedgerEntry], last: LedgerEntry | None, chunk_lines: int) -> list[LedgerEntry]:
    if last is not None:
        after = Q(dispatched_at__gt=last.dispatched_at) | Q(dispatched_at=last.dispatched_at, id__gt=last.pk)
        lines = lines.filter(after, dispatched_at__gte=last.dispatched_at)
    return list(lines[:chunk_lines])


def _piece(chunk: Sequence[LedgerEntry]) -> bytes:
    usernames = _usernames({line.user_id for line in chunk})
    if not connection.in_atomic_block:
        connection.close()
    return _records([_record(line, usernames.get(line.user_id, "")) for line in chunk])


def _control_total(lines: int, nano: int) -> bytes:
    total: dict[str, Cell] = {
        "kind": CONTROL_TOTAL,
        "cost_usd": dollars(0),
        "control_lines": lines,
        "control_total_usd": dollars(nano),
    }
    return _records([[total.get(column) for column in COLUMNS]])


def _usernames(user_ids: set[int]) -> dict[int, str]:
    return dict(get_user_model()._default_manager.filter(pk__in=user_ids).values_list("pk", "username"))


def _record(line: LedgerEntry, username: str) -> list[Cell]:
    return [
        line.pk,
        _instant(line.posted_at),
        _instant(line.dispatched_at),
        safe_text(line.request_id),
        line.attempt_no,
        safe_text(line.kind),
        safe_text(line.basis),
        safe_text(line.provider_slug),
        safe_text(line.model_name),
        line.user_id,
        safe_text(username),
        safe_text(line.api_key_id),
        safe_text(line.context),
        line.input_tokens,
        line.cache_read_tokens,
        line.cache_write_tokens,
        line.cache_write_1h_tokens,
        line.output_tokens,
        line.reasoning_tokens,
        line.audio_input_tokens,
        line.audio_output_tokens,
        dollars(line.cost_nano),
        line.price_id,
        safe_text(line.upstream_id),
        safe_text(line.error_code),
        safe_text(line.note),
        None,
        None,
    ]


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _records(rows: Sequence[Sequence[Cell]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
