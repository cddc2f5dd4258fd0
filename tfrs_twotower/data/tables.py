"""Any table of ratings as `Interactions`: read, checked row by row, ids made strings once."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.interactions import Interactions, distinct_rows
from tfrs_twotower.data.times import seconds

#: What to do with rows that cannot be used: stop, or leave them out and warn with their number.
OnInvalid = Literal["fail", "drop"]

_EVENT_COLUMNS = {"query_row", "candidate_row", "rating", "timestamp", "weight"}
_NUM_SHOWN = 5
_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """Which column means what.

    Attributes:
        query_id: Identifies who rates: strings or integers.
        candidate_id: Identifies what is rated: strings or integers.
        rating: A number; None for implicit feedback, where every event counts as a rating of 1.
        timestamp: Anything that `tfrs_twotower.data.times.seconds` reads, such as ISO 8601 text; None if there is none.
        weight: What an event counts in the loss, >= 0; None for 1 each.
        query_features: Columns that depend on the query id alone.
        candidate_features: Columns that depend on the candidate id alone.
        event_features: Columns that may differ from event to event.

    Example:
        >>> Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when").weight is None
        True
    """

    query_id: str
    candidate_id: str
    rating: str | None = None
    timestamp: str | None = None
    weight: str | None = None
    query_features: tuple[str, ...] = ()
    candidate_features: tuple[str, ...] = ()
    event_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("query_features", "candidate_features", "event_features"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"`{name}` must be a tuple of names. Received: {getattr(self, name)!r}; add a comma.")
        named = [self.query_id, self.candidate_id, *filter(None, (self.rating, self.timestamp, self.weight))]
        named += [*self.query_features, *self.candidate_features, *self.event_features]
        repeated = sorted({name for name in named if named.count(name) > 1})
        if repeated:
            raise ValueError(f"A column must have one meaning. Named twice: {', '.join(repeated)}.")
        taken = sorted(set(self.event_features) & _EVENT_COLUMNS)
        if taken:
            raise ValueError(f"An event feature must not be called {', '.join(taken)}: the events have that column.")


def load_ratings(
    ratings: Any,
    schema: Schema,
    *,
    queries: Any = None,
    candidates: Any = None,
    on_invalid: OnInvalid = "fail",
) -> Interactions:
    """Turns a table of ratings into `Interactions`.

    Args:
        ratings: One row per event: an Arrow table, anything that `pyarrow.table` takes (a pandas data frame, a
            dictionary of columns), or a path as `read_files` takes it. The caller's table is not changed.
        schema: What the columns mean.
        queries: A table of the queries' features, one row per id, like `ratings`; by default they are columns of
            `ratings`.
        candidates: A table of the catalogue, one row per id; it may hold candidates without events. By default the
            features are columns of `ratings`, and the catalogue is what occurs there.
        on_invalid: What to do with events that cannot be used: an id that is null, a rating or weight that is no
            finite number, a time that cannot be read, an id that is not in `queries` or `candidates`.

    Returns:
        Ids as strings; `events` with `rating`, and `timestamp`, `weight` and event features where there are any.

    Raises:
        ValueError: Naming the column, the number of bad rows, and the first of them.
        TypeError: If an id column holds neither strings nor integers.
        OSError: If a file cannot be read.

    Example:
        >>> table = {"customer": [7, 8], "sku": ["a", "a"], "stars": [4, 2], "when": ["2024-01-01", "2024-01-02"]}
        >>> schema = Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
        >>> load_ratings(table, schema).events.to_pylist()[1]
        {'query_row': 1, 'candidate_row': 0, 'rating': 2.0, 'timestamp': 1704153600}
    """
    if on_invalid not in ("fail", "drop"):
        raise ValueError(f"`on_invalid` must be 'fail' or 'drop'. Received: {on_invalid!r}.")
    table = _read(ratings, schema, "ratings")
    columns = _columns_of_events(schema, queries, candidates)
    require_columns(table, columns, "`ratings`")
    table = table.select(columns)
    invalid = _InvalidRows(table.num_rows, on_invalid)
    table = _with_ids(table, schema, "ratings", invalid)
    query_table = _read_side(queries, schema.query_id, schema.query_features, schema, "queries")
    candidate_table = _read_side(candidates, schema.candidate_id, schema.candidate_features, schema, "candidates")
    for column, side in ((schema.query_id, query_table), (schema.candidate_id, candidate_table)):
        if side is not None:
            known = pc.is_in(table[column].combine_chunks(), value_set=side[column].combine_chunks())
            unknown = pc.and_(pc.invert(known), pc.is_valid(table[column].combine_chunks()))
            invalid.add(column, "an id that its table does not have", unknown, table[column])
    events = {"rating": _numbers(table, schema.rating, invalid)}
    if schema.timestamp is not None:
        events["timestamp"] = _seconds(table[schema.timestamp].combine_chunks(), schema.timestamp, invalid)
    if schema.weight is not None:
        events["weight"] = _numbers(table, schema.weight, invalid)
        negative = pc.less(events["weight"], 0)
        invalid.add(schema.weight, "a negative number", negative, table[schema.weight])
    events |= {name: table[name].combine_chunks() for name in schema.event_features}
    valid = invalid.valid_rows()
    if valid is not None:
        table = table.take(valid)
        events = {name: column.take(valid) for name, column in events.items()}
    if not table.num_rows:
        raise ValueError("`ratings` must have at least one row that can be used. Received: none.")
    query_table, query_rows = _side(table, query_table, schema.query_id, schema.query_features)
    candidate_table, candidate_rows = _side(table, candidate_table, schema.candidate_id, schema.candidate_features)
    return Interactions(
        queries=query_table,
        candidates=candidate_table,
        events=pa.table({"query_row": query_rows, "candidate_row": candidate_rows, **events}),
        query_id=schema.query_id,
        candidate_id=schema.candidate_id,
        source=_describe(ratings),
    )


class _InvalidRows:
    """Collects the rows that cannot be used; fails at the first finding, or gives what is left."""

    def __init__(self, num_rows: int, on_invalid: OnInvalid) -> None:
        self._bad = np.zeros(num_rows, bool)
        self._on_invalid = on_invalid
        self._findings: list[str] = []

    def add(self, column: str, finding: str, bad: pa.Array, values: Any) -> None:
        mask = np.asarray(pc.fill_null(bad, False).to_numpy(zero_copy_only=False), bool)
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        shown = rows[:_NUM_SHOWN].tolist()
        text = (
            f"`{column}` holds {finding} in {rows.size} of {mask.size} rows, first in rows {shown}: "
            f"{[values[row].as_py() for row in shown]}."
        )
        if self._on_invalid == "fail":
            raise ValueError(f"{text} Mend them, or leave them out with on_invalid='drop'.")
        self._bad |= mask
        self._findings.append(text)

    def valid_rows(self) -> pa.Array | None:
        """Rows to keep, or None for all."""
        if not self._findings:
            return None
        warnings.warn(f"Left out {self._bad.sum()} of {self._bad.size} rows. {' '.join(self._findings)}", stacklevel=3)
        return pa.array(np.flatnonzero(~self._bad))


def _read(source: Any, schema: Schema, name: str) -> pa.Table:
    """A table of whatever the caller has; in text files ids stay text, lest 007 becomes 7."""
    if isinstance(source, pa.Table):
        table = source
    elif isinstance(source, str) or hasattr(source, "__fspath__"):
        table = read_files(source, text_columns=(schema.query_id, schema.candidate_id))
    else:
        table = pa.table(source)
    if not table.num_rows:
        raise ValueError(f"`{name}` must have at least one row. Received: none.")
    return plain_table(table, name)


def _columns_of_events(schema: Schema, queries: Any, candidates: Any) -> list[str]:
    columns = [schema.query_id, schema.candidate_id, *filter(None, (schema.rating, schema.timestamp, schema.weight))]
    columns += schema.event_features
    columns += schema.query_features if queries is None else ()
    columns += schema.candidate_features if candidates is None else ()
    return columns


def _with_ids(table: pa.Table, schema: Schema, name: str, invalid: _InvalidRows) -> pa.Table:
    for column in (schema.query_id, schema.candidate_id):
        ids = _strings(table[column], f"{name}.{column}")
        invalid.add(column, "no id", pc.or_kleene(pc.is_null(ids), pc.equal(ids, "")), table[column])
        table = table.set_column(table.column_names.index(column), column, ids)
    return table


def _strings(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Ids as strings. Integers are cast value by value of the dictionary, not row by row."""
    values = column.combine_chunks()
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if pa.types.is_floating(values.type):
        # What data frames make of integers among which one is missing.
        values = pc.if_else(pc.is_nan(values), None, values)
        if not pc.all(pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2**53))).as_py():
            raise TypeError(f"`{name}` must hold strings or integers. Received: {values.type} with fractions.")
        values = values.cast(pa.int64())
    if pa.types.is_integer(values.type):
        encoded = values.dictionary_encode()
        return encoded.dictionary.cast(pa.string()).take(encoded.indices)
    if pa.types.is_string(values.type):
        return values
    raise TypeError(f"`{name}` must hold strings or integers. Received: {values.type}.")


def _numbers(table: pa.Table, column: str | None, invalid: _InvalidRows) -> pa.Array:
    """float32, finite but in the rows found invalid; ones without a column."""
    if column is None:
        return pa.array(np.ones(table.num_rows, np.float32))
    values = table[column].combine_chunks()
    if pa.types.is_string(values.type):
        values = pc.if_else(pc.match_substring_regex(values, _NUMBER), pc.utf8_trim_whitespace(values), None)
    try:
        numbers = values.cast(pa.float32(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"`{column}` must hold numbers. Received: {values.type}.") from error
    finite = pc.fill_null(pc.is_finite(numbers), False)
    invalid.add(column, "no finite number", pc.invert(finite), table[column])
    return pc.fill_null(numbers, float("nan"))


def _seconds(values: pa.Array, column: str, invalid: _InvalidRows) -> pa.Array:
    """int64 seconds since 1970-01-01 UTC, 0 in the rows found invalid."""
    try:
        times = seconds(values)
    except TypeError as error:
        raise ValueError(f"`{column}` must hold times. Received: {values.type}.") from error
    invalid.add(column, "no time that can be read", pc.is_null(times), values)
    return pc.fill_null(times, 0)


def _read_side(source: Any, id_column: str, features: Sequence[str], schema: Schema, name: str) -> pa.Table | None:
    """A table of queries or candidates of its own: exact duplicates merged, contradictions refused."""
    if source is None:
        return None
    table = _read(source, schema, name)
    require_columns(table, [id_column, *features], f"`{name}`")
    table = table.select([id_column, *features])
    ids = _strings(table[id_column], f"{name}.{id_column}")
    no_id = np.flatnonzero(pc.or_kleene(pc.is_null(ids), pc.equal(ids, "")).to_numpy(zero_copy_only=False))
    if no_id.size:
        raise ValueError(f"`{name}.{id_column}` holds no id in {no_id.size} rows, first in rows {no_id[:5].tolist()}.")
    table = table.set_column(table.column_names.index(id_column), id_column, ids)
    distinct, _ = distinct_rows(table, id_column, features)
    return distinct


def _side(
    table: pa.Table, own: pa.Table | None, id_column: str, features: Sequence[str]
) -> tuple[pa.Table, np.ndarray]:
    """The queries (or candidates), and int32 [num_events], the row that each event has there."""
    if own is None:
        return distinct_rows(table, id_column, features)
    rows = pc.index_in(table[id_column].combine_chunks(), value_set=own[id_column].combine_chunks())
    return own, rows.to_numpy(zero_copy_only=False).astype(np.int32)


def _describe(source: Any) -> str:
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        return str(source).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"a {type(source).__module__.partition('.')[0]} {type(source).__name__} in memory"
