"""A real browser: the system's Chromium, driven by Playwright in a thread of its own (its loop and the ORM do not mix)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.aigateway.conftest import gateway, start_gateway, user  # noqa: F401 - fixtures
from tests.providers.simulator.fixtures import new_simulator, simulator  # noqa: F401 - fixtures

T = TypeVar("T")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Visit = Callable[[Callable[[Page], T]], T]


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def visit(request: pytest.FixtureRequest) -> Visit[object]:
    """Runs a walk in a fresh browser at two sizes; errors on the console (CSP included) fail the test."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install it (Debian: apt-get install chromium) to run the browser tests")
    width, height = request.param

    def run(walk: Callable[[Page], T]) -> T:
        complaints: list[str] = []
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(15_000)
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            result = walk(page)
            browser.close()
        assert complaints == []
        return result

    def in_thread(walk: Callable[[Page], T]) -> T:
        with ThreadPoolExecutor(max_workers=1) as executor:
            return executor.submit(run, walk).result()

    return in_thread
