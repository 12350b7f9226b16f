"""The ledger as CSV (RFC 4180, UTF-8, CRLF): one record per line, streamed in constant memory, safe in spreadsheets.

Columns are stable: new ones are only ever added at the end. Amounts are exact decimal strings with nine places, instants
are UTC in ISO 8601, unknown is empty. The last record is the control total: its ``kind`` is ``control_total``, its
``control_lines`` and ``control_total_usd`` say what the records above it count and cost, and its own ``cost_usd`` is zero, so
that the sum of the column is the cost of the lines. A file without it is incomplete.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import replace

from asgiref.sync import sync_to_async

from providers.fields import dollars
from usage.exports.lines import CHUNK_LINES, LineSource, Names, Tally, chunks, instant_text, safe_text
from usage.exports.months import MonthSpan
from usage.models import LedgerEntry

CONTENT_TYPE = "text/csv; charset=utf-8"
CONTROL_TOTAL = "control_total"
UNUSED_COLUMNS = ("price_card",)
"""Read for other formats only."""

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
    "team_id",
    "team",
    "image_input_tokens",
    "reported_cost_usd",
    "quota_tokens",
    "actor_id",
    "period",
    "late",
    "provider_tool_calls",
)

Cell = str | int | None
Pieces = Generator[bytes, None, None]
"""A file on its way out."""


def csv_chunks(source: LineSource, chunk_lines: int = CHUNK_LINES, tally: Tally | None = None, *, bom: bool = False) -> Pieces:
    """The file in pieces. ``bom`` puts a byte order mark in front, by which Excel knows UTF-8."""
    tally = tally or Tally()
    shown = slice(source.columns)
    yield (BOM_UTF8 if bom else b"") + encoded([COLUMNS[shown]])
    narrow = replace(source, lines=source.lines.defer(*UNUSED_COLUMNS))
    for chunk, names in chunks(narrow, chunk_lines, tally):
        yield encoded([record(line, names, period)[shown] for line, period in chunk])
    yield encoded([control_record(tally)[shown]])


async def async_chunks(pieces: Pieces) -> AsyncIterator[bytes]:
    """The same bytes for ASGI, which collects a synchronous iterator whole before it sends the first one.

    A client may leave while a piece is being made: it is closed by the same thread, so afterwards.
    """
    try:
        while (piece := await sync_to_async(_next_or_none)(pieces)) is not None:
            yield piece
    finally:
        await sync_to_async(pieces.close)()


def _next_or_none(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def control_record(tally: Tally) -> list[Cell]:
    total: dict[str, Cell] = {
        "kind": CONTROL_TOTAL,
        "cost_usd": dollars(0),
        "control_lines": tally.lines,
        "control_total_usd": dollars(tally.nano),
    }
    return [total.get(column) for column in COLUMNS]


def record(line: LedgerEntry, names: Names, period: MonthSpan) -> list[Cell]:
    """The values of ``COLUMNS``."""
    return [
        line.pk,
        instant_text(line.posted_at),
        instant_text(line.dispatched_at),
        safe_text(line.request_id),
        line.attempt_no,
        safe_text(line.kind),
        safe_text(line.basis),
        safe_text(line.provider_slug),
        safe_text(line.model_name),
        line.user_id,
        safe_text(names.users.get(line.user_id, "")),
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
        line.team_id,
        safe_text(names.teams.get(line.team_id or 0, "")),
        line.image_input_tokens,
        dollars(line.reported_cost_nano),
        line.quota_tokens,
        line.actor_id,
        period.month,
        "yes" if line.dispatched_at < period.starts_at else "no",
        line.provider_tool_calls,
    ]


def encoded(rows: Sequence[Sequence[Cell]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
