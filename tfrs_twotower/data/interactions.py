"""`Interactions`: events between queries and candidates, with the features of each query and candidate held once."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.columns import check_ids, number_rows, plain_table
from tfrs_twotower.data.contexts import Contexts, Requests, find_contexts
from tfrs_twotower.data.impressions import Impressions
from tfrs_twotower.data.input_names import EVENT_COLUMNS
from tfrs_twotower.data.rows import first_rows, pair_codes

_MAX_WEIGHT = 1e18
_CHECK_BLOCK_SIZE = 2**20

_Predicate = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """A data set as three Arrow tables: one row per query, one per candidate, one per event between them.

    Attributes:
        queries: One row per query id, with the query's features.
        candidates: One row per candidate id, with the candidate's features. This is the catalogue.
        events: One row per event. Required columns: `query_row` and `candidate_row` (int32, rows of the two tables
            above) and `rating` (float32, finite). Optional columns: `timestamp` (int64, seconds since 1970-01-01 UTC),
            `weight` (float32, >= 0, the event's weight in the loss), `impressions` (lists of int32, rows of the
            candidates that were shown with the event and not chosen), and the features that differ from event to event,
            its context, under names that no column of `queries` has.
        query_id: Name of the string column that identifies a row of `queries`.
        candidate_id: Name of the string column that identifies a row of `candidates`.
        source: Description of where the data came from. It is written into manifests.
        original_names: Name of a column in the three tables -> its name in the user's table, where the two differ.
        notes: What was assumed or noticed while the data was read, as full sentences for people.
        has_ratings: Whether the data has ratings at all. False for implicit feedback, where every event has the rating
            1.

    Raises:
        ValueError: If a column is missing or is in two tables, an id is missing or occurs twice, a row number is out of
            range, or a rating or weight is not a valid number.
        TypeError: If a column has the wrong type.

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
    original_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_ratings: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "original_names", dict(self.original_names))
        object.__setattr__(self, "notes", tuple(self.notes))
        for name in ("queries", "candidates", "events"):
            if not isinstance(getattr(self, name), pa.Table):
                raise TypeError(
                    f"`{name}` must be an Arrow table. Received: a {type(getattr(self, name)).__name__}. "
                    "Read other tables with `load_ratings`."
                )
        object.__setattr__(self, "queries", plain_table(self.queries, "queries"))
        object.__setattr__(self, "candidates", plain_table(self.candidates, "candidates"))
        check_ids(self.queries, self.query_id, "queries")
        check_ids(self.candidates, self.candidate_id, "candidates")
        required = ("query_row", "candidate_row", "rating")
        missing = [name for name in required if name not in self.events.column_names]
        if missing:
            raise ValueError(
                f"`events` must have the columns {', '.join(required)}. "
                f"Missing: {', '.join(missing)}; received: {', '.join(self.events.column_names)}."
            )
        in_both = [name for name in self.event_features if name in self.queries.column_names]
        if in_both:
            raise ValueError(
                f"`events` must not have the features of `queries`: an input of the model has one source. "
                f"Received in both: {', '.join(in_both)}. Rename the column in one of them, or leave it out."
            )
        _check_rows(self.events, self.num_queries, "query_row", "queries")
        _check_rows(self.events, self.num_candidates, "candidate_row", "candidates")
        for name in ("rating", "weight"):
            if name in self.events.column_names:
                _check_numbers(self.events, name)
        _check_values(self.ratings, np.isfinite, "rating", "finite")
        if "timestamp" in self.events.column_names:
            _check_integers(self.events, "timestamp")
        if self.weights is not None:
            _check_values(self.weights, lambda x: np.isfinite(x) & (x >= 0), "weight", "finite and at least 0")
            # The sum over all events must be finite in float32.
            _check_values(self.weights, lambda x: x <= _MAX_WEIGHT, "weight", f"at most {_MAX_WEIGHT:g}")
        if "impressions" in self.events.column_names:
            _check_impressions(self.events["impressions"], self.num_candidates)

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
        """The row of `queries` of each event, int32 [num_events]."""
        return self.events["query_row"].to_numpy().astype(np.int32, copy=False)

    @property
    def candidate_rows(self) -> np.ndarray:
        """The row of `candidates` of each event, int32 [num_events]."""
        return self.events["candidate_row"].to_numpy().astype(np.int32, copy=False)

    @property
    def ratings(self) -> np.ndarray:
        """The rating of each event, float32 [num_events]."""
        return self.events["rating"].to_numpy().astype(np.float32, copy=False)

    @property
    def timestamps(self) -> np.ndarray | None:
        """The time of each event in seconds since 1970-01-01 UTC, int64 [num_events]; None without such a column."""
        if "timestamp" not in self.events.column_names:
            return None
        return self.events["timestamp"].to_numpy().astype(np.int64, copy=False)

    @property
    def weights(self) -> np.ndarray | None:
        """The weight of each event in the loss, float32 [num_events]; None if all events weigh the same."""
        if "weight" not in self.events.column_names:
            return None
        return self.events["weight"].to_numpy().astype(np.float32, copy=False)

    @functools.cached_property
    def impressions(self) -> Impressions | None:
        """The candidates that were shown with each event and not chosen; None without such a column."""
        if "impressions" not in self.events.column_names:
            return None
        return Impressions.of_column(self.events["impressions"])

    @property
    def event_features(self) -> tuple[str, ...]:
        """Columns of `events` that are features, the context of an event, in order."""
        return tuple(name for name in self.events.column_names if name not in EVENT_COLUMNS)

    @functools.cached_property
    def contexts(self) -> Contexts:
        """The different contexts of the events; without event features, a single one that has no column."""
        if not self.event_features:
            return Contexts(table=pa.table({}), rows=np.zeros(self.num_events, np.int32))
        return find_contexts(self.events.select(self.event_features))

    @functools.cached_property
    def requests(self) -> Requests:
        """The different pairs of a query and a context of the events; without event features, every query."""
        if not self.event_features:
            every = np.arange(self.num_queries)
            return Requests(query_rows=every, context_rows=np.zeros_like(every), of_events=self.query_rows)
        num_contexts = self.contexts.table.num_rows
        codes = pair_codes(self.query_rows, self.contexts.rows, max(1, num_contexts))
        found, of_events = np.unique(codes, return_inverse=True)
        query_rows, context_rows = np.divmod(found, max(1, num_contexts))
        return Requests(query_rows=query_rows, context_rows=context_rows, of_events=of_events)

    def by_request(self) -> Interactions:
        """Returns the same events with a row of `queries` for each request, for measures that look at each by itself.

        A row has the query's columns, its id among them, and those of the context. It is identified by a number, in a
        column `request`. Without event features these are the interactions themselves.

        Example:
            >>> events = {"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 4.0], "hour": [9, 20]}
            >>> ratings = Interactions(
            ...     queries=pa.table({"user_id": ["u1"]}), candidates=pa.table({"movie_id": ["m1", "m2"]}),
            ...     events=pa.table(events), query_id="user_id", candidate_id="movie_id",
            ... )
            >>> ratings.by_request().queries.to_pylist()
            [{'request': '0', 'user_id': 'u1', 'hour': 9}, {'request': '1', 'user_id': 'u1', 'hour': 20}]
        """
        if not self.event_features:
            return self
        requests = self.requests
        contexts = self.contexts.table.take(pa.array(requests.context_rows))
        queries = self.queries.take(pa.array(requests.query_rows))
        for name in self.event_features:
            queries = queries.append_column(name, contexts[name])
        queries, request = number_rows(queries, "request")
        place = self.events.column_names.index("query_row")
        events = self.events.set_column(place, "query_row", pa.array(requests.of_events.astype(np.int32)))
        return dataclasses.replace(
            self,
            queries=queries,
            events=events.drop_columns(list(self.event_features)),
            query_id=request,
        )

    def has_rows_of(self, other: Interactions) -> bool:
        """Tells whether row numbers of queries and candidates mean the same ids in both data sets.

        Args:
            other: Another data set, such as another part of the same split.
        """
        return all(
            own is theirs or (own_id == their_id and bool(own[own_id].equals(theirs[their_id])))
            for own, own_id, theirs, their_id in (
                (self.queries, self.query_id, other.queries, other.query_id),
                (self.candidates, self.candidate_id, other.candidates, other.candidate_id),
            )
        )

    def with_events(self, rows: np.ndarray) -> Interactions:
        """Selects events and keeps all queries and candidates.

        Args:
            rows: int [n], rows of `events`, in the order wanted.

        Raises:
            TypeError: If the rows are not integers.
            ValueError: If a row is out of range.
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise TypeError(f"`rows` must be integers [n]. Received: {rows.dtype} {list(rows.shape)}.")
        if rows.size and not (rows.min() >= 0 and rows.max() < self.num_events):
            raise ValueError(
                f"`rows` must be rows of `events`, 0 to {self.num_events - 1}. Received: {rows.min()} to {rows.max()}."
            )
        return dataclasses.replace(self, events=self.events.take(pa.array(rows, pa.int64())))

    def fingerprint(self) -> str:
        """Computes the SHA-256 (hex) of every column of the three tables: equal fingerprints mean equal data."""
        digest = hashlib.sha256()
        for table in (self.queries, self.candidates, self.events):
            for name in table.column_names:
                digest.update(f"{name}\0{table[name].type}\0{len(table[name])}\0".encode())
                if table is self.events and name == "impressions":
                    for part in Impressions.of_column(table[name]):
                        digest.update(part.tobytes())
                    continue
                column = table[name].combine_chunks()
                is_plain = pa.types.is_primitive(column.type) and not column.null_count
                digest.update(column.to_numpy(zero_copy_only=False) if is_plain else repr(column.to_pylist()).encode())
        return digest.hexdigest()


def require_interactions(value: Any, name: str) -> Interactions:
    """Checks that an argument is `Interactions`.

    Args:
        value: What the caller gave.
        name: Name of the argument, such as "train".

    Returns:
        The argument.

    Raises:
        TypeError: If it is anything else, such as a split or a table.

    Example:
        >>> require_interactions("ratings.csv", "train")
        Traceback (most recent call last):
        TypeError: `train` must be `Interactions`. Received: a str. Read a table or a file with `load_ratings` first.
    """
    if isinstance(value, Interactions):
        return value
    advice = "Read a table or a file with `load_ratings` first."
    if isinstance(getattr(value, "train", None), Interactions):
        advice = "Pass one part of the split, such as `split.train` or `split.seen`."
    raise TypeError(f"`{name}` must be `Interactions`. Received: a {type(value).__name__}. {advice}")


def _check_values(values: np.ndarray, is_good: _Predicate, column: str, rule: str) -> None:
    bad = _find_bad(values, is_good)
    if bad.size:
        raise ValueError(f"`{column}` must be {rule}. Received {bad.size} other values, {first_rows(bad)}.")


def _find_bad(values: np.ndarray, is_good: _Predicate) -> np.ndarray:
    """Finds the rows that are not good, block by block, so that memory does not grow with the number of events."""
    blocks = range(0, len(values), _CHECK_BLOCK_SIZE)
    found = [np.flatnonzero(~is_good(values[start : start + _CHECK_BLOCK_SIZE])) + start for start in blocks]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _check_integers(events: pa.Table, column: str) -> None:
    kind, num_null = events[column].type, events[column].null_count
    if not pa.types.is_integer(kind) or num_null:
        raise TypeError(f"`{column}` must hold integers and no nulls. Received: {kind} with {num_null} nulls.")


def _check_numbers(events: pa.Table, column: str) -> None:
    kind = events[column].type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise TypeError(f"`{column}` must hold numbers. Received: {kind}. Read other tables with `load_ratings`.")


def _check_impressions(column: pa.ChunkedArray, num_candidates: int) -> None:
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not is_list or not pa.types.is_integer(column.type.value_type):
        raise TypeError(
            f"`impressions` must hold lists of rows of `candidates`. Received: {column.type}. Read lists of ids with "
            "`load_ratings` and `Schema(impressions=...)`."
        )
    num_nulls = column.null_count + sum(chunk.flatten().null_count for chunk in column.chunks)
    if num_nulls:
        raise ValueError(f"`impressions` must hold no nulls, but empty lists. Received: {num_nulls} nulls.")
    rows = Impressions.of_column(column).candidate_rows
    bad = _find_bad(rows, lambda x: (x >= 0) & (x < num_candidates))
    if bad.size:
        raise ValueError(
            f"`impressions` must hold rows of `candidates`, 0 to {num_candidates - 1}. "
            f"Received {bad.size} other values, the first {rows[bad[:5]].tolist()}."
        )


def _check_rows(events: pa.Table, size: int, column: str, table: str) -> None:
    _check_integers(events, column)
    rows = events[column].to_numpy()
    bad = _find_bad(rows, lambda x: (x >= 0) & (x < size))
    if bad.size:
        raise ValueError(
            f"`{column}` must be a row of `{table}`, 0 to {size - 1}. "
            f"Received {bad.size} other values, {first_rows(bad)}: {rows[bad[:5]].tolist()}."
        )
