"""Ranking metrics at k, one value per query, in NumPy alone.

All take `hits`, bool [num_queries, k]: whether the candidate in each slot, best first, is relevant.
"""

from __future__ import annotations

import numpy as np


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
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discounts)[np.minimum(num_relevant, hits.shape[1]) - 1]
    gains: np.ndarray = (hits * discounts).sum(axis=1)
    return gains / ideal
