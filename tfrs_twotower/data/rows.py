"""Row numbers: the marker for a missing row, places within groups, and codes for pairs of rows."""

from __future__ import annotations

import numpy as np

#: Stands for no row: an unused slot of a history, an empty slot of a ranking, an id that is not in the catalogue.
NO_ROW = -1


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
