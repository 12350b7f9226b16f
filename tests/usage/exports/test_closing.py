"""Months are closed once and for ever: what comes late stands in the next one, and all of them are the ledger."""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from kombu.exceptions import OperationalError

from providers.models import Deployment, Price, Provider
from tests.usage.lines import line, post
from tests.usage.world import reserve_order
from usage.budgets.adjustments import adjust_attempt
from usage.errors import ActionRefused
from usage.exports import closing, csv_file, focus, tasks
from usage.exports.closing import close_month, is_unchanged, months_until, next_to_close, request_close
from usage.exports.csv_file import csv_chunks
from usage.exports.lines import month_source
from usage.exports.months import BillingMonths, MonthInvalid, month_after, month_around, month_before, span_of
from usage.ledger.front import reserve_now
from usage.models import ApiKey, Attempt, ClosedMonth, LedgerEntry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]

OCTOBER = datetime(2026, 10, 20, 12, tzinfo=UTC)
DECEMBER_3 = datetime(2026, 12, 3, 8, tzinfo=UTC)


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def file_of(month: str, profile: str = "csv") -> bytes:
    source = month_source(month, BillingMonths.current())
    return b"".join(csv_chunks(source) if profile == "csv" else focus.focus_chunks(source, profile))


def records(month: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(file_of(month).decode(), newline=""))][:-1]


def sha256_of(month: str) -> str:
    return hashlib.sha256(file_of(month)).hexdigest()


def test_a_closed_month_says_what_it_holds() -> None:
    post(line(dispatched_at=at(10, 31, 23), cost_nano=5), line(dispatched_at=at(11, 1, 0), cost_nano=7))
    row = close_month("2026-10", 9, DECEMBER_3)
    assert (row.lines, row.late_lines, row.cost_nano, row.closed_by_id) == (1, 0, 5, 9)
    assert row.cutoff_at == DECEMBER_3 - timedelta(minutes=1)
    assert row.sha256 == sha256_of("2026-10")


def test_M15_a_call_over_the_border_of_a_month_belongs_to_the_month_of_its_reserve() -> None:
    start, end = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 1, 0, 0, 30, tzinfo=UTC)
    post(line(dispatched_at=start, posted_at=end))
    close_month("2026-10", None, DECEMBER_3)
    (record,) = records("2026-10")
    assert (record["dispatched_at"], record["posted_at"]) == ("2026-10-31T23:59:59.000000Z", "2026-11-01T00:00:30.000000Z")
    assert (record["period"], record["late"]) == ("2026-10", "no")
    assert records("2026-11") == []


def test_lines_posted_after_closing_are_late_in_the_next_month_even_when_that_is_closed_too() -> None:
    first = line(dispatched_at=OCTOBER, cost_nano=5)
    post(first, line(dispatched_at=at(11, 5), cost_nano=7))
    close_month("2026-10", None, at(11, 3))
    late = line(dispatched_at=OCTOBER, posted_at=at(11, 20), kind="correction", cost_nano=-2, attempt_id=first.attempt_id)
    post(late)
    assert [(record["cost_usd"], record["late"]) for record in records("2026-11")] == [("-0.000000002", "yes"), ("0.000000007", "no")]
    row = close_month("2026-11", None, DECEMBER_3)
    assert (row.lines, row.late_lines, row.cost_nano) == (2, 1, 5)
    post(line(dispatched_at=OCTOBER, posted_at=DECEMBER_3, cost_nano=11))
    assert [(record["cost_usd"], record["late"]) for record in records("2026-12")] == [("0.000000011", "yes")]
    assert all(is_unchanged(each) for each in ClosedMonth.objects.all())


def test_M13_M21_a_closed_month_is_the_same_for_ever() -> None:
    user, team = User.objects.create_user("ada"), Group.objects.create(name="research")
    key = ApiKey.objects.create(id="keykeykeykey", user=user, name="laptop", secret_sha256=bytes(32))
    provider = Provider.objects.create(slug="sim", label="Sim", kind="openai_compatible", base_url="http://127.0.0.1:1/v1")
    model = Deployment.objects.create(provider=provider, name="small", upstream_model="small-1")
    price = Price.objects.create(deployment=model, input_nano_per_mtok=1, output_nano_per_mtok=1, valid_from=OCTOBER)
    ids: dict[str, Any] = {"user_id": user.pk, "team_id": team.pk, "api_key_id": key.pk, "price_id": price.pk, "provider_id": provider.pk}
    stored = post(line(dispatched_at=OCTOBER, cost_nano=50, **ids), line(dispatched_at=at(10, 21), cost_nano=1))
    row = close_month("2026-10", None, at(11, 3))
    before = {profile: file_of("2026-10", profile) for profile in ("csv", *focus.PROFILES)}
    User.objects.filter(pk=user.pk).update(username="renamed")
    Group.objects.filter(pk=team.pk).update(name="renamed")
    Price.objects.filter(pk=price.pk).update(input_nano_per_mtok=77)
    assert {profile: file_of("2026-10", profile) for profile in before} == before
    for gone in (price, model, provider, user, team):
        type(gone).objects.filter(pk=gone.pk).delete()
    post(line(dispatched_at=OCTOBER, posted_at=at(11, 4), kind="correction", cost_nano=-9, attempt_id=stored[0].attempt_id))
    assert {profile: file_of("2026-10", profile) for profile in before} == before
    assert sha256_of("2026-10") == row.sha256
    assert is_unchanged(row)


@pytest.mark.django_db(transaction=True)
def test_M13_a_late_credit_stands_in_the_next_open_month() -> None:
    order = reserve_order(1)
    reserve_now(order)
    Attempt.objects.filter(pk=order.attempt_id).update(dispatched_at=OCTOBER, status="settled")
    post(line(attempt_id=order.attempt_id, dispatched_at=OCTOBER, cost_nano=100))
    close_month("2026-10", None, at(11, 3))
    adjust_attempt(Attempt.objects.get(pk=order.attempt_id), -40, "agreed with the provider", 3)
    LedgerEntry.objects.get(kind="adjustment")
    (record,) = records("2026-11")
    assert (record["kind"], record["cost_usd"], record["actor_id"], record["late"]) == ("adjustment", "-0.000000040", "3", "yes")


def test_closing_is_refused_before_the_month_is_over_and_out_of_turn() -> None:
    post(line(dispatched_at=at(9, 5)), line(dispatched_at=OCTOBER))
    for month, now, sentence in (
        ("2026-10", at(11, 3), "close 2026-09 first"),
        ("2026-08", at(11, 3), "nothing to close"),
        ("2026-11", at(11, 3), "not over"),
        ("2026-09", datetime(2026, 10, 1, 0, 0, 59, tzinfo=UTC), "not over"),
    ):
        with pytest.raises(ActionRefused, match=sentence):
            close_month(month, None, now)
    assert close_month("2026-09", None, datetime(2026, 10, 1, 0, 1, tzinfo=UTC)).lines == 1
    with pytest.raises(ActionRefused, match="closed already"):
        close_month("2026-09", None, at(11, 3))
    assert next_to_close(BillingMonths.current()) == "2026-10"


def test_a_month_of_many_lines_is_closed_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    post(line(dispatched_at=OCTOBER), line(dispatched_at=OCTOBER))
    told: list[Any] = []
    monkeypatch.setattr(closing.current_app, "send_task", lambda name, args, retry: told.append((name, args)))
    monkeypatch.setattr(closing, "CLOSED_AT_ONCE_LINES_MAX", 1)
    with pytest.raises(ActionRefused, match="Months are closed in turn"):
        request_close("2026-11", 9, DECEMBER_3)
    assert told == []
    assert request_close("2026-10", 9, DECEMBER_3) is None
    assert not ClosedMonth.objects.exists()
    ((name, arguments),) = told
    assert name == tasks.close_month.name
    for _ in range(2):  # a message may arrive twice
        tasks.close_month(*arguments)
    row = ClosedMonth.objects.get()
    assert (row.month, row.lines, row.closed_by_id, row.sha256) == ("2026-10", 2, 9, sha256_of("2026-10"))


def test_without_a_worker_to_ask_nothing_is_closed_and_the_person_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, args: list[object], retry: bool) -> None:
        raise OperationalError

    post(line(dispatched_at=OCTOBER), line(dispatched_at=OCTOBER))
    monkeypatch.setattr(closing.current_app, "send_task", broken)
    monkeypatch.setattr(closing, "CLOSED_AT_ONCE_LINES_MAX", 1)
    with pytest.raises(ActionRefused, match="Try again later"):
        request_close("2026-10", 9, DECEMBER_3)
    assert not ClosedMonth.objects.exists()


def test_an_empty_ledger_has_nothing_to_close() -> None:
    with pytest.raises(ActionRefused, match="nothing to close"):
        close_month("2026-10", None, at(11, 3))
    assert months_until(DECEMBER_3) == []


@pytest.mark.django_db(transaction=True)
def test_closing_is_refused_while_calls_of_the_month_are_open() -> None:
    order = reserve_order(1)
    reserve_now(order)
    Attempt.objects.filter(pk=order.attempt_id).update(dispatched_at=at(10, 31, 23))
    post(line(dispatched_at=OCTOBER))
    with pytest.raises(ActionRefused, match="1 calls of 2026-10 are still open"):
        close_month("2026-10", None, at(11, 3))
    Attempt.objects.filter(pk=order.attempt_id).update(status=Attempt.Status.VOIDED)
    assert close_month("2026-10", None, at(11, 3)).lines == 1


@pytest.mark.django_db(transaction=True)
def test_the_database_lets_nobody_reopen_a_month() -> None:
    post(line(dispatched_at=OCTOBER))
    row = close_month("2026-10", None, at(11, 3))
    with pytest.raises(DatabaseError), transaction.atomic():
        ClosedMonth.objects.update(cutoff_at=DECEMBER_3)
    with pytest.raises(DatabaseError), transaction.atomic():
        row.delete()
    assert ClosedMonth.objects.get().cutoff_at == row.cutoff_at


def test_another_time_zone_moves_no_line_of_a_closed_month(settings: Any) -> None:
    settings.TIME_ZONE = "America/New_York"
    post(line(dispatched_at=at(10, 1, 2), cost_nano=3), line(dispatched_at=at(11, 1, 2), cost_nano=5), line(dispatched_at=at(11, 1, 9)))
    close_month("2026-09", None, at(11, 3))
    close_month("2026-10", None, at(11, 3))
    before = file_of("2026-10")
    settings.TIME_ZONE = "Asia/Tokyo"
    assert file_of("2026-10") == before
    assert [record["cost_usd"] for record in records("2026-11")] == ["0.000000001"]
    assert sum(state.cost_nano for state in months_until(DECEMBER_3)) == 9


def test_a_column_that_a_later_release_appends_is_not_in_a_closed_month(monkeypatch: pytest.MonkeyPatch) -> None:
    post(line(dispatched_at=OCTOBER), line(dispatched_at=at(11, 5)))
    row = close_month("2026-10", None, at(11, 3))
    record = csv_file.record
    monkeypatch.setattr(csv_file, "COLUMNS", (*csv_file.COLUMNS, "later"))
    monkeypatch.setattr(csv_file, "record", lambda *args: [*record(*args), "new"])
    assert sha256_of("2026-10") == row.sha256
    assert records("2026-11")[0]["later"] == "new"


def test_M13_a_month_closed_before_calls_of_tools_were_counted_keeps_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    post(line(dispatched_at=OCTOBER), line(dispatched_at=at(10, 21), provider_tool_calls=2), line(dispatched_at=at(11, 5)))
    before, record = csv_file.COLUMNS[:36], csv_file.record
    with monkeypatch.context() as release:
        release.setattr(csv_file, "COLUMNS", before)
        release.setattr(closing, "COLUMNS", before)
        release.setattr(csv_file, "record", lambda *args: record(*args)[:36])
        row = close_month("2026-10", None, at(11, 3))
    assert is_unchanged(row)
    assert (row.columns, [*records("2026-10")[0]][-1], [*records("2026-11")[0]][-1]) == (36, "late", "provider_tool_calls")
    assert close_month("2026-11", None, DECEMBER_3).columns == 37


def test_FOCUS_calls_a_late_line_a_correction() -> None:
    post(line(dispatched_at=OCTOBER, cost_nano=5))
    close_month("2026-10", None, at(11, 3))
    post(line(dispatched_at=OCTOBER, posted_at=at(11, 20), kind="adjustment", cost_nano=-2, note="agreed"))
    (row,) = [*csv.DictReader(io.StringIO(file_of("2026-11", "focus-1.4").decode(), newline=""))]
    assert (row["ChargeClass"], row["ChargeCategory"], row["BillingPeriodStart"]) == ("Correction", "Credit", "2026-11-01T00:00:00Z")
    assert row["ChargePeriodStart"] == "2026-10-20T12:00:00Z"


@pytest.mark.parametrize("text", ["2026-13", "2026", "26-11", "2026-1", "1999-12", "2200-01", "november", "2026-11-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(MonthInvalid):
        span_of(text)


def test_months_before_and_after() -> None:
    assert (month_before("2026-01"), month_after("2026-12"), month_after("2026-01")) == ("2025-12", "2027-01", "2026-02")


def test_R506_in_every_zone_months_follow_each_other_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """2024 to 2030, all changes of clocks included; the first instant of a month is in it, the one before is not."""
    months = [f"{year}-{number:02}" for year in range(2024, 2031) for number in range(1, 13)]
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        monkeypatch.setattr(timezone, "get_default_timezone", lambda zone=zone: zone)
        spans = [span_of(month) for month in months]
        assert [span.ends_at for span in spans[:-1]] == [span.starts_at for span in spans[1:]], name
        assert [month_around(span.starts_at) for span in spans] == months, name
        assert [month_around(span.ends_at - timedelta(microseconds=1)) for span in spans] == months, name


days = st.datetimes(datetime(2026, 8, 1), datetime(2026, 12, 30), timezones=st.just(UTC))


class Properties(TestCase):
    @given(st.lists(st.tuples(days, st.integers(0, 100), st.integers(-5, 9)), min_size=1, max_size=15), st.integers(0, 4), st.data())
    def test_R507_every_line_stands_in_exactly_one_month(self, calls: list[Any], closings: int, data: st.DataObject) -> None:
        """Whatever is closed when: the months add up to the ledger, and each line's own label names the file it stands in."""
        lines = [line(dispatched_at=day, posted_at=day + timedelta(days=lag), cost_nano=cost) for day, lag, cost in calls]
        waiting = sorted(lines, key=lambda each: each.posted_at)
        for _ in range(closings):
            due = next_to_close(BillingMonths.current())
            if due is None:
                break
            now = span_of(due).ends_at + timedelta(days=data.draw(st.integers(1, 40)))
            now = max([now, *ClosedMonth.objects.values_list("closed_at", flat=True)])
            post(*[each for each in waiting if each.posted_at <= now and each.dispatched_at <= each.posted_at])
            waiting = [each for each in waiting if each.posted_at > now]
            if next_to_close(BillingMonths.current()) == due:
                close_month(due, None, now)
        post(*waiting)
        months = BillingMonths.current()
        stored = [*LedgerEntry.objects.all()]
        states = months_until(datetime(2027, 4, 30, tzinfo=UTC))
        by_file = {entry.pk: state.span.month for state in states for entry in months.lines(state.span.month)}
        assert by_file == {entry.pk: months.of(entry).month for entry in stored}
        assert sum(state.lines for state in states) == len(lines)
        assert sum(state.cost_nano for state in states) == sum(entry.cost_nano for entry in stored)
        assert all(is_unchanged(row) for row in ClosedMonth.objects.all())
