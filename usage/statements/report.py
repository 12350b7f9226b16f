"""The findings of a statement as CSV: one record each, differences first, safe in spreadsheets, exact decimal strings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db.models import Case, QuerySet, When

from providers.fields import dollars
from usage.exports import CHUNK_LINES, Cell, encoded, safe_text
from usage.models import Statement, StatementLine
from usage.money import BUCKETS
from usage.statements.reading import REQUESTS

MEASURES: Final = (REQUESTS, *BUCKETS)
COLUMNS: Final = (
    "line", "finding", "matched_by", "request_id", "day", "model", "billed_usd", "ledger_usd", "variance_usd", "price_variance_usd",
    "tokens_variance_usd", *(f"billed_{name}" for name in MEASURES), *(f"ledger_{name}" for name in MEASURES),
)  # fmt: skip


def findings(statement: Statement, finding: str | None = None) -> QuerySet[StatementLine]:
    """What differs first, then what matched, each in order of the file."""
    matched_last = Case(When(finding=StatementLine.Finding.MATCHED, then=1), default=0)
    lines = StatementLine.objects.filter(statement=statement).order_by(matched_last, "id")
    return lines.filter(finding=finding) if finding else lines


def report_csv(lines: QuerySet[StatementLine]) -> bytes:
    """Whole in memory: a statement has at most some hundred thousand findings."""
    return b"".join(_pieces(lines))


def _pieces(lines: QuerySet[StatementLine]) -> Iterator[bytes]:
    yield encoded([COLUMNS])
    for line in lines.iterator(chunk_size=CHUNK_LINES):
        yield encoded([_record(line)])


def _record(line: StatementLine) -> list[Cell]:
    return [
        line.number,
        line.finding,
        line.matched_by,
        safe_text(line.upstream_id),
        str(line.day),
        safe_text(line.model_name),
        dollars(line.billed_nano),
        dollars(line.ledger_nano),
        dollars(line.variance_nano),
        dollars(line.price_variance_nano),
        dollars(line.tokens_variance_nano),
        *(line.billed_tokens.get(name) for name in MEASURES),
        *(line.ledger_tokens.get(name) for name in MEASURES),
    ]
