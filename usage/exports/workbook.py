"""The ledger as an Excel workbook: sheets of lines in constant memory, then a sheet with the control totals.

Excel keeps 15 significant digits. An amount below a million dollars has no more than that at nine decimals, so its number is
exact; for a larger one the number is the nearest Excel can hold and the column ``cost_usd_exact`` beside it holds the digits.
The same goes for the totals, which are texts. Every text is stored as text and never as a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import xlsxwriter

from providers.fields import dollars
from usage.exports.csv_file import COLUMNS, UNUSED_COLUMNS, Cell, record
from usage.exports.lines import CHUNK_LINES, LineSource, Tally, chunks

CONTENT_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EXACT_NANO_MAX: Final = 10**15
"""Below it an amount in nano-dollars has at most 15 digits."""
SHEET_LINES_MAX: Final = 1_000_000
"""Excel has 1,048,576 rows."""
_CONTROL: Final = ("control_lines", "control_total_usd")
_LATER: Final = ("provider_tool_calls",)
"""Of the CSV's columns those that came after the sheet had its own, so that they stand at its end, too."""
SHEET_COLUMNS: Final = (
    *(column for column in COLUMNS if column not in (*_CONTROL, *_LATER)),
    "cost_usd_exact",
    "reported_cost_usd_exact",
    *_LATER,
)
_AMOUNTS: Final = ("cost_usd", "reported_cost_usd")
AMOUNT_FORMAT: Final = "0.000000000"


class _Sheets:
    """Sheets of one workbook, filled one after the other, row by row, as constant memory wants it."""

    def __init__(self, book: Any, lines_max: int) -> None:
        self._book = book
        self._lines_max = lines_max
        self._amount = book.add_format({"num_format": AMOUNT_FORMAT})
        self._bold = book.add_format({"bold": True})
        self._count = 0
        self._next_sheet()

    def _next_sheet(self) -> None:
        self._count += 1
        self._sheet = self._book.add_worksheet(f"lines {self._count}")
        self._sheet.freeze_panes(1, 0)
        self._row = 0
        self._write_texts(SHEET_COLUMNS, self._bold)

    def _write_texts(self, texts: tuple[str, ...], style: Any = None) -> None:
        for column, text in enumerate(texts):
            self._sheet.write_string(self._row, column, text, style)
        self._row += 1

    def write(self, cells: dict[str, Cell], amounts: dict[str, int | None]) -> None:
        if self._row > self._lines_max:
            self._next_sheet()
        for position, column in enumerate(SHEET_COLUMNS):
            if column in amounts:
                self._write_amount(position, amounts[column])
            elif column.endswith("_exact"):
                self._write_exact(position, amounts[column.removesuffix("_exact")])
            else:
                self._write_cell(position, cells[column])
        self._row += 1

    def _write_amount(self, position: int, nano: int | None) -> None:
        if nano is not None:
            self._sheet.write_number(self._row, position, nano / 10**9, self._amount)

    def _write_exact(self, position: int, nano: int | None) -> None:
        if nano is not None and abs(nano) >= EXACT_NANO_MAX:
            self._sheet.write_string(self._row, position, dollars(nano) or "")

    def _write_cell(self, position: int, cell: Cell) -> None:
        if isinstance(cell, int) and abs(cell) < EXACT_NANO_MAX:
            self._sheet.write_number(self._row, position, cell)
        elif cell is not None and cell != "":
            self._sheet.write_string(self._row, position, str(cell))

    def finish(self, tally: Tally) -> None:
        self._sheet = self._book.add_worksheet("control total")
        self._row = 0
        for name, value in (
            ("lines", str(tally.lines)),
            ("late_lines", str(tally.late_lines)),
            ("total_usd", dollars(tally.nano) or ""),
            ("sheets", str(self._count)),
        ):
            self._write_texts((name, value))


def write_xlsx(
    source: LineSource, path: Path, created: datetime, tally: Tally, after_chunk: Callable[[], None], lines_max: int = SHEET_LINES_MAX
) -> None:
    """Writes the workbook. ``created`` stands in its properties, so that equal lines make equal files."""
    options = {
        "constant_memory": True,
        "tmpdir": str(path.parent),
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "use_zip64": True,
    }
    narrow = replace(source, lines=source.lines.defer(*UNUSED_COLUMNS))
    with xlsxwriter.Workbook(path, options) as book:
        book.set_properties({"title": "Ledger", "created": created.astimezone(UTC).replace(tzinfo=None)})
        sheets = _Sheets(book, lines_max)
        for chunk, names in chunks(narrow, CHUNK_LINES, tally):
            for line, period in chunk:
                cells = dict(zip(COLUMNS, record(line, names, period), strict=True))
                sheets.write(cells, dict(zip(_AMOUNTS, (line.cost_nano, line.reported_cost_nano), strict=True)))
            after_chunk()
        sheets.finish(tally)
