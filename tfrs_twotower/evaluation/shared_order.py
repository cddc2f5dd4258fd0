"""Ranks candidates by one value each, which is the same for every query, without a score for each pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.rows import NO_ROW, pair_codes
from tfrs_twotower.evaluation.ranking import places_of_seen, random_keys, require_k

_BLOCK_NUMBERS = 2**20
# Ties are drawn instead of listed if a query needs at most this share of them.
_MAX_DRAWN_SHARE = 1 / 4


def rank_by_value(
    values: np.ndarray,
    seen: np.ndarray,
    *,
    k: int,
    num_queries: int,
    query_rows: np.ndarray | None = None,
    task: str = "Ranking",
    progress: Progress = no_progress,
) -> np.ndarray:
    """Finds the k candidates of the greatest values for each query, leaving out those that the query has seen.

    Ties are broken at random, differently for each query but always in the same way for the same rows. Equal values for
    all candidates therefore give a random ranking.

    Args:
        values: float [num_candidates], finite.
        seen: int [num_seen, 2], pairs (query row, candidate row) to leave out.
        k: Slots per query, 1 <= k <= num_candidates.
        num_queries: Number of queries.
        query_rows: int [n], ascending, the queries to rank candidates for; None for all.
        task: What `progress` is told is being done.
        progress: Told how many queries have been ranked for.

    Returns:
        int32 [num_queries, k], rows of candidates, best first. Slots for which no candidate is left, and all slots of
        queries that are not ranked for, hold -1.

    Raises:
        ValueError: If `k` is out of range.

    Example:
        >>> rank_by_value(np.array([0.1, 0.3, 0.2]), np.array([[1, 1]]), k=2, num_queries=2).tolist()
        [[1, 2], [2, 0]]
    """
    require_k(k, len(values))
    query_rows = np.arange(num_queries) if query_rows is None else np.asarray(query_rows, np.int64)
    places, seen_candidates = places_of_seen(seen, query_rows)
    order = np.argsort(-np.asarray(values), kind="stable")
    place_in_order = np.empty_like(order)
    place_in_order[order] = np.arange(len(order))
    # Of each distinct seen pair, the query and its candidate's place in the order, as one number.
    seen_codes = np.sort(pair_codes(places, place_in_order[seen_candidates], len(order)))
    seen_codes = seen_codes[np.diff(seen_codes, prepend=-1) > 0]
    num_seen = np.bincount(seen_codes // len(order), minlength=len(query_rows))
    by_num_seen = np.argsort(num_seen, kind="stable")
    ranked = np.full((num_queries, k), NO_ROW, np.int32)
    descending = np.asarray(values)[order]
    done = 0
    progress(task, 0, len(query_rows))
    while done < len(query_rows):
        # Queries that have seen about as many candidates need about as many places of the order.
        fewest = num_seen[by_num_seen[done]]
        last = np.searchsorted(num_seen, fewest + fewest // 4, side="right", sorter=by_num_seen)
        pool = _choose_pool(descending, k + int(num_seen[by_num_seen[last - 1]]))
        block = by_num_seen[done : min(last, done + max(1, _BLOCK_NUMBERS // pool.size))]
        found = _rank_pool(pool, block, order, descending, seen_codes, k=k, rows=query_rows[block])
        # The draws hardly ever have too few candidates that a query has not seen, but they may.
        is_short = (found < 0).any(axis=1) & (len(order) - num_seen[block] >= k)
        for place in np.flatnonzero(is_short):
            one, everything = block[place : place + 1], _Pool(num_listed=len(order), tied=range(0), num_draws=0)
            found[place] = _rank_pool(everything, one, order, descending, seen_codes, k=k, rows=query_rows[one])[0]
        ranked[query_rows[block]] = found
        done += len(block)
        progress(task, done, len(query_rows))
    return ranked


class _Pool(NamedTuple):
    """The places of the order among which a query's best candidates are, unless it has seen more than expected.

    Attributes:
        num_listed: The places from 0 up to this one are all in the pool.
        tied: Places of equal values of which some are drawn for each query.
        num_draws: Number of draws from `tied`, with replacement.
    """

    num_listed: int
    tied: range
    num_draws: int

    @property
    def size(self) -> int:
        """Number of places of a query, of which some are equal."""
        return self.num_listed + self.num_draws


def _choose_pool(descending: np.ndarray, num_needed: int) -> _Pool:
    """Chooses the places among which are the best `num_needed` of values in descending order, with ties at random."""
    num_needed = min(num_needed, len(descending))
    first, last = (
        int(np.searchsorted(-descending, -descending[num_needed - 1], side=side)) for side in ("left", "right")
    )
    if num_needed > _MAX_DRAWN_SHARE * (last - first):
        return _Pool(num_listed=last, tied=range(0), num_draws=0)
    return _Pool(num_listed=first, tied=range(first, last), num_draws=3 * num_needed + 16)


def _rank_pool(
    pool: _Pool,
    places: np.ndarray,
    order: np.ndarray,
    descending: np.ndarray,
    seen_codes: np.ndarray,
    *,
    k: int,
    rows: np.ndarray,
) -> np.ndarray:
    """Finds the best unseen candidates of a pool for some queries.

    Args:
        pool: The pool.
        places: int [block], places of the queries among those that are ranked for.
        order: int [num_candidates], rows of candidates by descending value.
        descending: float [num_candidates], the values in this order.
        seen_codes: int [m], ascending, `pair_codes` of the place of a query and a place of the order that it has seen.
        k: Slots per query.
        rows: int [block], rows of the queries.

    Returns:
        int [block, k], rows of candidates, -1 for an empty slot.
    """
    listed = np.broadcast_to(np.arange(pool.num_listed), (len(places), pool.num_listed))
    drawn = random_keys(rows[:, np.newaxis], len(order) + np.arange(pool.num_draws)) % max(1, len(pool.tied))
    in_order = np.concatenate([listed, pool.tied.start + drawn], axis=1)
    codes = pair_codes(places[:, np.newaxis], in_order, len(order))
    is_out = np.zeros(in_order.shape, bool)
    if len(seen_codes):
        is_out = seen_codes[np.minimum(np.searchsorted(seen_codes, codes), len(seen_codes) - 1)] == codes
    is_out[:, pool.num_listed :] |= _is_repeated(drawn)
    keys = random_keys(rows[:, np.newaxis], order[in_order])
    best = np.lexsort((keys, np.where(is_out, np.inf, -descending[in_order])), axis=1)[:, :k]
    found = order[np.take_along_axis(in_order, best, axis=1)]
    found[np.take_along_axis(is_out, best, axis=1)] = NO_ROW
    return np.pad(found, [(0, 0), (0, k - found.shape[1])], constant_values=NO_ROW)


def _is_repeated(values: np.ndarray) -> np.ndarray:
    """Tells which values of each row occur at an earlier place of the row as well, bool [num_rows, n]."""
    by_value = np.argsort(values, axis=1, kind="stable")
    ascending = np.take_along_axis(values, by_value, axis=1)
    is_repeated = np.zeros(values.shape, bool)
    np.put_along_axis(is_repeated, by_value[:, 1:], ascending[:, 1:] == ascending[:, :-1], axis=1)
    return is_repeated
