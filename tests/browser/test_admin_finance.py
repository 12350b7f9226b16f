"""Finance reconciles a statement and asks what if, in a browser (R508)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect

from tests.aigateway.conftest import LiveGateway
from tests.browser.conftest import SCREENS, fits, fits_both, on_both_screens
from tests.browser.test_admin_provider import PASSWORD, sign_in
from tests.usage.lines import line, post

pytestmark = pytest.mark.usefixtures("made_up_costs")

CARD = {"id": 1, "input_nano_per_mtok": 1_000_000_000, "output_nano_per_mtok": 4_000_000_000}


@on_both_screens
def test_R508_a_statement_is_uploaded_and_its_report_shown_on_both_screens(gateway: LiveGateway, visit: Any, tmp_path: Path) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    at = datetime(2026, 11, 15, 12, tzinfo=UTC)
    post(line(upstream_id="call-1", cost_nano=3_000_000, dispatched_at=at, input_tokens=1000, output_tokens=500, price_card=CARD))
    file = tmp_path / "november.csv"
    file.write_text("day,id,usd\n2026-11-15,call-1,0.004\n")

    def walk(page: Page) -> None:
        sign_in(page, gateway.base_url)
        page.goto(f"{gateway.base_url}/admin/usage/statement/add/")
        assert fits_both(page)
        page.fill("#id_provider_slug", "sim")
        page.select_option("#id_layout", "generic")
        page.fill("#id_columns", "day = day\nrequest_id = id\namount_usd = usd")
        page.set_input_files("#id_file", str(file))
        page.click("input[name=_save]")
        expect(page.locator("#findings tbody tr")).to_have_count(1)
        expect(page.locator("#findings tbody th")).to_have_text("Price")
        expect(page.locator("#findings")).to_contain_text("0.001000000")
        assert fits_both(page)
        page.goto(f"{gateway.base_url}/admin/usage/ledgerentry/what-if/?start=2026-11-01&end=2026-12-01&policy=as_was&prices=own")
        expect(page.locator("#totals")).to_contain_text("0.003000000")
        assert fits_both(page)

    visit(walk)


FORMS = ["usage/statement/add/", "usage/ledgerentry/what-if/", "usage/export/add/", "usage/tier/add/", "usage/ratelimit/add/"]
LISTS = ["statement", "export", "closedmonth", "tier", "useraccount", "ratelimit", "budgetadjustment", "budgetalert", "ledgerday"]
BEYOND_ITS_BOX = """fields => fields.filter(field => field.getBoundingClientRect().right
    > field.closest("div").getBoundingClientRect().right + 0.5).map(field => field.name)"""


@on_both_screens
def test_finance_pages_fit_the_screen_and_their_fields_fit_their_box(gateway: LiveGateway, visit: Any) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    post(line(cost_nano=123_456_789_012_345))

    def walk(page: Page) -> list[Any]:
        sign_in(page, gateway.base_url)
        wrong: list[Any] = []
        for path in [*FORMS, *(f"usage/{name}/" for name in LISTS), "providers/priceproposal/"]:
            shown = page.goto(f"{gateway.base_url}/admin/{path}")
            if shown is None or shown.status != 200:
                wrong.append(path)
            for size in SCREENS:
                page.set_viewport_size(size)
                if not fits(page):
                    wrong.append((path, size))
                if path in FORMS[:3]:
                    wrong += page.locator("fieldset input[type=date], fieldset textarea").evaluate_all(BEYOND_ITS_BOX)
        return wrong

    assert visit(walk) == []
