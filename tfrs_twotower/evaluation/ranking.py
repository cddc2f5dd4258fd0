"""Ranks the whole catalogue for every query and measures what comes first."""

from __future__ import annotations

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics

_BLOCK_SCORES = 2**24  # float32 scores held at once: 64 MiB


def rank_candidates(queries: np.ndarray, candidates: np.ndarray, seen: np.ndarray, *, k: int) -> np.ndarray:
    """The k best candidates of each query by dot product, what the query has seen left out.

    Args:
        queries: float32 [num_queries, dim].
        candidates: float32 [num_candidates, dim].
        seen: int [num_seen, 2], pairs (query row, candidate row) to leave out.
        k: Slots per query, 1 <= k <= num_candidates.

    Returns:
        int32 [num_queries, k], rows of `candidates`, best first, of equal scores the lower row first; -1 in slots
        that are left over.

    Raises:
        ValueError: If `k` is out of range.

    Example:
        >>> queries, candidates = np.array([[1.0], [1.0]]), np.array([[0.1], [0.3], [0.2]])
        >>> rank_candidates(queries, candidates, np.array([[1, 1]]), k=2).tolist()
        [[1, 2], [2, 0]]
    """
    if not 1 <= k <= len(candidates):
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={len(candidates)}.")
    seen = seen[np.argsort(seen[:, 0], kind="stable")]
    block_size = max(1, _BLOCK_SCORES // len(candidates))
    ranked = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), block_size):
        stop = min(start + block_size, len(queries))
        scores = queries[start:stop] @ candidates.T
        first, last = np.searchsorted(seen[:, 0], [start, stop])
        scores[seen[first:last, 0] - start, seen[first:last, 1]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        left_over = np.isneginf(np.take_along_axis(scores, order, axis=1))
        ranked[start:stop] = np.where(left_over, -1, order)
    return ranked


def ranking_metrics(ranked: np.ndarray, test: Interactions, seen: np.ndarray, *, threshold: float) -> dict[str, float]:
    """Averages the metrics at k over the queries that have a relevant candidate in the test part.

    Args:
        ranked: int [num_queries, k], from `rank_candidates`.
        test: The test part.
        seen: int [num_seen, 2], the pairs that were left out of the ranking: no ranking could find them again.
        threshold: A rating of at least this is relevant.

    Returns:
        `precision@k`, `recall@k`, `ndcg@k`, `hit_rate@k`, and `num_queries`, over how many they were averaged.

    Raises:
        ValueError: If no query has a relevant candidate.
    """
    k = ranked.shape[1]
    relevant = test.ratings >= threshold
    pairs = np.unique(_pair_codes(test.query_rows[relevant], test.candidate_rows[relevant], test.num_candidates))
    pairs = np.setdiff1d(pairs, _pair_codes(seen[:, 0], seen[:, 1], test.num_candidates))
    num_relevant = np.bincount(pairs // test.num_candidates, minlength=test.num_queries)
    evaluated = np.flatnonzero(num_relevant)
    if not evaluated.size:
        raise ValueError(f"No unseen test event has a rating of at least {threshold}: there is nothing to find.")
    rows = ranked[evaluated]
    hits = np.isin(_pair_codes(evaluated[:, np.newaxis], rows, test.num_candidates), pairs) & (rows >= 0)
    counts = num_relevant[evaluated]
    return {
        f"precision@{k}": float(metrics.precision(hits).mean()),
        f"recall@{k}": float(metrics.recall(hits, counts).mean()),
        f"ndcg@{k}": float(metrics.ndcg(hits, counts).mean()),
        f"hit_rate@{k}": float(metrics.hit_rate(hits).mean()),
        "num_queries": float(evaluated.size),
    }


def event_pairs(interactions: Interactions) -> np.ndarray:
    """int64 [num_events, 2], the query row and candidate row of every event."""
    return np.stack([interactions.query_rows, interactions.candidate_rows], axis=1).astype(np.int64)


def _pair_codes(query_rows: np.ndarray, candidate_rows: np.ndarray, num_candidates: int) -> np.ndarray:
    return query_rows.astype(np.int64) * num_candidates + candidate_rows
