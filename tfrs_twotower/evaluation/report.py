"""The figures of a model on the test part, beside what it has to beat."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics
from tfrs_twotower.evaluation.rating import (
    ConfusionMatrix,
    confusion_matrix,
    pair_probabilities,
    rating_metrics,
)
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Test figures.

    Attributes:
        cases: Case ("model", "all-positive", "popularity", "biases") -> metric -> value. A case has only the metrics
            that make sense for it, the model those of the ratings only if it knows probabilities; "biases" is left out
            where all known ratings are of one class.
        confusion: The model's confusion matrix at a probability of 0.5, None if it knows none.
        num_events: Events of the test part.
    """

    cases: dict[str, dict[str, float]]
    confusion: ConfusionMatrix | None
    num_events: int

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries and numbers, for JSON."""
        return dataclasses.asdict(self)


def evaluate(model: TwoTowerModel | JointModel, split: Split, *, k: int = 10) -> Report:
    """Evaluates a model on the test part of a split.

    Ratings: every test event, by the rating head if there is one. Ranking: the whole catalogue for each query by the
    retrieval head, its training and validation candidates left out; relevant is what the test part rates positive. What
    has to be beaten learns from all but the test part, whatever the model was trained on.

    Args:
        model: A trained model.
        split: Its `test` part is evaluated; the others say what was seen.
        k: Slots of the ranking, 1 <= k <= num_candidates.

    Raises:
        ValueError: If `k` is out of range, or the test part has ratings of one class only.
    """
    threshold, test = model.threshold, split.test
    labels, known_labels = (part.ratings >= threshold for part in (test, split.seen))
    # Of the only head, or of the one that ranks and the one that knows probabilities.
    embedded = [head.embed(test, known=split.seen) for head in model.heads]
    probabilities = pair_probabilities(*embedded[-1], test) if model.rating_head is not None else None
    seen = event_pairs(split.seen)

    def ranking(case: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        return ranking_metrics(rank_candidates(*case, seen, k=k), test, seen, threshold=threshold)

    cases = {
        "model": {**({} if probabilities is None else rating_metrics(labels, probabilities)), **ranking(embedded[0])},
        "all-positive": all_positive(split.seen, labels, threshold=threshold),
        "popularity": ranking(popularity(split.seen, threshold=threshold)),
    }
    if known_labels.any() and not known_labels.all():
        of_biases = biases(split.seen, threshold=threshold)
        cases["biases"] = {**rating_metrics(labels, pair_probabilities(*of_biases, test)), **ranking(of_biases)}
    return Report(
        cases=cases,
        confusion=None if probabilities is None else confusion_matrix(labels, probabilities),
        num_events=test.num_events,
    )
