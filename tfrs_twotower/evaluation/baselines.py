"""Simple baselines that every model should beat. They use no features of queries or candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse
import sklearn.linear_model

from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.evaluation.ranking import Embeddings
from tfrs_twotower.evaluation.rating import has_both_classes, rating_metrics

# Weight of the squared biases relative to the summed loss. It was chosen on the validation part of MovieLens 100K,
# where results hardly change around it.
_L2 = 1.0
# Metrics of decisions, as opposed to metrics of probabilities.
_DECISION_METRICS = ("accuracy", "auc", "f1")
# Windows of recent popularity in days, and the share of the events that the chosen one holds at least.
_WINDOWS = (1, 3, 7, 14, 30, 90)
_MIN_RECENT_SHARE = 0.05
_SECONDS_PER_DAY = 86_400
_POPULARITIES = ("popularity", "recent popularity")


def all_positive(train: Interactions, labels: np.ndarray, *, threshold: float) -> dict[str, float]:
    """Measures the baseline that predicts every pair to be positive.

    Args:
        train: The training part. A predicted probability of 1 would make the log loss infinite, so the metrics of
            probabilities (log loss, Brier score, calibration error) use this part's share of positive ratings instead.
        labels: bool [n], with both classes present.
        threshold: Lowest rating that counts as positive.

    Returns:
        The metrics of `rating_metrics`, without `gauc`.

    Example:
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> values = all_positive(train, np.array([True, True, True, False]), threshold=3)
        >>> values["accuracy"], values["auc"], values["brier"]
        (0.75, 0.5, 0.25)
    """
    require_interactions(train, "train")
    base_rate = np.full(len(labels), np.mean(train.ratings >= threshold))
    of_decisions, of_probabilities = (
        rating_metrics(labels, probabilities) for probabilities in (np.ones(len(labels)), base_rate)
    )
    return {name: (of_decisions if name in _DECISION_METRICS else of_probabilities)[name] for name in of_probabilities}


def popularity(train: Interactions, *, threshold: float) -> Embeddings:
    """Ranks candidates by their number of positive training events, in the same order for every query.

    Args:
        train: The training part.
        threshold: Lowest rating that counts as positive.

    Returns:
        (queries, candidates): float32 [num_queries, 1], ones, and float32 [num_candidates, 1], counts; embeddings
        whose dot product is the popularity.

    Example:
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 1, 1], "candidate_row": [1, 1, 0], "rating": [5.0, 4.0, 1.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> queries, candidates = popularity(train, threshold=3)
        >>> (queries @ candidates.T).tolist()
        [[0.0, 2.0], [0.0, 2.0]]
    """
    require_interactions(train, "train")
    positive = train.candidate_rows[train.ratings >= threshold]
    counts = np.bincount(positive, minlength=train.num_candidates).astype(np.float32)
    return np.ones((train.num_queries, 1), np.float32), counts[:, np.newaxis]


def recent_popularity(train: Interactions, *, threshold: float) -> Embeddings:
    """Ranks candidates by their number of positive training events in the last days, in the same order for every query.

    The days are the last 1, 3, 7, 14, 30 or 90 before the last training event: the fewest that hold at least 5 % of the
    training events, or else 90.

    Args:
        train: The training part, with timestamps.
        threshold: Lowest rating that counts as positive.

    Returns:
        As `popularity`.

    Raises:
        ValueError: If the events have no timestamps.

    Example:
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({
        ...         "query_row": [0, 0, 0], "candidate_row": [0, 0, 1], "rating": [5.0, 4.0, 5.0],
        ...         "timestamp": [0, 60, 1_000_000],
        ...     }),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> queries, candidates = recent_popularity(train, threshold=3)
        >>> candidates.ravel().tolist()
        [0.0, 1.0]
    """
    require_interactions(train, "train")
    timestamps = train.timestamps
    if timestamps is None:
        raise ValueError(
            "`train` must have timestamps, because recent events are counted. Use `popularity` for events without."
        )
    age = timestamps.max(initial=np.iinfo(np.int64).min) - timestamps
    windows = [age < days * _SECONDS_PER_DAY for days in _WINDOWS]
    is_recent = next((is_in for is_in in windows if is_in.sum() >= _MIN_RECENT_SHARE * len(age)), windows[-1])
    return popularity(train.with_events(np.flatnonzero(is_recent)), threshold=threshold)


def better_popularity(values: Mapping[str, float]) -> str:
    """Returns the kind of popularity that ranks better: "popularity", or "recent popularity" if it is better.

    Args:
        values: Name -> how well it ranks. Others than the two do not count, and recent popularity may be missing.

    Example:
        >>> better_popularity({"model": 0.4, "popularity": 0.2, "recent popularity": 0.3})
        'recent popularity'
    """
    return max((name for name in _POPULARITIES if name in values), key=lambda name: values[name])


def biases(train: Interactions, *, threshold: float) -> Embeddings:
    """Fits a logistic regression with one bias for each query, one for each candidate, and a global bias.

    The biases explain most of what can be predicted about a rating, but nothing about a query's individual taste.

    Args:
        train: The training part, with ratings of both classes.
        threshold: Lowest rating that counts as positive.

    Returns:
        (queries, candidates): float32 [num_queries, 2] and [num_candidates, 2], embeddings whose dot products are
        log-odds. A query or candidate without training events has a bias of 0.

    Raises:
        ValueError: If all ratings are of one class.

    Example:
        >>> import pyarrow as pa
        >>> train = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0, 1], "candidate_row": [0, 1, 0], "rating": [5.0, 1.0, 4.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> queries, candidates = biases(train, threshold=3)
        >>> log_odds = queries @ candidates.T
        >>> bool(log_odds[1, 0] > log_odds[0, 0] > log_odds[0, 1])
        True
    """
    require_interactions(train, "train")
    labels = train.ratings >= threshold
    if not has_both_classes(labels):
        raise ValueError(
            f"`train` must have ratings on both sides of `threshold`, because biases are learnt from both classes. "
            f"Received: {len(labels)} ratings, none of them {'below' if labels.any() else 'at or above'} {threshold:g}."
        )
    num_events, num_queries = train.num_events, train.num_queries
    columns = np.stack([train.query_rows, num_queries + train.candidate_rows.astype(np.int64)], axis=1).ravel()
    rows = np.arange(0, 2 * num_events + 1, 2)
    shape = (num_events, num_queries + train.num_candidates)
    design = scipy.sparse.csr_matrix((np.ones(len(columns)), columns, rows), shape=shape)
    regression = sklearn.linear_model.LogisticRegression(C=1 / _L2, max_iter=1000).fit(design, labels)
    query_biases, candidate_biases = np.split(regression.coef_[0].astype(np.float32), [num_queries])
    queries = np.stack([query_biases + np.float32(regression.intercept_[0]), np.ones_like(query_biases)], axis=1)
    return queries, np.stack([np.ones_like(candidate_biases), candidate_biases], axis=1)
