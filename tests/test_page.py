"""The page's content; tests/integration/test_report_in_a_browser.py looks at it as people do."""

import html.parser
import re

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.evaluation import figures, sections
from tfrs_twotower.evaluation.markup import to_grid, to_table
from tfrs_twotower.evaluation.page import Background, build_page
from tfrs_twotower.evaluation.report import Answers, answer, judge

CURVES = {"rating": {"loss": [0.7, 0.5], "val_loss": [0.8, 0.6], "auc": [0.6, 0.9], "total_loss": [1.0, 0.9]}}


class Parsed(html.parser.HTMLParser):
    """Tags in order, checked to be closed in order, and the attributes of each."""

    VOID = ("meta", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == tag]


@pytest.fixture(scope="module")
def answers(planted, trained) -> Answers:
    return answer(trained, planted.split, k=3)


def page_of(planted, answers, **background) -> Parsed:
    report = judge(answers, planted.split, threshold=3)
    return Parsed(build_page(report, answers, planted.split, threshold=3, background=Background(**background)))


def test_the_page_needs_no_network_and_says_every_picture_in_words(planted, answers):
    page = page_of(planted, answers, title="A <title> & more", curves=CURVES, text="title", group="genres")
    assert "A <title> & more" in page.text
    for _, attributes in page.found:
        for name in ("src", "href"):
            assert re.match(r"#|data:", attributes.get(name) or "#"), attributes
    pictures = page.all("img")
    assert len(pictures) >= 7
    assert all(len(picture["alt"] or "") > 20 for picture in pictures)
    assert len(page.all("details")) >= 7
    targets = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    assert {link["href"][1:] for link in page.all("a")} == targets
    assert [attributes["lang"] for attributes in page.all("html")] == ["en"]


def test_a_section_without_content_is_left_out(planted, answers):
    ranks = Answers(ranked=answers.ranked, probabilities=None)
    titles = {attributes["id"] for attributes in page_of(planted, ranks).all("h2")}
    assert titles == {"figures", "ranking", "for-whom-it-works", "popularity", "examples", "data-and-model"}


def test_what_the_data_say_is_never_markup(planted, answers):
    """A title that would be a script, and one that would be mathematics to Matplotlib."""
    test = planted.split.test
    titles = ["<script>alert(1)</script>", "$\\frac{1}{", *(f"Title {row}" for row in range(2, test.num_candidates))]
    parts = {
        name: tt.Interactions(**{**vars(part), "candidates": part.candidates.set_column(1, "title", pa.array(titles))})
        for name, part in vars(planted.split).items()
    }
    split = tt.Split(**parts)
    report = judge(answers, split, threshold=3)
    page = Parsed(build_page(report, answers, split, threshold=3, background=Background(text="title")))
    assert not page.all("script")
    assert "<script>" in page.text


def test_a_column_that_is_not_there_is_named(planted, answers):
    with pytest.raises(
        ValueError, match="`group` must be a column of the candidates: movie_id, title, genres. Rec.*: x"
    ):
        page_of(planted, answers, group="x")


def test_curves_of_training_and_validation_share_a_picture():
    """And what is of the last batch alone is left out beside a metric of the epoch."""
    pictures = Parsed(sections.show_training(CURVES)).all("img")
    assert [picture["alt"].split(" from")[0] for picture in pictures] == ["rating: auc"]
    losses = Parsed(sections.show_training({"model": {"loss": [0.7, 0.5], "val_loss": [0.8, 0.6]}})).all("img")
    assert [picture["alt"].split(" from")[0] for picture in losses] == ["model: loss"]
    assert sections.show_training({}) == ""


def test_a_table_heads_its_rows_and_columns():
    parsed = Parsed(to_table(["metric", "value"], [["auc", ("0.9", "best")]], caption="Of <it>"))
    assert [attributes.get("scope") for attributes in parsed.all("th")] == ["col", "col", "row"]
    assert parsed.all("td") == [{"class": "best"}]
    assert "Of <it>" in parsed.text
    assert to_grid([]) == ""


def test_names_on_the_map_do_not_overlap():
    points = np.array([[0.0, 0.0], [0.1, 0.01], [0.5, 0.01], [0.1, 0.5], [1.0, 1.0]])
    assert sections._far_apart(points, 10) == [0, 2, 3, 4]
    assert sections._far_apart(points, 2) == [0, 2]


def test_the_same_figure_gives_the_same_bytes():
    draws = [figures.draw_lines({"a": ([0, 1], [1, 2])}, x_label="x", y_label="y") for _ in range(2)]
    assert figures.to_data_uri(draws[0]) == figures.to_data_uri(draws[1])
