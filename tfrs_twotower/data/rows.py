"""Row numbers: the marker for a missing row, rows in words, places within groups, and codes for pairs of rows."""

from __future__ import annotations

import numpy as np

#: Stands for no row: an unused slot of a history, an empty slot of a ranking, an id that is not in the catalogue.
NO_ROW = -1

_NUM_SHOWN = 5


def first_rows(rows: np.ndarray) -> str:
    """Names the first of some rows for an error, and says how rows are counted.

    Args:
        rows: int [num_rows], ascending.

    Example:
        >>> first_rows(np.array([3, 7]))
        'the first in rows [3, 7], counted from 0'
    """
    return f"the first in rows {rows[:_NUM_SHOWN].tolist()}, counted from 0"


def places_within(counts: np.ndarray) -> np.ndarray:
    """Numbers the members of consecutive groups, starting at 0 in each group.

    Args:
        counts: int [num_groups], >= 0, the size of each group.

    Returns:
        int64 [sum of counts].

    Example:
        >>> places_within(np.array([2, 0, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def pair_codes(query_rows: np.ndarray, candidate_rows: np.ndarray, num_candidates: int) -> np.ndarray:
    """Gives each pair of a query and a candidate one number, so that pairs can be sorted, counted and looked up.

    `np.divmod(codes, num_candidates)` gives the rows back.

    Args:
        query_rows: int [...], rows of queries.
        candidate_rows: int [...], rows of candidates, broadcast against `query_rows`.
        num_candidates: Size of the catalogue, >= 1.

    Returns:
        int64 [...].

    Example:
        >>> pair_codes(np.array([0, 2]), np.array([1, 0]), 5).tolist()
        [1, 10]
    """
    return query_rows.astype(np.int64) * num_candidates + candidate_rows


def pair_numbers(query_rows: np.ndarray, candidate_rows: np.ndarray, num_candidates: int) -> tuple[np.ndarray, int]:
    """Numbers the pairs of a query and a candidate in the order in which they first occur.

    Args:
        query_rows: int [num_events], the query of each event.
        candidate_rows: int [num_events], the candidate of each event.
        num_candidates: Size of the catalogue, >= 1.

    Returns:
        (numbers, num_pairs): int64 [num_events], equal where the pairs are equal, and the event's own row where no pair
        occurs twice; the number of different pairs.

    Example:
        >>> numbers, num_pairs = pair_numbers(np.array([1, 0, 1]), np.array([0, 0, 0]), 1)
        >>> numbers.tolist(), num_pairs
        ([0, 1, 0], 2)
    """
    codes = pair_codes(query_rows, candidate_rows, num_candidates)
    order = np.argsort(codes, kind="stable")
    is_new = np.ones(len(codes), bool)
    is_new[1:] = np.diff(codes[order]) != 0
    num_pairs = int(is_new.sum())
    if num_pairs == len(codes):
        return np.arange(len(codes)), num_pairs
    # The order is stable, so that the first of a pair's places in it is the pair's first event.
    first = order[is_new]
    rank = np.empty(num_pairs, np.int64)
    rank[np.argsort(first)] = np.arange(num_pairs)
    numbers = np.empty(len(codes), np.int64)
    numbers[order] = rank[np.cumsum(is_new) - 1]
    return numbers, num_pairs
