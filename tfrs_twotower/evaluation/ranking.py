"""Finds the best candidates of the whole catalogue for every query."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW

#: (queries, candidates), float [num_queries, dim] and [num_candidates, dim]: embeddings whose dot products are scores.
Embeddings: TypeAlias = tuple[np.ndarray, np.ndarray]

_BLOCK_SCORES = 2**22  # float32 scores that a thread holds at once: 16 MiB
# Group size as a share of sqrt(num_candidates / k), at which there are as many groups as members looked at in the k
# best groups. The value was chosen by measurement.
_GROUP_FACTOR = 0.5
_MIN_GROUP_SIZE = 8  # below this size, looking at the maxima of groups first does not pay


def rank_candidates(
    queries: np.ndarray, candidates: np.ndarray, seen: np.ndarray, *, k: int, query_rows: np.ndarray | None = None
) -> np.ndarray:
    """Finds the k best candidates of each query by dot product, leaving out those that the query has seen.

    Ties are broken at random, differently for each query but always in the same way for the same rows. A model that
    gives every candidate the same score therefore finds no more than chance does.

    Args:
        queries: float [num_queries, dim], finite.
        candidates: float [num_candidates, dim], finite.
        seen: int [num_seen, 2], pairs (query row, candidate row) to leave out.
        k: Slots per query, 1 <= k <= num_candidates.
        query_rows: int [n], ascending, the queries to rank candidates for; None for all.

    Returns:
        int32 [num_queries, k], rows of `candidates`, best first. Slots for which no candidate is left, and all slots of
        queries that are not ranked for, hold -1.

    Raises:
        ValueError: If `k` is out of range, an embedding is not finite, or the embeddings differ in length.

    Example:
        >>> queries, candidates = np.array([[1.0], [1.0]]), np.array([[0.1], [0.3], [0.2]])
        >>> rank_candidates(queries, candidates, np.array([[1, 1]]), k=2).tolist()
        [[1, 2], [2, 0]]
    """
    if not 1 <= k <= len(candidates):
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={len(candidates)}.")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            "`queries` and `candidates` must have the same embedding length. "
            f"Received: {queries.shape[1]} and {candidates.shape[1]}."
        )
    for name, embeddings in (("queries", queries), ("candidates", candidates)):
        if not np.isfinite(embeddings).all():
            row = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
            raise ValueError(f"`{name}` must be finite. Row {row} is not: {embeddings[row]}.")
    query_rows = np.arange(len(queries)) if query_rows is None else np.asarray(query_rows, np.int64)
    seen = seen[np.isin(seen[:, 0], query_rows)] if len(query_rows) < len(queries) else seen
    seen = seen[np.argsort(seen[:, 0], kind="stable")]
    places = np.searchsorted(query_rows, seen[:, 0])
    block_size = max(1, _BLOCK_SCORES // len(candidates))
    ranked = np.full((len(queries), k), NO_ROW, np.int32)
    transposed = np.ascontiguousarray(candidates.T)

    def rank_block(start: int) -> None:
        rows = query_rows[start : start + block_size]
        scores = queries[rows] @ transposed
        first, last = np.searchsorted(places, [start, start + len(rows)])
        scores[places[first:last] - start, seen[first:last, 1]] = -np.inf
        ranked[rows] = _rank_block(scores, k, rows)

    # BLAS gets one thread for each of ours: with more there would be more threads than cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_num_cores()) as threads:
        list(threads.map(rank_block, range(0, len(query_rows), block_size)))
    return ranked


def event_pairs(interactions: Interactions) -> np.ndarray:
    """Returns the query row and candidate row of every event, int64 [num_events, 2].

    Args:
        interactions: The events.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [1, 0], "rating": [5.0, 1.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> event_pairs(ratings).tolist()
        [[0, 1], [0, 0]]
    """
    return np.stack([interactions.query_rows, interactions.candidate_rows], axis=1).astype(np.int64)


def _num_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rank_block(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """Returns the columns of the best scores, int [block, k], best first; -1 where only -inf is left."""
    columns, is_tied = _top_k_unordered(scores, k)
    if is_tied.any():
        columns[is_tied] = _top_k_random_ties(scores[is_tied], k, query_rows[is_tied])
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.lexsort((_random_keys(query_rows[:, np.newaxis], columns), -values), axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    columns[np.isneginf(np.take_along_axis(values, order, axis=1))] = NO_ROW
    return columns


def _top_k_unordered(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the columns of k best scores, in any order and with ties broken arbitrarily.

    Returns:
        (columns, is_tied): int [block, k]; bool [block], whether columns that were not chosen score as high as the
        lowest of the chosen ones.
    """
    num_columns = scores.shape[1]
    size = int(np.sqrt(num_columns / k) * _GROUP_FACTOR)
    if size < _MIN_GROUP_SIZE:
        columns = _places_of_best(scores, k)
        lowest = np.take_along_axis(scores, columns, axis=1).min(axis=1, keepdims=True)
        return columns, (scores >= lowest).sum(axis=1) > k
    # The k best scores lie in the k groups with the highest maxima, or among the columns that belong to no group.
    # Group j holds every num_groups-th column from j on, so that the maxima are computed along contiguous memory.
    num_groups = num_columns // size
    maxima = scores[:, : num_groups * size].reshape(len(scores), size, num_groups).max(axis=1)
    groups = _places_of_best(maxima, k)
    within = (groups[:, :, np.newaxis] + np.arange(size) * num_groups).reshape(len(scores), -1)
    rest = np.broadcast_to(np.arange(num_groups * size, num_columns), (len(scores), num_columns - num_groups * size))
    within = np.concatenate([within, rest], axis=1)
    eligible = np.take_along_axis(scores, within, axis=1)
    best = _places_of_best(eligible, k)
    lowest = np.take_along_axis(eligible, best, axis=1).min(axis=1, keepdims=True)
    chosen_maxima = np.take_along_axis(maxima, groups, axis=1)
    is_tied_outside = (maxima >= lowest).sum(axis=1) > (chosen_maxima >= lowest).sum(axis=1)
    return np.take_along_axis(within, best, axis=1), is_tied_outside | ((eligible >= lowest).sum(axis=1) > k)


def _places_of_best(values: np.ndarray, k: int) -> np.ndarray:
    """Returns where the k highest values of each row are, int [block, k], in any order."""
    if values.shape[1] == k:
        return np.broadcast_to(np.arange(k), values.shape).copy()
    return np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]


def _top_k_random_ties(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """Finds the columns of k best scores, int [block, k], with ties for the last slots broken at random."""
    lowest = np.take_along_axis(scores, _places_of_best(scores, k), axis=1).min(axis=1, keepdims=True)
    # Random keys are never negative, so that -1 comes before all of them.
    keys = np.where(scores > lowest, -1, _random_keys(query_rows[:, np.newaxis], np.arange(scores.shape[1])))
    keys[scores < lowest] = np.iinfo(np.int64).max
    return np.argpartition(keys, k - 1, axis=1)[:, :k]


def _random_keys(query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
    """Returns pseudorandom int64 >= 0, the same for the same pair, by the finaliser of SplitMix64 (Steele 2014)."""
    mixed = query_rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + candidate_rows.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
