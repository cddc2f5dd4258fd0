"""Normalising a flat table, in which features are repeated row after row, into tables with one row per id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import require_columns
from tfrs_twotower.data.interactions import Interactions


def normalize_ratings(
    flat: pa.Table,
    *,
    query_id: str,
    candidate_id: str,
    query_features: Sequence[str] = (),
    candidate_features: Sequence[str] = (),
    source: str = "",
) -> Interactions:
    """Normalises a flat table with one row per rating into `Interactions`.

    Args:
        flat: A table with the two id columns (string), `rating`, optionally `timestamp`, and the features.
        query_id: Name of the column that identifies a query.
        candidate_id: Name of the column that identifies a candidate.
        query_features: Columns that depend on the query id alone.
        candidate_features: Columns that depend on the candidate id alone.
        source: Description of where the data came from.

    Returns:
        Queries and candidates in the order in which their ids first appear; events in the order of `flat`.

    Raises:
        ValueError: If a column is missing, an id is null, or a feature has two values for one id (the id and the row
            are named).

    Example:
        >>> flat = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "y"], "age": [30, 40, 30], "rating": [5., 3., 1.]})
        >>> ratings = normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age"])
        >>> ratings.queries.to_pylist()
        [{'u': 'a', 'age': 30}, {'u': 'b', 'age': 40}]
        >>> ratings.candidate_rows.tolist()
        [0, 0, 1]
    """
    require_columns(flat, ("rating", query_id, candidate_id, *query_features, *candidate_features))
    queries, query_rows = distinct_rows(flat, query_id, query_features)
    candidates, candidate_rows = distinct_rows(flat, candidate_id, candidate_features)
    events = {
        "query_row": pa.array(query_rows),
        "candidate_row": pa.array(candidate_rows),
        "rating": flat["rating"].cast(pa.float32()),
    }
    if "timestamp" in flat.column_names:
        events["timestamp"] = flat["timestamp"].cast(pa.int64())
    return Interactions(
        queries=queries,
        candidates=candidates,
        events=pa.table(events),
        query_id=query_id,
        candidate_id=candidate_id,
        source=source,
    )


def distinct_rows(flat: pa.Table, id_column: str, features: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """Reduces a table in which ids recur to one row per id.

    Args:
        flat: Any table with the columns named below.
        id_column: Name of the column that identifies a row of the result.
        features: Columns that depend on the id alone.

    Returns:
        (table, rows): the id and the features, in the order in which the ids first appear; int32 [num_rows of `flat`],
        the row of `table` that each row of `flat` belongs to.

    Raises:
        ValueError: If an id is null, or a feature has two values for one id (the id and the row are named).

    Example:
        >>> table, rows = distinct_rows(pa.table({"u": ["a", "b", "a"], "age": [30, 40, 30]}), "u", ["age"])
        >>> table.num_rows, rows.tolist()
        (2, [0, 1, 0])
    """
    if flat[id_column].null_count:
        rows = np.flatnonzero(flat[id_column].is_null().to_numpy())
        raise ValueError(
            f"`{id_column}` must not hold nulls. Received {rows.size}, the first in rows {rows[:5].tolist()}."
        )
    encoded = flat[id_column].combine_chunks().dictionary_encode()
    rows = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    _, first = np.unique(rows, return_index=True)
    table = flat.select([id_column, *features]).take(pa.array(first))
    for name in features:
        expected, found = (_nan_as_null(column) for column in (table[name].take(pa.array(rows)), flat[name]))
        if not found.equals(expected):
            _raise_disagreement(flat[id_column], name, expected.to_pylist(), found.to_pylist())
    return table, rows


def _nan_as_null(column: pa.ChunkedArray) -> pa.Array:
    """Replaces NaN by null: NaN is unequal to itself, but two missing values agree."""
    values = column.combine_chunks()
    if pa.types.is_list(values.type) and pa.types.is_floating(values.type.value_type):
        items = values.flatten()
        offsets = np.concatenate([[0], np.cumsum(pc.fill_null(values.value_lengths(), 0).to_numpy())])
        items = pc.if_else(pc.is_nan(items), None, items)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values


def _raise_disagreement(ids: pa.ChunkedArray, name: str, expected: list[Any], found: list[Any]) -> None:
    row = next(i for i, (value, first) in enumerate(zip(found, expected, strict=True)) if value != first)
    raise ValueError(
        f"`{name}` must have one value for each id. Received for {ids[row].as_py()!r}: "
        f"{expected[row]!r} first, {found[row]!r} in row {row}. If it differs by event, it is an event feature."
    )
