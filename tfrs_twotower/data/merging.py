"""Adding newer interactions to those that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.contexts import find_contexts
from tfrs_twotower.data.input_names import EVENT_COLUMNS
from tfrs_twotower.data.interactions import Interactions, require_interactions

_EVENT_KEYS = ("query_row", "candidate_row", "rating", "timestamp")


def merge_interactions(known: Interactions, newer: Interactions) -> tuple[Interactions, np.ndarray]:
    """Returns the interactions of both, the known ones first; known ids keep their rows.

    The features of an id are the newer ones where a newer table has them. An event that is in both, with the same time,
    rating and context, is taken once, so that a newer table may repeat older events.

    Args:
        known: The older interactions.
        newer: Interactions with the same columns of events.

    Returns:
        (merged, rows): the interactions; int64, the rows of the events that only the newer ones have.

    Raises:
        TypeError: If an argument is no `Interactions`.
        ValueError: If the columns differ, or only one of both has ratings.

    Example:
        >>> def ratings(movies, rows):
        ...     return Interactions(
        ...         queries=pa.table({"user_id": ["a"]}), candidates=pa.table({"movie_id": movies}),
        ...         events=pa.table({"query_row": [0] * len(rows), "candidate_row": rows, "rating": [5.0] * len(rows)}),
        ...         query_id="user_id", candidate_id="movie_id",
        ...     )
        >>> merged, rows = merge_interactions(ratings(["x", "y"], [0, 1]), ratings(["z", "y"], [0, 1]))
        >>> merged.candidates["movie_id"].to_pylist(), merged.candidate_rows.tolist(), rows.tolist()
        (['x', 'y', 'z'], [0, 1, 2], [2])
    """
    known, newer = require_interactions(known, "known"), require_interactions(newer, "newer")
    for name in ("query_id", "candidate_id", "has_ratings"):
        if getattr(known, name) != getattr(newer, name):
            raise ValueError(
                f"`newer` must have the same `{name}` as `known`, {getattr(known, name)!r}. "
                f"Received: {getattr(newer, name)!r}."
            )
    columns, theirs = known.events.column_names, newer.events.column_names
    if set(columns) != set(theirs):
        missing, more = sorted(set(columns) - set(theirs)), sorted(set(theirs) - set(columns))
        raise ValueError(
            f"`newer` must have the columns of events of `known`: {', '.join(columns)}. "
            f"Missing: {', '.join(missing) or 'none'}; too many: {', '.join(more) or 'none'}."
        )
    queries, query_rows = _merge_tables(known.queries, newer.queries, known.query_id)
    candidates, candidate_rows = _merge_tables(known.candidates, newer.candidates, known.candidate_id)
    events = newer.events.select(columns)
    for name, rows in (
        ("query_row", query_rows[newer.query_rows]),
        ("candidate_row", candidate_rows[newer.candidate_rows]),
    ):
        events = events.set_column(columns.index(name), name, pa.array(rows))
    if newer.impressions is not None:
        lists = newer.impressions.renumbered(candidate_rows).to_column()
        events = events.set_column(columns.index("impressions"), "impressions", lists)
    events = events.cast(known.events.schema)
    is_known = _keys(known.events, events)
    events = events.filter(pa.array(~is_known))
    merged = dataclasses.replace(
        known, queries=queries, candidates=candidates, events=pa.concat_tables([known.events, events])
    )
    return merged, np.arange(known.num_events, merged.num_events)


def _merge_tables(known: pa.Table, newer: pa.Table, id_column: str) -> tuple[pa.Table, np.ndarray]:
    """Returns the rows of both tables, one for each id, and the row of each newer id."""
    places = pc.index_in(newer[id_column], value_set=known[id_column]).combine_chunks()
    is_new = places.is_null().to_numpy(zero_copy_only=False)
    rows = pc.fill_null(places, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    rows[is_new] = known.num_rows + np.arange(np.count_nonzero(is_new))
    # Row of `known` -> row of `newer` with the same id, or none.
    sources = np.full(known.num_rows, -1)
    sources[rows[~is_new]] = np.flatnonzero(~is_new)
    columns = {}
    for name in dict.fromkeys((*known.column_names, *newer.column_names)):
        kind = (known if name in known.column_names else newer).schema.field(name).type
        ours = known[name] if name in known.column_names else pa.chunked_array([pa.nulls(known.num_rows, kind)])
        added: pa.ChunkedArray | pa.Array = pa.nulls(int(is_new.sum()), kind)
        if name in newer.column_names:
            column = newer[name].cast(kind)
            added = column.filter(pa.array(is_new))
            if name != id_column:
                updated = column.take(pa.array(sources, mask=sources < 0))
                ours = pc.coalesce(updated, ours) if not pa.types.is_nested(kind) else _coalesce(updated, ours)
        columns[name] = pa.concat_arrays([*_chunks(ours), *_chunks(added)])
    return pa.table(columns), rows


def _coalesce(first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of the first where it has any, for types that Arrow's own function does not take."""
    is_null = first.is_null().to_numpy(zero_copy_only=False)
    both = pa.chunked_array([*first.chunks, *second.chunks])
    return both.take(pa.array(np.where(is_null, len(first), 0) + np.arange(len(first))))


def _chunks(column: pa.ChunkedArray | pa.Array) -> list[pa.Array]:
    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def _keys(known: pa.Table, newer: pa.Table) -> np.ndarray:
    """Tells of each newer event whether it is among the known ones, bool [num_newer]."""
    names = [name for name in _EVENT_KEYS if name in known.column_names]
    both = pa.concat_tables([known, newer])
    keys = both.select(names)
    context = [name for name in both.column_names if name not in EVENT_COLUMNS]
    if context:
        keys = keys.append_column("context", pa.array(find_contexts(both.select(context)).rows))
        names = [*names, "context"]
    ours = keys.slice(known.num_rows)
    keys = keys.add_column(0, "is_newer", pa.array(np.repeat([False, True], [known.num_rows, newer.num_rows])))
    groups = keys.group_by(names).aggregate([("is_newer", "min")])
    joined = ours.append_column("place", pa.array(np.arange(newer.num_rows))).join(groups, names)
    result = np.zeros(newer.num_rows, bool)
    result[joined["place"].to_numpy()] = ~joined["is_newer_min"].to_numpy(zero_copy_only=False)
    return result
