"""The documentation site is built without a warning, and all that it links to is there."""

import html.parser
import os
import urllib.parse
from pathlib import Path

import pytest

import tfrs_twotower as tt
from tests import forks
from tests.browser import SCREENS, find_faults, open_browser, open_on, tab_through
from tests.conformance import public_names
from tests.docs.test_code_blocks import REPOSITORY, find_pages
from tfrs_twotower._look import STYLE

# The colour of a link, the accent of the style sheet, and the colour of text.
COLOURS = """() => {
  const colour = (element) => getComputedStyle(element).color;
  const probe = document.body.appendChild(document.createElement("p"));
  probe.style.color = "var(--accent)";
  return [colour(document.querySelector(".sidebar-tree a")), colour(probe), colour(document.body)];
}"""


class Page(html.parser.HTMLParser):
    """The anchors of a page, its links, what a browser loads with it, and its text without code."""

    _CODE = ("code", "pre", "script", "style")

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self._num_open = 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._num_open += tag in self._CODE
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {values["id"]} if "id" in values else set()
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif source := values.get("href" if tag == "link" else "src"):
            self.loaded.append(source)

    def handle_endtag(self, tag: str) -> None:
        self._num_open -= tag in self._CODE

    def handle_data(self, data: str) -> None:
        if not self._num_open:
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of the site, built with the options of `scripts/docs`."""
    folder = tmp_path_factory.mktemp("site")
    script = (REPOSITORY / "scripts" / "docs").read_text(encoding="utf-8")
    (options,) = [line.partition("python ")[2] for line in script.splitlines() if "-m sphinx" in line]
    options = options.replace("docs/_build/html", str(folder)).replace('"$@"', "")
    forks.start(options.split(), folder=REPOSITORY, environment={**os.environ, "NO_COLOR": "1"}).finish()
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {file: Page(file) for file in site.rglob("*.html")}


def test_the_site_has_every_page(site, pages):
    expected = [*find_pages(), "CONTRIBUTING.md", "CHANGELOG.md"]
    assert {site / Path(page).with_suffix(".html") for page in expected} <= set(pages)


def test_every_public_name_is_in_the_reference(pages):
    ids = set().union(*(page.ids for page in pages.values()))
    modules = public_names.namespaces()
    for path in public_names.classes_and_functions():
        namespace, _, name = path.rpartition(".")
        assert f"{modules[namespace].__name__}.{name}" in ids


def test_links_lead_to_files_and_anchors(pages):
    broken = []
    for file, page in pages.items():
        for link in [*page.links, *page.loaded]:
            url = urllib.parse.urlsplit(link)
            if url.scheme:
                continue
            target = (file.parent / urllib.parse.unquote(url.path)).resolve() if url.path else file
            anchor = urllib.parse.unquote(url.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].ids):
                broken.append(f"{file.name}: {link}")
    assert not broken


def test_markup_is_read(pages):
    """Sphinx says nothing of a name in backticks that a letter follows, as in a plural, and shows the backticks."""
    shown = {f"{file.name}: {line}" for file, page in pages.items() for line in page.text.splitlines() if "`" in line}
    assert not shown


def test_a_browser_loads_nothing_from_another_host(pages):
    assert not {source for page in pages.values() for source in page.loaded if urllib.parse.urlsplit(source).netloc}


def test_names_in_guides_lead_to_the_reference(site, pages):
    links = pages[site / "docs" / "guides" / "models.html"].links
    assert "../reference/model.html#tfrs_twotower.model.JointModel" in links


def test_types_of_signatures_lead_to_the_reference(site, pages):
    """`tt.evaluate` takes a `Split`, which is on another page."""
    links = pages[site / "docs" / "reference" / "evaluation.html"].links
    assert "splits.html#tfrs_twotower.data.splits.Split" in links


def test_the_first_page_is_the_readme(site):
    assert "url=README.html" in (site / "index.html").read_text(encoding="utf-8")
    assert tt.__version__ in (site / "README.html").read_text(encoding="utf-8")


def test_each_notebook_can_be_downloaded(site, pages):
    for file in site.glob("docs/notebooks/*.html"):
        (link,) = [link for link in pages[file].links if link.endswith(f"/{file.stem}.ipynb")]
        notebook = REPOSITORY / "docs" / "notebooks" / f"{file.stem}.ipynb"
        assert (file.parent / link).read_bytes() == notebook.read_bytes()


def test_the_site_looks_like_the_report_and_the_explorer(site, pages):
    """It has their style sheet; tests/test_look.py looks for colours elsewhere."""
    assert (site / "_static" / STYLE.name).read_bytes() == STYLE.read_bytes()
    for page in pages.values():
        sheets = [Path(urllib.parse.urlsplit(source).path).name for source in page.loaded if ".css" in source]
        assert not sheets or STYLE.name in sheets


@pytest.mark.browser
def test_pages_are_accessible(site):
    """The first page and a page of the reference on a desktop, a guide and the search on a phone."""
    names = (("README", "docs/reference/publishing"), ("docs/guides/indexes", "search"))
    with open_browser() as browser:
        for (size, scheme), opened in zip(SCREENS, names, strict=True):
            page = open_on(browser, size, scheme)
            for name in opened:
                page.goto((site / f"{name}.html").as_uri())
                assert find_faults(page) == [], name
            assert tab_through(page) == [], name
            link, accent, text = page.evaluate(COLOURS)
            assert link == accent != text
        # On a phone, the menu opens and closes by keyboard.
        page.get_by_role("button", name="Toggle site navigation sidebar").focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Concepts").wait_for()
        assert find_faults(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Concepts").wait_for(state="hidden")
