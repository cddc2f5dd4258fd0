"""Turning any table of ratings into `Interactions`."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.cleaning import OnInvalid
from tfrs_twotower.data.conversion import convert_ratings
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.repeats import Repeats
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.side_tables import SideTable, read_side_table
from tfrs_twotower.data.sources import describe_source, read_source
from tfrs_twotower.data.text_format import TextFormat

__all__ = ["OnInvalid", "Repeats", "Schema", "load_ratings"]


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

    Everything that is assumed while the table is read stands in `Interactions.notes`.

    Args:
        ratings: One row per event: a path that `read_files` takes, an Arrow table, a data frame of pandas, Polars or
            another library that exports Arrow data, a dictionary of columns, or a list with a dictionary for each row.
            The table is not changed.
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
            "mean", "sum" and "count" make one event of them, with the last or mean rating, the sum of the ratings, or
            the number of events as rating.
        text_format: How text files are written, where looking at them does not tell. It applies to every text file
            among `ratings`, `queries` and `candidates`, except that the names of columns are those of `ratings` alone.
        progress: Called while files are read and while the rows are converted.

    Returns:
        The data with ids as strings. `events` has `rating`, and `timestamp`, `weight`, `impressions` and event features
        if the schema names them. Columns whose names cannot name an input of a SavedModel have another name; see
        `original_names`.

    Raises:
        ValueError: If a column is missing or holds something else, a row cannot be used, or two columns would have the
            same name. The message names the column, the number of such rows, and the first of them.
        TypeError: If an argument has the wrong type, or an id column holds neither strings nor integers.
        OSError: If a file cannot be read.

    Example:
        >>> table = {"customer": [7, 8], "sku": ["a", "a"], "stars": [4, 2], "when": ["2024-01-01", "2024-01-02"]}
        >>> schema = Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
        >>> load_ratings(table, schema).events.to_pylist()[1]
        {'query_row': 1, 'candidate_row': 0, 'rating': 2.0, 'timestamp': 1704153600}
    """
    _check_arguments(schema, on_invalid, repeats, text_format)
    texts = [schema.query_id, schema.candidate_id, *([schema.impressions] if schema.impressions is not None else [])]
    required = [*schema.event_columns]
    required += schema.query_features or () if queries is None else ()
    required += schema.candidate_features or () if candidates is None else ()
    table = read_source(
        ratings, "ratings", text_columns=texts, required=required, text_format=text_format, progress=progress
    )
    # The names of columns belong to the ratings alone.
    side_format = dataclasses.replace(text_format, column_names=None) if text_format else None
    query_table = _read_side(queries, "queries", schema.query_id, schema.query_features, side_format, progress)
    candidate_table = _read_side(
        candidates, "candidates", schema.candidate_id, schema.candidate_features, side_format, progress
    )
    progress("Converting the ratings", 0, table.num_rows)
    loaded = convert_ratings(
        table, schema, queries=query_table, candidates=candidate_table, on_invalid=on_invalid, repeats=repeats
    )
    progress("Converting the ratings", table.num_rows, table.num_rows)
    return dataclasses.replace(loaded, source=describe_source(ratings))


def _read_side(
    source: Any,
    name: str,
    column: str,
    features: tuple[str, ...] | None,
    text_format: TextFormat | None,
    progress: Progress,
) -> SideTable | None:
    if source is None:
        return None
    required = [column, *(features or ())]
    table = read_source(
        source, name, text_columns=[column], required=required, text_format=text_format, progress=progress
    )
    return read_side_table(table, name, column, features)


def _check_arguments(schema: Any, on_invalid: Any, repeats: Any, text_format: Any) -> None:
    if not isinstance(schema, Schema):
        raise TypeError(f"`schema` must be a `Schema`, which names the columns. Received: a {type(schema).__name__}.")
    if on_invalid not in get_args(OnInvalid):
        raise ValueError(f"`on_invalid` must be 'fail' or 'drop'. Received: {on_invalid!r}.")
    if repeats not in get_args(Repeats):
        raise ValueError(f"`repeats` must be 'keep', 'last', 'mean', 'sum' or 'count'. Received: {repeats!r}.")
    if text_format is not None and not isinstance(text_format, TextFormat):
        raise TypeError(f"`text_format` must be a `TextFormat`. Received: a {type(text_format).__name__}.")
