"""Builds the report of a model, or of predictions that come from elsewhere."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_model
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import pair_codes
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics, segments
from tfrs_twotower.evaluation.baselines import all_positive, better_popularity, biases
from tfrs_twotower.evaluation.by_event import split_by_event
from tfrs_twotower.evaluation.intervals import compare, intervals_and_differences, rating_intervals
from tfrs_twotower.evaluation.predictions import Predictions, predict, require_test_part
from tfrs_twotower.evaluation.ranking import Embeddings
from tfrs_twotower.evaluation.rankings import Rankings
from tfrs_twotower.evaluation.rating import confusion_matrix, has_both_classes, pair_probabilities, rating_metrics
from tfrs_twotower.evaluation.relevance import QueryMetrics, RelevantPairs, mean_metrics
from tfrs_twotower.evaluation.report import Report

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender

_FITTING = "Fitting the biases"
_MEASURING = "Measuring the predictions"
_LAST_CASES = ("all-positive", "biases")


def evaluate(
    model: Recommender,
    split: Split,
    *,
    k: int = 10,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, Embeddings] | None = None,
    recommend_seen: bool = False,
    max_queries: int | None = None,
    by_event: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """Evaluates a model on the test part of a split.

    The rating model, if there is one, is measured on every test event. The retrieval model ranks the whole catalogue
    for each query; a candidate is relevant if the test part rates it positive. Candidates that a query had an event
    with before the test part are left out of its ranking and do not count as relevant, unless `recommend_seen`.

    If the events have features, their context, the catalogue is ranked for each *request*: a query in one of the
    different contexts of its test events. The candidates that it rated positive in this context are relevant, and those
    of its other contexts are not: they are in the ranking as any others. Whatever a report says of queries, it then
    says of requests, except that the intervals and the rating metrics by query remain those of queries. Models with and
    without a context are so measured by the same lists.

    With `by_event`, the catalogue is ranked for each test event anew, as a service does that knows what its users have
    just done: the query's earlier test events are then part of its history, are left out of the ranking and are not
    learnt from, and the event's own candidate is the only one that is relevant. Whatever a report says of queries, it
    then says of events.

    Baselines learn from all parts but the test part, whatever the model was trained on.

    Args:
        model: A trained model.
        split: The `test` part is evaluated; the other parts are the events before it.
        k: Slots of the ranking, 1 <= k <= num_candidates.
        segment_by: Columns of the queries, such as "gender", or features of the events, such as "hour", by whose values
            the ranking metrics are broken down.
        baselines: Name -> embeddings of another recommender to compare with, such as those of
            `tfrs_twotower.evaluation.external_baselines`.
        recommend_seen: Whether candidates that a query has seen can be recommended to it again, as people listen to the
            same songs again. They are then part of its ranking, and relevant if the test part rates them positive.
        max_queries: Maximum number of queries to rank candidates for, >= 1. If the test part has more, they are a
            random sample, and the report says so. None ranks for as many as take about a minute on two cores; the
            number of queries of the data ranks for all of them. The rating metrics always use all events.
            With `by_event`, it is the maximum number of events, for all metrics; None for 50,000.
        by_event: Whether each test event is predicted from all that its query did before it, in the test part as well.
            It needs timestamps. Events of the same time do not know each other.
        progress: Told how far the evaluation is.

    Raises:
        TypeError: If `split` is not a split, or `max_queries` is not a whole number.
        ValueError: If `k` or `max_queries` is out of range, a column does not exist, the test part has no relevant
            candidate, or `by_event` is asked for and the events have no timestamps.

    Example:
        A stand-in for a trained model, which ranks the candidate in row 1 first for every query:

        >>> import pyarrow as pa
        >>> class PlantedModel:
        ...     threshold, vector_dim, rating_model = 3.0, 1, None
        ...     def embed(self, interactions, *, known=None):
        ...         return np.ones((2, 1)), np.array([[0.0], [1.0], [-1.0]])
        ...     retrieval_model = property(lambda self: self)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 1, 0], "candidate_row": [0, 2, 1], "rating": [4.0, 5.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0, 1], [2], []))
        >>> split = Split(train=train, validation=nothing, test=test, history=nothing)
        >>> report = evaluate(PlantedModel(), split, k=1)
        >>> list(report.cases), report.metrics["hit_rate@1"]
        (['model', 'random', 'popularity'], 1.0)
    """
    require_model(model)
    require_test_part(split)
    _check_columns(segment_by, split.test.by_request())
    asked, asked_by = split, None
    if by_event:
        found = split_by_event(split, max_queries)
        asked, asked_by, max_queries = found.split, found.query_rows, len(found.query_rows)
    predictions = predict(model, asked, k=k, recommend_seen=recommend_seen, max_queries=max_queries, progress=progress)
    report = _build(
        predictions,
        asked,
        threshold=model.threshold,
        segment_by=segment_by,
        baselines=baselines,
        learnt=split.seen,
        asked_by=asked_by,
        progress=progress,
    )
    return dataclasses.replace(report, by_event=True, num_test_queries=split.test.num_events) if by_event else report


def build_report(
    predictions: Predictions,
    split: Split,
    *,
    threshold: float,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, Embeddings] | None = None,
    index_recall: float | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Measures predictions from any source and compares them with baselines.

    Args:
        predictions: Predictions for the test part. Baselines are ranked for the same queries, and leave out the
            candidates that a query has seen if the predictions do.
        split: The `test` part is evaluated; the other parts are the events before it.
        threshold: Lowest rating that counts as positive.
        segment_by: Columns of the queries by whose values the ranking metrics are broken down.
        baselines: Name -> embeddings of another recommender to compare with.
        index_recall: Mean share of the results of exact search that the index behind the predictions finds, in [0, 1];
            see `metrics.search_recall`.
        progress: Told how far the ranking of the baselines is, and which part of the report is measured.

    Raises:
        TypeError: If `split` is not a split.
        ValueError: If the test part has no relevant candidate, a column does not exist, or the shape of the predictions
            does not match the split.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     events=pa.table({"query_row": [0, 1, 0], "candidate_row": [0, 2, 1], "rating": [4.0, 5.0, 5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> train, test, nothing = (ratings.with_events(np.array(rows, np.int64)) for rows in ([0, 1], [2], []))
        >>> split = Split(train=train, validation=nothing, test=test, history=nothing)
        >>> predictions = Predictions(ranked=np.array([[1, 2], [-1, -1]]), probabilities=None)
        >>> report = build_report(predictions, split, threshold=3)
        >>> report.metrics["recall@2"], report.metrics["precision@2"]
        (1.0, 0.5)
    """
    require_test_part(split)
    return _build(
        predictions,
        split,
        threshold=threshold,
        segment_by=segment_by,
        baselines=baselines,
        learnt=split.seen,
        index_recall=index_recall,
        progress=progress,
    )


def _build(
    predictions: Predictions,
    split: Split,
    *,
    threshold: float,
    segment_by: Sequence[str],
    baselines: Mapping[str, Embeddings] | None,
    learnt: Interactions,
    asked_by: np.ndarray | None = None,
    index_recall: float | None = None,
    progress: Progress,
) -> Report:
    """Builds a report as `build_report` does, whose queries may stand for others that baselines learn from.

    Args:
        predictions: Predictions for the test part of `split`.
        split: What is evaluated, and what each of its queries has seen.
        threshold: Lowest rating that counts as positive.
        segment_by: Columns of the queries by whose values the ranking metrics are broken down.
        baselines: Name -> embeddings of the queries of `learnt` and of the candidates.
        learnt: What baselines learn from.
        asked_by: int [num_queries], the query of `learnt` that each query of `split` stands for; None if they are the
            same.
        index_recall: Recall of the index behind the predictions.
        progress: Told how far the report is.
    """
    rankings = Rankings(predictions, split, threshold=threshold, asked_by=asked_by, progress=progress)
    test, query_rows, k = rankings.test, rankings.query_rows, predictions.ranked.shape[1]
    _check_columns(segment_by, test)
    _check_something_to_find(rankings.relevant, len(query_rows), threshold)
    labels = test.ratings >= threshold
    measured = {
        "model": rankings.of_model(),
        "random": rankings.by_value("at random", np.zeros(test.num_candidates)),
        **rankings.by_popularity(learnt),
    }
    for name, embeddings in (baselines or {}).items():
        measured[name] = rankings.by_embeddings(f"by {name}", embeddings)
    of_biases = None
    if has_both_classes(labels) and has_both_classes(learnt.ratings >= threshold):
        progress(_FITTING, 0, 0)
        of_biases = biases(learnt, threshold=threshold)
        progress(_FITTING, 1, 1)
        measured["biases"] = rankings.by_value("by biases", of_biases[1][:, 1])
    progress(_MEASURING, 0, 3)
    of_model, probabilities = measured["model"], predictions.probabilities
    intervals, above_popularity = intervals_and_differences(of_model, measured["popularity"])
    _warn_below_popularity(measured, k)
    if of_biases is not None:
        of_biases = of_biases[0][rankings.of_requests], of_biases[1]
    ratings = _rating_metrics(probabilities, of_biases, labels, split.test, rankings.of_events, learnt, threshold)
    progress(_MEASURING, 1, 3)
    confusion = None
    if probabilities is not None and has_both_classes(labels):
        intervals = {**rating_intervals(labels, probabilities, rankings.of_events), **intervals}
        confusion = confusion_matrix(labels, probabilities)
    progress(_MEASURING, 2, 3)
    groups, from_cold_to_warm = segments.history_groups(split.seen)
    groups = [groups[query] for query in split.test.requests.query_rows]
    report = Report(
        cases=_join_cases(measured, ratings),
        intervals=intervals,
        above_popularity=above_popularity,
        beyond_accuracy=_beyond_accuracy(predictions.ranked[query_rows], predictions.vectors, learnt),
        by_history=segments.by_query(of_model, groups, order=from_cold_to_warm),
        by_feature={name: segments.by_query(of_model, test.queries[name].to_pylist()) for name in segment_by},
        by_popularity=segments.by_popularity(predictions.ranked, rankings.relevant, learnt),
        confusion=confusion,
        num_events=test.num_events,
        num_left_out=of_model.num_left_out,
        num_ranked=len(query_rows),
        num_test_queries=int(np.unique(test.query_rows).size),
        recommend_seen=predictions.recommend_seen,
        context=split.test.event_features,
        index_recall=index_recall,
        of_queries=of_model,
    )
    progress(_MEASURING, 3, 3)
    return report


def _rating_metrics(
    probabilities: np.ndarray | None,
    of_biases: Embeddings | None,
    labels: np.ndarray,
    test: Interactions,
    query_rows: np.ndarray,
    learnt: Interactions,
    threshold: float,
) -> dict[str, dict[str, float]]:
    """Returns the rating metrics of the model and the baselines; none if all labels are of one class.

    Args:
        probabilities: float [num_test_events], those of the model, or None.
        of_biases: The biases of the requests and of the candidates, or None.
        labels: bool [num_test_events].
        test: The test part.
        query_rows: int [num_test_events], the query that each event counts for.
        learnt: What baselines learn from.
        threshold: Lowest rating that counts as positive.
    """
    if not has_both_classes(labels):
        return {}
    found = {"all-positive": all_positive(learnt, labels, threshold=threshold)} if learnt.num_events else {}
    if probabilities is not None:
        found["model"] = rating_metrics(labels, probabilities, query_rows)
    if of_biases is not None:
        found["biases"] = rating_metrics(labels, pair_probabilities(*of_biases, test), query_rows)
    return found


def _check_something_to_find(relevant: RelevantPairs, num_ranked: int, threshold: float) -> None:
    """Raises a ValueError if no ranked query has a relevant candidate."""
    if not relevant.codes.size:
        raise ValueError(
            f"The test part must have an event with a rating of at least {threshold:g} and a candidate that its query "
            f"had not seen before, so that there is something to find. Received: none for any of the {num_ranked:,} "
            "queries that candidates were ranked for. Check the threshold; if queries choose the same candidates again "
            "and again, use `recommend_seen=True`; if they are a small sample, raise `max_queries`."
        )


def _check_columns(segment_by: Sequence[str], test: Interactions) -> None:
    columns = [name for name in test.queries.column_names if name != test.query_id]
    for column in segment_by:
        if column not in test.queries.column_names:
            rule = f"columns of the queries: {', '.join(columns)}" if columns else "empty: the queries have no columns"
            raise ValueError(
                f"`segment_by` must be {rule}. Received: {column}. Every report has segments by number of past events."
            )


def _join_cases(
    rankings: Mapping[str, QueryMetrics], ratings: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Joins the rating and ranking metrics of each case, those that only rate or do both last."""
    names = [*(name for name in rankings if name not in _LAST_CASES), *_LAST_CASES]
    return {
        name: {**ratings.get(name, {}), **(mean_metrics(rankings[name]) if name in rankings else {})}
        for name in names
        if name in rankings or name in ratings
    }


def _beyond_accuracy(ranked: np.ndarray, vectors: np.ndarray | None, seen: Interactions) -> dict[str, float]:
    """Measures properties of the recommendations other than their accuracy."""
    counts = np.bincount(ranked[ranked >= 0], minlength=seen.num_candidates)
    values = {"coverage": metrics.coverage(ranked, seen.num_candidates), "gini": metrics.gini(counts)}
    pairs = np.unique(pair_codes(seen.query_rows, seen.candidate_rows, seen.num_candidates))
    # One more query than have really interacted with each candidate: otherwise the novelty of a candidate without
    # events would be infinite.
    num_queries = np.bincount(pairs % seen.num_candidates, minlength=seen.num_candidates) + 1
    of_lists = {"novelty": metrics.novelty(ranked, num_queries / (seen.num_queries + 1))}
    if vectors is not None:
        of_lists["intra_list_similarity"] = metrics.intra_list_similarity(ranked, vectors)
    finite = {name: column[np.isfinite(column)] for name, column in of_lists.items()}
    return {**values, **{name: float(column.mean()) for name, column in finite.items() if len(column)}}


def _warn_below_popularity(rankings: Mapping[str, QueryMetrics], k: int) -> None:
    """Warns if the model ranks worse than the better kind of popularity, which usually means that it has a defect."""
    ndcg = f"ndcg@{k}"
    best = better_popularity({name: of_queries.means()[ndcg] for name, of_queries in rankings.items()})
    of_model = rankings["model"]
    if of_model.means()[ndcg] >= rankings[best].means()[ndcg]:
        return
    difference = compare(of_model, rankings[best])[ndcg]
    certainty = "is" if difference.high < 0 else "is not"
    warnings.warn(
        f"The model ranks the catalogue worse than {best} does: its NDCG@{k} is lower by "
        f"{-difference.mean:.3f}, which {certainty} statistically significant. Likely causes: a rating task alone, "
        "which never sees unrated candidates (add a SampledSoftmaxTask or a FullSoftmaxTask); an in-batch softmax "
        "without the logQ correction; candidate embeddings in another order than the candidates; too few epochs.",
        stacklevel=4,
    )
