"""Finance closes a month and downloads an export, in a browser (R507)."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.aigateway.conftest import LiveGateway
from tests.browser.conftest import fits
from tests.browser.test_admin_provider import PASSWORD, sign_in
from tests.usage.lines import line, post
from usage.exports import jobs
from usage.exports.months import month_around, month_before, span_of
from usage.models import ClosedMonth, Export

pytestmark = pytest.mark.usefixtures("made_up_costs")


def test_R507_a_month_is_closed_and_exported(gateway: LiveGateway, visit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    month = month_before(month_around(timezone.now()))
    post(line(dispatched_at=span_of(month).starts_at, cost_nano=1_234_567_890), line(dispatched_at=timezone.now(), cost_nano=5))
    monkeypatch.setattr(jobs.current_app, "send_task", lambda name, args, retry: jobs.make_waiting(timezone.now()))

    def walk(page: Page) -> str:
        sign_in(page, gateway.base_url)
        page.goto(f"{gateway.base_url}/admin/usage/closedmonth/")
        assert fits(page)
        page.get_by_role("link", name="Close", exact=True).click()
        assert fits(page)
        page.get_by_role("button", name=f"Close {month} for ever").click()
        expect(page.locator("#months")).to_contain_text("closed")
        assert fits(page)
        page.goto(f"{gateway.base_url}/admin/usage/export/add/")
        assert fits(page)
        page.fill("#id_month", month)
        page.click("input[name=_save]")
        row = page.locator("#result_list tbody tr")
        expect(row).to_contain_text("Done")
        with page.expect_download() as download:
            row.get_by_role("link", name="Download").click()
        sha256 = hashlib.sha256(download.value.path().read_bytes()).hexdigest()
        page.goto(f"{gateway.base_url}/admin/usage/export/add/")
        page.select_option("#id_format", "xlsx")
        page.fill("#id_month", month)
        page.click("input[name=_save]")
        newest = page.locator("#result_list tbody tr").filter(has_text="Excel")
        expect(newest).to_contain_text("Done")
        with page.expect_download() as workbook:
            newest.get_by_role("link", name="Download").click()
        assert zipfile.is_zipfile(workbook.value.path())
        return sha256

    with override_settings(VAR_DIR=tmp_path):
        sha256 = visit(walk)
    assert sha256 == Export.objects.get(format="csv").sha256 == ClosedMonth.objects.get().sha256
