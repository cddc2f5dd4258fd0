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
from tfrs_twotower.evaluation.intervals import Interval, compare, mean_intervals, rating_intervals
from tfrs_twotower.evaluation.ranking import QueryMetrics, event_pairs, query_metrics, rank_candidates
from tfrs_twotower.evaluation.rating import (
    ConfusionMatrix,
    confusion_matrix,
    has_both_classes,
    pair_probabilities,
    rating_metrics,
)
from tfrs_twotower.evaluation.segments import Segment
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model, an index or a bundle says of the test part: all that its figures follow from.

    Attributes:
        ranked: int [num_queries, k], rows of the candidates that come first for each query, -1 for an empty slot.
        probabilities: float [num_test_events], that each test event is positive; None if it knows none.
        vectors: float [num_candidates, dim], what likeness of candidates is of: their embeddings without biases; None
            if they are not known.
    """

    ranked: np.ndarray
    probabilities: np.ndarray | None
    vectors: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Test figures.

    Attributes:
        cases: Case ("model", "random", "popularity", "all-positive", "biases", and other baselines) -> metric -> value.
            A case has only the metrics that make sense for it, the model those of the ratings only if it knows
            probabilities; "all-positive" and "biases" are left out where ratings are of one class.
        intervals: Metric of the model -> where it lies with a confidence of 95 %, queries drawn with repetition.
        above_popularity: Metric of the ranking -> by how much the model is better than popularity, on the same queries.
        beyond_accuracy: `coverage`, `gini`, `novelty` (bits) and `intra_list_similarity` of the recommendations.
        by_history: Metrics of queries by how much is known of them.
        by_feature: Column of the queries -> metrics of queries by its values.
        by_popularity: Recall by how popular the candidates are.
        confusion: The model's confusion matrix at a probability of 0.5, None if it knows none.
        num_events: Events of the test part.
        num_left_out: Queries of the test part that like nothing that could be found.
        of_queries: The model's ranking metrics of each query, for `compare`; not part of `to_dict`.
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
    of_queries: QueryMetrics

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries and numbers, for JSON."""
        content = dataclasses.asdict(self)
        del content["of_queries"]
        return content


def evaluate(
    model: TwoTowerModel | JointModel,
    split: Split,
    *,
    k: int = 10,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Report:
    """Evaluates a model on the test part of a split.

    Ratings: every test event, by the rating head if there is one. Ranking: the whole catalogue for each query by the
    retrieval head, its training and validation candidates left out; relevant is what the test part rates positive. What
    has to be beaten learns from all but the test part, whatever the model was trained on.

    Args:
        model: A trained model.
        split: Its `test` part is evaluated; the others say what was seen.
        k: Slots of the ranking, 1 <= k <= num_candidates.
        segment_by: Columns of the queries, such as "gender", by whose values the ranking is measured besides.
        baselines: Name -> (queries, candidates), embeddings of others to compare with, such as those of
            `tfrs_twotower.evaluation.external_baselines`.

    Raises:
        ValueError: If `k` is out of range, there is no such column, or there is nothing to find.
    """
    answers = answer(model, split, k=k)
    return judge(answers, split, threshold=model.threshold, segment_by=segment_by, baselines=baselines)


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
    test, known = split.test, split.seen
    embedded = [head.embed(test, known=known) for head in model.heads]
    asked = np.unique(test.query_rows)
    dim = model.heads[0].candidate_tower.config.output_dim
    return Answers(
        ranked=rank_candidates(*embedded[0], event_pairs(known), k=k, query_rows=asked),
        probabilities=pair_probabilities(*embedded[-1], test) if model.rating_head is not None else None,
        vectors=embedded[0][1][:, :dim],
    )


def judge(
    answers: Answers,
    split: Split,
    *,
    threshold: float,
    segment_by: Sequence[str] = (),
    baselines: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Report:
    """Figures of answers, whoever gave them, beside those of what has to be beaten.

    Args:
        answers: About the test part; what was seen must have been left out of the ranking.
        split: Its `test` part is evaluated; the others say what was seen.
        threshold: A rating of at least this is positive.
        segment_by: Columns of the queries by whose values the ranking is measured besides.
        baselines: Name -> (queries, candidates), embeddings of others to compare with.

    Raises:
        ValueError: If there is nothing to find, no such column, or the answers are about something else.
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

    asked = np.unique(test.query_rows)

    def measure(ranked: np.ndarray) -> QueryMetrics:
        return query_metrics(ranked, test, seen, threshold=threshold)

    def rank(embeddings: tuple[np.ndarray, np.ndarray]) -> QueryMetrics:
        return measure(rank_candidates(*embeddings, seen, k=k, query_rows=asked))

    def rate(probabilities: np.ndarray) -> dict[str, float]:
        return rating_metrics(labels, probabilities, test.query_rows)

    of_model = measure(answers.ranked)
    cases = {"model": _means(of_model), "random": _means(rank(random(known, seed=0)))}
    of_popularity = rank(popularity(known, threshold=threshold))
    cases["popularity"] = _means(of_popularity)
    for name, embeddings in (baselines or {}).items():
        cases[name] = _means(rank(embeddings))
    intervals, confusion = {}, None
    if has_both_classes(labels):
        cases["all-positive"] = all_positive(known, labels, threshold=threshold)
        if answers.probabilities is not None:
            cases["model"] = {**rate(answers.probabilities), **cases["model"]}
            intervals = rating_intervals(labels, answers.probabilities, test.query_rows)
            confusion = confusion_matrix(labels, answers.probabilities)
        if has_both_classes(known.ratings >= threshold):
            of_biases = biases(known, threshold=threshold)
            cases["biases"] = {
                **rate(pair_probabilities(*of_biases, test)),
                **_means(rank(of_biases)),
            }
    above_popularity = compare(of_model, of_popularity)
    _warn_below_popularity(above_popularity[f"ndcg@{k}"], k)
    by_history, from_cold_to_warm = segments.history_groups(known)
    return Report(
        cases=cases,
        intervals={**intervals, **mean_intervals(of_model.values)},
        above_popularity=above_popularity,
        beyond_accuracy=_beyond_accuracy(answers, known),
        by_history=segments.by_query(of_model, by_history, order=from_cold_to_warm),
        by_feature={name: segments.by_query(of_model, test.queries[name].to_pylist()) for name in segment_by},
        by_popularity=segments.by_popularity(answers.ranked, test, known, threshold=threshold),
        confusion=confusion,
        num_events=test.num_events,
        num_left_out=of_model.num_left_out,
        of_queries=of_model,
    )


def _means(of_queries: QueryMetrics) -> dict[str, float]:
    return {**of_queries.means(), "num_queries": float(len(of_queries.query_rows))}


def _beyond_accuracy(answers: Answers, known: Interactions) -> dict[str, float]:
    """What the recommendations of all queries look like together."""
    ranked = answers.ranked
    shown = np.bincount(ranked[ranked >= 0], minlength=known.num_candidates)
    found = {"coverage": metrics.coverage(ranked, known.num_candidates), "gini": metrics.gini(shown)}
    pairs = np.unique(event_pairs(known), axis=0)
    # One more than have met a candidate: what nobody has met is not infinitely surprising.
    met = np.bincount(pairs[:, 1], minlength=known.num_candidates) + 1
    of_lists = {"novelty": metrics.novelty(ranked, met / (known.num_queries + 1))}
    if answers.vectors is not None:
        of_lists["intra_list_similarity"] = metrics.intra_list_similarity(ranked, answers.vectors)
    means = {name: values[np.isfinite(values)] for name, values in of_lists.items()}
    return {**found, **{name: float(values.mean()) for name, values in means.items() if len(values)}}


def _warn_below_popularity(difference: Interval, k: int) -> None:
    """A model that ranks worse than plain counts has a fault, which its users should hear of."""
    if difference.mean < 0:
        beyond = "beyond chance" if difference.high < 0 else "though within chance"
        warnings.warn(
            f"The model ranks the catalogue worse than popularity does: NDCG@{k} is lower by {-difference.mean:.3f}, "
            f"{beyond}. Likely causes: a rating task alone, which never sees what is not rated (add a RetrievalTask or "
            "a CatalogueTask); an in-batch softmax without its correction by frequency; ids or rows of candidates out "
            "of step; too few epochs.",
            stacklevel=3,
        )
