"""R110, R122 and R123 over HTTP."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.db import connections
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from rest_framework.test import APIClient

from tests.usage.lines import NOON, line, post
from usage.exports import csv_file
from usage.exports import lines as export_lines
from usage.exports.months import BillingMonths
from usage.models import ApiKey, LedgerEntry
from usage.reports import questions

BASE = "/api/v1/ai/"
OWN, USAGE, COSTS = BASE + "usage", BASE + "admin/usage", BASE + "admin/costs"
NOVEMBER = {"start": "2026-11-01", "end": "2026-12-01"}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


@pytest.fixture(autouse=True)
def _control_plane() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield


def client_of(user: User | None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


@pytest.fixture
def finance() -> APIClient:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    return client_of(user)


def _user(role: str) -> User | None:
    """Principals of the permission matrix."""
    if role == "stranger":
        return None
    user = User.objects.create_user(
        role, is_staff=role.startswith("staff"), is_superuser=role == "superuser", is_active=role != "inactive superuser"
    )
    if role == "inactive superuser":
        user.is_superuser = True
        user.save()
    if role == "finance":
        user.groups.add(Group.objects.create(name="finance"))
    if role in ("staff with permission", "user with permission"):
        user.user_permissions.add(Permission.objects.get(codename="view_ledgerentry"))
    return user


MATRIX = [
    ("stranger", 401, 401),
    ("inactive superuser", 401, 401),
    ("user", 200, 403),
    ("user with permission", 200, 403),
    ("staff", 200, 403),
    ("staff with permission", 200, 200),
    ("finance", 200, 200),
    ("superuser", 200, 200),
]


@pytest.mark.parametrize(("role", "own", "everybodys"), MATRIX, ids=[role for role, *_ in MATRIX])
def test_who_may_read_what(role: str, own: int, everybodys: int) -> None:
    client = client_of(_user(role))
    assert client.get(OWN).status_code == own
    assert client.get(USAGE).status_code == everybodys
    assert client.get(COSTS).status_code == everybodys
    assert client.get(COSTS, {"format": "csv"}).status_code == everybodys


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_reports_are_read_only(finance: APIClient, method: str) -> None:
    for url in (OWN, USAGE, COSTS):
        response = getattr(finance, method)(url)
        assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


# --------------------------------------------------------------------------- own usage


def test_R110_shows_the_caller_s_own_lines_only() -> None:
    ada, grace = User.objects.create_user("ada"), User.objects.create_user("grace")
    post(
        line(user_id=ada.pk, cost_nano=7, request_id="a"),
        line(user_id=ada.pk, cost_nano=5, request_id="a", attempt_no=2, provider_slug="other", basis="estimated"),
        line(user_id=grace.pk, cost_nano=1000),
    )
    answer = client_of(ada).get(OWN, NOVEMBER).json()
    totals = answer["totals"]
    assert (totals["cost_usd"], totals["requests"], totals["lines"], totals["estimated_lines"]) == ("0.000000012", 1, 2, 1)
    assert totals["reasoning_tokens"] is None
    assert answer["cache_hit_rate"] is None
    assert [(row["provider"], row["cost_usd"]) for row in answer["by_provider"]["rows"]] == [
        ("sim", "0.000000007"),
        ("other", "0.000000005"),
    ]
    assert [(row["day"], row["cost_usd"]) for row in answer["by_day"]] == [("2026-11-15", "0.000000012")]
    assert answer["period"] == {"start": "2026-11-01", "end": "2026-12-01", "time_zone": "UTC"}


def test_R110_nobody_can_ask_for_somebody_else() -> None:
    ada = User.objects.create_user("ada")
    response = client_of(ada).get(OWN, {"user": "1"})
    assert (response.status_code, list(response.json()["error"]["fields"])) == (400, ["user"])


def test_the_current_month_is_the_default() -> None:
    ada = User.objects.create_user("ada")
    post(
        line(user_id=ada.pk, cost_nano=3, dispatched_at=datetime.now(UTC)),
        line(user_id=ada.pk, dispatched_at=datetime(2020, 1, 1, tzinfo=UTC)),
    )
    assert client_of(ada).get(OWN).json()["totals"]["cost_usd"] == "0.000000003"


# --------------------------------------------------------------------------- everybody's usage


def test_R122_groups_pages_and_totals(finance: APIClient) -> None:
    post(*[line(model_name=f"m{number}", cost_nano=number) for number in range(1, 6)])
    first = finance.get(USAGE, {**NOVEMBER, "group_by": "model", "page_size": 2}).json()
    assert [row["model"] for row in first["results"]] == ["m5", "m4"]
    assert (first["count"], first["totals"]["cost_usd"], first["group_by"]) == (5, "0.000000015", ["model"])
    second = finance.get(first["next"]).json()
    assert [row["model"] for row in second["results"]] == ["m3", "m2"]
    assert second["totals"] == first["totals"]


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("provider", {"provider": "sim"}),
        ("user", {"user": str(2**40), "user_name": None}),
        ("key", {"key": "abcdefghijkl", "key_name": None}),
        ("context", {"context": "default"}),
        ("day", {"day": "2026-11-15"}),
        ("day,provider", {"day": "2026-11-15", "provider": "sim"}),
        ("key,context", {"key": "abcdefghijkl", "key_name": None, "context": "default"}),
    ],
)
def test_R122_every_dimension(finance: APIClient, group_by: str, expected: dict[str, Any]) -> None:
    post(line(user_id=2**40), line(user_id=2**40))
    (row,) = finance.get(USAGE, {**NOVEMBER, "group_by": group_by}).json()["results"]
    assert {name: row[name] for name in expected} == expected
    assert (row["lines"], row["cost_usd"]) == (2, "0.000000002")


def test_R122_filters_combine(finance: APIClient) -> None:
    post(line(model_name="a", context="x", cost_nano=1), line(model_name="a", cost_nano=2), line(context="x", cost_nano=4))
    totals = finance.get(USAGE, {**NOVEMBER, "model": "a", "context": "x"}).json()["totals"]
    assert totals["cost_usd"] == "0.000000001"


@pytest.mark.parametrize("url", [USAGE, COSTS])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": "2026-11-01"}, "end"),
        ({"end": "2026-11-01"}, "start"),
        ({"start": "2026-11-02", "end": "2026-11-01"}, "end"),
        ({"start": "2026-11-01", "end": "2026-11-01"}, "end"),
        ({"start": "yesterday", "end": "2026-11-01"}, "start"),
        ({"start": "2026-02-30", "end": "2026-11-01"}, "start"),
        ({"start": "0001-01-01", "end": "0001-01-02"}, "start"),
        ({"start": "9999-12-30", "end": "9999-12-31"}, "start"),
        ({"start": "2020-01-01", "end": "2026-01-01"}, "end"),
        ({"user": "x"}, "user"),
        ({"user": "-1"}, "user"),
        ({"user": str(2**63)}, "user"),
        ({"model": "x" * 151}, "model"),
        ({"model": "a\x00"}, "model"),
        ({"modle": "x"}, "modle"),
    ],
)
def test_wrong_parameters_are_named(finance: APIClient, url: str, query: dict[str, str], field: str) -> None:
    response = finance.get(url, query)
    assert response.status_code == 400
    assert field in response.json()["error"]["fields"]


@pytest.mark.parametrize("group_by", ["", "cost", "provider,provider", "provider,model,user", "provider;model", ","])
def test_R122_groups_are_one_or_two_known_dimensions(finance: APIClient, group_by: str) -> None:
    response = finance.get(USAGE, {"group_by": group_by})
    assert response.status_code == 400
    assert "group_by" in response.json()["error"]["fields"]


# --------------------------------------------------------------------------- costs


def test_R123_breakdowns_series_and_projection(finance: APIClient) -> None:
    ada = User.objects.create_user("ada")
    post(
        line(user_id=ada.pk, cost_nano=3, dispatched_at=NOON - timedelta(days=1)),
        line(user_id=ada.pk, cost_nano=4, provider_slug="other", model_name="big"),
    )
    answer = finance.get(COSTS, NOVEMBER).json()
    assert answer["currency"] == "USD"
    assert answer["totals"]["cost_usd"] == "0.000000007"
    assert [(row["provider"], row["cost_usd"]) for row in answer["by_provider"]["rows"]] == [
        ("other", "0.000000004"),
        ("sim", "0.000000003"),
    ]
    assert [(row["user"], row["user_name"]) for row in answer["by_user"]["rows"]] == [(str(ada.pk), "ada")]
    assert [row["model"] for row in answer["by_model"]["rows"]] == ["big", "small"]
    assert [(row["day"], row["cost_usd"]) for row in answer["by_day"]] == [("2026-11-14", "0.000000003"), ("2026-11-15", "0.000000004")]
    assert answer["projection"]["method"] == "run_rate"
    assert answer["projection"]["period_s"] == 30 * 86400


def test_R123_projection_of_a_past_month_is_its_cost_and_of_a_future_one_unknown(finance: APIClient) -> None:
    post(line(cost_nano=9, dispatched_at=datetime(2025, 3, 3, tzinfo=UTC)))
    past = finance.get(COSTS, {"start": "2025-03-01", "end": "2025-04-01"}).json()["projection"]
    assert past["cost_usd"] == "0.000000009"
    future = finance.get(COSTS, {"start": "2150-03-01", "end": "2150-04-01"}).json()["projection"]
    assert (future["cost_usd"], future["elapsed_s"]) == (None, 0)


def test_reports_are_not_cached_by_anybody(finance: APIClient) -> None:
    for query in ({}, {"format": "csv"}):
        assert finance.get(COSTS, query)["Cache-Control"] == "private, no-store"


def csv_of(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get(COSTS, {**NOVEMBER, "format": "csv", **query})
    assert response.status_code == 200
    body = b"".join(cast(StreamingHttpResponse, response))
    return list(csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True))


def test_R123_csv_headers(finance: APIClient) -> None:
    response = finance.get(COSTS, {**NOVEMBER, "format": "csv"}, headers={"Accept": "text/csv", "X-Request-ID": "mine"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="costs_2026-11-01_2026-12-01.csv"'
    assert response["X-Request-ID"] == "mine"
    assert response.streaming


def test_R123_csv_obeys_the_filters(finance: APIClient) -> None:
    post(line(provider_slug="a", cost_nano=5), line(provider_slug="b", cost_nano=6))
    *rows, total = csv_of(finance, provider="a")
    assert [row["provider"] for row in rows] == ["a"]
    assert total["control_total_usd"] == "0.000000005"


@pytest.mark.parametrize("wanted", ["focus-1.3", "xlsx", "CSV", "", "api"])
def test_R123_an_unknown_format_is_a_clear_400(finance: APIClient, wanted: str) -> None:
    response = finance.get(COSTS, {"format": wanted})
    assert response.status_code == 400
    assert "format" in response.json()["error"]["fields"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_R506_days_month_report_and_csv_agree(finance: APIClient, zone: str, settings: Any) -> None:
    settings.TIME_ZONE = zone
    start = datetime(2026, 10, 31, tzinfo=UTC)
    post(*[line(cost_nano=10**12 + number, dispatched_at=start + timedelta(hours=5 * number)) for number in range(160)])
    month = finance.get(COSTS, NOVEMBER).json()
    days = Decimal(0)
    for number in range(30):
        day = date(2026, 11, 1) + timedelta(days=number)
        query = {"start": day.isoformat(), "end": (day + timedelta(days=1)).isoformat()}
        days += Decimal(finance.get(USAGE, query).json()["totals"]["cost_usd"])
    *rows, total = csv_of(finance)
    series = sum(Decimal(row["cost_usd"]) for row in month["by_day"])
    lines = sum(Decimal(row["cost_usd"]) for row in rows)
    assert days == series == lines == Decimal(month["totals"]["cost_usd"]) == Decimal(total["control_total_usd"])
    assert days > 0


def test_M21_deleting_user_and_key_changes_no_amount(finance: APIClient) -> None:
    ada = User.objects.create_user("ada")
    key = ApiKey.objects.create(id="keykeykeykey", user=ada, name="laptop", secret_sha256=bytes(32))
    post(line(user_id=ada.pk, api_key_id=key.pk, cost_nano=11))
    before = csv_of(finance)
    ada.delete()
    after = csv_of(finance)
    assert [{**row, "user": ""} for row in before] == after
    assert finance.get(COSTS, NOVEMBER).json()["totals"]["cost_usd"] == "0.000000011"


# --------------------------------------------------------------------------- streaming under ASGI


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_the_first_lines_leave_before_the_last_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the second chunk waits until the client has seen the first one: a buffered answer would never come."""
    client = await sync_to_async(_finance_with_lines)()
    first_seen = threading.Event()
    read = export_lines._after

    def watched(lines: Any, last: LedgerEntry | None, chunk_lines: int) -> list[LedgerEntry]:
        if last is not None:
            assert first_seen.wait(20), "nothing was sent before the second chunk was read"
        return read(lines, last, 3)

    monkeypatch.setattr(export_lines, "_after", watched)
    response = cast(StreamingHttpResponse, await client.get(COSTS, {**NOVEMBER, "format": "csv"}))
    assert response.is_async
    pieces = []
    async for piece in cast(AsyncIterator[bytes], response.streaming_content):
        pieces.append(piece)
        if len(pieces) == 2:
            first_seen.set()
    body = b"".join(pieces).decode()
    assert len(pieces) == 1 + 4 + 1
    assert body.count("\r\n") == 1 + 10 + 1
    await sync_to_async(connections.close_all)()


def _finance_with_lines() -> AsyncClient:
    user = User.objects.create_superuser("root")
    post(*[line(dispatched_at=NOON + timedelta(seconds=number)) for number in range(10)])
    client = AsyncClient()
    client.force_login(user)
    return client


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_client_reads() -> None:
    post(*[line(dispatched_at=NOON + timedelta(seconds=number)) for number in range(4)])
    lines = questions.lines_in(questions.DateRange(date(2026, 11, 1), date(2026, 12, 1)), questions.LineFilter())
    chunks = csv_file.csv_chunks(export_lines.fixed(lines, BillingMonths.current()), 2)
    assert len([next(chunks), next(chunks)]) == 2
    assert export_lines.connection.connection is None
    assert len(list(chunks)) == 2
