"""Metrics of rankings and of sets of recommendations, in pure NumPy.

Metrics of rankings return one value per query. They take `hits`, bool [num_queries, k]: whether the candidate in each
slot, best first, is relevant. To measure at a smaller k, pass `hits[:, :k]`.
"""

from __future__ import annotations

import numpy as np

_BLOCK_QUERIES = 1024  # queries whose recommendations' vectors are in memory at once


def precision(hits: np.ndarray) -> np.ndarray:
    """Returns the share of the k slots that hold a relevant candidate, float64 [num_queries].

    Args:
        hits: bool [num_queries, k].

    Example:
        >>> precision(np.array([[True, False, True, False]])).tolist()
        [0.5]
    """
    return hits.mean(axis=1)


def recall(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Returns the share of the relevant candidates that are in the k slots, float64 [num_queries].

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1, number of relevant candidates of each query.

    Example:
        >>> recall(np.array([[True, False, True, False]]), np.array([8])).tolist()
        [0.25]
    """
    return hits.sum(axis=1) / num_relevant


def hit_rate(hits: np.ndarray) -> np.ndarray:
    """Returns 1 for a query with a relevant candidate in the k slots and 0 for any other, float64 [num_queries].

    Args:
        hits: bool [num_queries, k].

    Example:
        >>> hit_rate(np.array([[False, True], [False, False]])).tolist()
        [1.0, 0.0]
    """
    return np.asarray(hits.any(axis=1), np.float64)


def reciprocal_rank(hits: np.ndarray) -> np.ndarray:
    """Returns the reciprocal of the first relevant candidate's rank, or 0 without one, float64 [num_queries].

    Ranks are counted from 1. The mean over queries is the MRR.

    Args:
        hits: bool [num_queries, k].

    References:
        Voorhees 1999, "The TREC-8 Question Answering Track Report".

    Example:
        >>> reciprocal_rank(np.array([[False, True, True], [False, False, False]])).tolist()
        [0.5, 0.0]
    """
    return np.asarray(np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0))


def average_precision(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Averages, over the relevant candidates, the precision at each one's slot, float64 [num_queries].

    A relevant candidate outside the k slots contributes 0. If there are more relevant candidates than slots, the sum is
    divided by the number of slots, so that the best possible value is 1; other tools divide by the number of relevant
    candidates. The mean over queries is the MAP.

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1, number of relevant candidates of each query.

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
    """Computes the normalised discounted cumulative gain with binary gains, float64 [num_queries].

    The gain of a relevant candidate in slot i (counted from 1) is 1 / log2(i + 1). The sum of the gains is divided by
    the sum for the best possible order.

    Args:
        hits: bool [num_queries, k].
        num_relevant: int [num_queries], >= 1, number of relevant candidates of each query.

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
    """Computes the normalised discounted cumulative gain with gains of any size, float64 [num_queries].

    Args:
        gains: float [num_queries, k], >= 0, the gain of the candidate in each slot, such as its rating; 0 if it is not
            relevant.
        best_gains: float [num_queries, k], the gains in the best possible order, descending, the first one > 0.

    Example:
        >>> graded_ndcg(np.array([[3.0, 5.0]]), np.array([[5.0, 3.0]])).round(4).tolist()
        [0.8929]
    """
    discounts = 1 / np.log2(np.arange(2, gains.shape[1] + 2))
    return np.asarray((gains * discounts).sum(axis=1) / (best_gains * discounts).sum(axis=1))


def search_recall(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Returns the share of the results of exact search that another search has found too, in whatever order.

    Args:
        found: int [num_queries, k], rows of candidates, -1 for an empty slot. No row occurs twice for a query.
        exact: int [num_queries, k], the rows that exact search finds.

    Returns:
        float64 [num_queries], NaN where exact search finds nothing.

    Example:
        >>> search_recall(np.array([[2, 0], [1, -1]]), np.array([[0, 1], [1, -1]])).tolist()
        [0.5, 1.0]
    """
    is_filled = exact >= 0
    is_found = (exact[:, :, np.newaxis] == found[:, np.newaxis, :]).any(axis=2) & is_filled
    num = is_filled.sum(axis=1)
    return np.divide(is_found.sum(axis=1), num, out=np.full(len(num), np.nan), where=num > 0)


def coverage(ranked: np.ndarray, num_candidates: int) -> float:
    """Returns the share of the catalogue that is recommended to at least one query.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        num_candidates: Size of the catalogue, >= 1.

    Example:
        >>> coverage(np.array([[0, 1], [1, -1]]), 4)
        0.5
    """
    return np.unique(ranked[ranked >= 0]).size / num_candidates


def gini(counts: np.ndarray) -> float:
    """Measures how unequally recommendations are spread over the candidates.

    Args:
        counts: int [num_candidates], >= 0, how often each candidate is recommended.

    Returns:
        The Gini coefficient: 0 if all candidates are recommended equally often (or never), 1 if a single candidate
        gets all the recommendations.

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
    """Measures how surprising each query's recommendations are: the mean of -log2 of their popularity, in bits.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        shares: float [num_candidates], in (0, 1], the share of the queries that have interacted with each candidate.

    Returns:
        float64 [num_queries], NaN for a query without recommendations.

    References:
        Castells, Hurley & Vargas 2015, "Novelty and Diversity in Recommender Systems", section 26.3.2.

    Example:
        >>> novelty(np.array([[0, 1], [1, -1]]), np.array([0.5, 0.25])).tolist()
        [1.5, 2.0]
    """
    bits = -np.log2(np.asarray(shares, np.float64))
    is_filled = ranked >= 0
    sums, num = np.where(is_filled, bits[ranked], 0.0).sum(axis=1), is_filled.sum(axis=1)
    return np.divide(sums, num, out=np.full(len(num), np.nan), where=num > 0)


def intra_list_similarity(ranked: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Measures how similar each query's recommendations are: the mean cosine similarity of all pairs of them.

    Args:
        ranked: int [num_queries, k], rows of candidates, -1 for an empty slot.
        vectors: float [num_candidates, dim], the candidates' vectors; a zero vector has similarity 0 to every other.

    Returns:
        float64 [num_queries], NaN for a query with fewer than two recommendations.

    References:
        Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", eq. 3, whose sum over pairs
        is replaced by a mean here.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
        >>> intra_list_similarity(np.array([[0, 1, 2]]), vectors).round(4).tolist()
        [0.3333]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors, np.float64), where=lengths > 0)
    is_filled = ranked >= 0
    squares = np.empty(len(ranked))
    for start in range(0, len(ranked), _BLOCK_QUERIES):
        block = slice(start, start + _BLOCK_QUERIES)
        sums = np.einsum("nkd,nk->nd", units[ranked[block]], is_filled[block].astype(np.float64))
        squares[block] = np.einsum("nd,nd->n", sums, sums)
    # The square of the sum is the sum over all ordered pairs, each vector's pair with itself included.
    pairs = squares - ((lengths[:, 0] > 0)[ranked] & is_filled).sum(axis=1)
    num = is_filled.sum(axis=1)
    return np.divide(pairs, num * (num - 1), out=np.full(len(ranked), np.nan), where=num > 1)
