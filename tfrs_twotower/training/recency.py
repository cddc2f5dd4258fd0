"""Recency: later events weigh more in training, if the validation part says that popularity changes with time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.relevance import has_relevant
from tfrs_twotower.training.validation import ValidationRanking

_DAY = 86_400
# Half-lives that are tried: the time between the first and the last training event, over each of these.
_DIVISORS = (2, 4, 8, 16, 32)
# A half-life must rank this much better than no weights, or else the difference is taken for chance.
_MIN_GAIN = 1.03
# Queries of the validation part that are enough to choose by.
_MAX_QUERIES = 5_000


def choose_half_life(split: Split, *, threshold: float) -> float | None:
    """Chooses how fast an event's weight falls with its age, by the validation part.

    It ranks all candidates by their popularity among training events that are weighted by age, and takes the half-life
    with the best NDCG@10.

    Args:
        split: Its training and validation parts are used.
        threshold: A rating of at least this is positive.

    Returns:
        Days after which the weight of an event has halved; None if all events should weigh the same, or there are no
        times.

    Example:
        >>> events = pa.table({
        ...     "query_row": [0, 1, 2, 3, 4, 5], "candidate_row": [0, 0, 0, 1, 1, 1], "rating": [5.0] * 6,
        ...     "timestamp": [0, 0, 0, 100 * 86_400, 100 * 86_400, 101 * 86_400],
        ... })
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcdef")}), candidates=pa.table({"movie_id": ["old", "new"]}),
        ...     events=events, query_id="user_id", candidate_id="movie_id",
        ... )
        >>> rows = (np.array(rows, np.int64) for rows in ([0, 1, 2, 3, 4], [5], [], []))
        >>> train, validation, test, history = (ratings.with_events(part) for part in rows)
        >>> choose_half_life(
        ...     Split(train=train, validation=validation, test=test, history=history), threshold=3.0
        ... )
        50.0
    """
    train, validation = split.train, split.validation
    if train.timestamps is None or not validation.num_events or not train.num_events:
        return None
    days = float(train.timestamps.max() - train.timestamps.min()) / _DAY
    positive = train.ratings >= threshold
    if not days or not positive.any() or not has_relevant(validation, split.context, threshold):
        return None
    ranking, k = ValidationRanking(split, max_queries=_MAX_QUERIES), min(10, train.num_candidates)
    ones = np.ones((len(ranking.part.requests.query_rows), 1), np.float32)

    def ndcg(half_life: float | None) -> float:
        popularity = recent_popularity(train, threshold=threshold, half_life_days=half_life)
        candidates = popularity[:, np.newaxis].astype(np.float32)
        return ranking.metrics(ones, candidates, k=k, threshold=threshold)[f"ndcg@{k}"]

    without = ndcg(None)
    best, half_life = max((ndcg(days / divisor), days / divisor) for divisor in _DIVISORS)
    return half_life if best > _MIN_GAIN * without else None


def recent_popularity(train: Interactions, *, threshold: float, half_life_days: float | None) -> np.ndarray:
    """Counts the positive events of each candidate, weighted by their age.

    Args:
        train: Events with times.
        threshold: A rating of at least this is positive.
        half_life_days: Days after which an event counts half; None if all count the same.

    Returns:
        float64 [num_candidates].
    """
    positive = train.ratings >= threshold
    weights = positive if half_life_days is None else positive * _weights(train, half_life_days)
    return np.bincount(train.candidate_rows, weights, minlength=train.num_candidates)


def weigh_by_recency(interactions: Interactions, half_life_days: float) -> Interactions:
    """Multiplies the weights of events by how recent they are: 1 for the latest, and half of it for every half-life.

    Args:
        interactions: Events with times.
        half_life_days: Days after which the weight of an event has halved, > 0.

    Raises:
        ValueError: If there are no times, or the half-life is not positive.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a"]}), candidates=pa.table({"movie_id": ["x", "y"]}),
        ...     events=pa.table({
        ...         "query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 5.0], "timestamp": [0, 86_400],
        ...     }),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> weigh_by_recency(ratings, 1.0).weights.tolist()
        [0.5, 1.0]
    """
    if interactions.timestamps is None:
        raise ValueError("`interactions` must have times: a weight by recency is a function of them.")
    if not half_life_days > 0:
        raise ValueError(f"`half_life_days` must be positive. Received: {half_life_days}.")
    weights = _weights(interactions, half_life_days)
    if interactions.weights is not None:
        weights *= interactions.weights
    events = interactions.events
    if "weight" in events.column_names:
        events = events.drop_columns(["weight"])
    column = pa.array(weights.astype(np.float32))
    return dataclasses.replace(interactions, events=events.append_column("weight", column))


def _weights(interactions: Interactions, half_life_days: float) -> np.ndarray:
    """float64 [num_events]."""
    times = interactions.timestamps
    assert times is not None  # the callers have checked it
    if not len(times):
        return np.zeros(0)
    weights: np.ndarray = 0.5 ** ((times.max() - times) / (_DAY * half_life_days))
    return weights
