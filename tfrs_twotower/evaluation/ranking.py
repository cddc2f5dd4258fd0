"""Finds the best candidates of the whole catalogue for every query."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from tfrs_twotower._cores import num_cores
from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW

#: (queries, candidates), float [num_queries, dim] and [num_candidates, dim]: embeddings whose dot products are scores.
Embeddings: TypeAlias = tuple[np.ndarray, np.ndarray]

# Queries of a block. BLAS is slower for fewer, and the scores of more do not fit a cache.
_MIN_BLOCK, _MAX_BLOCK = 32, 128
_BLOCK_SCORES = 2**23  # scores of a block, between these two limits: 32 MiB of float32
# Group size as a share of sqrt(num_candidates / k), at which there are as many groups as members looked at in the k
# best groups. The value was chosen by measurement.
_GROUP_FACTOR = 0.5
_MIN_GROUP_SIZE = 8  # below this size, looking at the maxima of groups first does not pay


def rank_candidates(
    queries: np.ndarray,
    candidates: np.ndarray,
    seen: np.ndarray,
    *,
    k: int,
    query_rows: np.ndarray | None = None,
    progress: Progress = no_progress,
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
        progress: Told how many queries have been ranked for.

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
    require_k(k, len(candidates))
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
    places, seen_candidates = places_of_seen(seen, query_rows)
    num_candidates = len(candidates)
    block_size = min(max(_BLOCK_SCORES // num_candidates, _MIN_BLOCK), _MAX_BLOCK)
    dtype = np.result_type(queries, candidates, np.float32)
    ranked = np.full((len(queries), k), NO_ROW, np.int32)
    # A thread takes a buffer and puts it back: a new array for each block would cost as much as the product.
    buffers: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    for _ in range(num_cores()):
        buffers.put(np.empty(num_candidates * block_size, dtype))

    def rank_block(start: int) -> int:
        rows = query_rows[start : start + block_size]
        buffer = buffers.get()
        try:
            scores = buffer[: num_candidates * len(rows)].reshape(num_candidates, len(rows))
            np.matmul(candidates, queries[rows].T, out=scores)
            first, last = np.searchsorted(places, [start, start + len(rows)])
            scores[seen_candidates[first:last], places[first:last] - start] = -np.inf
            ranked[rows] = _rank_block(scores, k, rows)
        finally:
            buffers.put(buffer)
        return start + len(rows)

    progress("Ranking", 0, len(query_rows))
    # BLAS gets one thread for each of ours: with more there would be more threads than cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_cores()) as threads:
        for done in threads.map(rank_block, range(0, len(query_rows), block_size)):
            progress("Ranking", done, len(query_rows))
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


def require_k(k: int, num_candidates: int) -> None:
    """Raises a ValueError if there cannot be k recommendations.

    Args:
        k: Slots per query.
        num_candidates: Size of the catalogue.

    Example:
        >>> require_k(3, num_candidates=2)
        Traceback (most recent call last):
        ValueError: `k` must be in 1..num_candidates. Received: k=3, num_candidates=2.
    """
    if not 1 <= k <= num_candidates:
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={num_candidates}.")


def places_of_seen(seen: np.ndarray, query_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds which candidates to leave out for each query that is ranked for.

    Args:
        seen: int [num_seen, 2], pairs (query row, candidate row).
        query_rows: int64 [n], ascending, the queries that are ranked for.

    Returns:
        (places, candidate_rows): int64 [m], ascending, places in `query_rows`; int64 [m], the candidate of each.

    Example:
        >>> places, candidate_rows = places_of_seen(np.array([[7, 0], [3, 1], [4, 2]]), np.array([3, 7]))
        >>> places.tolist(), candidate_rows.tolist()
        ([0, 1], [1, 0])
    """
    if not len(query_rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = np.searchsorted(query_rows, seen[:, 0])
    is_ranked = query_rows[np.minimum(places, len(query_rows) - 1)] == seen[:, 0]
    places, candidate_rows = places[is_ranked], seen[is_ranked, 1]
    order = np.argsort(places, kind="stable")
    return places[order], candidate_rows[order]


def random_keys(query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
    """Returns pseudorandom int64 >= 0, the same for the same pair, by the finaliser of SplitMix64 (Steele 2014).

    Args:
        query_rows: int, of any shape.
        candidate_rows: int, of a shape that broadcasts with that of `query_rows`.

    Example:
        >>> keys = random_keys(np.array([[0], [1]]), np.arange(3))
        >>> keys.shape, len(set(keys.ravel().tolist()))
        ((2, 3), 6)
    """
    mixed = query_rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + candidate_rows.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _rank_block(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """Returns the rows of the best scores [num_candidates, block], int [block, k], best first; -1 for -inf."""
    rows, values, is_tied = _top_k_unordered(scores, k)
    if is_tied.any():
        tied = np.ascontiguousarray(scores[:, is_tied].T)
        rows[is_tied] = _top_k_random_ties(tied, k, query_rows[is_tied])
        values[is_tied] = np.take_along_axis(tied, rows[is_tied], axis=1)
    order = np.lexsort((random_keys(query_rows[:, np.newaxis], rows), -values), axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    rows[np.isneginf(np.take_along_axis(values, order, axis=1))] = NO_ROW
    return rows


def _top_k_unordered(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds k best scores of each column, in any order and with ties broken arbitrarily.

    Args:
        scores: float [num_candidates, block].
        k: Number of scores, 1 <= k <= num_candidates.

    Returns:
        (rows, values, is_tied): int [block, k]; their scores; bool [block], whether rows that were not chosen score as
        high as the lowest of the chosen ones.
    """
    num_rows, block = scores.shape
    size = int(np.sqrt(num_rows / k) * _GROUP_FACTOR)
    if size < _MIN_GROUP_SIZE:
        by_query = np.ascontiguousarray(scores.T)
        best = _places_of_best(by_query, k)
        values = np.take_along_axis(by_query, best, axis=1)
        return best, values, (by_query >= values.min(axis=1, keepdims=True)).sum(axis=1) > k
    # The k best scores lie in the k groups with the highest maxima, or among the rows that belong to no group. Group j
    # holds every num_groups-th row from j on, so that the maxima are computed along contiguous memory.
    num_groups = num_rows // size
    maxima = scores[: num_groups * size].reshape(size, num_groups * block).max(axis=0).reshape(num_groups, block)
    maxima = np.ascontiguousarray(maxima.T)
    groups = _places_of_best(maxima, k)
    within = (groups[:, :, np.newaxis] + np.arange(size) * num_groups).reshape(block, -1)
    rest = np.broadcast_to(np.arange(num_groups * size, num_rows), (block, num_rows - num_groups * size))
    within = np.concatenate([within, rest], axis=1)
    eligible = scores.reshape(-1).take(within * block + np.arange(block)[:, np.newaxis])
    best = _places_of_best(eligible, k)
    values = np.take_along_axis(eligible, best, axis=1)
    lowest = values.min(axis=1, keepdims=True)
    chosen_maxima = np.take_along_axis(maxima, groups, axis=1)
    is_tied_outside = (maxima >= lowest).sum(axis=1) > (chosen_maxima >= lowest).sum(axis=1)
    is_tied = is_tied_outside | ((eligible >= lowest).sum(axis=1) > k)
    return np.take_along_axis(within, best, axis=1), values, is_tied


def _places_of_best(values: np.ndarray, k: int) -> np.ndarray:
    """Returns where the k highest values of each row are, int [block, k], in any order."""
    if values.shape[1] == k:
        return np.broadcast_to(np.arange(k), values.shape).copy()
    return np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]


def _top_k_random_ties(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """Finds k best of scores [block, num_candidates], int [block, k], with ties for the last slots broken at random."""
    lowest = np.take_along_axis(scores, _places_of_best(scores, k), axis=1).min(axis=1, keepdims=True)
    # Random keys are never negative, so that -1 comes before all of them.
    keys = np.where(scores > lowest, -1, random_keys(query_rows[:, np.newaxis], np.arange(scores.shape[1])))
    keys[scores < lowest] = np.iinfo(np.int64).max
    return np.argpartition(keys, k - 1, axis=1)[:, :k]
