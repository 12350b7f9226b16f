"""An administrator adds a provider, tests it, uses it, loses it: the whole of it in a browser (R801, R113, R115, R117)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect

from tests.aigateway.conftest import LiveGateway
from tests.browser.conftest import fits_both, on_both_screens
from tests.providers.simulator.fixtures import SimulatorHandle

PASSWORD = "correct horse battery staple"
KEY = "sk-browser-canary-3f9a1c77d2"


def sign_in(page: Page, origin: str) -> None:
    page.goto(f"{origin}/admin/login/")
    page.fill("#id_username", "root")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")


def test_R801_a_provider_is_added_tested_used_and_seen_to_fail(
    gateway: LiveGateway, new_simulator: Callable[..., SimulatorHandle], visit: Any
) -> None:
    second = new_simulator(require_key=KEY)
    get_user_model().objects.create_superuser("root", password=PASSWORD)

    def walk(page: Page) -> None:
        sign_in(page, gateway.base_url)
        started = time.monotonic()
        page.goto(f"{gateway.base_url}/admin/providers/provider/add/")
        page.select_option("#id_kind", "openai_compatible")
        page.fill("#id_label", "Second")
        page.fill("#id_base_url", second.base_url)
        page.fill("input[type=password]", KEY)
        page.click("input[name=_continue]")
        expect(page.locator("body")).to_contain_text("sim-small")
        assert KEY not in page.content()
        page.get_by_role("button", name="Test", exact=True).click()
        expect(page.locator("body")).to_contain_text("stream", ignore_case=True)
        assert "failed" not in page.locator("#content").inner_text().lower()
        answer = ask(gateway)
        assert time.monotonic() - started < 30
        assert answer["provider"] == "second"
        second.stop()
        answer = ask(gateway)
        assert [attempt["provider"] for attempt in answer["attempts"]] == ["second", "sim"]
        assert answer["attempts"][0]["latency_ms"] < 250, "what the fail-over cost the client"
        page.goto(f"{gateway.base_url}/admin/providers/provider/")
        page.get_by_role("link", name="Second").click()
        page.get_by_role("button", name="Check now").click()
        page.goto(f"{gateway.base_url}/admin/providers/provider/")
        row = page.locator("#result_list tbody tr", has_text="Second")
        expect(row).to_contain_text("red", ignore_case=True)

    visit(walk)


def ask(gateway: LiveGateway) -> dict[str, Any]:
    """By name: the new provider first, the other as its fall-back."""
    with httpx.Client(base_url=gateway.base_url, headers={"Authorization": f"Bearer {gateway.key}"}, timeout=20) as client:
        response = client.post("/api/v1/ai/generate", json={"prompt": "Hi", "model": "sim-small", "provider": "second"})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@on_both_screens
def test_pages_fit_the_screen(gateway: LiveGateway, visit: Any) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    paths = ["", "providers/provider/", "providers/provider/add/", "usage/ledgerentry/", "usage/budget/add/", "usage/apikey/add/"]

    def walk(page: Page) -> dict[str, bool]:
        sign_in(page, gateway.base_url)
        fitting = {}
        for path in paths:
            page.goto(f"{gateway.base_url}/admin/{path}")
            fitting[path] = fits_both(page)
        page.goto(f"{gateway.base_url}/api/docs/")
        expect(page.locator("body")).to_contain_text("/api/v1/ai/generate")
        return fitting

    assert visit(walk) == dict.fromkeys(paths, True)
