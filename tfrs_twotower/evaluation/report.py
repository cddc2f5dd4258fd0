"""The figures of a model on the test part, beside what it has to beat."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics, segments
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity, random
from tfrs_twotower.evaluation.ranking import QueryMetrics, event_pairs, query_metrics, rank_candidates
from tfrs_twotower.evaluation.rating import (
    ConfusionMatrix,
    confusion_matrix,
    pair_probabilities,
    rating_metrics,
)
from tfrs_twotower.evaluation.segments import Segment
from tfrs_twotower.evaluation.uncertainty import Interval, compare, mean_interval, rating_intervals
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model, an index or a bundle says of the test part: all that its figures follow from.

    Attributes:
        ranked: int [num_queries, k], rows of the candidates that come first for each query, -1 for an empty slot.
        probabilities: float [num_test_events], that each test event is positive; None if it knows none.
        embeddings: float [num_candidates, dim], what the candidates are ranked by; None if that is not known.
    """

    ranked: np.ndarray
    probabilities: np.ndarray | None
    embeddings: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Test figures.

    Attributes:
        cases: Case ("model", "all-positive", "random", "popularity", "biases") -> metric -> value. A case has only the
            metrics that make sense for it, the model those of the ratings only if it knows probabilities; "biases" is
            left out where all known ratings are of one class.
        intervals: Metric of the model -> where it lies with a confidence of 95 %, queries drawn with repetition.
        above_popularity: Metric of the ranking -> by how much the model is better than popularity, on the same queries.
        beyond_accuracy: `coverage`, `gini` and `novelty` (bits) of the model's recommendations.
        by_history: Metrics of queries by how much is known of them.
        by_feature: Column of the queries -> metrics of queries by its values.
        by_popularity: Recall by how popular the candidates are.
        confusion: The model's confusion matrix at a probability of 0.5, None if it knows none.
        num_events: Events of the test part.
        num_left_out: Queries of the test part that like nothing that could be found.
    """

    cases: dict[str, dict[str, float]]
    intervals: dict[str, Interval]
    above_popularity: dict[str, Interval]
    beyond_accuracy: dict[str, float]
    by_history: list[Segment]
    by_feature: dict[str, list[Segment]]
    by_popularity: list[Segment]
    confusion: ConfusionMatrix | None
    num_events: int
    num_left_out: int

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries and numbers, for JSON."""
        return dataclasses.asdict(self)


def evaluate(model: TwoTowerModel | JointModel, split: Split, *, k: int = 10, segment_by: Sequence[str] = ()) -> Report:
    """Evaluates a model on the test part of a split.

    Ratings: every test event, by the rating head if there is one. Ranking: the whole catalogue for each query by the
    retrieval head, its training and validation candidates left out; relevant is what the test part rates positive. What
    has to be beaten learns from all but the test part, whatever the model was trained on.

    Args:
        model: A trained model.
        split: Its `test` part is evaluated; the others say what was seen.
        k: Slots of the ranking, 1 <= k <= num_candidates.
        segment_by: Columns of the queries, such as "gender", by whose values the ranking is measured besides.

    Raises:
        ValueError: If `k` is out of range, there is no such column, or the test part has ratings of one class only.
    """
    return judge(answer(model, split, k=k), split, threshold=model.threshold, segment_by=segment_by)


def answer(model: TwoTowerModel | JointModel, split: Split, *, k: int = 10) -> Answers:
    """Asks a model about the test part; see `evaluate`.

    Args:
        model: A trained model.
        split: Its `test` part is asked about; the others say what was seen.
        k: Slots of the ranking, 1 <= k <= num_candidates.

    Raises:
        ValueError: If `k` is out of range.
    """
    # Of the only head, or of the one that ranks and the one that knows probabilities.
    embedded = [head.embed(split.test, known=split.seen) for head in model.heads]
    return Answers(
        ranked=rank_candidates(*embedded[0], event_pairs(split.seen), k=k),
        probabilities=pair_probabilities(*embedded[-1], split.test) if model.rating_head is not None else None,
        embeddings=embedded[0][1],
    )


def judge(answers: Answers, split: Split, *, threshold: float, segment_by: Sequence[str] = ()) -> Report:
    """Figures of answers, whoever gave them, beside those of what has to be beaten.

    Args:
        answers: About the test part; what was seen must have been left out of the ranking.
        split: Its `test` part is evaluated; the others say what was seen.
        threshold: A rating of at least this is positive.
        segment_by: Columns of the queries by whose values the ranking is measured besides.

    Raises:
        ValueError: If the test part has ratings of one class only, or nothing to find, or there is no such column.
    """
    test, known = split.test, split.seen
    for column in segment_by:
        if column not in test.queries.column_names:
            raise ValueError(
                f"`segment_by` must be columns of the queries: {', '.join(test.queries.column_names)}. "
                f"Received: {column}."
            )
    labels, seen = test.ratings >= threshold, event_pairs(known)
    k = answers.ranked.shape[1]

    def rank(embeddings: tuple[np.ndarray, np.ndarray]) -> QueryMetrics:
        return query_metrics(rank_candidates(*embeddings, seen, k=k), test, seen, threshold=threshold)

    of_model = query_metrics(answers.ranked, test, seen, threshold=threshold)
    of_popularity = rank(popularity(known, threshold=threshold))
    ratings, intervals = {}, {}
    if answers.probabilities is not None:
        ratings = rating_metrics(labels, answers.probabilities, test.query_rows)
        intervals = rating_intervals(labels, answers.probabilities, test.query_rows)
    cases = {
        "model": {**ratings, **_means(of_model)},
        "all-positive": all_positive(known, labels, threshold=threshold),
        "random": _means(rank(random(known, seed=0))),
        "popularity": _means(of_popularity),
    }
    known_labels = known.ratings >= threshold
    if known_labels.any() and not known_labels.all():
        of_biases = biases(known, threshold=threshold)
        probabilities = pair_probabilities(*of_biases, test)
        cases["biases"] = {**rating_metrics(labels, probabilities, test.query_rows), **_means(rank(of_biases))}
    above_popularity = compare(of_model, of_popularity)
    by_history, from_cold_to_warm = segments.history_groups(known)
    _warn_below_popularity(above_popularity, k)
    return Report(
        cases=cases,
        intervals={**intervals, **{name: mean_interval(values) for name, values in of_model.values.items()}},
        above_popularity=above_popularity,
        beyond_accuracy=_beyond_accuracy(answers.ranked, known),
        by_history=segments.by_query(of_model, by_history, order=from_cold_to_warm),
        by_feature={name: segments.by_query(of_model, test.queries[name].to_pylist()) for name in segment_by},
        by_popularity=segments.by_popularity(answers.ranked, test, known, threshold=threshold),
        confusion=None if answers.probabilities is None else confusion_matrix(labels, answers.probabilities),
        num_events=test.num_events,
        num_left_out=of_model.num_left_out,
    )


def _means(of_queries: QueryMetrics) -> dict[str, float]:
    return {**of_queries.means(), "num_queries": float(len(of_queries.query_rows))}


def _beyond_accuracy(ranked: np.ndarray, known: Interactions) -> dict[str, float]:
    """What the recommendations of all queries look like together."""
    shown = np.bincount(ranked[ranked >= 0], minlength=known.num_candidates)
    # One more than have met a candidate: what nobody has met is not infinitely surprising.
    met = np.bincount(known.candidate_rows, minlength=known.num_candidates) + 1
    novelty = metrics.novelty(ranked, np.minimum(met / max(1, known.num_queries), 1.0))
    return {
        "coverage": metrics.coverage(ranked, known.num_candidates),
        "gini": metrics.gini(shown),
        "novelty": float(np.nanmean(novelty)) if np.isfinite(novelty).any() else 0.0,
    }


def _warn_below_popularity(above: Mapping[str, Interval], k: int) -> None:
    """A model that ranks worse than plain counts has a fault, which its users should hear of."""
    difference = above[f"ndcg@{k}"]
    if difference.high < 0:
        warnings.warn(
            f"The model ranks the catalogue worse than popularity does: NDCG@{k} is lower by {-difference.mean:.3f}. "
            "Likely causes: a rating task alone, which never sees what is not rated (add a RetrievalTask or a "
            "CatalogueTask); an in-batch softmax without its correction by frequency; ids or rows of candidates out of "
            "step; too few epochs.",
            stacklevel=3,
        )
