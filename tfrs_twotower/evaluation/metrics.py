"""Metrics in NumPy alone: of rankings, one value per query; of what is recommended; of probabilities.

Those of rankings take `hits`, bool [num_queries, k]: whether the candidate in each slot, best first, is relevant. At a
smaller k they take `hits[:, :k]`.
"""

from __future__ import annotations

import numpy as np

#: Where probabilities are cut before their logarithm is taken: what a float32 can tell from 0 and 1.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


def precision(hits: np.ndarray) -> np.ndarray:
    """Share of the k slots that hold a relevant candidate, float64 [num_queries].

    Example:
        >>> precision(np.array([[True, False, True, False]])).tolist()
        [0.5]
    """
    return hits.mean(axis=1)


def recall(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Share of the relevant candidates that are among the k, float64 [num_queries].

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1.

    Example:
        >>> recall(np.array([[True, False, True, False]]), np.array([8])).tolist()
        [0.25]
    """
    return hits.sum(axis=1) / num_relevant


def hit_rate(hits: np.ndarray) -> np.ndarray:
    """1 where any of the k is relevant, else 0, float64 [num_queries].

    Example:
        >>> hit_rate(np.array([[False, True], [False, False]])).tolist()
        [1.0, 0.0]
    """
    return np.asarray(hits.any(axis=1), np.float64)


def reciprocal_rank(hits: np.ndarray) -> np.ndarray:
    """One over the slot, counted from 1, of the first relevant candidate; 0 without one, float64 [num_queries].

    The mean over queries is the MRR.

    References:
        Voorhees 1999, "The TREC-8 Question Answering Track Report".

    Example:
        >>> reciprocal_rank(np.array([[False, True, True], [False, False, False]])).tolist()
        [0.5, 0.0]
    """
    return np.asarray(np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0))


def average_precision(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Mean over the relevant candidates of the precision up to each one's slot, float64 [num_queries].

    One that is not among the k counts 0. Where more are relevant than there are slots, the sum is divided by the slots,
    so that 1 is the best possible; other tools divide by all that are relevant. The mean over queries is the MAP.

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1.

    References:
        Manning, Raghavan & Schütze 2008, "Introduction to Information Retrieval", section 8.4.

    Example:
        >>> average_precision(np.array([[True, False, True]]), np.array([2])).round(4).tolist()
        [0.8333]
    """
    slots = np.arange(1, hits.shape[1] + 1)
    sums = (hits * np.cumsum(hits, axis=1) / slots).sum(axis=1)
    return np.asarray(sums / np.minimum(num_relevant, hits.shape[1]))


def ndcg(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain with binary gains, float64 [num_queries].

    The gain of a relevant candidate in slot i (from 1) is 1 / log2(i + 1); the sum is divided by that of the best
    possible order.

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1.

    References:
        Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", eq. 2 and section 2.3, with
        the discount log2(i + 1) of Burges et al. 2005.

    Example:
        >>> ndcg(np.array([[True, False], [False, True]]), np.array([1, 1])).round(4).tolist()
        [1.0, 0.6309]
    """
    k = hits.shape[1]
    return graded_ndcg(hits, np.arange(k) < np.asarray(num_relevant)[:, np.newaxis])


def graded_ndcg(gains: np.ndarray, best_gains: np.ndarray) -> np.ndarray:
    """Normalised discounted cumulative gain with any gains, float64 [num_queries].

    Args:
        gains: [num_queries, k], >= 0, what the candidate in each slot is worth, such as its rating, 0 if not relevant.
        best_gains: [num_queries, k], those of the best possible order, descending, the first > 0.

    References:
        As `ndcg`.

    Example:
        >>> graded_ndcg(np.array([[3.0, 5.0]]), np.array([[5.0, 3.0]])).round(4).tolist()
        [0.8929]
    """
    discounts = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    return np.asarray((gains * discounts).sum(axis=1) / (best_gains * discounts).sum(axis=1))


def search_recall(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of what exact search finds that a search found, too, in any slots, float64 [num_queries].

    Args:
        found: int [num_queries, k], rows of candidates, none twice for a query, -1 for an empty slot.
        exact: int [num_queries, k], the same by exact search.

    Returns:
        NaN where exact search finds nothing.

    Example:
        >>> search_recall(np.array([[2, 0], [1, -1]]), np.array([[0, 1], [1, -1]])).tolist()
        [0.5, 1.0]
    """
    is_there = exact >= 0
    is_found = (exact[:, :, np.newaxis] == found[:, np.newaxis, :]).any(axis=2) & is_there
    num = is_there.sum(axis=1)
    return np.divide(is_found.sum(axis=1), num, out=np.full(len(num), np.nan), where=num > 0)


def coverage(ranked: np.ndarray, num_candidates: int) -> float:
    """Share of the catalogue that is recommended to anyone.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        num_candidates: Size of the catalogue, >= 1.

    Example:
        >>> coverage(np.array([[0, 1], [1, -1]]), 4)
        0.5
    """
    return np.unique(ranked[ranked >= 0]).size / num_candidates


def gini(counts: np.ndarray) -> float:
    """How unequally recommendations are spread: 0 if all candidates get the same number, 1 if one gets all.

    Args:
        counts: [num_candidates], >= 0, how often each is recommended; 0 if none is.

    References:
        Shani & Gunawardana 2011, "Evaluating Recommendation Systems", section 8.3.2.

    Example:
        >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
        (0.0, 1.0)
    """
    ascending = np.sort(np.asarray(counts, np.float64))
    num, total = len(ascending), ascending.sum()
    if total == 0 or num == 1:
        return 0.0
    places = np.arange(1, num + 1)
    return float(((2 * places - num - 1) * ascending).sum() / ((num - 1) * total))


def novelty(ranked: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """How surprising each query's recommendations are, bits: the mean of -log2 of their popularity, [num_queries].

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        shares: float [num_candidates], in (0, 1], the share of the queries that have met each.

    Returns:
        float64 [num_queries], NaN without a recommendation.

    References:
        Castells, Hurley & Vargas 2015, "Novelty and Diversity in Recommender Systems", section 26.3.2.

    Example:
        >>> novelty(np.array([[0, 1], [1, -1]]), np.array([0.5, 0.25])).tolist()
        [1.5, 2.0]
    """
    bits = -np.log2(np.asarray(shares, np.float64))
    return _mean_where(bits[ranked], ranked >= 0)


def intra_list_similarity(ranked: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """How alike each query's recommendations are: the mean cosine of their pairs, [num_queries].

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        vectors: float [num_candidates, dim], what likeness is of; a zero vector is unlike any.

    Returns:
        float64 [num_queries], NaN with less than two recommendations.

    References:
        Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", eq. 3, whose sum over pairs
        is a mean here.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> intra_list_similarity(np.array([[0, 1, 2]]), vectors).round(4).tolist()
        [0.3333]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors, np.float64), where=lengths > 0)
    is_there = (ranked >= 0)[..., np.newaxis]
    is_nonzero = (lengths[:, 0] > 0)[ranked] & (ranked >= 0)
    # The square of the sum is the sum over all pairs, each one with itself among them.
    sums = (units[ranked] * is_there).sum(axis=1)
    pairs = (sums**2).sum(axis=1) - is_nonzero.sum(axis=1)
    num = (ranked >= 0).sum(axis=1)
    return np.divide(pairs, num * (num - 1), out=np.full(len(ranked), np.nan), where=num > 1)


def log_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Nats by which each outcome surprises, float64 [n]: minus the logarithm of the probability that it was given.

    Args:
        labels: bool [n].
        probabilities: float [n], in [0, 1], cut at `LEAST_PROBABILITY` from both ends.

    Example:
        >>> log_losses(np.array([True, False]), np.array([0.5, 0.5])).round(4).tolist()
        [0.6931, 0.6931]
    """
    surest = np.clip(np.asarray(probabilities, np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(-np.log(np.where(labels, surest, 1 - surest)))


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared difference of probability and outcome.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1].

    References:
        Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".

    Example:
        >>> brier_score(np.array([True, False]), np.array([0.5, 0.0]))
        0.125
    """
    return float(np.mean((np.asarray(probabilities, np.float64) - labels) ** 2))


def reliability(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = 10) -> np.ndarray:
    """What came true of what was said, in bins of equally many pairs.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1].
        num_bins: At most so many, >= 1. Pairs of the same probability stay in one bin.

    Returns:
        float64 [bins, 3], the mean probability, the share of positives and the number of pairs of each.

    Example:
        >>> reliability(np.array([False, True, True, True]), np.array([0.2, 0.4, 0.8, 1.0]), num_bins=2).tolist()
        [[0.30000000000000004, 0.5, 2.0], [0.9, 1.0, 2.0]]
    """
    order = np.argsort(probabilities, kind="stable")
    ascending, came_true = np.asarray(probabilities, np.float64)[order], np.asarray(labels, np.float64)[order]
    edges = np.quantile(ascending, np.linspace(0, 1, num_bins + 1)[1:-1], method="lower")
    starts = np.unique(np.concatenate([[0], np.searchsorted(ascending, edges, side="right")]))
    starts = starts[starts < len(ascending)]
    counts = np.diff(np.append(starts, len(ascending)))
    sums = np.stack([np.add.reduceat(values, starts) for values in (ascending, came_true)], axis=1)
    return np.column_stack([sums / counts[:, np.newaxis], counts])


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, num_bins: int = 10) -> float:
    """Expected calibration error: the mean distance of what was said and what came true, over bins of equal size.

    Args:
        labels: bool [n], n >= 1.
        probabilities: float [n], in [0, 1].
        num_bins: As of `reliability`.

    References:
        Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 3 (adaptive bins).

    Example:
        >>> calibration_error(np.array([False, True, True, True]), np.full(4, 0.75))
        0.0
    """
    said, came_true, counts = reliability(labels, probabilities, num_bins=num_bins).T
    return float(np.average(np.abs(said - came_true), weights=counts))


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """The area under the ROC curve within each group, averaged by their events: GAUC, of users as groups.

    Groups with positives alone or negatives alone say nothing and are left out.

    Args:
        labels: bool [n].
        scores: float [n]; of equal ones the area counts a half.
        groups: int [n], >= 0.

    Returns:
        The mean, NaN if no group has both.

    References:
        Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", eq. 8.

    Example:
        >>> labels = np.array([True, False, True, False, True])
        >>> grouped_auc(labels, np.array([0.9, 0.1, 0.2, 0.3, 0.5]), np.array([0, 0, 1, 1, 2]))
        0.5
    """
    _, areas, sizes = areas_by_group(labels, scores, groups)
    return float(np.average(areas, weights=sizes)) if len(areas) else float("nan")


def areas_by_group(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The area under the ROC curve of each group that has both classes.

    Args:
        labels: bool [n].
        scores: float [n]; of equal ones the area counts a half.
        groups: int [n].

    Returns:
        (groups, areas, sizes): the groups that have both, ascending; float64, in [0, 1]; how many events each has.

    References:
        Hanley & McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve"
        (the area as a sum of ranks).
    """
    order = np.lexsort([scores, groups])
    labels, scores, groups = np.asarray(labels, bool)[order], np.asarray(scores)[order], np.asarray(groups)[order]
    if not len(groups):
        return groups, np.zeros(0), np.zeros(0, np.int64)
    is_first = np.append(True, groups[1:] != groups[:-1])
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(groups)))
    # Ranks within the group, of equal scores their mean.
    is_new = is_first | np.append(True, scores[1:] != scores[:-1])
    run_starts = np.flatnonzero(is_new)
    run_lengths = np.diff(np.append(run_starts, len(groups)))
    ranks = np.repeat(run_starts + (run_lengths + 1) / 2, run_lengths) - np.repeat(starts, counts)
    num_positive = np.add.reduceat(labels.astype(np.int64), starts)
    num_negative = counts - num_positive
    has_both = (num_positive > 0) & (num_negative > 0)
    rank_sums = np.add.reduceat(ranks * labels, starts)[has_both]
    num_positive, num_negative = num_positive[has_both], num_negative[has_both]
    areas = (rank_sums - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)
    return groups[starts][has_both], areas, counts[has_both]


def _mean_where(values: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """The mean of each row's values that are there, NaN without any."""
    counts = is_there.sum(axis=1)
    sums = np.where(is_there, values, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
