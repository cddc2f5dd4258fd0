"""How sure a figure is: bootstrap intervals over queries, of one model and of the difference of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfrs_twotower.evaluation.ranking import QueryMetrics

_COUNTS_AT_ONCE = 2**20
# A certain and wrong prediction would have an infinite loss.
_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: Of the sample.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    num_queries: int,
    *,
    width: int = 1,
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic, queries drawn with repetition, each with all that it has.

    Args:
        statistic: From float64 [samples, num_queries], how often each query counts, to float64 [samples]; its value
            where each counts once is the mean.
        num_queries: How many queries there are, >= 1.
        width: How many numbers the statistic makes of one sample on its way: fewer samples are drawn at once then.
        num_samples: How many samples are drawn, >= 1.
        level: Share of the samples within the interval, in (0, 1).
        seed: Of the draws.

    Raises:
        ValueError: If a number is out of range.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.

    Example:
        >>> values = np.array([2.0, 2.0, 2.0])
        >>> bootstrap(lambda counts: counts @ values / 3, 3)
        Interval(mean=2.0, low=2.0, high=2.0)
    """
    if num_queries < 1:
        raise ValueError(f"`num_queries` must be at least 1. Received: {num_queries}.")
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1. Received: {num_samples}.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1). Received: {level}.")
    generator = np.random.default_rng(seed)
    shares = np.full(num_queries, 1 / num_queries)
    found = []
    block = max(1, _COUNTS_AT_ONCE // max(num_queries, width))
    for start in range(0, num_samples, block):
        counts = generator.multinomial(num_queries, shares, min(block, num_samples - start))
        found.append(statistic(counts.astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    mean = float(statistic(np.ones((1, num_queries)))[0])
    return Interval(mean=mean, low=float(low), high=float(high))


def mean_interval(values: np.ndarray, **options: Any) -> Interval:
    """The interval of a mean over queries.

    Args:
        values: float [n], one per query, n >= 1.
        **options: Of `bootstrap`.
    """
    return bootstrap(lambda counts: counts @ values / len(values), len(values), **options)


def rating_intervals(
    labels: np.ndarray, probabilities: np.ndarray, query_rows: np.ndarray, **options: Any
) -> dict[str, Interval]:
    """The intervals of what `rating_metrics` gives of these pairs, their queries drawn with all their pairs.

    Args:
        labels: bool [n], both classes present.
        probabilities: float [n], in [0, 1].
        query_rows: int [n], whose pair each is.
        **options: Of `bootstrap`.

    Returns:
        `log_loss`, `accuracy`, `auc`, `f1` and `brier`.
    """
    order = np.argsort(probabilities, kind="stable")
    labels, probabilities = labels[order], np.asarray(probabilities, np.float64)[order]
    _, units = np.unique(query_rows[order], return_inverse=True)
    num_queries = int(units.max()) + 1
    predicted = probabilities > 0.5
    surest = np.clip(probabilities, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    losses = -np.log(np.where(labels, surest, 1 - surest))
    # Runs of equal probabilities, within which a positive and a negative count a half.
    starts = np.flatnonzero(np.append(True, probabilities[1:] != probabilities[:-1]))

    def of_queries(values: np.ndarray) -> np.ndarray:
        return np.bincount(units, values, num_queries)

    sizes = of_queries(np.ones(len(labels)))
    hits, claims, positives = of_queries(labels & predicted), of_queries(predicted), of_queries(labels)

    def area(counts: np.ndarray) -> np.ndarray:
        weights = counts[:, units]
        positive = np.add.reduceat(weights * labels, starts, axis=1)
        negative = np.add.reduceat(weights * ~labels, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        return _quotient((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))

    def mean_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        sums = of_queries(values)
        return lambda counts: counts @ sums / (counts @ sizes)

    statistics = {
        "log_loss": mean_of(losses),
        "accuracy": mean_of(predicted == labels),
        "auc": area,
        "f1": lambda counts: _quotient(2 * (counts @ hits), counts @ (claims + positives)),
        "brier": mean_of((probabilities - labels) ** 2),
    }
    widths = {"auc": len(labels)}
    return {
        name: bootstrap(statistic, num_queries, width=widths.get(name, 1), **options)
        for name, statistic in statistics.items()
    }


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def compare(first: QueryMetrics, second: QueryMetrics, **options: Any) -> dict[str, Interval]:
    """By how much the first model is better than the second, on the same queries.

    What makes a query easy or hard for both cancels out: the interval is narrower than those of the two figures, and a
    difference whose interval leaves 0 out is more than chance.

    Args:
        first: Of one model.
        second: Of another, on the same test part.
        **options: Of `bootstrap`.

    Returns:
        Metric, of those that both have -> the mean difference and its interval.

    Raises:
        ValueError: If they are of different queries, or have no metric in common.
    """
    if not np.array_equal(first.query_rows, second.query_rows):
        raise ValueError(
            "Both must be of the same queries, of one test part. "
            f"Received: {len(first.query_rows)} and {len(second.query_rows)} queries."
        )
    shared = [name for name in first.values if name in second.values]
    if not shared:
        raise ValueError(f"No metric in common. Received: {', '.join(first.values)} and {', '.join(second.values)}.")
    return {name: mean_interval(first.values[name] - second.values[name], **options) for name in shared}
