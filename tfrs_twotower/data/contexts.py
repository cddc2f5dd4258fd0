"""Contexts and requests: what is known of the circumstances of an event, and who asks in which circumstances.

A context is the values of an event's features, such as the hour, the device or the search text of a request. Many
events share one, so that each different context is held and encoded once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import plain_table
from tfrs_twotower.data.rows import places_within


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contexts:
    """The different contexts of some events.

    Attributes:
        table: One row per context, with a column for each feature of the events.
        rows: int32 [num_events], the row of each event's context.

    Example:
        >>> contexts = find_contexts(pa.table({"hour": [9, 20, 9], "device": ["phone", "tv", "phone"]}))
        >>> contexts.table.num_rows, contexts.rows.tolist()
        (2, [0, 1, 0])
    """

    table: pa.Table
    rows: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """Who asks in which context: the different pairs of a query and a context of some events.

    Events without features have no context. Then every query is one request, also a query without an event.

    Attributes:
        query_rows: int64 [num_requests], ascending, the query of each request.
        context_rows: int64 [num_requests], the row of each request's context in `Contexts.table`; 0 without features.
        of_events: int64 [num_events], the request of each event.

    Example:
        Query 0 asks in two contexts:

        >>> requests = Requests(
        ...     query_rows=np.array([0, 0, 1]), context_rows=np.array([0, 1, 0]), of_events=np.array([1, 0, 2, 1])
        ... )
        >>> requests.of_pairs(np.array([[0, 7], [2, 8]])).tolist()
        [[0, 7], [1, 7]]
    """

    query_rows: np.ndarray
    context_rows: np.ndarray
    of_events: np.ndarray

    def of_pairs(self, pairs: np.ndarray, requests: np.ndarray | None = None) -> np.ndarray:
        """Repeats what is said of queries for each request of theirs.

        Args:
            pairs: int [n, 2], the row of a query, and anything, such as the row of a candidate that it has seen.
            requests: int [m], ascending, the requests that are wanted; None for all.

        Returns:
            int64 [any, 2], the request in place of the query, ascending.
        """
        wanted = np.arange(len(self.query_rows)) if requests is None else requests
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        starts, ends = (np.searchsorted(pairs[:, 0], self.query_rows[wanted], side) for side in ("left", "right"))
        counts = ends - starts
        places = np.repeat(starts, counts) + places_within(counts)
        return np.stack([np.repeat(wanted, counts), pairs[places, 1]], axis=1).astype(np.int64)


def find_contexts(table: pa.Table) -> Contexts:
    """Finds the different contexts of events.

    Args:
        table: The features of the events: at least one column.

    Example:
        >>> find_contexts(pa.table({"words": [["a", "b"], ["a"], None, ["a", "b"]]})).table.num_rows
        3
    """
    table = plain_table(table, "events")
    codes = np.zeros(table.num_rows, np.int64)
    for name in table.column_names:
        codes = _joined(codes, _codes_of(table[name].combine_chunks()))
    first, rows = np.unique(codes, return_index=True, return_inverse=True)[1:]
    return Contexts(table=table.take(pa.array(first)), rows=rows.astype(np.int32))


def _codes_of(column: pa.Array) -> np.ndarray:
    """Gives equal values equal numbers >= 0, int64 [num_rows]."""
    if not pa.types.is_list(column.type):
        return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy().astype(np.int64) + 1
    lengths = pc.fill_null(column.value_lengths(), -1).to_numpy().astype(np.int64)
    items = _codes_of(column.flatten())
    starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
    codes = lengths + 1
    for place in range(int(lengths.max(initial=0))):
        is_there = lengths > place
        of_place = np.zeros(len(codes), np.int64)
        of_place[is_there] = items[starts[is_there] + place] + 1
        codes = _joined(codes, of_place)
    return codes


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers the different pairs of numbers >= 0, int64 [n]."""
    pairs = first * (second.max(initial=0) + 1) + second
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)
