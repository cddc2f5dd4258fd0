"""Chooses the queries that a catalogue is ranked for: all that are measured, or a random sample where all take long."""

from __future__ import annotations

import numpy as np

from tfrs_twotower._settings import whole_number

_SEED = 0
#: Products of numbers that a ranking computes at most for all queries of a test part. Two cores take about a minute.
MAX_PRODUCTS = 4 * 10**12
_MIN_SAMPLE = 1000


def choose_queries(
    query_rows: np.ndarray, *, num_candidates: int, embedding_dim: int, max_queries: int | None
) -> np.ndarray:
    """Returns all queries, or a random sample of them, which is always the same.

    Args:
        query_rows: int, the query of each event that is measured.
        num_candidates: Size of the catalogue.
        embedding_dim: Length of the embeddings; a query costs num_candidates * embedding_dim products.
        max_queries: Maximum number of queries, >= 1; None for as many as `MAX_PRODUCTS` allows, but at least 1,000.

    Returns:
        int64 [n], ascending, distinct.

    Raises:
        TypeError: If `max_queries` is not a whole number.
        ValueError: If `max_queries` is out of range.

    Example:
        >>> rows = np.array([7, 3, 3, 5])
        >>> choose_queries(rows, num_candidates=100, embedding_dim=64, max_queries=None).tolist()
        [3, 5, 7]
        >>> choose_queries(rows, num_candidates=100, embedding_dim=64, max_queries=2).size
        2
    """
    if max_queries is None:
        max_queries = max(_MIN_SAMPLE, MAX_PRODUCTS // (num_candidates * embedding_dim))
    whole_number(max_queries, "`max_queries`", 1)
    rows = np.unique(query_rows).astype(np.int64)
    if len(rows) <= max_queries:
        return rows
    return np.sort(np.random.default_rng(_SEED).choice(rows, max_queries, replace=False))
