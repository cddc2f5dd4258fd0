"""Dropping ids that nothing has happened with for some time."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.impressions import Impressions
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.rows import NO_ROW

_SECONDS_PER_DAY = 86_400


class Kept(NamedTuple):
    """What `drop_unseen` keeps.

    Attributes:
        interactions: The queries, candidates and events that stay.
        query_rows: int64, the rows that its queries had.
        candidate_rows: int64, the rows that its candidates had.
        event_rows: int64, the rows that its events had.

    Example:
        >>> Kept._fields
        ('interactions', 'query_rows', 'candidate_rows', 'event_rows')
    """

    interactions: Interactions
    query_rows: np.ndarray
    candidate_rows: np.ndarray
    event_rows: np.ndarray


def drop_unseen(interactions: Interactions, *, after_days: float) -> Kept:
    """Drops queries and candidates whose newest event is too old, with all their events.

    An id without any event stays: a candidate of a catalogue that nobody has chosen yet can still be recommended. Among
    the ids that stay, the order stays as it was.

    Args:
        interactions: Events with times.
        after_days: Days before the newest of all events; an id whose own newest event is older than that is dropped,
            >= 0.

    Raises:
        TypeError: If the data is no `Interactions`.
        ValueError: If the events have no times, or the number is negative or not finite.

    Example:
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a", "b"]}), candidates=pa.table({"movie_id": ["x", "y", "new"]}),
        ...     events=pa.table({
        ...         "query_row": [0, 1], "candidate_row": [0, 1], "rating": [5.0, 5.0], "timestamp": [0, 90 * 86_400],
        ...     }),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> kept = drop_unseen(ratings, after_days=30)
        >>> kept.interactions.candidates["movie_id"].to_pylist(), kept.event_rows.tolist()
        (['y', 'new'], [1])
    """
    require_interactions(interactions, "interactions")
    times = interactions.timestamps
    if times is None:
        raise ValueError("`interactions` must have times: without them, nobody knows which ids are old.")
    if not 0 <= after_days < float("inf"):
        raise ValueError(f"`after_days` must be finite and at least 0. Received: {after_days}.")
    oldest = times.max() - after_days * _SECONDS_PER_DAY if len(times) else 0
    query_rows, candidate_rows = interactions.query_rows, interactions.candidate_rows
    keeps_query = _kept(query_rows, times >= oldest, interactions.num_queries)
    keeps_candidate = _kept(candidate_rows, times >= oldest, interactions.num_candidates)
    event_rows = np.flatnonzero(keeps_query[query_rows] & keeps_candidate[candidate_rows])
    events = interactions.events.take(pa.array(event_rows))
    for name, rows, is_kept in (
        ("query_row", query_rows, keeps_query),
        ("candidate_row", candidate_rows, keeps_candidate),
    ):
        place = events.column_names.index(name)
        newer_rows = (np.cumsum(is_kept) - 1)[rows[event_rows]]
        events = events.set_column(place, name, pa.array(newer_rows, events.schema.field(name).type))
    if "impressions" in events.column_names:
        newer_rows = np.where(keeps_candidate, np.cumsum(keeps_candidate) - 1, NO_ROW)
        lists = Impressions.of_column(events["impressions"]).renumbered(newer_rows).to_column()
        events = events.set_column(events.column_names.index("impressions"), "impressions", lists)
    return Kept(
        interactions=dataclasses.replace(
            interactions,
            queries=interactions.queries.filter(pa.array(keeps_query)),
            candidates=interactions.candidates.filter(pa.array(keeps_candidate)),
            events=events,
        ),
        query_rows=np.flatnonzero(keeps_query),
        candidate_rows=np.flatnonzero(keeps_candidate),
        event_rows=event_rows,
    )


def _kept(rows: np.ndarray, is_recent: np.ndarray, size: int) -> np.ndarray:
    """Tells of each id whether it has a recent event, or none at all, bool [size]."""
    has_event, has_recent = np.zeros(size, bool), np.zeros(size, bool)
    has_event[rows] = True
    has_recent[rows[is_recent]] = True
    return has_recent | ~has_event
