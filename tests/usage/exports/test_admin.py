"""The admin pages of exports and months."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from django.contrib.auth.models import Permission, User
from django.http import StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from tests.usage.lines import line, post
from usage.exports import closing, files, jobs
from usage.exports.jobs import make_export, request_export
from usage.models import ClosedMonth, Export

OCTOBER_20 = datetime(2026, 10, 20, 12, tzinfo=UTC)
MONTHS, LIST, ADD = (reverse(f"admin:usage_{page}") for page in ("closedmonth_changelist", "export_changelist", "export_add"))

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs")]


@pytest.fixture(autouse=True)
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(jobs.current_app, "send_task", lambda name, args, retry: None)
    with override_settings(VAR_DIR=tmp_path):
        yield


def browser_of(*permissions: str) -> Client:
    user = User.objects.create_user("fin", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def finance() -> Client:
    return browser_of("view_ledgerentry")


def close_url(month: str) -> str:
    return reverse("admin:usage_closedmonth_close", args=[month])


def test_exports_are_asked_for_and_downloaded_on_the_pages(finance: Client) -> None:
    post(line(cost_nano=5, dispatched_at=OCTOBER_20))
    answer = finance.post(ADD, {"format": "focus-1.2", "month": "2026-10"}, follow=True)
    assert answer.status_code == 200
    export = Export.objects.get()
    assert (export.query, export.created_by_id) == ({"month": "2026-10"}, User.objects.get(username="fin").pk)
    assert b"Download" not in finance.get(LIST).content
    make_export(export.pk)
    page = finance.get(LIST).content.decode()
    link = re.search(r'href="([^"]+/file/)"', page)
    assert link is not None
    body = b"".join(cast(StreamingHttpResponse, finance.get(link.group(1))))
    assert body == files.file_of(export).read_bytes()
    assert finance.get(reverse("admin:usage_export_change", args=[export.pk])).status_code == 200


def test_the_form_says_what_is_wrong_with_a_field(finance: Client) -> None:
    page = finance.post(ADD, {"format": "csv", "month": "2026-99"}).content.decode()
    assert "Write a month as 2026-11." in page
    page = finance.post(ADD, {"format": "csv", "month": "2026-10", "provider": "sim"}).content.decode()
    assert "leave this away" in page
    assert not Export.objects.exists()


def test_a_failed_export_is_started_again_by_an_action(finance: Client) -> None:
    failed, waiting = (request_export("csv", {"month": "2026-10"}, None) for _ in range(2))
    Export.objects.filter(pk=failed.pk).update(status="failed", error="The database did not answer.")
    assert b"The database did not answer." in finance.get(LIST).content
    form = {"action": "restart_exports", "_selected_action": [str(failed.pk), str(waiting.pk)]}
    page = finance.post(LIST, form, follow=True).content.decode()
    assert "is queued again" in page
    assert "Only an export that failed" in page
    failed.refresh_from_db()
    assert failed.status == "waiting"


def test_a_damaged_file_is_told_and_not_sent(finance: Client) -> None:
    export = request_export("csv", {"month": "2026-10"}, None)
    make_export(export.pk)
    files.file_of(export).write_bytes(b"something else")
    page = finance.get(reverse("admin:usage_export_file", args=[export.pk]), follow=True)
    assert b"was changed after it was made" in page.content


def test_a_month_is_closed_after_one_more_question() -> None:
    browser = browser_of("view_ledgerentry", "add_closedmonth")
    post(line(cost_nano=5, dispatched_at=OCTOBER_20), line(dispatched_at=timezone.now()))
    assert close_url("2026-10") in browser.get(MONTHS).content.decode()
    question = browser.get(close_url("2026-10")).content.decode()
    assert "Nothing opens a month again" in question
    assert not ClosedMonth.objects.exists()
    page = browser.post(close_url("2026-10"), follow=True).content.decode()
    assert "2026-10 is closed. Lines: 1. Cost: $0.000000005." in page
    assert ClosedMonth.objects.get().sha256 in page
    assert "closed already" in browser.post(close_url("2026-10"), follow=True).content.decode()
    assert browser.get(close_url("2026-10")).status_code == 302


def test_a_month_of_many_lines_is_handed_to_a_worker_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "CLOSED_AT_ONCE_LINES_MAX", 0)
    post(line(cost_nano=5, dispatched_at=OCTOBER_20))
    page = browser_of("view_ledgerentry", "add_closedmonth").post(close_url("2026-10"), follow=True).content.decode()
    assert "A worker closes it now" in page
    assert not ClosedMonth.objects.exists()


def test_who_may_only_look_cannot_close(finance: Client) -> None:
    post(line(dispatched_at=OCTOBER_20))
    assert close_url("2026-10") not in finance.get(MONTHS).content.decode()
    assert finance.get(close_url("2026-10")).status_code == 403
    assert finance.post(close_url("2026-10")).status_code == 403
    assert not ClosedMonth.objects.exists()


def test_pages_and_files_are_closed_to_other_staff() -> None:
    browser = browser_of("view_apikey", "add_closedmonth", "view_export", "add_export")
    export = request_export("csv", {"month": "2026-10"}, None)
    make_export(export.pk)
    file, month_file = (
        reverse("admin:usage_export_file", args=[export.pk]),
        reverse("admin:usage_closedmonth_file", args=["2026-10", "csv"]),
    )
    assert {browser.get(url).status_code for url in (MONTHS, LIST, ADD, file, month_file, close_url("2026-10"))} == {403}


def test_month_files_come_from_the_page(finance: Client) -> None:
    post(line(dispatched_at=OCTOBER_20 - timedelta(days=1)))
    for format_name in ("csv", "focus-1.2", "focus-1.4"):
        response = finance.get(reverse("admin:usage_closedmonth_file", args=["2026-10", format_name]))
        assert len(b"".join(cast(StreamingHttpResponse, response)).splitlines()) >= 2
    assert finance.get(reverse("admin:usage_closedmonth_file", args=["2026-10", "pdf"])).status_code == 404
    assert finance.get(reverse("admin:usage_closedmonth_file", args=["2026-13", "csv"])).status_code == 302


def test_an_empty_ledger_has_a_page_too(finance: Client) -> None:
    assert b"no lines yet" in finance.get(MONTHS).content
