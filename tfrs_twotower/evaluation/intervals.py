"""How sure a figure is: bootstrap intervals over queries, of one model and of the difference of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse

from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.ranking import QueryMetrics

_NUMBERS_AT_ONCE = 2**20
_MOST_GROUPS = 4096


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
) -> list[Interval]:
    """The percentile intervals of statistics, queries drawn with repetition, each with all that it has.

    Args:
        statistic: From float64 [samples, num_queries], how often each query counts, to float64 [samples, m], m figures
            of each; those where each query counts once are the means.
        num_queries: How many queries there are, >= 1.
        width: How many numbers the statistic makes of one sample on its way: fewer samples are drawn at once then.
        num_samples: How many samples are drawn, >= 1.
        level: Share of the samples within the interval, in (0, 1).
        seed: Of the draws.

    Returns:
        An interval of each of the m figures.

    Raises:
        ValueError: If a number is out of range.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.

    Example:
        >>> values = np.array([[2.0], [2.0], [2.0]])
        >>> bootstrap(lambda counts: counts @ values / 3, 3)
        [Interval(mean=2.0, low=2.0, high=2.0)]
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
    block = max(1, _NUMBERS_AT_ONCE // max(num_queries, width))
    for start in range(0, num_samples, block):
        counts = generator.multinomial(num_queries, shares, min(block, num_samples - start))
        found.append(statistic(counts.astype(np.float64)))
    ends = np.nanquantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2], axis=0)
    means = statistic(np.ones((1, num_queries)))[0]
    return [
        Interval(mean=float(mean), low=float(low), high=float(high))
        for mean, low, high in zip(means, *ends, strict=True)
    ]


def mean_intervals(values: Mapping[str, np.ndarray], **options: Any) -> dict[str, Interval]:
    """The intervals of means over queries.

    Args:
        values: Metric -> float [n], one per query, n >= 1.
        **options: Of `bootstrap`.
    """
    matrix = np.stack(list(values.values()), axis=1)
    found = bootstrap(lambda counts: counts @ matrix / len(matrix), len(matrix), **options)
    return dict(zip(values, found, strict=True))


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
        `log_loss`, `accuracy`, `auc`, `f1` and `brier`, and `gauc` if a query has both classes. The area of more than
        4,096 different probabilities is that of as many equally large groups of them.
    """
    probabilities = np.asarray(probabilities, np.float64)
    _, units = np.unique(query_rows, return_inverse=True)
    num_queries = int(units.max()) + 1
    predicted = probabilities > 0.5
    with_both, areas, sizes_of_both = metrics.areas_by_group(labels, probabilities, units)
    area_sums, area_sizes = np.zeros(num_queries), np.zeros(num_queries)
    area_sums[with_both], area_sizes[with_both] = areas * sizes_of_both, sizes_of_both
    columns = {
        "log_loss": metrics.log_losses(labels, probabilities),
        "accuracy": predicted == labels,
        "brier": (probabilities - labels) ** 2,
        "sizes": np.ones(len(labels)),
        "hits": labels & predicted,
        "claims": predicted.astype(np.int64) + labels,
    }
    sums = np.stack([np.bincount(units, column, num_queries) for column in columns.values()], axis=1)
    sums = np.column_stack([sums, area_sums, area_sizes])
    positive, negative = _by_probability(labels, probabilities, units, num_queries)

    def figures(counts: np.ndarray) -> np.ndarray:
        log_loss, accuracy, brier, sizes, hits, claims, of_areas, with_areas = (counts @ sums).T
        liked, disliked = (np.asarray((part.T @ counts.T).T) for part in (positive, negative))
        below = np.cumsum(disliked, axis=1) - disliked / 2
        auc = _quotient((liked * below).sum(axis=1), liked.sum(axis=1) * disliked.sum(axis=1))
        means = [column / sizes for column in (log_loss, accuracy, brier)]
        return np.stack([*means, auc, _quotient(2 * hits, claims), _quotient(of_areas, with_areas)], axis=1)

    names = ("log_loss", "accuracy", "brier", "auc", "f1", "gauc")
    found = dict(zip(names, bootstrap(figures, num_queries, width=positive.shape[1], **options), strict=True))
    if not len(with_both):
        del found["gauc"]
    return found


def _by_probability(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, num_queries: int
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """How many positives, and negatives, each query has of each probability, the lowest first."""
    values, groups = np.unique(probabilities, return_inverse=True)
    if len(values) > _MOST_GROUPS:
        edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, _MOST_GROUPS + 1)[1:-1], method="lower"))
        groups = np.searchsorted(edges, probabilities, side="left")
    shape = (num_queries, int(groups.max()) + 1)
    positive, negative = (
        scipy.sparse.csr_matrix((np.ones(is_in.sum()), (units[is_in], groups[is_in])), shape=shape)
        for is_in in (labels, ~labels)
    )
    return positive, negative


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
    return mean_intervals({name: first.values[name] - second.values[name] for name in shared}, **options)
