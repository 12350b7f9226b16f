"""How reports are read: with 100,000 lines in the totals, no report walks through the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import override_settings
from rest_framework.test import APIClient

from tests.usage.lines import line, post
from usage.models import LedgerEntry, UsageTotal
from usage.reports.sql.totals import HALF_HOURS, LEDGER, SUM_HALF_HOURS
from usage.reports.totals import roll_up

LINES = 100_000
YEAR = {"start": "2025-12-01", "end": "2026-12-01"}
NOW = datetime(2026, 12, 1, tzinfo=UTC)
MANY = """
INSERT INTO usage_ledgerentry (attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id,
    api_key_id, team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, output_tokens, quota_tokens,
    price_id, price_card, error_code, note)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'usage', 'measured', n, at, at, 'req_' || n, 1, '', n %% 50, 'key' || n %% 50, n %% 5, 'default',
    1, 'provider-' || n %% 3, 1, 'model-' || n %% 7, 10, 5, 15, 1, '{}', '', ''
FROM (SELECT n, timestamptz '2025-12-01 00:00+00' + n * interval '5 minutes' AS at FROM generate_series(1, %s) n) lines
"""

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture
def finance() -> Iterator[APIClient]:
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield client


class Plans:
    """Runs statements and keeps what PostgreSQL says of those that read the ledger."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.tables: set[str] = set()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.tables |= {table for table in (HALF_HOURS, SUM_HALF_HOURS) if f"FROM {table} " in sql}
        if "usage_ledgerentry" in sql and sql.lstrip().startswith("SELECT"):
            with connection.connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, params)
                self.found.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)


@pytest.fixture
def a_year_of_lines(on_postgresql: bool) -> None:
    if not on_postgresql:
        pytest.skip("plans are PostgreSQL's; SQLite is for one machine and few lines")
    with connection.cursor() as cursor:
        cursor.execute(MANY, [LINES])
        cursor.execute(f"ANALYZE {LEDGER}")  # else statistics of lines that other tests had make finding first lines quadratic
        while roll_up(NOW):
            pass
        cursor.execute("ANALYZE")


REPORTS: list[tuple[str, dict[str, str]]] = [
    ("admin/costs", {}),
    ("admin/costs", {"time_zone": "Asia/Kathmandu"}),
    ("admin/usage", {"group_by": "user,model"}),
    ("admin/usage", {"group_by": "day,team", "provider": "provider-1"}),
    ("admin/usage", {"group_by": "hour,key", "start": "2026-06-01", "end": "2026-07-01"}),
    ("usage", {}),
    ("admin/usage/lines", {}),
    ("admin/savings", {"start": "2026-06-01", "end": "2026-07-01"}),
    ("admin/savings", {"start": "2026-06-01", "end": "2026-07-01", "time_zone": "Asia/Kathmandu"}),
]


def test_R506_no_report_walks_through_the_ledger_and_a_year_equals_its_lines(finance: APIClient, a_year_of_lines: None) -> None:
    assert UsageTotal.objects.exists()
    post(*[line(dispatched_at=datetime(2026, 11, 20, tzinfo=UTC)) for _ in range(20)])
    for path, query in REPORTS:
        plans = Plans()
        with connection.execute_wrapper(plans):
            shown = finance.get(f"/api/v1/ai/{path}", {**YEAR, **query})
        assert shown.status_code == 200
        assert plans.found
        assert [plan for plan in plans.found if "Seq Scan on usage_ledgerentry" in plan] == [], (path, query)
    _assert_half_hours_are_read(finance)
    shown = finance.get("/api/v1/ai/admin/usage", {**YEAR, "group_by": "team"})
    inside = sum(row.cost_nano for row in LedgerEntry.objects.filter(dispatched_at__lt=NOW).only("cost_nano").iterator())
    assert int(shown.json()["totals"]["cost_usd"].replace(".", "")) == inside > 0


def _assert_half_hours_are_read(finance: APIClient) -> None:
    """The rows of a report grow with what it asks for, not with how many people call."""
    for query, tables in (
        ({"group_by": "day", "time_zone": "Asia/Kolkata"}, {SUM_HALF_HOURS}),
        ({"group_by": "day,model", "time_zone": "Asia/Kolkata"}, {HALF_HOURS}),
        ({"group_by": "day", "time_zone": "Asia/Kolkata", "provider": "provider-1"}, {HALF_HOURS}),
        ({"group_by": "day", "time_zone": "Asia/Kathmandu"}, {SUM_HALF_HOURS}),
        ({"group_by": "day,user", "time_zone": "Asia/Kolkata"}, set()),
    ):
        reads = Plans()
        with connection.execute_wrapper(reads):
            page = finance.get("/api/v1/ai/admin/usage", {**YEAR, **query, "page_size": 1})
        assert page.status_code == 200
        assert reads.tables == tables, query
