"""A real browser: the system's Chromium, driven by Playwright in a thread of its own (its loop and the ORM do not mix)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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


DESKTOP, PHONE = SCREENS = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
on_both_screens = pytest.mark.parametrize("visit", [PHONE], indirect=True, ids=["both"])
"""For walks that change the size of the screen themselves."""


def fits(page: Page) -> bool:
    """Whether nothing is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def fits_both(page: Page) -> bool:
    fitting = []
    for size in SCREENS:
        page.set_viewport_size(size)
        fitting.append(fits(page))
    return all(fitting)


@pytest.fixture(autouse=True)
def _passwords_are_hashed_quickly(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="package")
def thread() -> Iterator[ThreadPoolExecutor]:
    """Where the browser's driver lives: it answers to the thread that started it only."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture(scope="package")
def browser(thread: ThreadPoolExecutor) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; install it (Debian: apt-get install chromium) to run the browser tests")
    driver = thread.submit(lambda: sync_playwright().start()).result()
    started = thread.submit(driver.chromium.launch, executable_path=CHROMIUM, args=QUIET).result()
    yield started
    thread.submit(started.close).result()
    thread.submit(driver.stop).result()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def visit(request: pytest.FixtureRequest, thread: ThreadPoolExecutor, browser: Browser) -> Visit[object]:
    """Runs a walk at two sizes, each as somebody the browser has never seen; errors on the console (CSP included) fail the test."""

    def run(walk: Callable[[Page], T]) -> T:
        complaints: list[str] = []
        with browser.new_context(viewport=request.param) as stranger:
            page = stranger.new_page()
            page.set_default_timeout(15_000)
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            result = walk(page)
        assert complaints == []
        return result

    return lambda walk: thread.submit(run, walk).result()
