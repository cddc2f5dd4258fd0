"""What a model has to beat: predictions that look at neither the query nor the candidate's features."""

from __future__ import annotations

import numpy as np

from tfrs_twotower.data.interactions import Interactions


def all_positive(train: Interactions, num_events: int, *, threshold: float) -> np.ndarray:
    """The share of positive ratings in the training part, as the probability of every pair.

    Args:
        train: The training part.
        num_events: Pairs to predict.
        threshold: A rating of at least this is positive.

    Returns:
        float64 [num_events], all the same; above 0.5 where most ratings are positive, hence the name.
    """
    return np.full(num_events, np.mean(train.ratings >= threshold))


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
