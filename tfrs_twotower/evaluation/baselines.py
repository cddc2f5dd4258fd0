"""What a model has to beat: predictions that look at neither the query nor the candidate's features."""

from __future__ import annotations

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.rating import rating_metrics


def all_positive(train: Interactions, labels: np.ndarray, *, threshold: float) -> dict[str, float]:
    """The rating metrics of taking every pair for positive.

    Args:
        train: The training part; its share of positive ratings is the probability that the log loss is of, since a
            probability of 1 would make it infinite.
        labels: bool [n], of both classes.
        threshold: A rating of at least this is positive.

    Returns:
        As `rating_metrics`.
    """
    base_rate = np.full(len(labels), np.mean(train.ratings >= threshold))
    certain = np.ones(len(labels))
    return {**rating_metrics(labels, certain), "log_loss": rating_metrics(labels, base_rate)["log_loss"]}


def popularity(train: Interactions, *, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranks candidates by their number of positive training events, alike for every query.

    Args:
        train: The training part.
        threshold: A rating of at least this is positive.

    Returns:
        (queries, candidates): float32 [num_queries, 1], ones, and float32 [num_candidates, 1], counts; embeddings
        whose dot product is the popularity.
    """
    positive = train.candidate_rows[train.ratings >= threshold]
    counts = np.bincount(positive, minlength=train.num_candidates).astype(np.float32)
    return np.ones((train.num_queries, 1), np.float32), counts[:, np.newaxis]
