"""A headless Chromium for tests of pages, the system's or Playwright's own, and checks of what they show."""

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
#: Width and height of a desktop and of a phone.
DESKTOP, PHONE = (1280, 900), (390, 844)
#: Both sizes and both colour schemes.
SCREENS = [(DESKTOP, "light"), (PHONE, "dark")]


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


def open_on(browser: Any, size: tuple[int, int], scheme: str = "light") -> Any:
    """Opens an empty page on a screen; `scheme` is "light" or "dark"."""
    return browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)


def find_faults(page: Any) -> list[str]:
    """Returns what axe-core finds wrong with a page as it is shown, and whether the page is wider than its screen."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 5  # axe has seen the page
    faults = [f"{rule['id']}: {element['html']}" for rule in found["violations"] for element in rule["nodes"]]
    width, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return faults if width <= screen else [*faults, f"{width} pixels are wider than the screen"]


def tab_through(page: Any) -> list[str]:
    """Presses Tab from the beginning of a page to its end.

    Returns:
        The elements that the focus passed by, came to out of order, or did not show. A group of radio buttons has one
        place.
    """
    names = page.evaluate(
        """() => {
          document.body.tabIndex = -1;
          document.body.focus();
          document.body.removeAttribute("tabindex");
          window.places = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
            .filter((element) => element.checkVisibility({visibilityProperty: true}) && !element.disabled)
            .filter((element) => element.type !== "radio" || element.checked);
          window.reached = [];
          addEventListener("focusin", ({ target }) => {
            const shown = target.type === "radio" ? target.nextElementSibling : target;
            const { outlineStyle, outlineWidth } = getComputedStyle(shown);
            const { left, right } = shown.getBoundingClientRect();
            const isShown = right > 0 && left < innerWidth && outlineStyle === "solid" && parseFloat(outlineWidth) >= 2;
            reached.push([places.indexOf(target), isShown]);
          });
          return places.map((element) => element.ariaLabel || element.textContent.trim() || element.outerHTML);
        }"""
    )
    for _ in names:
        page.keyboard.press("Tab")
    reached = page.evaluate("reached")
    missed = set(range(len(names))) - {place for place, _ in reached}
    faults = [f"{names[place]}: is not reached" for place in missed]
    faults += [f"{names[place]}: does not show the focus" for place, is_shown in reached if not is_shown]
    places = [place for place, _ in reached]
    return faults if places == sorted(places) else [*faults, f"the order is {places}"]
