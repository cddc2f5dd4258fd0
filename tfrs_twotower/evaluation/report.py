"""The figures of a model on the test part, beside what it has to beat."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.baselines import all_positive, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics
from tfrs_twotower.evaluation.rating import ConfusionMatrix, confusion_matrix, rating_metrics
from tfrs_twotower.model.two_tower import TwoTowerModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Test figures.

    Attributes:
        cases: Case ("model", "all-positive", "popularity") -> metric -> value. A case has only the metrics that
            make sense for it.
        confusion: The model's confusion matrix at a probability of 0.5.
        num_events: Events of the test part.
    """

    cases: dict[str, dict[str, float]]
    confusion: ConfusionMatrix
    num_events: int

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries and numbers, for JSON."""
        return dataclasses.asdict(self)


def evaluate(model: TwoTowerModel, split: Split, *, k: int = 10) -> Report:
    """Evaluates a model on the test part of a split.

    Ratings: every test event. Ranking: the whole catalogue for each query, its training and validation candidates
    left out; relevant is what the test part rates positive.

    Args:
        model: A trained model.
        split: Its `test` part is evaluated; the others say what was seen.
        k: Slots of the ranking, 1 <= k <= num_candidates.

    Raises:
        ValueError: If `k` is out of range, or the test part has ratings of one class only.
    """
    threshold = model.rating_task.threshold
    test = split.test
    labels = test.ratings >= threshold
    queries, candidates = model.embed(test, known=split.seen)
    logits = np.einsum("nd,nd->n", queries[test.query_rows], candidates[test.candidate_rows])
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    seen = event_pairs(split.seen)

    def ranking(case: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        return ranking_metrics(rank_candidates(*case, seen, k=k), test, seen, threshold=threshold)

    return Report(
        cases={
            "model": {**rating_metrics(labels, probabilities), **ranking((queries, candidates))},
            "all-positive": all_positive(split.train, labels, threshold=threshold),
            "popularity": ranking(popularity(split.train, threshold=threshold)),
        },
        confusion=confusion_matrix(labels, probabilities),
        num_events=test.num_events,
    )
