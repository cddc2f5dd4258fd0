"""Turning any table of ratings into `Interactions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.cleaning import InvalidRows, OnInvalid, is_missing, read_ids, read_numbers, read_times
from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.normalization import distinct_rows
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.text_format import TextFormat

#: What becomes of a pair of a query and a candidate with several events.
Repeats = Literal["keep", "last", "mean", "sum", "count"]

__all__ = ["OnInvalid", "Schema", "load_ratings"]


def load_ratings(
    ratings: Any,
    schema: Schema,
    *,
    queries: Any = None,
    candidates: Any = None,
    on_invalid: OnInvalid = "fail",
    repeats: Repeats = "keep",
    text_format: TextFormat | None = None,
    progress: Progress = no_progress,
) -> Interactions:
    """Turns a table of ratings into `Interactions`.

    Args:
        ratings: One row per event: an Arrow table, anything that `pyarrow.table` takes (a pandas data frame, a
            dictionary of columns), or a path that `read_files` takes. The table is not changed.
        schema: The meaning of the columns.
        queries: A table of the queries' features with one row per id, in any form that `ratings` may have. By default
            the features are columns of `ratings`.
        candidates: A table of the catalogue with one row per id, in any form that `ratings` may have. It may hold
            candidates without events. By default the features are columns of `ratings`, and the catalogue consists of
            the candidates that occur there.
        on_invalid: What to do with events that cannot be used: "fail" raises an error, "drop" leaves them out with a
            warning. An event cannot be used if an id is missing, a rating or weight is not a finite number, a weight is
            negative, a time cannot be read, or an id is not in `queries` or `candidates`.
        repeats: What becomes of a pair of a query and a candidate with several events: "keep" keeps them all; "last",
            "mean", "sum" and "count" make one event of them.
        text_format: How text files are written, where looking at them does not tell.
        progress: Called while files are read.

    Returns:
        The data with ids as strings. `events` has `rating`, and `timestamp`, `weight` and event features if the schema
        names them.

    Raises:
        ValueError: If a column is missing or holds something else, or a row cannot be used. The message names the
            column, the number of such rows, and the first of them.
        TypeError: If an id column holds neither strings nor integers.
        OSError: If a file cannot be read.

    Example:
        >>> table = {"customer": [7, 8], "sku": ["a", "a"], "stars": [4, 2], "when": ["2024-01-01", "2024-01-02"]}
        >>> schema = Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
        >>> load_ratings(table, schema).events.to_pylist()[1]
        {'query_row': 1, 'candidate_row': 0, 'rating': 2.0, 'timestamp': 1704153600}
    """
    if on_invalid not in get_args(OnInvalid):
        raise ValueError(f"`on_invalid` must be 'fail' or 'drop'. Received: {on_invalid!r}.")
    query_features, candidate_features = schema.query_features or (), schema.candidate_features or ()
    table = _read_events(ratings, schema, queries, candidates)
    invalid = InvalidRows(table.num_rows, on_invalid)
    table = _with_string_ids(table, schema, invalid)
    query_table = _read_side(queries, schema.query_id, query_features, schema, "queries")
    candidate_table = _read_side(candidates, schema.candidate_id, candidate_features, schema, "candidates")
    _find_unlisted(table[schema.query_id], schema.query_id, query_table, "queries", invalid)
    _find_unlisted(table[schema.candidate_id], schema.candidate_id, candidate_table, "candidates", invalid)
    values = _read_values(table, schema, invalid)
    valid = invalid.valid_rows()
    if valid is not None:
        table = table.take(valid)
        values = values.take(valid)
    if not table.num_rows:
        raise ValueError("`ratings` must have at least one row that can be used. Received: none.")
    query_table, query_rows = _locate(table, query_table, schema.query_id, query_features)
    candidate_table, candidate_rows = _locate(table, candidate_table, schema.candidate_id, candidate_features)
    events = values.add_column(0, "query_row", pa.array(query_rows))
    events = events.add_column(1, "candidate_row", pa.array(candidate_rows))
    return Interactions(
        queries=query_table,
        candidates=candidate_table,
        events=events,
        query_id=schema.query_id,
        candidate_id=schema.candidate_id,
        source=_describe(ratings),
        has_ratings=schema.rating is not None,
    )


def _read_events(ratings: Any, schema: Schema, queries: Any, candidates: Any) -> pa.Table:
    """Reads the columns of `ratings` that the schema names; features with a table of their own are not among them."""
    table = _read(ratings, schema, "ratings")
    columns = [*schema.event_columns]
    columns += schema.query_features or () if queries is None else ()
    columns += schema.candidate_features or () if candidates is None else ()
    require_columns(table, columns, "`ratings`")
    return table.select(columns)


def _read_side(source: Any, id_column: str, features: Sequence[str], schema: Schema, name: str) -> pa.Table | None:
    """Reads a separate table of queries or candidates: merges exact duplicates and refuses contradictions."""
    if source is None:
        return None
    table = _read(source, schema, name)
    require_columns(table, [id_column, *features], f"`{name}`")
    table = table.select([id_column, *features])
    ids = read_ids(table[id_column], f"{name}.{id_column}")
    missing = np.flatnonzero(is_missing(ids).to_numpy(zero_copy_only=False))
    if missing.size:
        raise ValueError(
            f"`{name}.{id_column}` holds missing ids in {missing.size} rows, the first in rows {missing[:5].tolist()}."
        )
    distinct, _ = distinct_rows(_with_column(table, id_column, ids), id_column, features)
    return distinct


def _read(source: Any, schema: Schema, name: str) -> pa.Table:
    """Reads a table in any form. In text files ids stay text: 007 must not become 7."""
    if isinstance(source, pa.Table):
        table = source
    elif isinstance(source, str) or hasattr(source, "__fspath__"):
        table = read_files(source, text_columns=(schema.query_id, schema.candidate_id))
    else:
        table = pa.table(source)
    if not table.num_rows:
        raise ValueError(f"`{name}` must have at least one row. Received: none.")
    return plain_table(table, name)


def _with_string_ids(table: pa.Table, schema: Schema, invalid: InvalidRows) -> pa.Table:
    for column in (schema.query_id, schema.candidate_id):
        ids = read_ids(table[column], f"ratings.{column}")
        invalid.add(column, "missing ids", is_missing(ids), table[column])
        table = _with_column(table, column, ids)
    return table


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _find_unlisted(
    column: pa.ChunkedArray, name: str, listed: pa.Table | None, table: str, invalid: InvalidRows
) -> None:
    """Finds the events whose id is not in the separate table of queries or candidates."""
    if listed is None:
        return
    ids = column.combine_chunks()
    is_listed = pc.is_in(ids, value_set=listed[name].combine_chunks())
    invalid.add(name, f"ids that `{table}` does not have", pc.and_(pc.invert(is_listed), pc.is_valid(ids)), column)


def _read_values(table: pa.Table, schema: Schema, invalid: InvalidRows) -> pa.Table:
    """Reads the columns of `events` after the row numbers: rating, timestamp, weight and event features."""
    if schema.rating is None:
        values = {"rating": pa.array(np.ones(table.num_rows, np.float32))}
    else:
        values = {"rating": read_numbers(table[schema.rating].combine_chunks(), schema.rating, invalid)}
    if schema.timestamp is not None:
        values["timestamp"] = read_times(table[schema.timestamp].combine_chunks(), schema.timestamp, invalid)
    if schema.weight is not None:
        weights = read_numbers(table[schema.weight].combine_chunks(), schema.weight, invalid)
        invalid.add(schema.weight, "negative numbers", pc.less(weights, 0), table[schema.weight])
        values["weight"] = weights
    values |= {name: table[name].combine_chunks() for name in schema.event_features}
    return pa.table(values)


def _locate(
    table: pa.Table, listed: pa.Table | None, id_column: str, features: Sequence[str]
) -> tuple[pa.Table, np.ndarray]:
    """Finds each event's row in the queries or candidates, which come from `table` where there is no separate table.

    Returns:
        (queries or candidates, rows): one row per id; int32 [num_events].
    """
    if listed is None:
        return distinct_rows(table, id_column, features)
    rows = pc.index_in(table[id_column].combine_chunks(), value_set=listed[id_column].combine_chunks())
    return listed, rows.to_numpy(zero_copy_only=False).astype(np.int32)


def _describe(source: Any) -> str:
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return str(source).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"a {type(source).__module__.partition('.')[0]} {type(source).__name__} in memory"
