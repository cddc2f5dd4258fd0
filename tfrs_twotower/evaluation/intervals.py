"""Bootstrap intervals over queries, for the metrics of one model and for the difference between two models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse

from tfrs_twotower._settings import whole_number
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.relevance import QueryMetrics

_BLOCK_NUMBERS = 2**20
_MAX_PROBABILITY_GROUPS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: Mean of the sample.
        low: Lower end of the interval.
        high: Upper end of the interval.

    Example:
        >>> difference = Interval(mean=0.02, low=0.01, high=0.03)
        >>> difference.low > 0  # significant: the interval does not contain 0
        True
    """

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Settings of the bootstrap, which draws queries with replacement.

    Attributes:
        num_samples: Number of samples drawn, >= 1.
        level: Confidence level: the share of the samples within the interval, in (0, 1).
        seed: Seed of the draws, >= 0.

    Raises:
        TypeError: If `num_samples` or `seed` is not a whole number.
        ValueError: If a number is out of range.

    Example:
        >>> Bootstrap(level=0.9)
        Bootstrap(num_samples=1000, level=0.9, seed=0)
    """

    num_samples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        whole_number(self.num_samples, "`num_samples`", 1)
        whole_number(self.seed, "`seed`", 0)
        if not 0 < self.level < 1:
            raise ValueError(f"`level` must be in (0, 1). Received: {self.level}.")


_DEFAULT = Bootstrap()


def compare(first: QueryMetrics, second: QueryMetrics, *, bootstrap: Bootstrap = _DEFAULT) -> dict[str, Interval]:
    """Measures by how much the first model is better than the second on the same queries.

    A query that is easy or hard for both models affects both figures alike, which cancels out in the difference. The
    interval of the difference is therefore narrower than the intervals of the two figures. A difference whose interval
    does not contain 0 is statistically significant.

    Args:
        first: Metrics of one model.
        second: Metrics of another model on the same test part.
        bootstrap: Settings of the bootstrap.

    Returns:
        Metric -> the mean difference and its interval, for each metric that both models have.

    Raises:
        ValueError: If the queries differ, or no metric is in both.

    Example:
        >>> queries = np.arange(3)
        >>> first, second = (
        ...     QueryMetrics(query_rows=queries, values={"recall@10": values}, num_left_out=0)
        ...     for values in (np.array([0.75, 1.0, 0.5]), np.array([0.5, 0.75, 0.25]))
        ... )
        >>> compare(first, second)
        {'recall@10': Interval(mean=0.25, low=0.25, high=0.25)}
    """
    if not np.array_equal(first.query_rows, second.query_rows):
        raise ValueError(
            "`first` and `second` must be metrics of the same queries of one test part. "
            f"Received: {len(first.query_rows)} and {len(second.query_rows)} queries."
        )
    shared = [name for name in first.values if name in second.values]
    if not shared:
        raise ValueError(
            "`first` and `second` must have a metric in common. "
            f"Received: {', '.join(first.values)} and {', '.join(second.values)}."
        )
    differences = {name: first.values[name] - second.values[name] for name in shared}
    return mean_intervals(differences, units=first.units, bootstrap=bootstrap)


def mean_intervals(
    values: Mapping[str, np.ndarray], *, units: np.ndarray | None = None, bootstrap: Bootstrap = _DEFAULT
) -> dict[str, Interval]:
    """Computes the intervals of means over queries, or over requests, which are drawn together with all of their query.

    Args:
        values: Metric -> float [n], one value per query or request, n >= 1.
        units: int [n], the query of each value; None if each is of another query.
        bootstrap: Settings of the bootstrap.

    Example:
        >>> mean_intervals({"recall@10": np.array([0.5, 0.5, 0.5])})
        {'recall@10': Interval(mean=0.5, low=0.5, high=0.5)}
    """
    matrix = np.stack(list(values.values()), axis=1)
    units = np.arange(len(matrix)) if units is None else np.unique(units, return_inverse=True)[1]
    sizes = np.bincount(units)
    sums = np.stack([np.bincount(units, column) for column in matrix.T], axis=1)
    found = bootstrap_intervals(
        lambda counts: counts @ sums / (counts @ sizes)[:, np.newaxis], len(sizes), bootstrap=bootstrap
    )
    return dict(zip(values, found, strict=True))


def intervals_and_differences(
    first: QueryMetrics, second: QueryMetrics, *, bootstrap: Bootstrap = _DEFAULT
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Computes `mean_intervals` of the first and `compare` of both from the same samples, in little more time than one.

    Args:
        first: Metrics of one model.
        second: The same metrics of another model, for the same queries.
        bootstrap: Settings of the bootstrap.

    Returns:
        (means, differences): metric -> interval, each.

    Example:
        >>> first, second = (
        ...     QueryMetrics(query_rows=np.arange(2), values={"recall@10": np.full(2, value)}, num_left_out=0)
        ...     for value in (0.5, 0.25)
        ... )
        >>> means, differences = intervals_and_differences(first, second)
        >>> means["recall@10"].low, differences["recall@10"].low
        (0.5, 0.25)
    """
    names = list(first.values)
    values = {f"mean {name}": first.values[name] for name in names}
    values.update((f"difference {name}", first.values[name] - second.values[name]) for name in names)
    found = mean_intervals(values, units=first.units, bootstrap=bootstrap)
    return {name: found[f"mean {name}"] for name in names}, {name: found[f"difference {name}"] for name in names}


def rating_intervals(
    labels: np.ndarray, probabilities: np.ndarray, query_rows: np.ndarray, *, bootstrap: Bootstrap = _DEFAULT
) -> dict[str, Interval]:
    """Computes the intervals of `rating_metrics`; each query is drawn together with all its events.

    Args:
        labels: bool [n], with both classes present.
        probabilities: float [n], in [0, 1], of the positive class.
        query_rows: int [n], the query of each event.
        bootstrap: Settings of the bootstrap.

    Returns:
        `log_loss`, `accuracy`, `auc`, `f1` and `brier`, and `gauc` if any query has both classes. If there are more
        than 4,096 distinct probabilities, the AUC is computed from 4,096 groups of them that are equally large.

    Example:
        >>> labels, queries = np.array([True, False, True, False]), np.array([0, 0, 1, 1])
        >>> intervals = rating_intervals(labels, np.array([0.75, 0.25, 0.75, 0.25]), queries)
        >>> intervals["accuracy"], intervals["brier"]
        (Interval(mean=1.0, low=1.0, high=1.0), Interval(mean=0.0625, low=0.0625, high=0.0625))
    """
    probabilities = np.asarray(probabilities, np.float64)
    _, units = np.unique(query_rows, return_inverse=True)
    num_queries = int(units.max()) + 1
    predicted = probabilities > 0.5
    with_both, areas, sizes_of_both = metrics.auc_by_group(labels, probabilities, units)
    area_sums, area_sizes = np.zeros(num_queries), np.zeros(num_queries)
    area_sums[with_both], area_sizes[with_both] = areas * sizes_of_both, sizes_of_both
    columns = {
        "log_loss": metrics.log_losses(labels, probabilities),
        "accuracy": predicted == labels,
        "brier": (probabilities - labels) ** 2,
        "sizes": np.ones(len(labels)),
        "true_positives": labels & predicted,
        "positives": predicted.astype(np.int64) + labels,
    }
    sums = np.stack([np.bincount(units, column, num_queries) for column in columns.values()], axis=1)
    sums = np.column_stack([sums, area_sums, area_sizes])
    positive, negative = _counts_by_probability(labels, probabilities, units, num_queries)

    def statistic(counts: np.ndarray) -> np.ndarray:
        log_loss, accuracy, brier, sizes, true_positives, positives, area_sum, area_size = (counts @ sums).T
        liked, disliked = (np.asarray((part.T @ counts.T).T) for part in (positive, negative))
        below = np.cumsum(disliked, axis=1) - disliked / 2
        auc = _quotient((liked * below).sum(axis=1), liked.sum(axis=1) * disliked.sum(axis=1))
        means = [column / sizes for column in (log_loss, accuracy, brier)]
        f1, gauc = _quotient(2 * true_positives, positives), _quotient(area_sum, area_size)
        return np.stack([*means, auc, f1, gauc], axis=1)[:, : len(names)]

    names = ["log_loss", "accuracy", "brier", "auc", "f1", *(["gauc"] if len(with_both) else [])]
    found = bootstrap_intervals(statistic, num_queries, width=positive.shape[1], bootstrap=bootstrap)
    return dict(zip(names, found, strict=True))


def bootstrap_intervals(
    statistic: Callable[[np.ndarray], np.ndarray],
    num_queries: int,
    *,
    width: int = 1,
    bootstrap: Bootstrap = _DEFAULT,
) -> list[Interval]:
    """Computes percentile intervals of statistics by drawing queries with replacement.

    Args:
        statistic: Function from float64 [samples, num_queries], how often each query occurs in a sample, to float64
            [samples, m], the values of m statistics. Their values when each query occurs once are the means.
        num_queries: Number of queries, >= 1.
        width: Number of intermediate values that the statistic computes for one sample, which limits the number of
            samples drawn at once.
        bootstrap: Settings of the bootstrap.

    Returns:
        One interval for each of the m statistics.

    Raises:
        ValueError: If `num_queries` is out of range.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.

    Example:
        >>> values = np.array([[2.0], [2.0], [2.0]])
        >>> bootstrap_intervals(lambda counts: counts @ values / 3, 3)
        [Interval(mean=2.0, low=2.0, high=2.0)]
    """
    whole_number(num_queries, "`num_queries`", 1)
    generator = np.random.default_rng(bootstrap.seed)
    found = []
    block = max(1, _BLOCK_NUMBERS // max(num_queries, width))
    for start in range(0, bootstrap.num_samples, block):
        counts = np.empty((min(block, bootstrap.num_samples - start), num_queries))
        for sample in counts:
            # Counting draws is ten times as fast as NumPy's multinomial distribution, which draws a binomial per query.
            sample[:] = np.bincount(generator.integers(0, num_queries, num_queries), minlength=num_queries)
        found.append(statistic(counts))
    tail = [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2]
    lows, highs = np.nanquantile(np.concatenate(found), tail, axis=0)
    means = statistic(np.ones((1, num_queries)))[0]
    return [
        Interval(mean=float(mean), low=float(low), high=float(high))
        for mean, low, high in zip(means, lows, highs, strict=True)
    ]


def _counts_by_probability(
    labels: np.ndarray, probabilities: np.ndarray, units: np.ndarray, num_queries: int
) -> tuple[scipy.sparse.csr_matrix, scipy.sparse.csr_matrix]:
    """Counts each query's positive and negative events at each distinct probability, in ascending order."""
    values, groups = np.unique(probabilities, return_inverse=True)
    if len(values) > _MAX_PROBABILITY_GROUPS:
        levels = np.linspace(0, 1, _MAX_PROBABILITY_GROUPS + 1)[1:-1]
        edges = np.unique(np.quantile(probabilities, levels, method="lower"))
        groups = np.searchsorted(edges, probabilities, side="left")
    shape = (num_queries, int(groups.max()) + 1)
    positive, negative = (
        scipy.sparse.csr_matrix((np.ones(is_in.sum()), (units[is_in], groups[is_in])), shape=shape)
        for is_in in (labels, ~labels)
    )
    return positive, negative


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides two arrays; the quotient is NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
