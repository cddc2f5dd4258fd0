"""A headless Chromium for tests of pages, either the system's or the one that Playwright has installed."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# There is no sandbox for root in a container, and Chromium must cause no traffic of its own.
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_browser() -> str | None:
    """Returns the path of the system's Chromium, None if it has none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Opens a browser, and closes it at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
