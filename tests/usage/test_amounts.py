"""Amounts are whole nano-dollars from the provider's usage to the spreadsheet: nothing drifts, and every border carries text."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import Sum
from django.test import override_settings
from rest_framework.test import APIClient

from tests.usage.lines import NOON, line, post
from tests.usage.world import gateway_budget, reserve_order, settlement
from usage.exports import csv_file
from usage.exports.lines import fixed
from usage.exports.months import BillingMonths
from usage.ledger.front import Ledger
from usage.models import BudgetPeriod, LedgerEntry
from usage.reports import questions
from usage.reports.questions import DateRange, LineFilter
from usage.reports.totals import roll_up

pytestmark = pytest.mark.both_databases

DRIFTS = 100_000_001
"""Ten cents and a nano-dollar: as a binary fraction of a dollar, a thousand of them no longer add up."""
NOVEMBER = {"start": "2026-11-01", "end": "2026-12-01"}


@pytest.fixture
def finance() -> Iterator[APIClient]:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    client = APIClient()
    client.force_login(user)
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield client


def test_the_amount_of_this_file_drifts_where_it_is_a_binary_fraction() -> None:
    assert sum([DRIFTS / 10**9] * 1000) != DRIFTS * 1000 / 10**9


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("made_up_costs")
def test_M09_a_counter_equals_the_sum_of_its_lines_to_the_last_nano_dollar() -> None:
    budget = gateway_budget(10**15)
    ledger = Ledger()
    ledger.start()

    async def call() -> None:
        order = reserve_order(DRIFTS, [budget])
        await ledger.reserve(order)
        await ledger.settle(settlement(order, DRIFTS))

    async def run() -> None:
        for _ in range(10):
            await asyncio.gather(*(call() for _ in range(100)))

    asyncio.run(run())
    assert ledger.stop(20)
    posted = LedgerEntry.objects.aggregate(sum=Sum("cost_nano"))["sum"]
    assert posted == BudgetPeriod.objects.get().posted_nano == 1000 * DRIFTS


@pytest.mark.django_db
@pytest.mark.usefixtures("made_up_costs")
def test_M09_reports_lines_and_csv_carry_the_same_exact_text(finance: APIClient) -> None:
    lines = 5_000
    post(*(line(cost_nano=DRIFTS, price_card={"id": 1}) for _ in range(lines)))
    roll_up(NOON)
    exact = f"{Decimal(lines * DRIFTS).scaleb(-9):.9f}"
    report = finance.get("/api/v1/ai/admin/costs", NOVEMBER).json()
    assert report["totals"]["cost_usd"] == exact
    shown = finance.get("/api/v1/ai/admin/usage/lines", NOVEMBER).json()["results"]
    assert {row["cost_usd"] for row in shown} == {"0.100000001"}
    source = fixed(questions.lines_in(DateRange(date(2026, 11, 1), date(2026, 12, 1)), LineFilter()), BillingMonths.current())
    body = b"".join(csv_file.csv_chunks(source)).decode()
    rows = [row for row in csv.DictReader(io.StringIO(body)) if row["entry_id"].isdigit()]
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(exact)
    assert exact in body, "the control total"


@pytest.mark.django_db
@pytest.mark.usefixtures("made_up_costs")
@pytest.mark.parametrize("path", ["usage", "quota", "admin/usage", "admin/costs", "admin/usage/lines", "admin/savings"])
def test_M09_no_answer_about_money_holds_an_amount_as_a_json_number(finance: APIClient, path: str) -> None:
    post(line(cost_nano=1_615_000, price_card={"id": 1}), line(cost_nano=661_999_999, user_id=2, price_card={"id": 1}))
    roll_up(NOON)
    answer = finance.get(f"/api/v1/ai/{path}", {} if path in ("usage", "quota") else NOVEMBER)
    assert answer.status_code == 200
    assert list(_numbers_in_dollars(json.loads(answer.content, parse_float=str), "")) == []


def _numbers_in_dollars(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers_in_dollars(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers_in_dollars(inner, name)
    elif ("usd" in name or "cost" in name or "nano" in name) and value is not None and not isinstance(value, str):
        yield f"{name}: {value}"
