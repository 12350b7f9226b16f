"""Pages of ledger lines, time zones and teams in reports, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import override_settings
from rest_framework.test import APIClient

from providers.models import Provider
from tests.usage.lines import NOON, line, post
from usage.models import ApiKey
from usage.reports.totals import roll_up

BASE = "/api/v1/ai/"
USAGE, LINES, COSTS, SAVINGS, OWN = (BASE + path for path in ("admin/usage", "admin/usage/lines", "admin/costs", "admin/savings", "usage"))
NOVEMBER = {"start": "2026-11-01", "end": "2026-12-01"}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _control_plane() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield


@pytest.fixture
def finance() -> APIClient:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    client = APIClient()
    client.force_login(user)
    return client


def pages(client: APIClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(LINES, {**NOVEMBER, **query}).json()
    shown = [answer]
    while answer["next"] is not None:
        answer = client.get(answer["next"]).json()
        shown.append(answer)
    return shown


@pytest.mark.parametrize("url", [LINES, SAVINGS])
def test_lines_and_savings_are_for_finance_only(url: str) -> None:
    client = APIClient()
    assert client.get(url).status_code == 401
    client.force_login(User.objects.create_user("ada"))
    assert client.get(url).status_code == 403


def test_R122_pages_of_lines_hold_each_line_once_latest_first(finance: APIClient) -> None:
    post(*[line(dispatched_at=NOON + timedelta(minutes=number // 3), cost_nano=number) for number in range(10)])
    shown = pages(finance, page_size=3)
    assert [len(page["results"]) for page in shown] == [3, 3, 3, 1]
    assert [row["cost_usd"][-1] for page in shown for row in page["results"]] == [str(number) for number in range(9, -1, -1)]
    assert shown[-1]["next_cursor"] is None


def test_R122_pages_are_stable_while_lines_are_posted(finance: APIClient) -> None:
    before = post(*[line(dispatched_at=NOON + timedelta(minutes=number)) for number in range(6)])
    first = finance.get(LINES, {**NOVEMBER, "page_size": 2}).json()
    post(*[line(dispatched_at=NOON + timedelta(minutes=number)) for number in (-1, 2, 9)])
    rest = []
    answer = first
    while answer["next"] is not None:
        answer = finance.get(answer["next"]).json()
        rest += answer["results"]
    assert [row["id"] for row in [*first["results"], *rest]] == [each.pk for each in reversed(before)]
    assert len([row for page in pages(finance) for row in page["results"]]) == 9


def test_R122_a_line_tells_everything_and_filters_apply(finance: APIClient) -> None:
    post(
        line(team_id=7, cost_nano=5, reported_cost_nano=6, upstream_id="up", reasoning_tokens=3, provider_tool_calls=4),
        line(team_id=8),
        line(),
    )
    (row,) = finance.get(LINES, {**NOVEMBER, "team": "7"}).json()["results"]
    assert (row["team"], row["cost_usd"], row["reported_cost_usd"]) == ("7", "0.000000005", "0.000000006")
    assert (row["upstream_id"], row["reasoning_tokens"], row["cache_read_tokens"], row["user"]) == ("up", 3, None, "1")
    assert row["provider_tool_calls"] == 4
    (none,) = finance.get(LINES, {**NOVEMBER, "team": "0"}).json()["results"]
    assert (none["team"], none["reported_cost_usd"], none["provider_tool_calls"]) == (None, None, None)


def cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


WRONG_CURSORS = [
    "x",
    "%%%",
    "é",
    cursor_of({}),
    cursor_of([1, "2026-11-15T12:00:00Z"]),
    cursor_of([1, "2026-11-15T12:00:00", 1]),
    cursor_of([1, "yesterday", 1]),
    cursor_of([0, "2026-11-15T12:00:00Z", 1]),
    cursor_of([1, "2026-11-15T12:00:00Z", 2**63]),
    cursor_of([1, "2026-11-15T12:00:00Z", 1, 1]),
    cursor_of([1.5, "2026-11-15T12:00:00Z", 1]),
]


@pytest.mark.parametrize("cursor", WRONG_CURSORS, ids=range(len(WRONG_CURSORS)))
def test_a_cursor_nobody_gave_out_is_a_clear_400(finance: APIClient, cursor: str) -> None:
    response = finance.get(LINES, {**NOVEMBER, "cursor": cursor})
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == ["cursor"]


@pytest.mark.parametrize(
    ("url", "query", "field"),
    [
        *(
            (url, {"time_zone": zone}, "time_zone")
            for url in (OWN, USAGE, COSTS, LINES, SAVINGS)
            for zone in ("Mars/Base", "../UTC", "+02:00")
        ),
        (USAGE, {"time_zone": "europe/berlin"}, "time_zone"),
        (USAGE, {"team": "-1"}, "team"),
        (USAGE, {"team": "x"}, "team"),
        (USAGE, {"group_by": "hour", "start": "2026-01-01", "end": "2026-04-04"}, "group_by"),
        (USAGE, {"group_by": "hour,day,team"}, "group_by"),
        (USAGE, {"page_size": "0"}, "page_size"),
        (USAGE, {"model": ["a", "b"]}, "model"),
        (SAVINGS, {"start": "2026-01-01", "end": "2026-04-04"}, "end"),
        (LINES, {"page_size": "501"}, "page_size"),
        (LINES, {"group_by": "day"}, "group_by"),
        (LINES, {"page": "2"}, "page"),
    ],
)
def test_wrong_parameters_are_named(finance: APIClient, url: str, query: dict[str, str], field: str) -> None:
    response = finance.get(url, query)
    assert response.status_code == 400
    assert list(response.json()["error"]["fields"]) == [field]


def test_R506_days_are_those_of_the_zone_asked_for(finance: APIClient) -> None:
    post(line(dispatched_at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC), cost_nano=4), line(cost_nano=1))
    for _ in range(2):
        utc = finance.get(COSTS, NOVEMBER).json()
        berlin = finance.get(COSTS, {**NOVEMBER, "time_zone": "Europe/Berlin"}).json()
        assert [row["day"] for row in utc["by_day"]] == ["2026-11-15"]
        assert [row["day"] for row in berlin["by_day"]] == ["2026-11-01", "2026-11-15"]
        assert berlin["period"] == {**NOVEMBER, "time_zone": "Europe/Berlin"}
        assert berlin["totals"]["cost_usd"] == "0.000000005"
        roll_up(NOON)


def test_R506_hours_carry_their_offset(finance: APIClient) -> None:
    post(*[line(dispatched_at=datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=number)) for number in range(2)])
    query = {"start": "2026-10-25", "end": "2026-10-26", "time_zone": "Europe/Berlin", "group_by": "hour,model"}
    rows = finance.get(USAGE, query).json()["results"]
    assert [(row["hour"], row["model"], row["lines"]) for row in rows] == [
        ("2026-10-25T02:00+02:00", "small", 1),
        ("2026-10-25T02:00+01:00", "small", 1),
    ]


def test_R122_teams_have_names_until_they_are_deleted(finance: APIClient) -> None:
    team = Group.objects.create(name="Research")
    post(line(team_id=team.pk, cost_nano=3), line(team_id=10**9, cost_nano=2), line(cost_nano=1))
    rows = finance.get(USAGE, {**NOVEMBER, "group_by": "team"}).json()["results"]
    assert [(row["team"], row["team_name"], row["cost_usd"][-1]) for row in rows] == [
        (str(team.pk), "Research", "3"),
        (str(10**9), None, "2"),
        (None, None, "1"),
    ]


def test_R122_a_dimension_may_be_sent_twice(finance: APIClient) -> None:
    post(line())
    answer = finance.get(USAGE + "?group_by=team&group_by=hour", NOVEMBER | {"end": "2026-11-30"})
    assert answer.status_code == 200
    twice = finance.get(f"{USAGE}?start=2026-11-01&end=2026-12-01&group_by=user&group_by=model").json()
    assert twice["group_by"] == ["user", "model"]


def test_M21_deleting_user_key_team_and_provider_changes_no_amount(finance: APIClient) -> None:
    ada, team = User.objects.create_user("ada"), Group.objects.create(name="Research")
    key = ApiKey.objects.create(id="keykeykeykey", user=ada, name="laptop", secret_sha256=bytes(32))
    provider = Provider.objects.create(slug="sim", label="Simulator", kind="openai_compatible", base_url="http://127.0.0.1:1/v1")
    post(line(user_id=ada.pk, api_key_id=key.pk, team_id=team.pk, provider_id=provider.pk, cost_nano=11), line(cost_nano=2))
    roll_up(NOON)

    def amounts() -> list[Any]:
        found = [finance.get(COSTS, NOVEMBER).json()["totals"]]
        for dimension in ("user", "key", "team", "provider"):
            rows = finance.get(USAGE, {**NOVEMBER, "group_by": dimension}).json()["results"]
            found.append([(row[dimension], row["cost_usd"], row["requests"]) for row in rows])
        return found

    before = amounts()
    for gone in (key, ada, team, provider):
        gone.delete()
    assert amounts() == before
    (named, _) = finance.get(USAGE, {**NOVEMBER, "group_by": "team,user"}).json()["results"]
    assert (named["team_name"], named["user_name"]) == (None, None)


def test_R123_every_projection_names_its_method_and_what_it_knows(finance: APIClient) -> None:
    start = datetime.now(UTC) - timedelta(days=40)
    post(*[line(dispatched_at=start + timedelta(days=number), cost_nano=10**9) for number in range(40)])
    answer = finance.get(COSTS).json()
    assert [row["method"] for row in answer["projections"]] == ["run_rate", "weekday_average", "weekday_trend"]
    assert answer["projection"] == answer["projections"][0]
    assert [row["based_on_days"] for row in answer["projections"][1:]] == [35, 35]
    assert all(row["explanation"].endswith(".") for row in answer["projections"])
    model = finance.get(COSTS, {"model": "none"}).json()
    assert [row["cost_usd"] for row in model["projections"][1:]] == [None, None]


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("usage", {"start", "end", "time_zone"}),
        ("admin/usage", {"group_by", "page", "page_size"}),
        ("admin/usage/lines", {"cursor", "page_size"}),
        ("admin/costs", {"bom", "format"}),
        ("admin/savings", {"compare_with"}),
    ],
)
def test_the_openapi_document_has_exactly_the_parameters_that_are_accepted(finance: APIClient, path: str, own: set[str]) -> None:
    document = finance.get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}).json()
    operation = document["paths"][BASE + path]["get"]
    described = {parameter["name"] for parameter in operation["parameters"]}
    everywhere = {"start", "end", "time_zone"} | ({"provider", "model", "user", "key", "context", "team"} if path != "usage" else set())
    assert described == everywhere | own
    assert {"200", "400", "401", "403", "429", "503"} <= set(operation["responses"])
