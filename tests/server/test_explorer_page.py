"""The explorer's page in a browser, with a mouse on a desktop and on a phone, and by keyboard alone."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.browser import DESKTOP, PHONE, SCREENS, find_faults, open_browser, open_on, tab_through
from tests.server.conftest import HOSTILE, LONG, NAME, PLAIN

pytestmark = pytest.mark.browser

NOBODY = {"age": float("nan")}
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def others(plain):
    """The plain bundle as `load_bundle` gives it."""
    return tt.load_bundle(plain)


@contextlib.contextmanager
def open_page(browser, server, size=DESKTOP, address="", allowed=()):
    """Opens the page; at the end, nothing may have been complained about, asked of another host, or too wide."""
    origin = f"http://127.0.0.1:{server.addresses.rest_port}/"
    page = open_on(browser, size)
    page.set_default_timeout(15_000)
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith(origin) else heard.append(request.url))
    try:
        page.goto(origin + address)
        page.locator("#about:not(:empty)").wait_for()
        yield page
        page.locator("#results[aria-busy=false]").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            name = os.environ["PYTEST_CURRENT_TEST"].split("::")[1].split(" ")[0]
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    finally:
        page.close()
    assert [text for text in heard if not any(part in text for part in allowed)] == []


def field(page, label: str):
    return page.get_by_role("combobox", name=label)


def pick(page, label: str, text: str, option: str) -> None:
    """Types into a field, and takes what it finds."""
    field(page, label).fill(text)
    options(page).filter(has_text=option).first.click()


def options(page):
    """What a field has found."""
    return page.locator(".popup [role=option]")


def titles(page, number: int = 0) -> list[str]:
    """The names of a list that is complete."""
    page.locator("#results[aria-busy=false] .entry").first.wait_for()
    return page.locator("#lists .list").nth(number).locator(".entry > .named > .name").all_text_contents()


def wait_for_list(page, found, name=lambda candidate_id: title(candidate_id)) -> None:
    """Waits until the first list is what a bundle has found, with its scores to half a unit of their third digit."""
    slots = zip(found.candidate_ids[0].tolist(), found.scores[0].tolist(), strict=True)
    page.wait_for_function(
        """expected => {
          const entries = [...document.querySelectorAll("#lists .list:first-child .entry")];
          return entries.length === expected.length && entries.every((entry, place) => {
            const [name, score] = expected[place];
            const shown = Number(entry.querySelector(".score").textContent.replace("Score ", ""));
            return entry.querySelector(".named > .name").textContent === name
              && Math.abs(shown - score) <= 0.0051 * Math.abs(score);
          });
        }""",
        arg=[[name(candidate_id), score] for candidate_id, score in slots if candidate_id],
    )


def title(candidate_id: str) -> str:
    return {"m0": HOSTILE, "m1": LONG}.get(candidate_id, f"Title {candidate_id[1:]}")


def wait_for(page, text: str) -> None:
    """Waits for what is said to those who do not see the page."""
    page.wait_for_function("text => document.getElementById('live').textContent.startsWith(text)", arg=text)


def named(ids: np.ndarray) -> list[str]:
    return [title(candidate_id) for candidate_id in ids[0] if candidate_id]


def named_ids(found) -> list[str]:
    return [candidate_id for candidate_id in found.candidate_ids[0] if candidate_id]


def narrow_down(page) -> None:
    """Opens what is closed on a phone."""
    page.evaluate("document.getElementById('narrow').open = true")


@SIZES
def test_a_known_user_is_found_with_history_recommendations_and_reasons(browser, server, bundle, planted, size):
    with open_page(browser, server, size) as page:
        pick(page, "Find one of 40 users", "U1", "u17")
        wait_for(page, "4 recommendations")
        found = bundle.recommend({"user_id": "u17"})
        wait_for_list(page, found)
        assert page.get_by_role("heading", name="Recommendations for user u17").is_visible()

        seen = planted.split.seen
        rows = np.flatnonzero(seen.query_rows == 17)
        assert page.locator("#history-note").text_content() == f"{len(rows)} items, the latest first."
        latest = page.locator("#events .event").first
        assert latest.locator(".name").text_content() == title(f"m{seen.candidate_rows[rows[-1]]}")
        assert latest.locator(".rated").text_content() == f"rated {seen.ratings[rows[-1]]:g}"

        page.get_by_role("button", name="Why").nth(1).click()
        page.locator(".pulls").first.wait_for()
        target, history = found.candidate_ids[0, 1], [f"m{row}" for row in seen.candidate_rows[rows]]
        without = [
            bundle.score(
                {
                    "user_id": "u17",
                    "history": [history[:place] + history[place + 1 :]],
                    "history_rating": [np.delete(seen.ratings[rows], place).tolist()],
                },
                [target],
            ).scores[0]
            for place in range(len(rows))
        ]
        pulls = bundle.score({"user_id": "u17"}, [target]).scores[0] - np.array(without)
        order = [int(place) for place in np.argsort(-pulls) if abs(pulls[place]) > 0.02 * np.abs(pulls).max()]
        raising, lowering = ([place for place in order if sign * pulls[place] > 0] for sign in (1, -1))
        strongest = raising[:5] + lowering[:-4:-1]
        assert page.locator(".pulls .name").all_text_contents() == [title(history[place]) for place in strongest]
        amounts = [float(text.replace("\u2212", "-")) for text in page.locator(".pulls .amount").all_text_contents()]
        assert amounts == pytest.approx(pulls[strongest], rel=0.1)  # two digits are shown
        near = [each for each in bundle.similar(target).candidate_ids[0] if each in history]
        liked = [each for each in near if seen.ratings[rows][history.index(each)] >= 3]
        assert page.locator(".near .name").all_text_contents() == [title(each) for each in liked[:3]]


@SIZES
def test_a_user_is_made_up_of_liked_items_and_features(browser, server, bundle, size):
    with open_page(browser, server, size) as page:
        page.get_by_label("Made-up user").check()
        wait_for_list(page, bundle.recommend({"user_id": ""}))  # general ones
        for text in ("title 5", "title 9"):
            pick(page, "Add an item", text, text.capitalize())
        page.get_by_label("Rating of Title 9").fill("1")
        page.get_by_text("Features", exact=True).click()
        page.get_by_label("age", exact=True).fill("33")
        page.keyboard.press("Enter")
        liked = {"history": [["m5", "m9"]], "history_rating": [[5.0, 1.0]]}
        wait_for_list(page, bundle.recommend({**liked, "age": [33.0]}))
        page.get_by_role("button", name="Why").first.click()
        page.locator(".reasons").wait_for()
        shown = set(page.locator(".pulls .name").all_text_contents())
        assert shown
        assert shown <= {"Title 5", "Title 9"}
        page.get_by_label("Remove Title 9").click()
        wait_for_list(page, bundle.recommend({"history": [["m5"]], "history_rating": [[5.0]], "age": [33.0]}))


def test_items_are_left_out_and_filtered_until_none_is_left(browser, server, bundle):
    with open_page(browser, server, PHONE, "#user=u3") as page:
        narrow_down(page)
        wait_for_list(page, bundle.recommend({"user_id": "u3"}))
        _, left_out, *_ = ids = named_ids(bundle.recommend({"user_id": "u3"}))
        page.get_by_role("button", name=f"Leave out: {title(left_out)}").click()
        wait_for_list(page, bundle.recommend({"user_id": "u3"}, exclude=[[left_out]]))
        pick(page, "Only genres", "EVE", "Even")
        even = bundle.recommend({"user_id": "u3"}, exclude=[[left_out]], only={"genres": ["Even"]})
        wait_for_list(page, even)
        assert 0 < len(named_ids(even)) < len(ids) - 1
        for candidate_id in named_ids(even):
            page.get_by_role("button", name=f"Leave out: {title(candidate_id)}").click()
        page.get_by_text("No item is left. Take a filter or an item away.").wait_for()
        page.get_by_label("Remove Even").click()
        for candidate_id in {left_out, *named_ids(even)}:
            page.get_by_label(f"Remove {title(candidate_id)}", exact=True).click()
        wait_for_list(page, bundle.recommend({"user_id": "u3"}))


@SIZES
def test_two_models_are_compared_side_by_side(browser, server, bundle, others, size):
    with open_page(browser, server, size, "#user=u3") as page:
        page.get_by_label("Compare with").select_option(f"{PLAIN}, version 1")
        page.locator("#lists.two").wait_for()
        ids = [named_ids(loaded.recommend(query)) for loaded, query in ((bundle, {"user_id": "u3"}), (others, NOBODY))]
        # The plain bundle has no titles: its items are named by their ids.
        assert [titles(page), titles(page, 1)] == [[title(candidate_id) for candidate_id in ids[0]], ids[1]]
        common = set(ids[0]) & set(ids[1])
        assert page.locator("#lead").text_content().endswith(f" {len(common)} of the first 10 are in both lists.")
        only_here = page.locator("#lists .list").nth(1).locator(".entry", has_text="only here")
        assert only_here.locator(".name").all_text_contents() == [each for each in ids[1] if each not in common]
        boxes = [page.locator("#lists .list").nth(number).bounding_box() for number in range(2)]
        is_beside = boxes[0]["y"] == boxes[1]["y"]
        assert is_beside == (size == DESKTOP)


def test_the_page_fits_a_model_without_ids_histories_titles_probabilities_and_filters(browser, server, others):
    with open_page(browser, server, PHONE) as page:
        page.locator("#version").select_option(f"{PLAIN}, version 1")
        wait_for(page, "5 recommendations")
        for hidden in ("Find one of", "Add an item", "Only genres"):
            assert not field(page, hidden).is_visible()
        assert not page.get_by_label("Made-up user", exact=True).is_visible()
        assert page.locator(".probability").count() == 0
        page.get_by_label("age", exact=True).fill("61")
        page.keyboard.press("Enter")
        found = others.recommend({"age": [61.0]})
        wait_for_list(page, found, name=str)
        page.get_by_role("button", name="Why").first.click()
        page.get_by_text("There is no history to explain it by").wait_for()


def test_items_like_another_one(browser, server, bundle):
    with open_page(browser, server, DESKTOP) as page:
        page.get_by_text("Like an item").click()
        pick(page, "Find an item", "<script>", "<script>")
        wait_for_list(page, bundle.similar("m0"))
        assert page.get_by_role("heading", name=f"Items like {HOSTILE}").is_visible()
        page.get_by_role("button", name="Similar").first.click()
        page.locator("#results-title", has_text=f"Items like {named(bundle.similar('m0').candidate_ids)[0]}").wait_for()
        page.go_back()
        page.locator("#results-title", has_text=HOSTILE).wait_for()


def test_everything_is_done_by_keyboard(browser, server, bundle):
    with open_page(browser, server) as page:
        press = page.keyboard.press

        def focus(role: str, name: str) -> None:
            wanted = page.get_by_role(role, name=name).first
            for _ in range(60):
                if wanted.evaluate("element => element === document.activeElement"):
                    break
                press("Tab")
            else:
                raise AssertionError(f"{name} is not reached by Tab")
            outline = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline == "solid", name

        focus("combobox", "Find one of 40 users")
        page.keyboard.type("u1")
        options(page).first.wait_for()
        press("ArrowDown")  # u1
        press("ArrowDown")  # u10
        active = page.get_by_role("combobox", name="Find one of 40 users").get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").text_content() == "u10"
        press("Escape")
        assert options(page).count() == 0
        press("ArrowDown")
        options(page).filter(has_text="u11").wait_for()
        press("ArrowDown")
        press("Enter")
        wait_for(page, "4 recommendations")
        first, second = named(bundle.recommend({"user_id": "u10"}).candidate_ids)[:2]
        focus("button", "Why")
        press("Enter")
        page.locator(".reasons").wait_for()
        press("Enter")
        page.locator(".reasons").wait_for(state="detached")
        focus("button", f"Leave out: {first}")
        press("Enter")
        page.get_by_role("button", name=f"Leave out: {first}").wait_for(state="detached")
        # The focus is on the item that has come to its place.
        page.wait_for_function("document.activeElement.getAttribute('aria-label')?.startsWith('Leave out')")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Leave out: {second}"
        focus("link", "Skip to the results")
        press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        assert titles(page)[0] == second


def test_a_version_that_is_gone_is_replaced_in_words(browser, server):
    stale = {"models": [{"name": NAME, "versions": [7, 1], "labels": {}}], "limits": {}}
    page = open_on(browser, PHONE)
    page.set_default_timeout(15_000)
    try:
        page.route("**/explorer/models", lambda route: route.fulfill(body=json.dumps(stale)), times=1)
        page.goto(f"http://127.0.0.1:{server.addresses.rest_port}/")
        said = page.get_by_role("alert").filter(has_text="no longer served")
        said.wait_for()
        assert "shop, version 7 is no longer served. This is shop, version 1." in said.text_content()
        assert page.locator("#about").text_content().startswith("Recommends from 24 items and knows 40 users.")

        page.route("**/*:predict", lambda route: route.fulfill(status=503, body='{"error": "gone"}'), times=1)
        pick(page, "Find one of 40 users", "u5", "u5")
        page.get_by_text("This version is being started again. Try again in a moment.").wait_for()
        page.get_by_role("button", name="Dismiss").click()
        pick(page, "Find one of 40 users", "u5", "u5")
        wait_for(page, "4 recommendations")

        page.route("**/*:predict", lambda route: route.abort(), times=1)
        pick(page, "Find one of 40 users", "u6", "u6")
        page.get_by_text("The server does not respond. Is it still running?").wait_for()
    finally:
        page.close()


@pytest.mark.parametrize(("size", "scheme"), SCREENS)
def test_the_page_is_accessible(browser, server, size, scheme):
    """Empty, with everything open, with two lists, and while it asks for a token."""
    page = open_on(browser, size, scheme)
    page.set_default_timeout(15_000)
    try:
        page.goto(f"http://127.0.0.1:{server.addresses.rest_port}/")
        page.locator("#lists .empty").wait_for()
        assert find_faults(page) == []
        page.evaluate("location.hash = 'user=u3'")
        page.locator("#results[aria-busy=false] .entry").first.wait_for()
        page.get_by_role("button", name="Why").first.click()
        page.locator(".pulls").first.wait_for()
        page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
        pick(page, "Only genres", "EVE", "Even")
        page.get_by_label("Remove Even").wait_for()
        field(page, "Leave out").fill("title")
        options(page).first.wait_for()
        assert find_faults(page) == []
        page.keyboard.press("Escape")
        assert tab_through(page) == []
        page.get_by_label("Compare with").select_option(f"{PLAIN}, version 1")
        page.locator("#lists.two").wait_for()
        assert find_faults(page) == []
        page.evaluate("document.getElementById('ask-token').showModal()")
        assert find_faults(page) == []
    finally:
        page.close()


def test_the_checks_of_pages_find_faults(browser):
    page = open_on(browser, PHONE)
    try:
        page.set_content(
            "<html lang=en><title>Faults</title><main><h1>Faults</h1><p style='color: #aaa'>pale</p>"
            "<a href='#' style='outline: none'>hidden focus</a>"
            "<a href='#' style='position: fixed; left: -9em'>beside</a>"
            "<button tabindex=1>first</button><p style='width: 500px'>wide</p></main></html>"
        )
        faults = [fault.partition(":")[0] for fault in find_faults(page)]
        assert faults == ["color-contrast", "tabindex", "508 pixels are wider than the screen"]
        assert tab_through(page) == [
            "first: is not reached",
            "hidden focus: does not show the focus",
            "beside: does not show the focus",
        ]
    finally:
        page.close()
