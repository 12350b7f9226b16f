"""Prices in a browser: typed as lines, compared, approved, on a desk and on a phone (R505)."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone
from playwright.sync_api import Page, expect

from providers.models import Price, PriceProposal
from tests.aigateway.conftest import LiveGateway, deployment
from tests.browser.test_admin_provider import PASSWORD, sign_in


def propose(gateway: LiveGateway) -> PriceProposal:
    """A proposal with tiers and windows, as wide as they come."""
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    rates = {"input_nano_per_mtok": 6_000_000_000, "output_nano_per_mtok": 22_500_000_000, "cache_read_nano_per_mtok": 600_000_000}
    tier = {"above_input_tokens": 200_000, **rates}
    window = {"start": "16:30", "end": "00:30", "zone": "America/Argentina/Buenos_Aires", **rates, "context_tiers": [tier]}
    figures = {**rates, "request_nano": 5_000_000, "context_tiers": [tier], "windows": [window], "source": "import: genai-prices 0.1"}
    model = deployment("sim-small")
    return PriceProposal.objects.create(deployment=model, current=model.prices.get(), figures=figures, found_at=timezone.now())


def test_R505_a_proposed_price_is_compared_and_approved(gateway: LiveGateway, visit: Any) -> None:
    proposal = propose(gateway)

    def walk(page: Page) -> list[int]:
        overhang = []
        sign_in(page, gateway.base_url)
        for path in ("", f"{proposal.pk}/change/"):
            page.goto(f"{gateway.base_url}/admin/providers/priceproposal/{path}")
            overhang.append(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
        right = page.evaluate("document.querySelector('table.comparison').getBoundingClientRect().right")
        overhang.append(max(0, right - page.evaluate("document.documentElement.clientWidth")))
        expect(page.locator("table.comparison")).to_contain_text("16:30-00:30 America/Argentina/Buenos_Aires, above 200,000 tokens: input")
        page.get_by_role("button", name="Approve", exact=True).click()
        expect(page.locator(".messagelist")).to_contain_text("decided")
        return overhang

    assert visit(walk) == [0, 0, 0]
    price = Price.objects.latest("pk")
    assert (price.source, price.windows[0]["zone"]) == ("import: genai-prices 0.1", "America/Argentina/Buenos_Aires")


def test_R505_a_price_is_typed_as_lines(gateway: LiveGateway, visit: Any) -> None:
    get_user_model().objects.create_superuser("root", password=PASSWORD)
    model = deployment("sim-small")

    def walk(page: Page) -> int:
        sign_in(page, gateway.base_url)
        page.goto(f"{gateway.base_url}/admin/providers/deployment/{model.pk}/change/")
        page.get_by_role("button", name="Add another Price").click()
        page.fill("#id_prices-0-input_nano_per_mtok", "3")
        page.fill("#id_prices-0-output_nano_per_mtok", "15")
        page.fill("#id_prices-0-source", "price page")
        page.get_by_text("Long input and time of day").first.click()
        page.fill("#id_prices-0-context_tiers", "above 200000: input 6, output 22.50")
        page.fill("#id_prices-0-windows", "16:30-00:30 UTC: input 1.5, output 7.5")
        overhang: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        page.click("input[name=_continue]")
        expect(page.locator("#prices-2-group, #prices-group").last).to_contain_text("16:30-00:30 UTC: input 1.5, output 7.5")
        return overhang

    assert visit(walk) == 0
    assert Price.objects.latest("pk").context_tiers[0]["output_nano_per_mtok"] == 22_500_000_000
