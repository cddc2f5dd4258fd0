"""The page's content; tests/integration/test_demo_run.py looks at it in a browser."""

import dataclasses
import html.parser
import re

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower._look import STYLE
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.build import build_report
from tfrs_twotower.evaluation.html import figures, neighbours, sections
from tfrs_twotower.evaluation.html.details import PageDetails
from tfrs_twotower.evaluation.html.markup import to_grid, to_table
from tfrs_twotower.evaluation.html.page import build_page
from tfrs_twotower.evaluation.predictions import Predictions, predict
from tfrs_twotower.evaluation.report import Report

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
def predictions(planted, trained) -> Predictions:
    return predict(trained, planted.split, k=3)


def page_of(planted, predictions, **details) -> Parsed:
    report = build_report(predictions, planted.split, threshold=3)
    return Parsed(build_page(report, predictions, planted.split, threshold=3, details=PageDetails(**details)))


def test_the_page_needs_no_network_and_describes_every_picture_in_words(planted, predictions):
    vectors = np.random.default_rng(0).normal(size=(planted.split.test.num_candidates, 4))
    predictions = dataclasses.replace(predictions, vectors=vectors)
    page = page_of(
        planted, predictions, title="A <title> & more", curves=CURVES, name_column="title", group_column="genres"
    )
    assert "A <title> & more" in page.text
    assert STYLE.read_text(encoding="utf-8") in page.text
    for _, attributes in page.found:
        for name in ("src", "href"):
            assert re.match(r"#|data:", attributes.get(name) or "#"), attributes
    pictures = page.all("svg")
    assert len(pictures) >= 7
    assert all(picture["role"] == "img" and len(picture["aria-label"] or "") > 20 for picture in pictures)
    assert len(page.all("figcaption")) == len(pictures)
    # Everything that scrolls can be reached by keyboard, and therefore needs a name.
    assert all("aria-label" in attributes for _, attributes in page.found if "tabindex" in attributes)
    assert len(page.all("details")) >= 7
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    headings = {heading["id"] for heading in page.all("h2")}
    assert {link["href"][1:] for link in page.all("a")} == {"main", *headings}
    assert "main" in ids
    assert [attributes["lang"] for attributes in page.all("html")] == ["en"]


@pytest.mark.parametrize("missing", [None, ""])
def test_a_candidate_without_a_name_is_shown_with_its_id(planted, predictions, missing):
    titles = pa.array([missing] * planted.split.test.num_candidates, pa.string())
    parts = {
        name: dataclasses.replace(part, candidates=part.candidates.set_column(1, "title", titles))
        for name, part in vars(planted.split).items()
    }
    split = Split(**parts)
    report = build_report(predictions, split, threshold=3)
    shown = build_page(report, predictions, split, threshold=3, details=PageDetails(name_column="title"))
    assert "(missing)" not in shown
    assert shown == build_page(report, predictions, split, threshold=3)  # which shows ids


def test_a_section_without_content_is_left_out(planted, predictions):
    ranks = Predictions(ranked=predictions.ranked, probabilities=None)
    titles = {attributes["id"] for attributes in page_of(planted, ranks).all("h2")}
    assert titles == {"figures", "ranking", "for-whom-it-works", "popularity", "examples", "data-and-model"}


def test_text_from_the_data_never_becomes_markup(planted, predictions):
    """One title looks like a script, and others look like mathematics to Matplotlib."""
    test = planted.split.test
    titles = [
        "<script>alert(1)</script>",
        "$\\frac{1}{$ \x0b\u202e",
        *(f"$T_{row}" for row in range(2, test.num_candidates)),
    ]
    genres = [["$\\frac{1}{$"], [], None, *([["<b>"]] * (test.num_candidates - 3))]
    candidates = test.candidates.set_column(1, "title", pa.array(titles)).set_column(2, "genres", pa.array(genres))
    parts = {name: dataclasses.replace(part, candidates=candidates) for name, part in vars(planted.split).items()}
    split = Split(**parts)
    report = build_report(predictions, split, threshold=3)
    page = Parsed(
        build_page(
            report, predictions, split, threshold=3, details=PageDetails(name_column="title", group_column="genres")
        )
    )
    assert not page.all("script") + page.all("b")
    assert "<script>" in page.text
    assert r"$\frac{1}{$ \x0b\u202e" in page.text


def test_pictures_have_the_colours_of_the_style_sheet_and_no_others():
    figure = figures.draw_lines({"#000001": ([0, 1], [1, 2]), "b": ([0, 1], [2, 1])}, x_label="x", y_label="y")
    picture = figures.to_svg(figure, "Two lines.")
    styles = " ".join(attributes["style"] for _, attributes in Parsed(picture).found if "style" in attributes)
    assert "var(--chart-1)" in styles
    assert "var(--chart-2)" in styles
    assert "var(--ink)" in styles
    assert "#" not in styles.replace("url(#", "")
    assert set(re.findall(r"var\((.*?)\)", styles)) <= set(re.findall("--[a-z0-9-]+(?=:)", STYLE.read_text("utf-8")))
    assert "#000001" in Parsed(picture).text  # a name that looks like a colour


def test_a_column_that_does_not_exist_is_named(planted, predictions):
    with pytest.raises(
        ValueError, match="`group_column` must be a column of the candidates: movie_id, title, genres. Rec.*: x"
    ):
        page_of(planted, predictions, group_column="x")


def test_curves_of_training_and_validation_share_a_picture():
    """Metrics of the last batch only are left out if there is a metric of the epoch."""
    pictures = Parsed(sections.show_training(CURVES)).all("svg")
    assert [picture["aria-label"] for picture in pictures] == ["rating: line plot of auc by epoch."]
    losses = Parsed(sections.show_training({"model": {"loss": [0.7, 0.5], "val_loss": [0.8, 0.6]}})).all("svg")
    assert [picture["aria-label"] for picture in losses] == ["model: line plot of loss by epoch."]
    assert sections.show_training({}) == ""
    assert sections.show_training({"model": {"auc": []}}) == ""
    # Keras's `validation_freq=2` gives half as many values.
    assert sections.show_training({"model": {"auc": [0.5, 0.6, 0.7, 0.8], "val_auc": [0.5, 0.6]}}).count("<svg") == 1


@pytest.mark.parametrize(
    "vectors",
    [np.ones((24, 4)), np.zeros((24, 4)), np.arange(24.0)[:, np.newaxis], np.outer(np.arange(24), np.ones(3))],
    ids=["equal", "zero", "one dimension", "on a line"],
)
def test_a_model_that_has_learnt_nothing_gets_no_map(planted, vectors):
    """scikit-learn's own start from principal components would crash the process."""
    shown = neighbours.show_map(vectors, planted.split.seen, [str(row) for row in range(24)], "genres")
    assert "There is no map" in shown
    assert "<svg" not in shown


def test_the_lead_gives_no_ratio_if_popularity_finds_nothing(planted, predictions):
    report = build_report(predictions, planted.split, threshold=3)
    cases = {**report.cases, "popularity": {**report.cases["popularity"], "ndcg@3": 0.0}}
    assert "times" not in sections.show_lead(dataclasses.replace(report, cases=cases), 3)


def test_a_table_has_headings_for_its_rows_and_columns():
    parsed = Parsed(to_table(["metric", "value"], [["auc", ("0.9", "best")]], caption="Of <it>"))
    assert [attributes.get("scope") for attributes in parsed.all("th")] == ["col", "col", "row"]
    assert parsed.all("td") == [{"class": "best"}]
    assert "Of <it>" in parsed.text
    assert to_grid([]) == ""


def test_names_on_the_map_do_not_overlap():
    points = np.array([[0.0, 0.0], [0.1, 0.01], [0.5, 0.01], [0.1, 0.5], [1.0, 1.0]])
    assert neighbours._far_apart(points, 10) == [0, 2, 3, 4]
    assert neighbours._far_apart(points, 2) == [0, 2]


def test_the_same_figure_gives_the_same_bytes():
    draws = [figures.draw_lines({"a": ([0, 1], [1, 2])}, x_label="x", y_label="y") for _ in range(2)]
    assert figures.to_svg(draws[0], "A line.") == figures.to_svg(draws[1], "A line.")


def test_a_page_can_be_built_from_a_report_that_was_read(planted, predictions):
    report = build_report(predictions, planted.split, threshold=3)
    read = Report.from_dict(report.to_dict())
    pages = [build_page(each, predictions, planted.split, threshold=3) for each in (report, read)]
    assert pages[0] == pages[1]


def test_the_recall_of_an_index_stands_among_the_metrics(planted, predictions):
    report = build_report(predictions, planted.split, threshold=3, index_recall=0.75)
    page = Parsed(build_page(report, predictions, planted.split, threshold=3))
    assert "index_recall@30.7500" in page.text  # two cells of one row
    assert "index_recall" not in page_of(planted, predictions).text
