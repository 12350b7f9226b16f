"""Reads providers' usage and cost files strictly: what cannot be read exactly is refused by line and column.

Layouts, as the consoles export them:

- ``openai``: Usage page, Export (help.openai.com/en/articles/8554956; all times are UTC, at most 60 days). The cost file has
  ``start_time_iso, amount_value, amount_currency, line_item``, where a line item begins with the model; the activity file has
  ``model, num_model_requests, input_tokens, input_cached_tokens, output_tokens`` and no amounts. Fields mean what they mean in
  the usage API (platform.openai.com/docs/api-reference/usage): ``input_tokens`` contains the cached ones.
- ``anthropic``: Console, Cost and Usage, Export (support.anthropic.com/en/articles/9534590). The cost file has ``usage_date_utc,
  model, token_type, cost_usd``; the usage file has ``model_version`` and disjoint ``usage_..._tokens...`` and no amounts.
- ``generic``: the caller says which column is which of ``FIELDS``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal, localcontext
from typing import Final, Never

from providers.fields import divide_half_even
from providers.text import is_plain
from usage.exports import TRIGGERS
from usage.money import BUCKETS, MAX_NANO, MAX_TOKENS

FILE_BYTES_MAX: Final = 10 * 1024 * 1024
FILE_LINES_MAX: Final = 50_000
COLUMNS_MAX: Final = 100
CELL_CHARACTERS_MAX: Final = 1_000
TOKENS_MAX: Final = MAX_TOKENS * 1_000
"""Of one cell: a cell may be the sum of a day."""
YEARS: Final = range(2000, 2200)
LAYOUTS: Final = ("openai", "anthropic", "generic")
REQUESTS: Final = "requests"
FIELDS: Final = ("day", "time", "model", "key", "request_id", "amount_usd", "currency", REQUESTS, *BUCKETS)
"""What a column of the generic layout may be: a day or an instant, and anything of the rest."""

_AMOUNT: Final = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,30})?(?:[eE]-?[0-9]{1,2})?")
_COUNT: Final = re.compile(r"[0-9]{1,15}(?:\.0{1,3})?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class StatementInvalid(ValueError):
    """The file cannot be read; the message names line and column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledLine:
    """One line of the file. ``tokens`` has the buckets (and ``requests``) that the file tells; ``nano`` is ``None`` without amounts."""

    number: int
    day: date
    model: str = ""
    key: str = ""
    upstream_id: str = ""
    nano: int | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParsedStatement:
    """``rounded_lines`` of the vendors' files had amounts finer than a nano-dollar, each rounded half to even once."""

    lines: tuple[BilledLine, ...]
    has_amounts: bool
    has_models: bool
    has_keys: bool
    rounded_lines: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which column is which field. ``rounds`` allows amounts finer than a nano-dollar; ``is_utc``: so are times without an offset."""

    columns: Mapping[str, str]
    rounds: bool = False
    cached_in_input: bool = False
    model_before_comma: bool = False
    is_utc: bool = True


_OPENAI_COSTS: Final = _Layout(
    {"time": "start_time_iso", "model": "line_item", "amount_usd": "amount_value", "currency": "amount_currency"},
    rounds=True,
    model_before_comma=True,
)
_OPENAI_USAGE: Final = _Layout(
    {
        "time": "start_time_iso",
        "model": "model",
        REQUESTS: "num_model_requests",
        "input_tokens": "input_tokens",
        "cache_read_tokens": "input_cached_tokens",
        "output_tokens": "output_tokens",
    },
    cached_in_input=True,
)
_ANTHROPIC_COSTS: Final = _Layout({"day": "usage_date_utc", "model": "model", "amount_usd": "cost_usd"}, rounds=True)
_ANTHROPIC_USAGE: Final = _Layout(
    {
        "day": "usage_date_utc",
        "model": "model_version",
        "input_tokens": "usage_input_tokens_no_cache",
        "cache_write_tokens": "usage_input_tokens_cache_write_5m",
        "cache_write_1h_tokens": "usage_input_tokens_cache_write_1h",
        "cache_read_tokens": "usage_input_tokens_cache_read",
        "output_tokens": "usage_output_tokens",
    }
)
_VENDOR_LAYOUTS: Final = {"openai": (_OPENAI_COSTS, _OPENAI_USAGE), "anthropic": (_ANTHROPIC_COSTS, _ANTHROPIC_USAGE)}


def parse_statement(content: bytes, layout: str, zone: tzinfo, columns: Mapping[str, str] | None = None) -> ParsedStatement:
    """The lines of a CSV file in UTF-8. ``columns`` (generic only): our field -> its column. ``zone`` is whose days count.

    Raises ``StatementInvalid``.
    """
    rows = _rows(content)
    header = next(rows, (0, []))[1]
    reader = _Reader(_layout_of(layout, header, columns or {}), header, zone)
    lines = tuple(line for number, cells in rows if (line := reader.line(number, cells)) is not None)
    if not lines:
        raise StatementInvalid("The file has no lines below its header.")
    if sum(abs(line.nano or 0) for line in lines) > MAX_NANO:
        raise StatementInvalid("The amounts add up to more than a ledger can hold.")
    return ParsedStatement(
        lines,
        has_amounts=reader.has("amount_usd"),
        has_models=any(line.model for line in lines),
        has_keys=reader.has("key"),
        rounded_lines=reader.rounded_lines,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _rows(content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Cells of each line that has any, with the line's number in the file."""
    if len(content) > FILE_BYTES_MAX:
        raise StatementInvalid(f"The file is larger than {FILE_BYTES_MAX} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementInvalid(f"The file is not UTF-8: byte {error.start + 1} cannot be read.") from None
    bad = _UNPRINTABLE.search(text)
    if bad is not None:
        raise StatementInvalid(f"Line {text.count(chr(10), 0, bad.start()) + 1}: a control character is not accepted.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for read, cells in enumerate((row for row in reader if any(cell.strip() for cell in row)), 0):
            if read > FILE_LINES_MAX:
                raise StatementInvalid(f"The file has more than {FILE_LINES_MAX} lines.")
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise StatementInvalid(f"Line {reader.line_num}: {error}.") from None


def _layout_of(name: str, header: Sequence[str], columns: Mapping[str, str]) -> _Layout:
    if len(header) > COLUMNS_MAX or len(set(header)) != len(header):
        raise StatementInvalid(f"Line 1: the header must name at most {COLUMNS_MAX} columns, each once.")
    if name == "generic":
        return _generic(columns, header)
    if columns:
        raise StatementInvalid("Only the generic layout takes columns.")
    candidates = _VENDOR_LAYOUTS.get(name)
    if candidates is None:
        raise StatementInvalid(f"The layout is one of {', '.join(LAYOUTS)}.")
    for layout in candidates:
        if set(layout.columns.values()) <= set(header):
            return layout
    wanted = " or ".join(", ".join(layout.columns.values()) for layout in candidates)
    raise StatementInvalid(f"Line 1: this is no {name} file; it must have the columns {wanted}.")


def _generic(columns: Mapping[str, str], header: Sequence[str]) -> _Layout:
    unknown = sorted(set(columns) - set(FIELDS))
    if unknown:
        raise StatementInvalid(f"Unknown field {unknown[0]!r}; a column can be {', '.join(FIELDS)}.")
    absent = sorted(set(columns.values()) - set(header))
    if absent:
        raise StatementInvalid(f"Line 1: the column {absent[0]!r} is not in the file.")
    if ("day" in columns) == ("time" in columns):
        raise StatementInvalid("Say which column is the day, or which is the time; one of them.")
    if not {"amount_usd", REQUESTS, *BUCKETS} & set(columns):
        raise StatementInvalid("Say which column is the amount_usd, or which are tokens.")
    return _Layout(columns, is_utc=False)


class _Reader:
    """Turns cells into billed lines."""

    def __init__(self, layout: _Layout, header: Sequence[str], zone: tzinfo) -> None:
        self._layout = layout
        self._places = {name: header.index(column) for name, column in layout.columns.items()}
        self._width = len(header)
        self._zone = zone
        self._measures = [name for name in (REQUESTS, *BUCKETS) if name in layout.columns]
        self.rounded_lines = 0

    def has(self, name: str) -> bool:
        return name in self._places

    def line(self, number: int, cells: Sequence[str]) -> BilledLine | None:
        """``None`` for a bucket of time in which nothing was billed (OpenAI writes those with empty cells)."""
        self._check_shape(number, cells)
        measured = [self._places[name] for name in ("amount_usd", *self._measures) if self.has(name)]
        if not any(cells[place] for place in measured) and not (self.has("model") and cells[self._places["model"]]):
            return None
        tokens = {name: self._count(number, cells, name) for name in self._measures}
        if self._layout.cached_in_input:
            tokens["input_tokens"] -= tokens["cache_read_tokens"]
            if tokens["input_tokens"] < 0:
                self._refuse(number, "cache_read_tokens", "is more than the input that contains it")
        return BilledLine(
            number=number,
            day=self._day(number, cells),
            model=self._model(number, cells),
            key=self._text(number, cells, "key", 12),
            upstream_id=self._text(number, cells, "request_id", 200),
            nano=self._amount(number, cells) if self.has("amount_usd") else None,
            tokens=tokens,
        )

    def _check_shape(self, number: int, cells: Sequence[str]) -> None:
        if len(cells) != self._width:
            raise StatementInvalid(f"Line {number}: {len(cells)} cells, the header has {self._width}.")
        for place, cell in enumerate(cells, 1):
            if len(cell) > CELL_CHARACTERS_MAX:
                raise StatementInvalid(f"Line {number}, column {place}: longer than {CELL_CHARACTERS_MAX} characters.")
            if cell.startswith(("=", "@", "＝", "＠")):
                raise StatementInvalid(f"Line {number}, column {place}: a formula is not accepted.")

    def _refuse(self, number: int, name: str, what: str) -> Never:
        raise StatementInvalid(f"Line {number}, column {self._layout.columns[name]!r}: {what}.")

    def _cell(self, cells: Sequence[str], name: str) -> str:
        return cells[self._places[name]] if self.has(name) else ""

    def _text(self, number: int, cells: Sequence[str], name: str, longest: int) -> str:
        text = self._cell(cells, name)
        if text.startswith(TRIGGERS):
            self._refuse(number, name, "a formula is not accepted")
        if len(text) > longest:
            self._refuse(number, name, f"longer than {longest} characters")
        if not is_plain(text):
            self._refuse(number, name, "a character that cannot be seen is not accepted")
        return text

    def _model(self, number: int, cells: Sequence[str]) -> str:
        text = self._text(number, cells, "model", 150)
        return text.partition(",")[0].strip() if self._layout.model_before_comma else text

    def _count(self, number: int, cells: Sequence[str], name: str) -> int:
        text = self._cell(cells, name) or "0"
        if not _COUNT.fullmatch(text):
            self._refuse(number, name, "not a count; write digits only, without separators")
        count = int(text.partition(".")[0])
        if count > TOKENS_MAX:
            self._refuse(number, name, "more than a file can hold")
        return count

    def _amount(self, number: int, cells: Sequence[str]) -> int:
        text = self._cell(cells, "amount_usd")
        if not _AMOUNT.fullmatch(text):
            self._refuse(number, "amount_usd", "not an amount; write digits and a point, without separators or signs of currency")
        if self.has("currency") and self._cell(cells, "currency").lower() != "usd":
            self._refuse(number, "currency", "only usd can be compared with the ledger")
        with localcontext(prec=150):
            numerator, denominator = (Decimal(text) * 10**9).as_integer_ratio()
        if denominator != 1:
            if not self._layout.rounds:
                self._refuse(number, "amount_usd", "finer than a nano-dollar (nine decimal places)")
            self.rounded_lines += 1
        nano = divide_half_even(numerator, denominator)
        if abs(nano) > MAX_NANO:
            self._refuse(number, "amount_usd", "more than a file can hold")
        return nano

    def _day(self, number: int, cells: Sequence[str]) -> date:
        name = "day" if self.has("day") else "time"
        text = self._cell(cells, name)
        day = self._read_day(text)
        if day is None or day.year not in YEARS:
            self._refuse(number, name, "not a date such as 2026-11-30 or an instant such as 2026-11-30T12:00:00Z")
        return day

    def _read_day(self, text: str) -> date | None:
        try:
            if _DAY.fullmatch(text):
                return date.fromisoformat(text)
            return self._local(datetime.fromisoformat(text)).date() if _INSTANT.fullmatch(text) else None
        except (ValueError, OverflowError):
            return None

    def _local(self, instant: datetime) -> datetime:
        """A vendor's bucket without an offset is UTC; anybody else's local time is that of the statement's zone."""
        if instant.tzinfo is None:
            return instant.replace(tzinfo=UTC).astimezone(self._zone) if self._layout.is_utc else instant
        return instant.astimezone(self._zone)
