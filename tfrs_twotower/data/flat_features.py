"""Finding the features of queries and candidates among the columns of a flat table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.columns import is_feature_type
from tfrs_twotower.data.ids import Ids
from tfrs_twotower.data.normalization import find_disagreement, number_rows

#: A side of the events.
Side = Literal["query", "candidate"]

_PLURALS: dict[Side, str] = {"query": "queries", "candidate": "candidates"}
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatFeatures:
    """Columns of a flat table by what they depend on.

    Attributes:
        query: Columns with one value for each query id.
        candidate: Columns with one value for each candidate id.
        notes: What was found, as sentences.
    """

    query: tuple[str, ...]
    candidate: tuple[str, ...]
    notes: tuple[str, ...]


def find_flat_features(
    table: pa.Table,
    columns: Sequence[str],
    *,
    queries: Ids,
    candidates: Ids,
    sides: Sequence[Side] = ("query", "candidate"),
) -> FlatFeatures:
    """Finds the columns that have exactly one value for each query id and not for each candidate id, or the reverse.

    A side whose ids never recur has no such columns, because every column has one value for each id then.

    Args:
        table: A flat table with one row per event; its columns of features have plain types.
        columns: Columns to examine.
        queries: Query ids of the rows.
        candidates: Candidate ids of the rows.
        sides: Sides whose features are wanted.

    Example:
        >>> from tfrs_twotower.data.ids import read_ids
        >>> table = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "y"], "age": [30, 40, 30], "hour": [1, 2, 3]})
        >>> found = find_flat_features(
        ...     table, ["age", "hour"], queries=read_ids(table["u"], "u"), candidates=read_ids(table["m"], "m")
        ... )
        >>> found.query, found.candidate
        (('age',), ())
        >>> found.notes
        ('Features of queries, because they have one value for each query id: `age`.',
         'Left out, because they do not depend on one id alone, or have no values: `hour`.')
    """
    found: dict[Side, list[str]] = {"query": [], "candidate": []}
    left_out = []
    first: dict[Side, _Rows | None] = {"query": _first_rows(queries), "candidate": _first_rows(candidates)}
    for column in columns:
        values = table[column]
        depends: list[Side] = []
        if is_feature_type(values.type) and values.null_count < len(values):
            depends = [side for side, rows in first.items() if rows is not None and _depends(values, *rows)]
        if len(depends) == 1 and depends[0] in sides:
            found[depends[0]].append(column)
        else:
            left_out.append(column)
    notes = [
        f"Features of {plural}, because they have one value for each {side} id: {_list(found[side])}."
        for side, plural in _PLURALS.items()
        if found[side]
    ]
    if left_out:
        notes.append(f"Left out, because they do not depend on one id alone, or have no values: {_list(left_out)}.")
    return FlatFeatures(query=tuple(found["query"]), candidate=tuple(found["candidate"]), notes=tuple(notes))


def _first_rows(ids: Ids) -> _Rows | None:
    """Finds the rows with an id, and the first row of each id; None if no id recurs.

    Returns:
        (present, first, rows): rows of the table that have an id; among these, the first row of each id; the number of
        the id of each of them.
    """
    present = np.flatnonzero(~ids.is_missing)
    first, rows = number_rows(ids.codes[present], len(ids.values))
    return None if len(first) == len(rows) else (present, first, rows)


def _depends(values: pa.ChunkedArray, present: np.ndarray, first: np.ndarray, rows: np.ndarray) -> bool:
    if len(present) < len(values):
        values = values.take(pa.array(present))
    return find_disagreement(values, first, rows) is None


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
