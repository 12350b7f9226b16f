"""Exports in the background: asked for over HTTP, made once, checked before they are handed out, gone after 90 days."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from codecs import BOM_UTF8
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.utils import timezone
from rest_framework.test import APIClient

from tests.usage.lines import line, post
from usage.errors import ActionRefused
from usage.exports import closing, files, jobs
from usage.exports.closing import close_month
from usage.exports.jobs import ensure_monthly, make_export, make_waiting, prune_exports, request_export, restart_export
from usage.exports.lines import Tally
from usage.models import ClosedMonth, Export

EXPORTS, MONTHS = "/api/v1/ai/admin/exports", "/api/v1/ai/admin/months"
NOVEMBER = {"start": "2026-11-01", "end": "2026-12-01"}
OCTOBER_20 = datetime(2026, 10, 20, 12, tzinfo=UTC)
NOVEMBER_3 = datetime(2026, 11, 3, 8, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def var_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own, and a queue that keeps what it was sent."""
    monkeypatch.setattr(jobs.current_app, "send_task", lambda name, args, retry: None)
    with override_settings(VAR_DIR=tmp_path, ROOT_URLCONF="tests.control_plane_urls"):
        yield tmp_path


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


@pytest.fixture
def finance() -> APIClient:
    user = User.objects.create_user("fin")
    user.groups.add(Group.objects.create(name="finance"))
    return client_of(user)


def made(format_name: str = "csv", query: dict[str, Any] | None = None) -> Export:
    export = request_export(format_name, NOVEMBER if query is None else query, None)
    assert make_export(export.pk)
    export.refresh_from_db()
    return export


def downloaded(client: APIClient, export: Export) -> bytes:
    response = client.get(f"{EXPORTS}/{export.pk}/file")
    assert response.status_code == 200
    return b"".join(cast(StreamingHttpResponse, response))


@pytest.mark.parametrize("format_name", Export.Format.values)
def test_R507_an_export_is_asked_for_made_and_downloaded(finance: APIClient, format_name: str, var_dir: Path) -> None:
    post(line(cost_nano=5), line(cost_nano=7))
    asked = finance.post(EXPORTS, {"format": format_name, **NOVEMBER, "provider": "sim"}, format="json")
    assert asked.status_code == 202
    shown = asked.json()
    assert (shown["status"], shown["file"], shown["query"]) == ("waiting", None, {"provider": "sim", **NOVEMBER})
    assert make_waiting(timezone.now()) == 1
    shown = finance.get(f"{EXPORTS}/{shown['id']}").json()
    assert (shown["status"], shown["lines_done"], shown["lines_total"], shown["cost_usd"]) == ("done", 2, 2, "0.000000012")
    response = finance.get(shown["file"])
    body = b"".join(cast(StreamingHttpResponse, response))
    assert hashlib.sha256(body).hexdigest() == shown["sha256"]
    assert int(response["Content-Length"]) == len(body) == shown["bytes"]
    assert response["Content-Disposition"].startswith(f'attachment; filename="{format_name}_2026-11-01_2026-12-01.')
    assert zipfile.is_zipfile(io.BytesIO(body)) == (format_name == "xlsx")
    manifest = finance.get(shown["manifest"]).json()
    assert manifest["control_total"] == {"lines": 2, "late_lines": 0, "cost_usd": "0.000000012"}
    assert (manifest["sha256"], manifest["snapshot"]["month_closed"]) == (shown["sha256"], False)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (var_dir / "exports").iterdir())
    assert (var_dir / "exports").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"format": "pdf"}, "format"),
        ({"format": "csv", "month": "2026-13"}, "month"),
        ({"format": "csv", "month": "2026-11", "provider": "sim"}, "provider"),
        ({"format": "csv", "start": "2026-11-01"}, "end"),
        ({"format": "csv", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_request_is_refused_by_field(finance: APIClient, body: dict[str, str], field: str) -> None:
    response = finance.post(EXPORTS, body, format="json")
    assert response.status_code == 400
    assert field in response.json()["error"]["fields"]
    assert not Export.objects.exists()


@pytest.mark.parametrize("role", ["user", "staff"])
def test_only_finance_reaches_exports_and_months(role: str) -> None:
    client = client_of(User.objects.create_user(role, is_staff=role == "staff"))
    export = made()
    paths = [EXPORTS, MONTHS, f"{MONTHS}/2026-10/file", *[f"{EXPORTS}/{export.pk}{tail}" for tail in ("", "/file", "/manifest")]]
    assert {client.get(path).status_code for path in paths} == {403}
    posts = [EXPORTS, f"{EXPORTS}/{export.pk}/restart", f"{MONTHS}/2026-10/close"]
    assert {client.post(path, {}, format="json").status_code for path in posts} == {403}


def test_a_second_worker_makes_nothing_while_the_first_is_at_it() -> None:
    export = request_export("csv", NOVEMBER, None)
    with files.only_one(export.pk):
        assert not make_export(export.pk)
    assert make_export(export.pk)
    assert not make_export(export.pk), "done is done"


def test_an_export_whose_worker_died_is_made_again() -> None:
    export = request_export("csv", NOVEMBER, None)
    Export.objects.filter(pk=export.pk).update(status="running", lines_done=900)
    (files.folder() / f"{export.pk}.part").write_bytes(b"half a file")
    post(line())
    assert make_waiting(timezone.now()) == 1
    export.refresh_from_db()
    assert (export.status, export.lines_done) == ("done", 1)


def test_what_does_not_end_within_a_day_has_failed_and_can_be_started_again() -> None:
    export = request_export("csv", NOVEMBER, None)
    assert make_waiting(timezone.now() + timedelta(days=1, seconds=1)) == 0
    export.refresh_from_db()
    assert (export.status, export.error) == ("failed", "It did not end within a day. Ask for a shorter range.")
    assert restart_export(export).status == "waiting"
    assert make_export(export.pk)


def test_a_full_disk_fails_the_export_with_a_reason(finance: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(files, "write_file", full)
    shown = finance.get(f"{EXPORTS}/{made().pk}").json()
    assert (shown["status"], shown["error"]) == ("failed", "The file could not be written: No space left on device.")
    monkeypatch.undo()


def test_only_what_failed_or_died_can_be_started_again(finance: APIClient) -> None:
    export = made()
    with pytest.raises(ActionRefused):
        restart_export(export)
    assert finance.post(f"{EXPORTS}/{export.pk}/restart").status_code == 400
    Export.objects.filter(pk=export.pk).update(status="failed", error="broken")
    assert finance.post(f"{EXPORTS}/{export.pk}/restart").json()["status"] == "waiting"


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_file_is_not_handed_out(finance: APIClient, damage: str) -> None:
    export = made()
    path = files.file_of(export)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"0.000000000", b"0.000000001"))
    response = finance.get(f"{EXPORTS}/{export.pk}/file")
    assert response.status_code == 404
    assert damage in response.json()["error"]["message"]


def test_a_link_in_place_of_the_part_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "victim"
    target.write_text("keep")
    export = request_export("csv", NOVEMBER, None)
    (files.folder() / f"{export.pk}.part").symlink_to(target)
    assert make_export(export.pk)
    assert target.read_text() == "keep"


def test_nobody_else_reads_a_file_while_it_is_written() -> None:
    post(line())
    export = request_export("csv", NOVEMBER, None)
    modes = []

    def look() -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in files.folder().glob("*.part"))

    files.write_file(export, jobs.source_of(NOVEMBER), timezone.now(), Tally(), look)
    assert set(modes) == {0o600}


def test_exports_and_strays_are_pruned_after_their_time() -> None:
    old, young = made(), made()
    Export.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=91))
    stray = files.folder() / f"{uuid4()}.csv"
    stray.write_bytes(b"x")
    yesterday = (timezone.now() - timedelta(days=2)).timestamp()
    os.utime(stray, (yesterday, yesterday))
    assert prune_exports(timezone.now()) == 1
    assert {path.name.split(".")[0] for path in files.folder().iterdir()} == {str(young.pk)}
    assert not Export.objects.filter(pk=old.pk).exists()


# --------------------------------------------------------------------------- months


def test_the_monthly_export_is_made_once_from_the_third_day_on() -> None:
    assert ensure_monthly(NOVEMBER_3) is None, "nothing was used in October"
    post(line(dispatched_at=OCTOBER_20))
    assert ensure_monthly(datetime(2026, 11, 2, 23, 59, tzinfo=UTC)) is None
    export = ensure_monthly(NOVEMBER_3)
    assert export is not None
    assert (export.format, export.query, export.created_by_id) == ("csv", {"month": "2026-10"}, None)
    assert ensure_monthly(NOVEMBER_3 + timedelta(days=5)) is None
    assert Export.objects.count() == 1


def test_a_closed_month_is_exported_as_it_was_closed(finance: APIClient) -> None:
    post(line(dispatched_at=OCTOBER_20, cost_nano=5))
    row = close_month("2026-10", None, NOVEMBER_3)
    post(line(dispatched_at=OCTOBER_20, posted_at=NOVEMBER_3, cost_nano=7))
    export = made("csv", {"month": "2026-10"})
    assert (export.status, export.sha256, export.cost_nano) == ("done", row.sha256, 5)
    assert b"".join(cast(StreamingHttpResponse, finance.get(f"{MONTHS}/2026-10/file"))) == downloaded(finance, export)
    assert json.loads(files.manifest_of(export).read_text())["snapshot"]["month_closed"] is True
    assert made("xlsx", {"month": "2026-10"}).sha256 == made("xlsx", {"month": "2026-10"}).sha256


def test_M13_a_closed_month_that_reads_otherwise_is_not_exported() -> None:
    post(line(dispatched_at=OCTOBER_20, cost_nano=5))
    row = close_month("2026-10", None, NOVEMBER_3)
    post(line(dispatched_at=OCTOBER_20, posted_at=row.cutoff_at, cost_nano=7))
    export = made("csv", {"month": "2026-10"})
    assert (export.status, export.error) == ("failed", "The file is not the one this month was closed with. Run verify_ledger.")


def test_months_add_up_to_the_ledger_and_closing_needs_its_own_permission(finance: APIClient) -> None:
    post(line(dispatched_at=OCTOBER_20, cost_nano=5), line(cost_nano=7))
    assert finance.post(f"{MONTHS}/2026-10/close").status_code == 403
    User.objects.get(username="fin").user_permissions.add(Permission.objects.get(codename="add_closedmonth"))
    with_right = client_of(User.objects.get(username="fin"))
    closed = with_right.post(f"{MONTHS}/2026-10/close")
    assert closed.status_code == 201
    assert (closed.json()["status"], closed.json()["closed_by"]) == ("closed", User.objects.get(username="fin").pk)
    answer = finance.get(MONTHS).json()
    assert answer["cost_usd"] == "0.000000012"
    shown = {month["month"]: (month["status"], month["cost_usd"]) for month in answer["months"]}
    assert shown["2026-10"] == ("closed", "0.000000005")
    assert shown["2026-11"] == ("open", "0.000000007")
    assert with_right.post(f"{MONTHS}/2026-10/close").status_code == 400
    assert with_right.post(f"{MONTHS}/whenever/close").status_code == 400
    assert ClosedMonth.objects.count() == 1
    assert with_right.post(f"{MONTHS}/2026-10/reopen").status_code == 404


def test_closing_a_month_of_many_lines_answers_202_with_the_month_as_it_is(finance: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "CLOSED_AT_ONCE_LINES_MAX", 0)
    post(line(dispatched_at=OCTOBER_20))
    User.objects.get(username="fin").user_permissions.add(Permission.objects.get(codename="add_closedmonth"))
    answer = client_of(User.objects.get(username="fin")).post(f"{MONTHS}/2026-10/close")
    assert (answer.status_code, answer.json()["status"], answer.json()["sha256"]) == (202, "open", None)


@pytest.mark.parametrize("format_name", ["csv", "focus", "focus-1.2", "focus-1.4"])
def test_a_month_s_file_is_streamed_in_every_text_format(finance: APIClient, format_name: str) -> None:
    post(line(dispatched_at=OCTOBER_20))
    response = finance.get(f"{MONTHS}/2026-10/file", {"format": format_name})
    assert response["Content-Disposition"].startswith('attachment; filename="costs_2026-10')
    assert len(b"".join(cast(StreamingHttpResponse, response)).splitlines()) >= 2


def test_a_byte_order_mark_is_asked_for_in_the_query(finance: APIClient) -> None:
    for path, query in ((f"{MONTHS}/2026-10/file", {}), ("/api/v1/ai/admin/costs", {"format": "csv"})):
        plain, marked = (finance.get(path, {**query, **more}) for more in ({}, {"bom": "1"}))
        assert b"".join(cast(StreamingHttpResponse, marked)) == BOM_UTF8 + b"".join(cast(StreamingHttpResponse, plain))


def test_an_unknown_export_is_404(finance: APIClient) -> None:
    assert finance.get(f"{EXPORTS}/{UUID(int=0)}").status_code == 404
    assert finance.get(f"{MONTHS}/2026-13/file").status_code == 400
