"""What a rating table is: events between queries and candidates, each id's features held once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import plain_table, require_columns

_CHECKED_AT_ONCE = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """A star of three Arrow tables: one row per query, one per candidate, one per event between them.

    Attributes:
        queries: One row per query id, with the query's features.
        candidates: One row per candidate id, with the candidate's features. This is the catalogue.
        events: `query_row` int32 and `candidate_row` int32 (rows of the two tables above), `rating` float32, where
            known `timestamp` int64 (seconds since 1970-01-01 UTC), where wanted `weight` float32 (>= 0, what an event
            counts in the loss), and any feature that differs from event to event.
        query_id: Name of the string column of `queries` that identifies a row.
        candidate_id: Name of the string column of `candidates` that identifies a row.
        source: Where the data came from, in words; goes into manifests.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["u1", "u2"]}),
        ...     candidates=pa.table({"movie_id": ["m1"]}),
        ...     events=pa.table({"query_row": [1], "candidate_row": [0], "rating": [4.0]}),
        ...     query_id="user_id",
        ...     candidate_id="movie_id",
        ... )
        >>> ratings.num_queries, ratings.num_candidates, ratings.num_events
        (2, 1, 1)
    """

    queries: pa.Table
    candidates: pa.Table
    events: pa.Table
    query_id: str
    candidate_id: str
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("queries", "candidates"):
            object.__setattr__(self, name, plain_table(getattr(self, name), name))
        check_ids(self.queries, self.query_id, "queries")
        check_ids(self.candidates, self.candidate_id, "candidates")
        required = ("query_row", "candidate_row", "rating")
        missing = [name for name in required if name not in self.events.column_names]
        if missing:
            raise ValueError(
                f"`events` must have the columns {', '.join(required)}. "
                f"Missing: {', '.join(missing)}; received: {', '.join(self.events.column_names)}."
            )
        _check_rows(self.events, self.num_queries, "query_row", "queries")
        _check_rows(self.events, self.num_candidates, "candidate_row", "candidates")
        _check_values(self.ratings, np.isfinite, "rating", "finite")
        if "timestamp" in self.events.column_names:
            _check_integers(self.events, "timestamp")
        if self.weights is not None:
            _check_values(self.weights, lambda x: np.isfinite(x) & (x >= 0), "weight", "finite and at least 0")

    @property
    def num_queries(self) -> int:
        """Number of query ids."""
        return int(self.queries.num_rows)

    @property
    def num_candidates(self) -> int:
        """Number of candidate ids, the size of the catalogue."""
        return int(self.candidates.num_rows)

    @property
    def num_events(self) -> int:
        """Number of events."""
        return int(self.events.num_rows)

    @property
    def query_rows(self) -> np.ndarray:
        """int32 [num_events], each event's row of `queries`."""
        return self.events["query_row"].to_numpy().astype(np.int32, copy=False)

    @property
    def candidate_rows(self) -> np.ndarray:
        """int32 [num_events], each event's row of `candidates`."""
        return self.events["candidate_row"].to_numpy().astype(np.int32, copy=False)

    @property
    def ratings(self) -> np.ndarray:
        """float32 [num_events], each event's rating."""
        return self.events["rating"].to_numpy().astype(np.float32, copy=False)

    @property
    def timestamps(self) -> np.ndarray | None:
        """int64 [num_events], seconds since 1970-01-01 UTC, or None if they are not known."""
        if "timestamp" not in self.events.column_names:
            return None
        return self.events["timestamp"].to_numpy().astype(np.int64, copy=False)

    @property
    def weights(self) -> np.ndarray | None:
        """float32 [num_events], what each event counts in the loss, or None if all count the same."""
        if "weight" not in self.events.column_names:
            return None
        return self.events["weight"].to_numpy().astype(np.float32, copy=False)

    def has_rows_of(self, other: Interactions) -> bool:
        """Whether a query row, and a candidate row, mean the same ids here and there."""
        return all(
            mine is theirs or (mine_id == theirs_id and bool(mine[mine_id].equals(theirs[theirs_id])))
            for mine, mine_id, theirs, theirs_id in (
                (self.queries, self.query_id, other.queries, other.query_id),
                (self.candidates, self.candidate_id, other.candidates, other.candidate_id),
            )
        )

    def with_events(self, rows: np.ndarray) -> Interactions:
        """The same queries and candidates with only some of the events.

        Args:
            rows: int [n], rows of `events`, in the order wanted.
        """
        return dataclasses.replace(self, events=self.events.take(pa.array(rows)))

    def fingerprint(self) -> str:
        """SHA-256 (hex) over every column of the three tables: data sets with one fingerprint are the same."""
        digest = hashlib.sha256()
        for table in (self.queries, self.candidates, self.events):
            for name in table.column_names:
                column = table[name].combine_chunks()
                digest.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
                is_plain = pa.types.is_primitive(column.type) and not column.null_count
                digest.update(column.to_numpy(zero_copy_only=False) if is_plain else repr(column.to_pylist()).encode())
        return digest.hexdigest()


def normalize_ratings(
    flat: pa.Table,
    *,
    query_id: str,
    candidate_id: str,
    query_features: Sequence[str] = (),
    candidate_features: Sequence[str] = (),
    source: str = "",
) -> Interactions:
    """Normalises a flat table, one row per rating with every feature repeated, into a star.

    Args:
        flat: Columns `rating` and, optionally, `timestamp`, the two ids (string), and the features.
        query_id: The column that identifies a query.
        candidate_id: The column that identifies a candidate.
        query_features: Columns that depend on the query id alone.
        candidate_features: Columns that depend on the candidate id alone.
        source: Where the data came from.

    Returns:
        Ids in order of first appearance; events in the order of `flat`.

    Raises:
        ValueError: If a column is missing, or a feature has two values for one id (id and rows named).

    Example:
        >>> flat = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "y"], "age": [30, 40, 30], "rating": [5., 3., 1.]})
        >>> star = normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age"])
        >>> star.queries.to_pylist()
        [{'u': 'a', 'age': 30}, {'u': 'b', 'age': 40}]
        >>> star.candidate_rows.tolist()
        [0, 0, 1]
    """
    wanted = ("rating", query_id, candidate_id, *query_features, *candidate_features)
    require_columns(flat, wanted)
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
    """Takes a table in which ids recur apart into one row per id, and where each row's id went.

    Args:
        flat: Any table with the columns named.
        id_column: The column that identifies a row of the result.
        features: Columns that depend on the id alone.

    Returns:
        (table, rows): the id and the features, in order of first appearance, and int32 [num_rows of `flat`].

    Raises:
        ValueError: If a feature has two values for one id (id and rows named).
    """
    if flat[id_column].null_count:
        rows = np.flatnonzero(flat[id_column].is_null().to_numpy())
        raise ValueError(f"`{id_column}` must have no null. Received {rows.size}, first in rows {rows[:5].tolist()}.")
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
    """NaN is unequal to itself, but two missing values agree."""
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


def check_ids(table: pa.Table, column: str, name: str) -> None:
    """Checks that a column identifies the rows of a table.

    Args:
        table: Queries or candidates.
        column: Its ids.
        name: What to call the table in errors.

    Raises:
        ValueError: If there is no such column, an id is missing or empty, or two are equal.
        TypeError: If the ids are no strings.
    """
    if column not in table.column_names:
        raise ValueError(f"`{name}` must have the id column {column!r}. Received: {', '.join(table.column_names)}.")
    ids = table[column]
    if not pa.types.is_string(ids.type):
        raise TypeError(f"`{name}.{column}` must hold strings. Received: {ids.type}. Cast the ids once, at the border.")
    if ids.null_count:
        raise ValueError(f"`{name}.{column}` must have no null. Received: {ids.null_count}.")
    if pc.any(pc.equal(ids, "")).as_py():
        raise ValueError(f'`{name}.{column}` must have no empty id: "" means missing, and an empty slot.')
    counts = pc.value_counts(ids.combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise ValueError(
            f"`{name}.{column}` must identify a row. Received {len(repeated)} repeated ids, "
            f"first {repeated.field('values')[:5].to_pylist()}."
        )


def _check_values(values: np.ndarray, is_good: Callable[[np.ndarray], np.ndarray], column: str, rule: str) -> None:
    bad = _find_bad(values, is_good)
    if bad.size:
        raise ValueError(
            f"`{column}` must be {rule}. Received {bad.size} other values, first in rows {bad[:5].tolist()}."
        )


def _find_bad(values: np.ndarray, is_good: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Rows that are not good, looked for block by block: a check must not take memory that grows with the events."""
    blocks = range(0, len(values), _CHECKED_AT_ONCE)
    found = [np.flatnonzero(~is_good(values[start : start + _CHECKED_AT_ONCE])) + start for start in blocks]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _check_integers(events: pa.Table, column: str) -> None:
    kind, num_null = events[column].type, events[column].null_count
    if not pa.types.is_integer(kind) or num_null:
        raise TypeError(f"`{column}` must hold integers, none of them null. Received: {kind}, {num_null} null.")


def _check_rows(events: pa.Table, size: int, column: str, table: str) -> None:
    _check_integers(events, column)
    rows = events[column].to_numpy()
    bad = _find_bad(rows, lambda x: (x >= 0) & (x < size))
    if bad.size:
        raise ValueError(
            f"`{column}` must be a row of `{table}`, 0 to {size - 1}. "
            f"Received {bad.size} others, first {rows[bad[:5]].tolist()} in event rows {bad[:5].tolist()}."
        )
