"""`report.html`: one file that shows what a model can do, to people, on any screen and without a network."""

from __future__ import annotations

import html
import string
from pathlib import Path

from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.html import neighbours as likeness
from tfrs_twotower.evaluation.html import sections
from tfrs_twotower.evaluation.html.markup import to_anchor, to_text
from tfrs_twotower.evaluation.html.sections import Background
from tfrs_twotower.evaluation.report import Answers, Report

__all__ = ["Background", "build_page"]

_TEMPLATE = Path(__file__).with_name("page.html")


def build_page(
    report: Report,
    answers: Answers,
    split: Split,
    *,
    threshold: float,
    background: Background | None = None,
) -> str:
    """The page's HTML.

    Args:
        report: The figures of the answers.
        answers: What the model said of the test part.
        split: What was evaluated.
        threshold: A rating of at least this is positive.
        background: What the page tells besides.

    Raises:
        ValueError: If a column is not there.
    """
    background = background or Background()
    candidates = split.test.candidates
    for name, column in (("text", background.text), ("group", background.group)):
        if column is not None and column not in candidates.column_names:
            raise ValueError(
                f"`{name}` must be a column of the candidates: {', '.join(candidates.column_names)}. "
                f"Received: {column}."
            )
    texts = [to_text(value) for value in candidates[background.text or split.test.candidate_id].to_pylist()]
    known = split.seen
    shown = {
        "Figures": sections.show_headline(report),
        "Training": sections.show_training(background.curves),
        "Probabilities": sections.show_probabilities(report, answers, split.test, threshold),
        "Ranking": sections.show_ranking(answers, split, threshold),
        "For whom it works": sections.show_segments(report),
        "Popularity": sections.show_popularity(report),
        "Examples": sections.show_examples(report, answers, split, texts, threshold),
        "Neighbours": likeness.show_neighbours(answers.vectors, known, texts),
        "Map": likeness.show_map(answers.vectors, known, texts, background.group),
        "Data and model": sections.show_cards(report, split, background),
    }
    shown = {title: body for title, body in shown.items() if body}
    links = "".join(f'<li><a href="#{to_anchor(title)}">{title}</a></li>' for title in shown)
    bodies = "\n".join(
        f'<section aria-labelledby="{to_anchor(title)}"><h2 id="{to_anchor(title)}">{title}</h2>\n{body}</section>'
        for title, body in shown.items()
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(background.title), lead=sections.show_lead(report, answers), links=links, sections=bodies
    )
