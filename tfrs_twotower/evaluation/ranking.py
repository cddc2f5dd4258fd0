"""Ranks the whole catalogue for every query and measures what comes first."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation import metrics

#: In a slot for which no candidate is left.
NO_ROW = -1

_BLOCK_SCORES = 2**22  # float32 scores that a thread holds at once: 16 MiB
_GROUP_FACTOR = 0.5  # of the root that would make groups as many as what is looked at in them; measured
_LEAST_GROUP = 8  # candidates of which the best is looked at first; fewer are not worth it


def rank_candidates(
    queries: np.ndarray, candidates: np.ndarray, seen: np.ndarray, *, k: int, query_rows: np.ndarray | None = None
) -> np.ndarray:
    """The k best candidates of each query by dot product, what the query has seen left out.

    Candidates of equal scores come in an order by lot, another one for each query and always the same: a model that
    scores all alike finds no more than chance does.

    Args:
        queries: float [num_queries, dim], finite.
        candidates: float [num_candidates, dim], finite.
        seen: int [num_seen, 2], pairs (query row, candidate row) to leave out.
        k: Slots per query, 1 <= k <= num_candidates.
        query_rows: int [n], ascending, the only queries that are ranked for; None for all.

    Returns:
        int32 [num_queries, k], rows of `candidates`, best first; -1 in slots that are left over, and of queries that
        are not ranked for.

    Raises:
        ValueError: If `k` is out of range, an embedding is not finite, or they differ in length.

    Example:
        >>> queries, candidates = np.array([[1.0], [1.0]]), np.array([[0.1], [0.3], [0.2]])
        >>> rank_candidates(queries, candidates, np.array([[1, 1]]), k=2).tolist()
        [[1, 2], [2, 0]]
    """
    if not 1 <= k <= len(candidates):
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={len(candidates)}.")
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"`queries` and `candidates` must be of one length. Received: {queries.shape[1]} and {candidates.shape[1]}."
        )
    for name, embeddings in (("queries", queries), ("candidates", candidates)):
        if not np.isfinite(embeddings).all():
            row = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
            raise ValueError(f"`{name}` must be finite. Row {row} is not.")
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
        ranked[rows] = _best_of_block(scores, k, rows)

    # One thread of BLAS for each of ours: together they would be more than there are cores.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_num_cores()) as threads:
        list(threads.map(rank_block, range(0, len(query_rows), block_size)))
    return ranked


def _num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _best_of_block(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """The columns of the best scores, int [block, k], best first; -1 where only -inf is left."""
    columns, is_tied = _some_best(scores, k)
    if is_tied.any():
        columns[is_tied] = _draw_the_last(scores[is_tied], k, query_rows[is_tied])
    values = np.take_along_axis(scores, columns, axis=1)
    order = np.lexsort((_lots(query_rows[:, np.newaxis], columns), -values), axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    columns[np.isneginf(np.take_along_axis(values, order, axis=1))] = NO_ROW
    return columns


def _some_best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best scores, in any order and of equal ones any.

    Returns:
        (columns, is_tied): int [block, k]; bool [block], whether others reach the least of them.
    """
    num_columns = scores.shape[1]
    size = int(np.sqrt(num_columns / k) * _GROUP_FACTOR)
    if size < _LEAST_GROUP:
        columns = _places_of_best(scores, k)
        least = np.take_along_axis(scores, columns, axis=1).min(axis=1, keepdims=True)
        return columns, (scores >= least).sum(axis=1) > k
    # The k best are in the k groups whose best are the best, and in what no group holds. Group j has every
    # num_groups-th column from j on, so that the maximum runs along the memory.
    num_groups = num_columns // size
    maxima = scores[:, : num_groups * size].reshape(len(scores), size, num_groups).max(axis=1)
    groups = _places_of_best(maxima, k)
    within = (groups[:, :, np.newaxis] + np.arange(size) * num_groups).reshape(len(scores), -1)
    rest = np.broadcast_to(np.arange(num_groups * size, num_columns), (len(scores), num_columns - num_groups * size))
    within = np.concatenate([within, rest], axis=1)
    looked_at = np.take_along_axis(scores, within, axis=1)
    best = _places_of_best(looked_at, k)
    least = np.take_along_axis(looked_at, best, axis=1).min(axis=1, keepdims=True)
    reaching = (maxima >= least).sum(axis=1) > (np.take_along_axis(maxima, groups, axis=1) >= least).sum(axis=1)
    return np.take_along_axis(within, best, axis=1), reaching | ((looked_at >= least).sum(axis=1) > k)


def _places_of_best(values: np.ndarray, k: int) -> np.ndarray:
    """Where the k highest values of each row are, int [block, k], in any order."""
    if values.shape[1] == k:
        return np.broadcast_to(np.arange(k), values.shape).copy()
    return np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]


def _draw_the_last(scores: np.ndarray, k: int, query_rows: np.ndarray) -> np.ndarray:
    """The columns of k best scores, int [block, k], of those that equal the least of them some by lot."""
    least = np.take_along_axis(scores, _places_of_best(scores, k), axis=1).min(axis=1, keepdims=True)
    # Lots are not negative.
    keys = np.where(scores > least, -1, _lots(query_rows[:, np.newaxis], np.arange(scores.shape[1])))
    keys[scores < least] = np.iinfo(np.int64).max
    return np.argpartition(keys, k - 1, axis=1)[:, :k]


def _lots(query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
    """int64, >= 0, numbers that look random, the same for the same pair: the finaliser of SplitMix64 (Steele 2014)."""
    mixed = query_rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + candidate_rows.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryMetrics:
    """Ranking metrics of each query that has something to find.

    Attributes:
        query_rows: int64 [n], which queries, ascending.
        values: Metric -> float64 [n].
        num_left_out: Queries of the test part without a relevant candidate that could be found.
    """

    query_rows: np.ndarray
    values: dict[str, np.ndarray]
    num_left_out: int

    def means(self) -> dict[str, float]:
        """Metric -> mean over the queries."""
        return {name: float(values.mean()) for name, values in self.values.items()}


def query_metrics(
    ranked: np.ndarray, test: Interactions, seen: np.ndarray, *, threshold: float, ks: Sequence[int] | None = None
) -> QueryMetrics:
    """Measures a ranking for each query that has a relevant candidate in the test part.

    Args:
        ranked: int [num_queries, k], rows of candidates, best first, -1 for an empty slot.
        test: The test part.
        seen: int [num_seen, 2], the pairs that were left out of the ranking: no ranking could find them again.
        threshold: A rating of at least this is relevant.
        ks: Numbers of slots to measure at, each 1 <= k <= ranked.shape[1]; by default all of them.

    Returns:
        `precision@k`, `recall@k`, `ndcg@k`, `hit_rate@k`, `mrr@k` and `map@k`, and `graded_ndcg@k`, whose gains are how
        far a relevant rating is above the threshold, plus 1.

    Raises:
        ValueError: If no query has a relevant candidate, a `k` is out of range, a row is none of the candidates', or a
            query has a candidate twice.
    """
    num_slots = ranked.shape[1]
    ks = (num_slots,) if ks is None else ks
    if not ks or not all(1 <= k <= num_slots for k in ks):
        raise ValueError(f"`ks` must be in 1..{num_slots}, the slots of the ranking. Received: {list(ks)}.")
    if len(ranked) != test.num_queries:
        raise ValueError(
            f"`ranked` must have a row for each of the {test.num_queries} queries. Received: {len(ranked)}."
        )
    if ranked.size and not (ranked.min() >= NO_ROW and ranked.max() < test.num_candidates):
        raise ValueError(
            f"`ranked` must hold rows of the {test.num_candidates} candidates, or -1. "
            f"Received: {ranked.min()} to {ranked.max()}."
        )
    in_order = np.sort(ranked, axis=1)
    is_twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if is_twice.any():
        query = int(np.flatnonzero(is_twice.any(axis=1))[0])
        raise ValueError(f"`ranked` must have no candidate twice for a query. Query {query} has.")
    codes, gains = relevant_pairs(test, seen, threshold)
    query_of = codes // test.num_candidates
    counts = np.bincount(query_of, minlength=test.num_queries)
    evaluated = np.flatnonzero(counts)
    if not evaluated.size:
        raise ValueError(f"No unseen test event has a rating of at least {threshold}: there is nothing to find.")
    rows, num_relevant = ranked[evaluated], counts[evaluated]
    wanted = _pair_codes(evaluated[:, np.newaxis], rows, test.num_candidates)
    places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    hits = (codes[places] == wanted) & (rows >= 0)
    found_gains = np.where(hits, gains[places], 0.0)
    best_gains = _best_gains(query_of, gains, evaluated, num_slots)
    values = {}
    for k in ks:
        at_k = hits[:, :k]
        values[f"precision@{k}"] = metrics.precision(at_k)
        values[f"recall@{k}"] = metrics.recall(at_k, num_relevant)
        values[f"ndcg@{k}"] = metrics.ndcg(at_k, num_relevant)
        values[f"graded_ndcg@{k}"] = metrics.graded_ndcg(found_gains[:, :k], best_gains[:, :k])
        values[f"hit_rate@{k}"] = metrics.hit_rate(at_k)
        values[f"mrr@{k}"] = metrics.reciprocal_rank(at_k)
        values[f"map@{k}"] = metrics.average_precision(at_k, num_relevant)
    num_left_out = np.unique(test.query_rows).size - evaluated.size
    return QueryMetrics(query_rows=evaluated, values=values, num_left_out=num_left_out)


def ranking_metrics(
    ranked: np.ndarray, test: Interactions, seen: np.ndarray, *, threshold: float, ks: Sequence[int] | None = None
) -> dict[str, float]:
    """Averages `query_metrics` over the queries that have something to find.

    Args:
        ranked: int [num_queries, k], from `rank_candidates`.
        test: The test part.
        seen: int [num_seen, 2], the pairs that were left out of the ranking.
        threshold: A rating of at least this is relevant.
        ks: Numbers of slots to measure at; by default all of them.

    Returns:
        Metric -> mean, and `num_queries`, over how many they were averaged.

    Raises:
        ValueError: As `query_metrics`.
    """
    of_queries = query_metrics(ranked, test, seen, threshold=threshold, ks=ks)
    return {**of_queries.means(), "num_queries": float(len(of_queries.query_rows))}


def relevant_pairs(test: Interactions, seen: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """What a ranking should find.

    Args:
        test: The test part.
        seen: int [num_seen, 2], the pairs that a ranking leaves out.
        threshold: A rating of at least this is relevant.

    Returns:
        (codes, gains): int64 [n], ascending, query row * num_candidates + candidate row of the different pairs that
        have not been seen; float64 [n], how far the highest rating of each is above the threshold, plus 1.
    """
    relevant = test.ratings >= threshold
    codes = _pair_codes(test.query_rows[relevant], test.candidate_rows[relevant], test.num_candidates)
    gains = test.ratings[relevant].astype(np.float64) - threshold + 1
    order = np.lexsort((-gains, codes))
    codes, first = np.unique(codes[order], return_index=True)
    is_new = ~np.isin(codes, _pair_codes(seen[:, 0], seen[:, 1], test.num_candidates))
    return codes[is_new], gains[order][first][is_new]


def _best_gains(query_of: np.ndarray, gains: np.ndarray, evaluated: np.ndarray, num_slots: int) -> np.ndarray:
    """float64 [len(evaluated), num_slots], each query's gains in the best possible order, 0 beyond the last."""
    order = np.lexsort((-gains, query_of))
    counts = np.bincount(query_of, minlength=evaluated[-1] + 1)[evaluated]
    slots = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(np.arange(len(evaluated)), counts)
    best = np.zeros((len(evaluated), num_slots))
    fits = slots < num_slots
    best[rows[fits], slots[fits]] = gains[order][fits]
    return best


def event_pairs(interactions: Interactions) -> np.ndarray:
    """int64 [num_events, 2], the query row and candidate row of every event."""
    return np.stack([interactions.query_rows, interactions.candidate_rows], axis=1).astype(np.int64)


def _pair_codes(query_rows: np.ndarray, candidate_rows: np.ndarray, num_candidates: int) -> np.ndarray:
    return query_rows.astype(np.int64) * num_candidates + candidate_rows
