"""Histories: the other events of a query, as an input that never holds the target."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.data.times import NO_TIME


class Timeline:
    """The events of each query in order of time; events of equal times, or without timestamps, in order of their rows.

    Args:
        interactions: The training part; for held-out queries, with their `history`.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y"]}), query_id="u", candidate_id="m",
        ...     events=pa.table(
        ...         {"query_row": [0, 0], "candidate_row": [0, 1], "rating": [4.0, 2.0], "timestamp": [20, 10]}
        ...     ),
        ... )
        >>> Timeline(ratings).candidate_rows.tolist()
        [1, 0]
    """

    def __init__(self, interactions: Interactions) -> None:
        times = require_interactions(interactions, "interactions").timestamps
        rows = interactions.query_rows
        order = np.lexsort((rows,)) if times is None else np.lexsort((times, rows))
        self.interactions = interactions
        self.candidate_rows = interactions.candidate_rows[order]
        self.ratings = interactions.ratings[order]
        self._times = None if times is None else times[order]
        self.places = np.empty(len(order), np.int64)
        self.places[order] = np.arange(len(order))
        counts = np.bincount(rows, minlength=interactions.num_queries)
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def latest(self, query_rows: np.ndarray, length: int) -> np.ndarray:
        """Returns the latest events of each query.

        Args:
            query_rows: int [n].
            length: Slots per query, >= 1.

        Returns:
            int64 [n, length], positions in the timeline, latest last, `NO_ROW` in an unused slot.
        """
        starts, ends = self.starts[query_rows][:, np.newaxis], self.starts[query_rows + 1][:, np.newaxis]
        slots = ends - length + np.arange(length)
        return np.where(slots >= starts, slots, NO_ROW)

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Returns what belongs to the events in the order of the timeline.

        Args:
            values: [num_events, ...], in the order of the events.
        """
        ordered = np.empty_like(values)
        ordered[self.places] = values
        return ordered

    def candidates_at(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the candidates and ratings at positions in the timeline.

        Args:
            slots: int [...], positions, or `NO_ROW`.

        Returns:
            int32 and float32 [...], the candidates' rows and ratings; `NO_ROW` and 0 in an unused slot.
        """
        if not len(self.candidate_rows):
            return np.full(slots.shape, NO_ROW, np.int32), np.zeros(slots.shape, np.float32)
        used = slots >= 0
        rows = np.where(used, self.candidate_rows[slots], NO_ROW).astype(np.int32)
        return rows, np.where(used, self.ratings[slots], 0).astype(np.float32)

    def times_at(self, slots: np.ndarray) -> np.ndarray:
        """Returns the times of events at positions in the timeline.

        Args:
            slots: int [...], positions, or `NO_ROW`.

        Returns:
            int64 [...], seconds since 1970; `NO_TIME` in an unused slot, or without timestamps.
        """
        if self._times is None or not len(self._times):
            return np.full(slots.shape, NO_TIME, np.int64)
        times: np.ndarray = np.where(slots >= 0, self._times[slots], NO_TIME)
        return times

    def is_of(self, interactions: Interactions) -> bool:
        """Tells whether these are the timeline's own events, row for row."""
        events = self.interactions.events
        return events is interactions.events or bool(events.equals(interactions.events))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistorySource(abc.ABC):
    """Finds the other candidates of each event's query; a kind of history is a subclass.

    Attributes:
        timeline: Timeline that the candidates are taken from.
        length: Slots per event, >= 1.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 2], "rating": [4.0, 2.0, 5.0]}),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> source: HistorySource = LeaveOneOutHistory(timeline=Timeline(ratings), length=3)
        >>> source.slots(np.array([0]), np.array([0]), np.array([0])).tolist()
        [[-1, 1, 2]]
    """

    timeline: Timeline
    length: int

    #: Whether it looks up the batch's events in the timeline, which must then be a timeline of these events.
    is_of_own_events: ClassVar[bool]

    def __post_init__(self) -> None:
        if not isinstance(self.timeline, Timeline):
            raise TypeError(f"`timeline` must be a `Timeline`. Received: a {type(self.timeline).__name__}.")
        if self.length < 1:
            raise ValueError(f"`length` must be at least 1. Received: {self.length}.")

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """Returns positions in the timeline, int64 [batch, length], latest last, `NO_ROW` in an unused slot.

        Args:
            events: int64 [batch], rows of the events that the batch is made of.
            query_rows: int32 [batch], their queries.
            candidate_rows: int32 [batch], their candidates, the targets.
        """
        starts, ends = (self.timeline.starts[rows][:, np.newaxis] for rows in (query_rows, query_rows + 1))
        slots = self._latest(events, ends)
        slots = np.where((slots >= starts) & (slots < ends), slots, NO_ROW)
        if not len(self.timeline.candidate_rows):
            return slots
        # The target's candidate may also come from another event of the query.
        is_target = self.timeline.candidate_rows[slots] == candidate_rows[:, np.newaxis]
        return np.where(is_target, NO_ROW, slots)

    @abc.abstractmethod
    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Returns int64 [batch, any], positions to look at, some of which may not be the query's.

        Args:
            events: int64 [batch].
            ends: int64 [batch, 1], where the query's events end.
        """


class CausalHistory(HistorySource):
    """The latest candidates of the query before the target, for training on the timeline's own events.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 2], "rating": [4.0, 2.0, 5.0]}),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> source = CausalHistory(timeline=Timeline(ratings), length=2)
        >>> source.timeline.candidates_at(source.slots(np.array([1]), np.array([0]), np.array([1])))[0].tolist()
        [[-1, 0]]
    """

    is_of_own_events = True

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        del ends
        return self.timeline.places[events][:, np.newaxis] - self.length + np.arange(self.length)


class LeaveOneOutHistory(HistorySource):
    """The latest candidates of the query other than the target, for training on the timeline's own events.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 2], "rating": [4.0, 2.0, 5.0]}),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> source = LeaveOneOutHistory(timeline=Timeline(ratings), length=2)
        >>> source.timeline.candidates_at(source.slots(np.array([1]), np.array([0]), np.array([1])))[0].tolist()
        [[0, 2]]
    """

    is_of_own_events = True

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        places = self.timeline.places[events][:, np.newaxis]
        # If the target is among the latest, one more slot is looked at and the target is stepped over.
        is_inside = places >= ends - self.length
        slots = ends - self.length - is_inside + np.arange(self.length)
        return slots + (is_inside & (slots >= places))


class FixedHistory(HistorySource):
    """The latest candidates of the query in the timeline other than the target, for evaluating events of another part.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0, 0], "candidate_row": [0, 1, 2], "rating": [4.0, 2.0, 5.0]}),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> source = FixedHistory(timeline=Timeline(ratings), length=2)
        >>> source.timeline.candidates_at(source.slots(np.array([1]), np.array([0]), np.array([1])))[0].tolist()
        [[0, 2]]
    """

    is_of_own_events = False

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """Returns positions in the timeline; see `HistorySource`."""
        slots = super().slots(events, query_rows, candidate_rows)
        # One more than is asked for was looked at, so that an earlier candidate takes the slot of the target.
        places = np.arange(self.length + 1)
        unused = np.max(np.where(slots == NO_ROW, places, 0), axis=1, keepdims=True)
        return np.take_along_axis(slots, places[:-1] + (places[:-1] >= unused), axis=1)

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        del events
        return ends - self.length - 1 + np.arange(self.length + 1)
