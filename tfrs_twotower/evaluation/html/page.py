"""Builds `report.html`, one self-contained file that shows on any screen, without a network, what a model can do."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import numpy as np

from tfrs_twotower._look import ICON, STYLE
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.html import neighbours, sections
from tfrs_twotower.evaluation.html.details import PageDetails
from tfrs_twotower.evaluation.html.markup import to_anchor, to_html, to_text
from tfrs_twotower.evaluation.predictions import Predictions
from tfrs_twotower.evaluation.ranking import event_pairs
from tfrs_twotower.evaluation.relevance import query_metrics
from tfrs_twotower.evaluation.report import Report

_TEMPLATE = Path(__file__).with_name("page.html")


def build_page(
    report: Report,
    predictions: Predictions,
    split: Split,
    *,
    threshold: float,
    details: PageDetails | None = None,
) -> str:
    """Builds the HTML of the page.

    Args:
        report: The report of the predictions.
        predictions: What the model predicts for the test part.
        split: The split that was evaluated.
        threshold: Lowest rating that counts as positive.
        details: What the page shows in addition to the report.

    Raises:
        ValueError: If the candidates lack a column that `details` names.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.interactions import Interactions
        >>> from tfrs_twotower.evaluation.build import build_report
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 1, 0], "candidate_row": [0, 2, 1], "rating": [4.0, 5.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0, 1], [2], []))
        >>> split = Split(train=train, validation=nothing, test=test, history=nothing)
        >>> predictions = Predictions(ranked=np.array([[1], [-1]]), probabilities=None)
        >>> report = build_report(predictions, split, threshold=3)
        >>> page = build_page(report, predictions, split, threshold=3, details=PageDetails(title="Films"))
        >>> "<title>Films</title>" in page
        True
    """
    details = details or PageDetails()
    test, seen = split.test.by_request(), split.seen
    for name, column in (("name_column", details.name_column), ("group_column", details.group_column)):
        if column is not None and column not in test.candidates.column_names:
            raise ValueError(
                f"`{name}` must be a column of the candidates: {', '.join(test.candidates.column_names)}. "
                f"Received: {column}."
            )
    ids = test.candidates[test.candidate_id].to_pylist()
    given_names = test.candidates[details.name_column or test.candidate_id].to_pylist()
    names = [
        to_text(candidate_id if name in (None, "") else name)
        for name, candidate_id in zip(given_names, ids, strict=True)
    ]
    k = predictions.ranked.shape[1]
    ks = sections.shown_ks(k)
    query_rows, left_out = predictions.ranked_queries(split.test), np.zeros((0, 2), np.int64)
    if not predictions.recommend_seen:
        left_out = split.test.requests.of_pairs(event_pairs(seen), query_rows)
    of_queries = query_metrics(predictions.ranked, test, left_out, threshold=threshold, ks=ks, query_rows=query_rows)
    bodies = {
        "Figures": sections.show_headline(report, k),
        "Training": sections.show_training(details.curves),
        "Probabilities": sections.show_probabilities(report, predictions, test, threshold),
        "Ranking": sections.show_ranking(of_queries, ks),
        "For whom it works": sections.show_segments(report),
        "Popularity": sections.show_popularity(report),
        "Examples": sections.show_examples(of_queries, predictions, split, names, threshold),
        "Neighbours": neighbours.show_neighbours(predictions.vectors, seen, names),
        "Map": neighbours.show_map(predictions.vectors, seen, names, details.group_column),
        "Data and model": sections.show_cards(report, split, details),
    }
    bodies = {title: body for title, body in bodies.items() if body}
    links = "".join(f'<li><a href="#{to_anchor(title)}">{title}</a></li>' for title in bodies)
    content = "\n".join(
        f'<section aria-labelledby="{to_anchor(title)}"><h2 id="{to_anchor(title)}">{title}</h2>\n{body}</section>'
        for title, body in bodies.items()
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=to_html(details.title),
        icon=quote(ICON.read_text(encoding="utf-8")),
        look=STYLE.read_text(encoding="utf-8"),
        lead=sections.show_lead(report, k),
        links=links,
        sections=content,
    )
