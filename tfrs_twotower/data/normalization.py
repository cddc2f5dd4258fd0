"""Normalising a flat table, in which features are repeated row after row, into tables with one row per id."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import require_columns
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import first_rows


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
        TypeError: If `flat` is no Arrow table, or an id column does not hold strings.
        ValueError: If a column is missing or holds something else, an id is null, or a feature has two values for one
            id (the id and the row are named).

    Example:
        >>> flat = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "y"], "age": [30, 40, 30], "rating": [5., 3., 1.]})
        >>> ratings = normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age"])
        >>> ratings.queries.to_pylist()
        [{'u': 'a', 'age': 30}, {'u': 'b', 'age': 40}]
        >>> ratings.candidate_rows.tolist()
        [0, 0, 1]
    """
    if not isinstance(flat, pa.Table):
        raise TypeError(f"`flat` must be an Arrow table. Received: a {type(flat).__name__}. Use `load_ratings` for it.")
    require_columns(flat, ("rating", query_id, candidate_id, *query_features, *candidate_features))
    queries, query_rows = distinct_rows(flat, query_id, query_features)
    candidates, candidate_rows = distinct_rows(flat, candidate_id, candidate_features)
    events = {
        "query_row": pa.array(query_rows),
        "candidate_row": pa.array(candidate_rows),
        "rating": _cast(flat, "rating", pa.float32()),
    }
    if "timestamp" in flat.column_names:
        events["timestamp"] = _cast(flat, "timestamp", pa.int64())
    return Interactions(
        queries=queries,
        candidates=candidates,
        events=pa.table(events),
        query_id=query_id,
        candidate_id=candidate_id,
        source=source,
    )


def _cast(flat: pa.Table, column: str, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return flat[column].cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"`{column}` must hold values that fit {kind}. Received: {flat[column].type}. "
            "Use `load_ratings`, which reads other forms."
        ) from error


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
        raise ValueError(f"`{id_column}` must not hold nulls. Received {rows.size}, {first_rows(rows)}.")
    encoded = flat[id_column].combine_chunks().dictionary_encode()
    first, rows = number_rows(encoded.indices.to_numpy(zero_copy_only=False), len(encoded.dictionary))
    require_one_value(flat, features, encoded.dictionary.take(encoded.indices.take(pa.array(first))), first, rows)
    return flat.select([id_column, *features]).take(pa.array(first)), rows


def number_rows(codes: np.ndarray, num_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the codes that occur, in the order in which they first appear.

    Args:
        codes: int [num_rows], from 0 to `num_codes` - 1.
        num_codes: Number of codes, of which some may not occur.

    Returns:
        (first, rows): int64 [number of codes that occur], the row where each first appears, in ascending order; int32
        [num_rows], the new number of each row's code.

    Example:
        >>> first, rows = number_rows(np.array([2, 0, 2]), 4)
        >>> first.tolist(), rows.tolist()
        ([0, 1], [0, 1, 0])
    """
    first_of = np.full(num_codes, -1, np.int64)
    # Of several values for one place, the last one stays.
    first_of[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    occurring = np.flatnonzero(first_of >= 0)
    occurring = occurring[np.argsort(first_of[occurring], kind="stable")]
    numbers = np.zeros(num_codes, np.int32)
    numbers[occurring] = np.arange(len(occurring), dtype=np.int32)
    return first_of[occurring], numbers[codes]


def require_one_value(
    flat: pa.Table, features: Sequence[str], ids: pa.Array, first: np.ndarray, rows: np.ndarray
) -> None:
    """Checks that features have one value for each id.

    Args:
        flat: A table in which ids recur.
        features: Columns of the table.
        ids: string [num_ids].
        first: int [num_ids], the row of `flat` where each id first appears.
        rows: int [num_rows of `flat`], the place of each row's id in `ids`.

    Raises:
        ValueError: If a feature has two values for one id (the id and the row are named).

    Example:
        >>> flat = pa.table({"age": [30, 40, 31]})
        >>> require_one_value(flat, ["age"], pa.array(["a", "b"]), np.array([0, 1]), np.array([0, 1, 0]))
        Traceback (most recent call last):
        ValueError: `age` must have one value for each id. Received for 'a': 30 first, 31 in row 2, counted from 0. ...
    """
    for name in features:
        row = find_disagreement(flat[name], first, rows)
        if row is not None:
            raise ValueError(
                f"`{name}` must have one value for each id. Received for {ids[int(rows[row])].as_py()!r}: "
                f"{flat[name][int(first[rows[row]])].as_py()!r} first, {flat[name][row].as_py()!r} in row {row}, "
                "counted from 0. If it differs by event, it is an event feature."
            )


def find_disagreement(values: pa.ChunkedArray, first: np.ndarray, rows: np.ndarray) -> int | None:
    """Finds the first row whose value differs from that of the first row with the same id; null and NaN are equal.

    Args:
        values: [num_rows], text, numbers, truth values, times, or lists of these.
        first: int [num_ids], the row where each id first appears.
        rows: int [num_rows], the id of each row.

    Returns:
        The row, or None if there is none.

    Example:
        >>> find_disagreement(pa.chunked_array([[30, 40, 31]]), np.array([0, 1]), np.array([0, 1, 0]))
        2
    """
    column = _nan_as_null(values)
    if pa.types.is_nested(column.type):
        expected = column.take(pa.array(first)).take(pa.array(rows))
        if column.equals(expected):
            return None
        pairs = zip(column, expected, strict=True)
        return next(row for row, (found, wanted) in enumerate(pairs) if found.as_py() != wanted.as_py())
    codes = pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    different = codes != codes[first][rows]
    return int(np.argmax(different)) if different.any() else None


def _nan_as_null(column: pa.ChunkedArray) -> pa.Array:
    """Replaces NaN by null: NaN is unequal to itself, but two missing values agree."""
    values = column.combine_chunks()
    if pa.types.is_list(values.type) and pa.types.is_floating(values.type.value_type):
        items = values.flatten()
        offsets = np.concatenate([[0], np.cumsum(pc.fill_null(values.value_lengths(), 0).to_numpy())])
        items = pc.if_else(pc.is_nan(items), None, items)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values
