"""The CSV of the ledger: exact, complete, in constant memory, harmless in a spreadsheet."""

from __future__ import annotations

import asyncio
import codecs
import csv
import io
import threading
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pytest_django import DjangoAssertNumQueries

from tests.usage.lines import NOON, line, post
from usage.exports import csv_file
from usage.exports.lines import CHUNK_LINES, LineSource, fixed
from usage.exports.months import BillingMonths
from usage.models import LedgerEntry
from usage.reports import questions
from usage.reports.questions import DateRange, LineFilter

NOVEMBER = DateRange(date(2026, 11, 1), date(2026, 12, 1))
TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


def november() -> LineSource:
    return fixed(questions.lines_in(NOVEMBER, LineFilter()), BillingMonths.current())


def exported(chunk_lines: int = CHUNK_LINES, *, bom: bool = False) -> bytes:
    return b"".join(csv_file.csv_chunks(november(), chunk_lines, bom=bom))


def records(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True))


def test_an_empty_ledger_is_a_header_and_a_control_total() -> None:
    header, total, end = exported().split(b"\r\n")
    assert header.decode() == ",".join(csv_file.COLUMNS)
    assert end == b""
    assert total.endswith(b",0,0.000000000,,,,,,,,,")


def test_a_line_says_everything_the_ledger_knows() -> None:
    user = User.objects.create(username="ada")
    at = datetime(2026, 11, 15, 12, 0, 0, 250, tzinfo=UTC)
    (stored,) = post(
        line(
            request_id="req_1",
            user_id=user.pk,
            cost_nano=1_234_567_890_123,
            dispatched_at=at,
            posted_at=at + timedelta(seconds=3),
            input_tokens=None,
            cache_read_tokens=0,
            upstream_id="chatcmpl-1",
            error_code="upstream_truncated",
            basis="estimated",
        )
    )
    record, total = records(exported())
    assert {column: record[column] for column in csv_file.COLUMNS[:28]} == {
        "entry_id": str(stored.pk),
        "posted_at": "2026-11-15T12:00:03.000250Z",
        "dispatched_at": "2026-11-15T12:00:00.000250Z",
        "request_id": "req_1",
        "attempt_no": "1",
        "kind": "usage",
        "basis": "estimated",
        "provider": "sim",
        "model": "small",
        "user_id": str(user.pk),
        "user": "ada",
        "key_id": "abcdefghijkl",
        "context": "default",
        "input_tokens": "",
        "cache_read_tokens": "0",
        "cache_write_tokens": "",
        "cache_write_1h_tokens": "",
        "output_tokens": "5",
        "reasoning_tokens": "",
        "audio_input_tokens": "",
        "audio_output_tokens": "",
        "cost_usd": "1234.567890123",
        "price_id": "1",
        "upstream_id": "chatcmpl-1",
        "error_code": "upstream_truncated",
        "note": "",
        "control_lines": "",
        "control_total_usd": "",
    }
    assert (total["kind"], total["control_lines"], total["control_total_usd"]) == ("control_total", "1", "1234.567890123")


def test_later_columns_stand_at_the_end() -> None:
    team = Group.objects.create(name="research")
    post(line(team_id=team.pk, image_input_tokens=7, reported_cost_nano=12, quota_tokens=22, actor_id=9, provider_tool_calls=3), line())
    record, bare, _ = records(exported())
    assert [record[column] for column in csv_file.COLUMNS[28:]] == [
        str(team.pk), "research", "7", "0.000000012", "22", "9", "2026-11", "no", "3",
    ]  # fmt: skip
    assert [bare[column] for column in csv_file.COLUMNS[28:]] == ["", "", "", "", "0", "", "2026-11", "no", ""]


def test_columns_are_stable() -> None:
    """Finance staff build on these names and their order: add at the end, change nothing."""
    assert ",".join(csv_file.COLUMNS) == (
        "entry_id,posted_at,dispatched_at,request_id,attempt_no,kind,basis,provider,model,user_id,user,key_id,context,"
        "input_tokens,cache_read_tokens,cache_write_tokens,cache_write_1h_tokens,output_tokens,reasoning_tokens,"
        "audio_input_tokens,audio_output_tokens,cost_usd,price_id,upstream_id,error_code,note,control_lines,control_total_usd,"
        "team_id,team,image_input_tokens,reported_cost_usd,quota_tokens,actor_id,period,late,provider_tool_calls"
    )


def test_small_and_negative_amounts_are_plain_numbers() -> None:
    post(line(cost_nano=1), line(cost_nano=-5_000_000_000, kind="correction"), line(cost_nano=0))
    assert [record["cost_usd"] for record in records(exported())[:3]] == ["0.000000001", "-5.000000000", "0.000000000"]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_S27_text_that_starts_a_formula_is_disarmed(trigger: str) -> None:
    payload = f'{trigger}cmd|"/c calc"!A1'
    post(line(model_name=payload, upstream_id=payload, note=payload, context=payload, request_id=payload, provider_slug=payload))
    record = records(exported())[0]
    for column in ("model", "upstream_id", "note", "context", "request_id", "provider"):
        assert record[column] == f"'{payload}"


def test_S27_names_of_users_and_teams_are_text_too() -> None:
    user, team = User.objects.create(username="@SUM(A1)"), Group.objects.create(name="=1+1")
    post(line(user_id=user.pk, team_id=team.pk))
    record = records(exported())[0]
    assert (record["user"], record["team"]) == ("'@SUM(A1)", "'=1+1")


def test_a_byte_order_mark_is_there_on_request_only() -> None:
    plain, marked = exported(), exported(bom=True)
    assert plain.startswith(b"entry_id,")
    assert marked == codecs.BOM_UTF8 + plain


def test_rfc4180_quoting_survives_quotes_commas_and_line_breaks() -> None:
    note = 'a "b", c\r\nd\ne;f'
    post(line(note=note))
    assert records(exported())[0]["note"] == note


@pytest.mark.parametrize("chunk_lines", [1, 2, 3, 100])
def test_chunks_neither_lose_nor_repeat_lines_of_one_instant(chunk_lines: int) -> None:
    stored = post(*[line(dispatched_at=NOON + timedelta(seconds=number // 3)) for number in range(10)])
    ids = [record["entry_id"] for record in records(exported(chunk_lines))[:-1]]
    assert ids == [str(entry.pk) for entry in stored]


def test_lines_come_in_order_of_dispatch_not_of_posting() -> None:
    late, early = post(line(dispatched_at=NOON), line(dispatched_at=NOON - timedelta(hours=1)))
    assert [record["entry_id"] for record in records(exported(1))[:-1]] == [str(early.pk), str(late.pk)]


def test_lines_posted_during_the_download_are_left_out_of_lines_and_control_total() -> None:
    post(*[line(cost_nano=1, dispatched_at=NOON + timedelta(seconds=number)) for number in range(4)])
    chunks = csv_file.csv_chunks(november(), 2)
    first = [next(chunks), next(chunks)]
    post(line(cost_nano=1000, dispatched_at=NOON + timedelta(minutes=1)))
    *rows, total = records(b"".join([*first, *chunks]))
    assert len(rows) == 4
    assert total["control_total_usd"] == "0.000000004"


def test_memory_and_queries_are_bounded_by_the_chunk(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    post(*[line(dispatched_at=NOON + timedelta(seconds=number)) for number in range(50)])
    source = november()
    pieces = []
    with django_assert_num_queries(5 * 2 + 1):
        pieces = list(csv_file.csv_chunks(source, 10))
    assert len(pieces) == 1 + 5 + 1
    assert max(piece.count(b"\r\n") for piece in pieces) == 10


class Properties(TestCase):
    @given(st.lists(st.integers(-(10**17), 10**17), max_size=25), st.integers(1, 7))
    def test_the_cost_column_adds_up_to_the_ledger_to_the_last_digit(self, amounts: list[int], chunk_lines: int) -> None:
        post(*[line(cost_nano=amount) for amount in amounts])
        *rows, total = records(exported(chunk_lines))
        expected = Decimal(sum(amounts)).scaleb(-9)
        assert sum((Decimal(record["cost_usd"]) for record in [*rows, total]), Decimal(0)) == expected
        assert Decimal(total["control_total_usd"]) == expected
        assert int(total["control_lines"]) == len(amounts) == len(rows)
        assert questions.totals(LedgerEntry.objects.all()).cost_nano == sum(amounts)

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=100))
    def test_S27_no_text_cell_starts_with_a_trigger_and_none_is_lost(self, text: str) -> None:
        post(line(note=text))
        cell = records(exported())[0]["note"]
        assert not cell.startswith(TRIGGERS)
        assert cell in (text, f"'{text}")


async def test_C25_who_leaves_while_a_record_is_made_leaves_quietly() -> None:
    """A generator that runs in a thread cannot be closed from outside; it is waited for."""
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            yield b"first"
            begun.set()
            go_on.wait(10)
            yield b"second"
        finally:
            closed.set()

    async def download() -> None:
        async with aclosing(csv_file.async_chunks(pieces())) as chunks:
            async for _ in chunks:
                pass

    client = asyncio.ensure_future(download())
    assert await asyncio.to_thread(begun.wait, 10)
    client.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await client
    assert closed.is_set()
