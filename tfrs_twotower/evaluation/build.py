"""Builds the report of a model, or of predictions that come from elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics, segments
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity, random
from tfrs_twotower.evaluation.intervals import Interval, compare, mean_intervals, rating_intervals
from tfrs_twotower.evaluation.predictions import Predictions, predict
from tfrs_twotower.evaluation.ranking import Embeddings, event_pairs, rank_candidates
from tfrs_twotower.evaluation.rating import confusion_matrix, has_both_classes, pair_probabilities, rating_metrics
from tfrs_twotower.evaluation.relevance import QueryMetrics, mean_metrics, query_metrics
from tfrs_twotower.evaluation.report import Report

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender


def evaluate(
    model: Recommender,
    split: Split,
    *,
    k: int = 10,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, Embeddings] | None = None,
) -> Report:
    """Evaluates a model on the test part of a split.

    The rating model, if there is one, is measured on every test event. The retrieval model ranks the whole catalogue
    for each query, except the candidates of the query's events before the test part; a candidate is relevant if the
    test part rates it positive. Baselines learn from all parts but the test part, whatever the model was trained on.

    Args:
        model: A trained model.
        split: The `test` part is evaluated; the other parts are the events before it.
        k: Slots of the ranking, 1 <= k <= num_candidates.
        segment_by: Columns of the queries, such as "gender", by whose values the ranking metrics are broken down.
        baselines: Name -> embeddings of another recommender to compare with, such as those of
            `tfrs_twotower.evaluation.external_baselines`.

    Raises:
        ValueError: If `k` is out of range, a column does not exist, or the test part has no relevant candidate.

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
    predictions = predict(model, split, k=k)
    return build_report(predictions, split, threshold=model.threshold, segment_by=segment_by, baselines=baselines)


def build_report(
    predictions: Predictions,
    split: Split,
    *,
    threshold: float,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, Embeddings] | None = None,
    index_recall: float | None = None,
) -> Report:
    """Measures predictions from any source and compares them with baselines.

    Args:
        predictions: Predictions for the test part. The ranking must leave out the events before it.
        split: The `test` part is evaluated; the other parts are the events before it.
        threshold: Lowest rating that counts as positive.
        segment_by: Columns of the queries by whose values the ranking metrics are broken down.
        baselines: Name -> embeddings of another recommender to compare with.
        index_recall: Mean share of the results of exact search that the index behind the predictions finds, in [0, 1];
            see `metrics.search_recall`.

    Raises:
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
    test, seen = split.test, split.seen
    _check_columns(segment_by, test)
    labels, seen_pairs = test.ratings >= threshold, event_pairs(seen)
    test_queries, k = np.unique(test.query_rows), predictions.ranked.shape[1]

    def measure(ranked: np.ndarray) -> QueryMetrics:
        return query_metrics(ranked, test, seen_pairs, threshold=threshold)

    def rank(embeddings: Embeddings) -> QueryMetrics:
        return measure(rank_candidates(*embeddings, seen_pairs, k=k, query_rows=test_queries))

    of_model = measure(predictions.ranked)
    of_popularity = rank(popularity(seen, threshold=threshold))
    rankings = {"model": of_model, "random": rank(random(seen, seed=0)), "popularity": of_popularity}
    rankings.update((name, rank(embeddings)) for name, embeddings in (baselines or {}).items())
    ratings, intervals, confusion = {}, {}, None
    if has_both_classes(labels):
        ratings["all-positive"] = all_positive(seen, labels, threshold=threshold)
        if predictions.probabilities is not None:
            ratings["model"] = rating_metrics(labels, predictions.probabilities, test.query_rows)
            intervals = rating_intervals(labels, predictions.probabilities, test.query_rows)
            confusion = confusion_matrix(labels, predictions.probabilities)
        if has_both_classes(seen.ratings >= threshold):
            of_biases = biases(seen, threshold=threshold)
            rankings["biases"] = rank(of_biases)
            ratings["biases"] = rating_metrics(labels, pair_probabilities(*of_biases, test), test.query_rows)
    above_popularity = compare(of_model, of_popularity)
    _warn_below_popularity(above_popularity[f"ndcg@{k}"], k)
    groups, from_cold_to_warm = segments.history_groups(seen)
    return Report(
        cases=_join_cases(rankings, ratings, names=["model", "random", "popularity", *(baselines or ())]),
        intervals={**intervals, **mean_intervals(of_model.values)},
        above_popularity=above_popularity,
        beyond_accuracy=_beyond_accuracy(predictions, seen),
        by_history=segments.by_query(of_model, groups, order=from_cold_to_warm),
        by_feature={name: segments.by_query(of_model, test.queries[name].to_pylist()) for name in segment_by},
        by_popularity=segments.by_popularity(predictions.ranked, test, seen, threshold=threshold),
        confusion=confusion,
        num_events=test.num_events,
        num_left_out=of_model.num_left_out,
        index_recall=index_recall,
        of_queries=of_model,
    )


def _check_columns(segment_by: Sequence[str], test: Interactions) -> None:
    for column in segment_by:
        if column not in test.queries.column_names:
            raise ValueError(
                f"`segment_by` must be columns of the queries: {', '.join(test.queries.column_names)}. "
                f"Received: {column}."
            )


def _join_cases(
    rankings: Mapping[str, QueryMetrics], ratings: Mapping[str, Mapping[str, float]], *, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Joins the rating and ranking metrics of each case, `names` first and the other baselines after them."""
    return {
        name: {**ratings.get(name, {}), **(mean_metrics(rankings[name]) if name in rankings else {})}
        for name in [*names, "all-positive", "biases"]
        if name in rankings or name in ratings
    }


def _beyond_accuracy(predictions: Predictions, seen: Interactions) -> dict[str, float]:
    """Measures properties of the recommendations other than their accuracy."""
    ranked = predictions.ranked
    counts = np.bincount(ranked[ranked >= 0], minlength=seen.num_candidates)
    values = {"coverage": metrics.coverage(ranked, seen.num_candidates), "gini": metrics.gini(counts)}
    pairs = np.unique(event_pairs(seen), axis=0)
    # One more query than have really interacted with each candidate: otherwise the novelty of a candidate without
    # events would be infinite.
    num_queries = np.bincount(pairs[:, 1], minlength=seen.num_candidates) + 1
    of_lists = {"novelty": metrics.novelty(ranked, num_queries / (seen.num_queries + 1))}
    if predictions.vectors is not None:
        of_lists["intra_list_similarity"] = metrics.intra_list_similarity(ranked, predictions.vectors)
    finite = {name: column[np.isfinite(column)] for name, column in of_lists.items()}
    return {**values, **{name: float(column.mean()) for name, column in finite.items() if len(column)}}


def _warn_below_popularity(difference: Interval, k: int) -> None:
    """Warns if the model ranks worse than popularity, which usually means that it has a defect."""
    if difference.mean < 0:
        certainty = "is" if difference.high < 0 else "is not"
        warnings.warn(
            f"The model ranks the catalogue worse than popularity does: its NDCG@{k} is lower by "
            f"{-difference.mean:.3f}, which {certainty} statistically significant. Likely causes: a rating task alone, "
            "which never sees unrated candidates (add a SampledSoftmaxTask or a FullSoftmaxTask); an in-batch softmax "
            "without the logQ correction; candidate embeddings in another order than the candidates; too few epochs.",
            stacklevel=3,
        )
