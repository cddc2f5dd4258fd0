"""Evaluates a bundle through its signatures, as a host would use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_having
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.build import build_report
from tfrs_twotower.evaluation.predictions import Predictions, require_test_part
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.evaluation.sampling import choose_queries
from tfrs_twotower.features.columns import MISSING

_ASKED_AT_ONCE = 4096


def evaluate_bundle(
    bundle: LoadedBundle,
    split: Split,
    *,
    k: int = 10,
    segment_by: Sequence[str] = (),
    exact: Predictions | None = None,
    max_queries: int | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Evaluates a bundle on the test part of a split by its signatures `recommend` and `score`.

    If the events have features, their context, the bundle is asked for each request, as `evaluate` says.

    A bundle leaves the events that it was exported with out of the ranking; they should be `split.seen`. With an exact
    index the metrics are those that `evaluate` gives for the model itself, except for ties, which the index breaks by
    an order of its own.

    Args:
        bundle: From `load_bundle`.
        split: Its `test` part is evaluated. Candidates are matched by id, and those that the bundle does not have are
            never found.
        k: Slots of the ranking, 1 <= k <= the bundle's.
        segment_by: As in `evaluate`.
        exact: Predictions of the model itself (`predict(model, split, k=k)`), for `Report.index_recall`: the share of
            the results of exact search that the bundle's index finds. The bundle is asked for the same queries.
        max_queries: Maximum number of queries that the bundle is asked for, >= 1; more are a random sample. None asks
            for those of `exact`, or else for all of the test part.
        progress: Told how many queries and events the bundle has predicted for.

    Raises:
        ValueError: If `k` is out of range, the bundle is of other columns, or there is nothing to find.

    Example:
        A stand-in for a loaded bundle, which recommends m2 to every query:

        >>> import pyarrow as pa
        >>> from types import SimpleNamespace
        >>> from tfrs_twotower.bundle.load import Recommendations
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 1, 0], "candidate_row": [0, 2, 1], "rating": [4.0, 5.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0, 1], [2], []))
        >>> split = Split(train=train, validation=nothing, test=test, history=nothing)
        >>> entry = SimpleNamespace(
        ...     query=SimpleNamespace(id="user_id", inputs=()), candidate=SimpleNamespace(id="movie_id"),
        ...     has_probabilities=False, positive_threshold=3.0,
        ... )
        >>> bundle = SimpleNamespace(
        ...     manifest=SimpleNamespace(model=entry, recommend_seen=False),
        ...     recommend=lambda queries, k: Recommendations(np.array([["m2"]], object), np.ones([1, 1])),
        ... )
        >>> evaluate_bundle(bundle, split, k=1).metrics["hit_rate@1"]
        1.0
    """
    require_having(bundle, "bundle", "manifest", "a bundle that `load_bundle` loaded")
    require_test_part(split)
    test, entry = split.test, bundle.manifest.model
    for name, ours, theirs in (
        ("query", entry.query.id, test.query_id),
        ("candidate", entry.candidate.id, test.candidate_id),
    ):
        if ours != theirs:
            raise ValueError(
                f"The bundle's {name} id is {ours!r}, the split's {theirs!r}: they are not of the same data."
            )
    candidate_ids = np.array(test.candidates[test.candidate_id].to_pylist(), object)
    row_of = {candidate_id: row for row, candidate_id in enumerate(candidate_ids)}
    requests = test.requests
    queries = _query_columns(bundle, test.by_request())
    asked = _choose_queries(test, exact, max_queries)
    ranked = np.full((len(requests.query_rows), k), NO_ROW, np.int32)
    progress("Asking for recommendations", 0, len(asked))
    for block in _blocks(len(asked)):
        found = bundle.recommend(_take(queries, asked[block]), k=k).candidate_ids
        ranked[asked[block]] = np.vectorize(lambda name: row_of.get(name, NO_ROW), otypes=[np.int32])(found)
        progress("Asking for recommendations", int(block[-1]) + 1, len(asked))
    probabilities = None
    if entry.has_probabilities:
        probabilities = np.zeros(test.num_events)
        progress("Asking for probabilities", 0, test.num_events)
        for block in _blocks(test.num_events):
            events = _take(queries, requests.of_events[block]), candidate_ids[test.candidate_rows[block]].tolist()
            probabilities[block] = bundle.score(*events).probabilities
            progress("Asking for probabilities", int(block[-1]) + 1, test.num_events)
    index_recall = None
    if exact is not None:
        if exact.ranked.shape != ranked.shape:
            raise ValueError(f"`exact` must have {k} slots for each query. Received: {exact.ranked.shape}.")
        index_recall = float(np.nanmean(metrics.search_recall(ranked[asked], exact.ranked[asked])))
    return build_report(
        Predictions(
            ranked=ranked,
            probabilities=probabilities,
            query_rows=asked,
            recommend_seen=bundle.manifest.recommend_seen,
        ),
        split,
        threshold=entry.positive_threshold,
        segment_by=segment_by,
        index_recall=index_recall,
        progress=progress,
    )


def _choose_queries(test: Interactions, exact: Predictions | None, max_queries: int | None) -> np.ndarray:
    """Returns the queries to ask the bundle for, int64 [n], ascending."""
    ranked = test.requests.of_events if exact is None else exact.ranked_queries(test)
    return choose_queries(
        ranked,
        num_candidates=test.num_candidates,
        embedding_dim=1,
        max_queries=len(ranked) if max_queries is None else max_queries,
    )


def _query_columns(bundle: LoadedBundle, test: Interactions) -> dict[str, np.ndarray]:
    """Returns what is known of the queries and what the bundle takes: it may not remember each of them."""
    columns = {}
    for spec in bundle.manifest.model.query.inputs:
        name = spec.name
        if name not in test.queries.column_names:
            continue
        missing = [] if spec.is_list else MISSING[tf.as_dtype(spec.dtype)]
        column = test.queries[name]
        if spec.dtype == "string":  # whole numbers and truth values are read as text, as in training
            column = column.cast(pa.list_(pa.string()) if spec.is_list else pa.string())
        values = np.empty(test.num_queries, object)
        for row, value in enumerate(column.to_pylist()):
            values[row] = missing if value is None else value
        columns[name] = values
    return columns


def _take(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, list[Any]]:
    return {name: values[rows].tolist() for name, values in columns.items()}


def _blocks(num: int) -> Iterator[np.ndarray]:
    for start in range(0, num, _ASKED_AT_ONCE):
        yield np.arange(start, min(start + _ASKED_AT_ONCE, num))
