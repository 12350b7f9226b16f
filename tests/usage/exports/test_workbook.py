"""The workbook: exact figures, texts that stay texts, as many sheets as it takes."""

from __future__ import annotations

import re
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usage.lines import line, post
from usage.exports import workbook as spreadsheet
from usage.exports.lines import TRIGGERS, Tally, fixed
from usage.exports.months import BillingMonths
from usage.models import LedgerEntry
from usage.reports import questions
from usage.reports.questions import DateRange, LineFilter

NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1))
CREATED = datetime(2026, 12, 1, tzinfo=UTC)
NAMESPACE = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
TEXT_COLUMNS = ("model_name", "upstream_id", "note", "context", "request_id", "provider_slug", "error_code", "kind", "basis", "api_key_id")

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


def workbook(folder: Path, lines_max: int = spreadsheet.SHEET_LINES_MAX) -> bytes:
    path = folder / "ledger.xlsx"
    source = fixed(questions.lines_in(NOVEMBER, LineFilter()), BillingMonths.current())
    spreadsheet.write_xlsx(source, path, CREATED, Tally(), lambda: None, lines_max)
    return path.read_bytes()


def sheets(folder: Path) -> list[list[dict[str, tuple[str, str]]]]:
    """Per sheet its rows; per cell its column letters, type and content. A formula fails the test."""
    found = []
    with zipfile.ZipFile(folder / "ledger.xlsx") as book:
        names = [name for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
        for name in sorted(names, key=lambda name: int("".join(filter(str.isdigit, name)))):
            root = ElementTree.fromstring(book.read(name))
            assert root.find(".//x:f", NAMESPACE) is None, "a formula"
            found.append([dict(_cell(cell) for cell in row) for row in root.iterfind(".//x:row", NAMESPACE)])
    return found


def _cell(cell: ElementTree.Element) -> tuple[str, tuple[str, str]]:
    letters = re.sub(r"\d", "", cell.attrib["r"])
    kind = cell.attrib.get("t", "n")
    content = cell.findtext(".//x:t", default="", namespaces=NAMESPACE) if kind == "inlineStr" else cell.findtext("x:v", "", NAMESPACE)
    return letters, (kind, content)


def named(rows: list[dict[str, tuple[str, str]]]) -> list[dict[str, tuple[str, str]]]:
    header = {letters: text for letters, (_, text) in rows[0].items()}
    return [{header[letters]: cell for letters, cell in row.items()} for row in rows[1:]]


def test_R507_amounts_are_numbers_and_the_totals_are_exact(tmp_path: Path) -> None:
    post(line(cost_nano=1), line(cost_nano=1_234_567_890_123, reported_cost_nano=7, team_id=4, provider_tool_calls=3))
    workbook(tmp_path)
    first, control = sheets(tmp_path)
    small, large = named(first)
    assert (small["cost_usd"], "cost_usd_exact" in small) == (("n", "1E-09"), False)
    assert large["cost_usd"] == ("n", "1234.567890123")
    assert large["reported_cost_usd"] == ("n", "7E-09")
    assert large["team_id"] == ("n", "4")
    assert (large["provider_tool_calls"], "provider_tool_calls" in small) == (("n", "3"), False)
    header = [text for _, text in first[0].values()]
    assert header[-4:] == ["late", "cost_usd_exact", "reported_cost_usd_exact", "provider_tool_calls"]
    totals = {row["A"][1]: row["B"][1] for row in control}
    assert totals == {"lines": "2", "late_lines": "0", "total_usd": "1234.567890124", "sheets": "1"}


def test_an_amount_that_excel_cannot_hold_stands_beside_as_text(tmp_path: Path) -> None:
    post(line(cost_nano=9_007_199_254_740_993), line(cost_nano=-(10**15)), line(cost_nano=10**15 - 1))
    workbook(tmp_path)
    rows = named(sheets(tmp_path)[0])
    exact = [row.get("cost_usd_exact") for row in rows]
    assert exact == [("inlineStr", "9007199.254740993"), ("inlineStr", "-1000000.000000000"), None]


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_below_a_million_dollars_the_number_is_exact(nano: int) -> None:
    """15 digits are what Excel shows of the number XlsxWriter writes (16 digits)."""
    assert Decimal(f"{float(f'{nano / 10**9:.16G}'):.15g}") == Decimal(nano).scaleb(-9)


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_S27_every_text_column_is_text(tmp_path: Path, trigger: str) -> None:
    payload = f'{trigger}1|"c"!A1'
    post(line(**dict.fromkeys(TEXT_COLUMNS, payload)))
    workbook(tmp_path)
    (row,) = named(sheets(tmp_path)[0])
    texts = [content for kind, content in row.values() if kind == "inlineStr"]
    assert not [text for text in texts if text.startswith(TRIGGERS)]
    disarmed = f"'{payload}".replace("\r", "_x000D_")
    assert len([text for text in texts if text in (disarmed, f"'{payload}")]) == len(TEXT_COLUMNS)


def test_an_address_is_no_link_and_digits_are_no_number(tmp_path: Path) -> None:
    post(line(note="https://evil.test/", upstream_id="0012"))
    workbook(tmp_path)
    (row,) = named(sheets(tmp_path)[0])
    assert (row["note"], row["upstream_id"]) == (("inlineStr", "https://evil.test/"), ("inlineStr", "0012"))
    with zipfile.ZipFile(tmp_path / "ledger.xlsx") as book:
        assert not [name for name in book.namelist() if "rels/sheet" in name]


def test_a_full_sheet_is_followed_by_another(tmp_path: Path) -> None:
    stored = post(*[line(cost_nano=number) for number in range(7)])
    workbook(tmp_path, lines_max=3)
    *filled, control = sheets(tmp_path)
    assert [len(rows) - 1 for rows in filled] == [3, 3, 1]
    ids = [int(row["entry_id"][1]) for rows in filled for row in named(rows)]
    assert ids == [entry.pk for entry in stored]
    assert control[3]["B"][1] == "3"


def test_equal_lines_make_equal_files(tmp_path: Path) -> None:
    post(line(), line(note="a"))
    assert workbook(tmp_path) == workbook(tmp_path)


def test_an_empty_ledger_is_a_header_and_totals(tmp_path: Path) -> None:
    assert LedgerEntry.objects.count() == 0
    workbook(tmp_path)
    lines, control = sheets(tmp_path)
    assert [text for _, text in lines[0].values()] == list(spreadsheet.SHEET_COLUMNS)
    assert control[0]["B"][1] == "0"
