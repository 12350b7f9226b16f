"""R508 end to end: reading files strictly, the report over REST, in the admin and on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db.models import Sum
from django.test import Client, override_settings
from django.urls import reverse
from rest_framework.test import APIClient

from providers.models import Deployment, Provider
from tests.usage.lines import line, post
from usage.models import LedgerEntry, Statement, StatementLine
from usage.statements import reading
from usage.statements.actions import ModelNames, StatementOrder, ledger_calls, reconcile_statement
from usage.statements.matching import scope_of
from usage.statements.reading import StatementInvalid, parse_statement

pytestmark = pytest.mark.usefixtures("made_up_costs")

URL = "/api/v1/ai/admin/statements"
UTC_ZONE = ZoneInfo("UTC")
CARD = {"id": 1, "input_nano_per_mtok": 1_000_000_000, "output_nano_per_mtok": 4_000_000_000}
COLUMNS = {"time": "when", "model": "model", "request_id": "id", "amount_usd": "usd", "input_tokens": "in", "output_tokens": "out"}
HEADER = "when,model,id,usd,in,out\n"
GOOD = "2026-11-15T12:00:00Z,small,call-1,0.003,1000,500\n"

db = pytest.mark.django_db


def parsed(text: str | bytes, layout: str = "generic", columns: dict[str, str] | None = None) -> reading.ParsedStatement:
    content = text if isinstance(text, bytes) else text.encode()
    return parse_statement(content, layout, UTC_ZONE, COLUMNS if columns is None and layout == "generic" else columns)


def test_a_line_is_read_exactly() -> None:
    [read] = parsed(HEADER + "2026-11-15T23:30:00-02:00,small,call-1,1234567.000000001,1000,500\n").lines
    assert (read.number, read.day, read.model, read.upstream_id, read.nano) == (2, date(2026, 11, 16), "small", "call-1", 1234567000000001)
    assert read.tokens == {"input_tokens": 1000, "output_tokens": 500}


@pytest.mark.parametrize(
    ("bad", "column"),
    [
        (GOOD.replace("0.003", '"1,000.5"'), "'usd'"),
        (GOOD.replace("0.003", "1_000"), "'usd'"),
        (GOOD.replace("0.003", "$3"), "'usd'"),
        (GOOD.replace("0.003", "NaN"), "'usd'"),
        (GOOD.replace("0.003", "٣"), "'usd'"),
        (GOOD.replace("0.003", ""), "'usd'"),
        (GOOD.replace("0.003", "0.0000000001"), "'usd'"),
        (GOOD.replace("0.003", "99999999999"), "'usd'"),
        (GOOD.replace("1000", '"1,000"'), "'in'"),
        (GOOD.replace("1000", "-1"), "'in'"),
        (GOOD.replace("1000", "1.5"), "'in'"),
        (GOOD.replace("1000", "999999999999999"), "'in'"),
        (GOOD.replace("2026-11-15T12:00:00Z", "15/11/2026"), "'when'"),
        (GOOD.replace("2026-11-15T12:00:00Z", "2026-02-30"), "'when'"),
        (GOOD.replace("2026-11-15T12:00:00Z", "0001-01-01"), "'when'"),
        (GOOD.replace("small", "=cmd()"), "column 2: a formula"),
        (GOOD.replace("small", "+cmd()"), "'model'"),
        (GOOD.replace("call-1", "c" * 201), "'id'"),
        (GOOD.replace("call-1", "c" * 1001), "column 3"),
        (GOOD.replace("call-1", "a\x00b"), "control character"),
        (GOOD.replace(",500", ""), "5 cells"),
        (GOOD.replace("call-1", '"open'), "unexpected end"),
    ],
)
def test_what_cannot_be_read_is_refused_by_line_and_column(bad: str, column: str) -> None:
    with pytest.raises(StatementInvalid, match=r"^Line [23]") as refused:
        parsed(HEADER + GOOD + bad)
    assert column in str(refused.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "column"),
        (HEADER.encode(), "no lines"),
        (b"\xff\xfe", "UTF-8"),
        (b"when,when\n", "each once"),
        (b"when,model\n1,2\n", "not in the file"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(StatementInvalid, match=why):
        parsed(content)


@pytest.mark.parametrize(
    "columns", [{"day": "when"}, {"amount_usd": "usd"}, {"day": "when", "time": "when", "amount_usd": "usd"}, {"x": "usd"}]
)
def test_columns_that_tell_nothing_to_compare_are_refused(columns: dict[str, str]) -> None:
    with pytest.raises(StatementInvalid):
        parsed(HEADER + GOOD, columns=columns)


def test_files_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FILE_LINES_MAX", 2)
    assert len(parsed(HEADER + GOOD * 2).lines) == 2
    with pytest.raises(StatementInvalid, match="more than 2 lines"):
        parsed(HEADER + GOOD * 3)
    monkeypatch.setattr(reading, "FILE_BYTES_MAX", 10)
    with pytest.raises(StatementInvalid, match="larger than 10 bytes"):
        parsed(HEADER + GOOD)


def test_an_openai_cost_file() -> None:
    """An empty bucket is a day without costs; digits below a nano-dollar are rounded once and counted."""
    file = parsed(
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
        '1,2,2026-11-15T00:00:00+00:00,2026-11-16T00:00:00+00:00,0.8958740000000000,usd,"gpt-4o-2024-08-06, input",p\n'
        '1,2,2026-11-15T00:00:00+00:00,2026-11-16T00:00:00+00:00,1.5E-9,usd,"gpt-4o-2024-08-06, output",p\n'
        "1,2,2026-11-16T00:00:00+00:00,2026-11-17T00:00:00+00:00,,,,\n",
        "openai",
    )
    assert [(each.day, each.model, each.nano) for each in file.lines] == [
        (date(2026, 11, 15), "gpt-4o-2024-08-06", 895_874_000),
        (date(2026, 11, 15), "gpt-4o-2024-08-06", 2),
    ]
    assert (file.has_amounts, file.has_models, file.rounded_lines) == (True, True, 1)


def test_an_openai_activity_file_has_cached_tokens_within_the_input() -> None:
    header = "start_time_iso,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n"
    file = parsed(header + "2026-11-15T00:00:00+00:00,3,gpt-4o,1000,50,800\n", "openai")
    [read] = file.lines
    assert read.tokens == {"requests": 3, "input_tokens": 200, "cache_read_tokens": 800, "output_tokens": 50}
    assert (read.nano, file.has_amounts) == (None, False)
    with pytest.raises(StatementInvalid, match="input_cached_tokens"):
        parsed(header + "2026-11-15T00:00:00+00:00,3,gpt-4o,10,50,800\n", "openai")


def test_an_openai_file_in_another_currency_is_refused() -> None:
    with pytest.raises(StatementInvalid, match="Line 2, column 'amount_currency'"):
        parsed("start_time_iso,amount_value,amount_currency,line_item\n2026-11-15,1,eur,gpt\n", "openai")


def test_anthropic_files() -> None:
    costs = parsed("usage_date_utc,model,token_type,cost_usd\n2026-11-15,Claude Haiku 4.5,output,0.02\n", "anthropic")
    assert (costs.lines[0].model, costs.lines[0].nano) == ("Claude Haiku 4.5", 20_000_000)
    usage = parsed(
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
        "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n"
        "2026-11-15 13:00,claude-haiku-4-5-20251001,1,2,3,4,5\n",
        "anthropic",
    )
    assert usage.lines[0].tokens == {
        "input_tokens": 1, "cache_write_tokens": 2, "cache_write_1h_tokens": 3, "cache_read_tokens": 4, "output_tokens": 5,
    }  # fmt: skip


def test_a_file_of_another_vendor_is_named_so() -> None:
    with pytest.raises(StatementInvalid, match="no anthropic file"):
        parsed(HEADER + GOOD, "anthropic")


def test_model_names_meet() -> None:
    names = ModelNames([("fast", "claude-haiku-4-5-20251001"), ("old", "claude-3-5-haiku-20241022")], {"Mystery": "fast"})
    haiku = "claude-haiku-4-5-20251001"
    assert names.booked("fast") == haiku
    assert [names.billed(name) for name in ("Claude Haiku 4.5", "claude-haiku-4-5", "fast", "Mystery", haiku)] == [haiku] * 5
    assert names.billed("Claude Haiku 3.5") == "claude-3-5-haiku-20241022"
    assert names.billed("gpt-4o") == "gpt-4o"


def test_two_snapshots_of_one_model_are_never_taken_for_each_other() -> None:
    names = ModelNames([("a", "gpt-4o-2024-05-13"), ("b", "gpt-4o-2024-08-06")], {})
    assert names.billed("gpt-4o-2024-08-06") == "gpt-4o-2024-08-06"
    assert names.billed("gpt-4o") == "gpt-4o"


@pytest.fixture
def sim(db: None) -> Provider:
    provider = Provider.objects.create(slug="sim", label="Sim", kind="openai_compatible", base_url="http://127.0.0.1:1/v1")
    Deployment.objects.create(provider=provider, name="small", upstream_model="small-1")
    return provider


def booked(upstream_id: str = "call-1", **changes: Any) -> LedgerEntry:
    values = {"upstream_id": upstream_id, "cost_nano": 3_000_000, "input_tokens": 1000, "output_tokens": 500, "price_card": CARD}
    return line(**{**values, "dispatched_at": datetime(2026, 11, 15, 12, tzinfo=UTC), **changes})


def order(text: str = HEADER + GOOD, **changes: Any) -> StatementOrder:
    values = {"provider_slug": "sim", "content": text.encode(), "file_name": "bill.csv", "layout": "generic", "columns": COLUMNS}
    return StatementOrder(**{**values, **changes})


@pytest.mark.usefixtures("sim")
def test_a_statement_that_agrees_is_stored_with_its_totals() -> None:
    post(booked(), booked("other-provider", provider_slug="else"))
    statement = reconcile_statement(order())
    assert statement.summary["lines"] == {"matched": 1, "price": 0, "tokens": 0, "missing": 0, "extra": 0, "zone": 0}
    assert (statement.summary["billed_nano"], statement.summary["ledger_nano"]) == (3_000_000, 3_000_000)
    assert statement.lines.get().matched_by == "request"


@pytest.mark.usefixtures("sim")
def test_a_call_counts_with_its_correction_and_adjustment_and_the_correction_s_counts() -> None:
    first = booked(cost_nano=9_000_000, input_tokens=7, output_tokens=7, basis="estimated")
    fixed = booked(attempt_id=first.attempt_id, kind="correction", cost_nano=-7_000_000, provider_tool_calls=2)
    charge = booked(attempt_id=first.attempt_id, kind="adjustment", cost_nano=1_000_000, input_tokens=None, output_tokens=None)
    post(first, fixed, charge)
    assert reconcile_statement(order()).summary["lines"]["matched"] == 1
    [call] = ledger_calls("sim", scope_of(parsed(HEADER + GOOD)), UTC_ZONE, ModelNames((), {}))
    assert (call.nano, call.usage.input_tokens, call.usage.provider_tool_calls) == (3_000_000, 1000, 2)


@pytest.mark.usefixtures("sim")
def test_M22_the_ledger_total_is_that_of_the_days_and_the_split_adds_up() -> None:
    post(
        booked(), booked("dearer"), booked("unbilled"),
        booked("before", dispatched_at=datetime(2026, 11, 14, 23, tzinfo=UTC)),
        booked("long ago", dispatched_at=datetime(2026, 10, 1, tzinfo=UTC)),
    )  # fmt: skip
    rows = [
        GOOD,
        GOOD.replace("call-1", "dearer").replace("0.003", "0.004"),
        GOOD.replace("call-1", "before"),
        GOOD.replace("call-1", "lost"),
    ]
    summary = reconcile_statement(order(HEADER + "".join(rows))).summary
    day = LedgerEntry.objects.filter(dispatched_at__date=date(2026, 11, 15)).aggregate(total=Sum("cost_nano"))["total"]
    assert summary["lines"] == {"matched": 1, "price": 1, "tokens": 0, "missing": 1, "extra": 1, "zone": 1}
    assert summary["ledger_nano"] == day == 9_000_000
    assert summary["variance_nano"] == sum(summary["split_nano"].values()) == summary["billed_nano"] - day
    assert summary["split_nano"] == {"price": 1_000_000, "tokens": 0, "missing": 3_000_000, "extra": -3_000_000, "zone": 3_000_000}


@pytest.mark.usefixtures("sim")
def test_groups_follow_the_days_of_the_provider_s_zone_and_its_own_names() -> None:
    post(booked("", dispatched_at=datetime(2026, 11, 16, 6, tzinfo=UTC)))
    columns = {"day": "d", "model": "m", "amount_usd": "u"}
    text = "d,m,u\n2026-11-15,small-1,0.003\n"
    here = reconcile_statement(order(text, columns=columns, time_zone="America/Los_Angeles"))
    there = reconcile_statement(order(text, columns=columns, time_zone="UTC"))
    assert here.summary["lines"]["matched"] == 1
    assert there.summary["lines"]["zone"] == 1


@pytest.mark.usefixtures("sim")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"provider_slug": "nobody"}, "no provider"),
        ({"time_zone": "Mars/Olympus"}, "time zone"),
        ({"time_zone": "../etc/passwd"}, "time zone"),
        ({"starts_on": date(2026, 11, 16)}, "Line 2: 2026-11-15 is not within"),
        ({"ends_on": date(2029, 1, 1)}, "at most 400 days"),
    ],
)
def test_an_order_that_cannot_be_carried_out_stores_nothing(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(StatementInvalid, match=why):
        reconcile_statement(order(**changes))
    assert not Statement.objects.exists()


@pytest.fixture
def rest(sim: Provider) -> Iterator[APIClient]:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    client = APIClient()
    client.force_login(user)
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield client


def test_rest_takes_text_and_answers_the_findings_in_pages(rest: APIClient) -> None:
    post(booked(), booked("unbilled"))
    body = {"provider": "sim", "layout": "generic", "csv": HEADER + GOOD, "columns": COLUMNS}
    made = rest.post(URL, body, format="json")
    assert made.status_code == 201, made.content
    assert made.json()["split_usd"] == {
        "price": "0.000000000", "tokens": "0.000000000", "missing": "0.000000000", "extra": "-0.003000000", "zone": "0.000000000",
    }  # fmt: skip
    found = rest.get(f"{URL}/{made.json()['id']}", {"page_size": 1})
    assert (found.json()["count"], found.json()["results"][0]["finding"]) == (2, "extra")
    assert rest.get(f"{URL}/{made.json()['id']}", {"finding": "matched"}).json()["count"] == 1
    assert [each["id"] for each in rest.get(URL).json()["results"]] == [made.json()["id"]]
    assert rest.get(f"{URL}/{made.json()['id']}", {"finding": "no"}).status_code == 400
    assert rest.get(f"{URL}/999999").status_code == 404


def test_rest_takes_a_form_with_a_file(rest: APIClient) -> None:
    post(booked())
    file = SimpleUploadedFile("november.csv", (HEADER + GOOD).encode(), "text/csv")
    made = rest.post(URL, {"provider": "sim", "layout": "generic", "columns": json.dumps(COLUMNS), "file": file}, format="multipart")
    assert made.status_code == 201, made.content
    assert (made.json()["file_name"], made.json()["lines"]["matched"]) == ("november.csv", 1)


@pytest.mark.parametrize(
    "changes", [{"csv": HEADER + GOOD.replace("0.003", '"1,000"')}, {"columns": "x"}, {"columns": {"a": 1}}, {"typo": 1}, {"csv": None}]
)
def test_rest_refuses_and_stores_nothing(rest: APIClient, changes: dict[str, Any]) -> None:
    body = {"provider": "sim", "layout": "generic", "csv": HEADER + GOOD, "columns": COLUMNS, **changes}
    refused = rest.post(URL, body, format="json")
    assert refused.status_code == 400
    assert not Statement.objects.exists()


def test_the_report_as_csv_holds_no_formula_and_adds_up(rest: APIClient) -> None:
    post(booked(), booked("=unbilled()"))
    statement = reconcile_statement(order(HEADER + GOOD + GOOD.replace("call-1", "lost")))
    answer = rest.get(f"{URL}/{statement.pk}", {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert answer["Content-Disposition"] == f'attachment; filename="statement_{statement.pk}.csv"'
    assert [row["finding"] for row in rows] == ["missing", "extra", "matched"]
    assert rows[1]["request_id"] == "'=unbilled()"
    assert sum(float(row["variance_usd"]) for row in rows) == 0


@pytest.mark.parametrize("role", ["stranger", "user"])
def test_only_finance_sees_statements(rest: APIClient, role: str) -> None:
    client = APIClient()
    if role == "user":
        client.force_login(User.objects.create_user("bob"))
    statement = reconcile_statement(order())
    for answer in (client.get(URL), client.post(URL, {}, format="json"), client.get(f"{URL}/{statement.pk}")):
        assert answer.status_code in ({401, 403} if role == "stranger" else {403})


@pytest.fixture
def browser(sim: Provider) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))
    client = Client()
    client.force_login(user)
    return client


def upload(text: str) -> dict[str, Any]:
    pairs = "\n".join(f"{name} = {column}" for name, column in COLUMNS.items())
    file = SimpleUploadedFile("bill.csv", text.encode(), "text/csv")
    return {"provider_slug": "sim", "layout": "generic", "time_zone": "UTC", "columns": pairs, "models": "", "file": file}


def test_admin_uploads_and_shows_the_report(browser: Client) -> None:
    post(booked())
    page = browser.post(reverse("admin:usage_statement_add"), upload(HEADER + GOOD.replace("0.003", "0.004")), follow=True)
    statement = Statement.objects.get()
    assert page.redirect_chain[-1][0] == reverse("admin:usage_statement_change", args=[statement.pk])
    assert "0.001000000" in page.content.decode()
    assert statement.uploaded_by_id == User.objects.get(username="clerk").pk
    listed = browser.get(reverse("admin:usage_statement_changelist")).content.decode()
    assert "1 differ" in listed
    assert browser.get(reverse("admin:usage_statement_report", args=[statement.pk])).content.startswith(b"line,finding")


def test_admin_says_beside_the_file_what_it_cannot_read(browser: Client) -> None:
    page = browser.post(reverse("admin:usage_statement_add"), upload(HEADER + GOOD.replace("1000", "x")))
    assert "Line 2, column" in page.content.decode()
    assert not Statement.objects.exists()


@db
def test_admin_pages_need_the_permission_to_view_the_ledger() -> None:
    client = Client()
    client.force_login(User.objects.create_user("desk", is_staff=True))
    statement = Statement.objects.create(
        provider_slug="sim", layout="generic", file_name="x", file_sha256="0", uploaded_at=datetime.now(UTC)
    )
    for name, args in (("changelist", []), ("add", []), ("change", [statement.pk]), ("report", [statement.pk])):
        assert client.get(reverse(f"admin:usage_statement_{name}", args=args)).status_code == 403


@pytest.mark.usefixtures("sim")
def test_M22_the_command_ends_with_1_when_something_differs_and_2_when_the_file_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bill.csv"
    file.write_text(HEADER + GOOD)
    arguments = ["reconcile", "sim", str(file), "--layout", "generic", "--columns", json.dumps(COLUMNS)]
    with pytest.raises(CommandError) as differs:
        call_command(*arguments)
    assert differs.value.returncode == 1
    assert "missing: line 2: 2026-11-15 small-1 call-1 0.003000000" in capsys.readouterr().out
    post(booked())
    call_command(*arguments)
    assert "1 matched" in capsys.readouterr().out
    file.write_text("nothing")
    with pytest.raises(CommandError) as unreadable:
        call_command(*arguments)
    assert unreadable.value.returncode == 2
    assert StatementLine.objects.count() == 2
