"""What a query did besides the event in question: an input that never holds the target."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from tfrs_twotower.data.interactions import Interactions

#: Candidate row of an unused slot.
NO_CANDIDATE = -1


class Timeline:
    """The events of each query in order of time, of equal times by row; without timestamps, by row.

    Args:
        interactions: The training part (for held-out queries, with their `history`).
    """

    def __init__(self, interactions: Interactions) -> None:
        times = interactions.timestamps
        rows = interactions.query_rows
        order = np.lexsort((rows,)) if times is None else np.lexsort((times, rows))
        self._events = interactions.events
        self.candidate_rows = interactions.candidate_rows[order]
        self.ratings = interactions.ratings[order]
        self.places = np.empty(len(order), np.int64)
        self.places[order] = np.arange(len(order))
        counts = np.bincount(rows, minlength=interactions.num_queries)
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def is_of(self, interactions: Interactions) -> bool:
        """Whether these are the timeline's own events, row for row."""
        return self._events is interactions.events or bool(self._events.equals(interactions.events))


class History(Protocol):
    """Gives each event of a batch the query's other candidates."""

    @property
    def timeline(self) -> Timeline:
        """Where the candidates come from."""

    @property
    def length(self) -> int:
        """Slots per event."""

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """Positions in the timeline's `events`, int64 [batch, length], -1 where a slot is unused.

        Args:
            events: int64 [batch], rows of the events that the batch is made of.
            query_rows: int32 [batch], their queries.
            candidate_rows: int32 [batch], their candidates, the targets.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryBefore:
    """The latest candidates of the query before the target. For training on the timeline's own events.

    Attributes:
        timeline: Of the training part.
        length: At most so many, >= 1.
    """

    timeline: Timeline
    length: int

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """As `History.slots`, latest last."""
        places = self.timeline.places[events][:, np.newaxis]
        slots = places - self.length + np.arange(self.length)
        return _usable(self.timeline, slots, query_rows, candidate_rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryApart:
    """The latest candidates of the query, before or after the target. For training on the timeline's own events.

    Attributes:
        timeline: Of the training part.
        length: At most so many, >= 1.
    """

    timeline: Timeline
    length: int

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """As `History.slots`, latest last."""
        places = self.timeline.places[events][:, np.newaxis]
        ends = self.timeline.starts[query_rows + 1][:, np.newaxis]
        # Where the target is among the latest, one more slot is looked at and the target stepped over.
        is_inside = places >= ends - self.length
        slots = ends - self.length - is_inside + np.arange(self.length)
        slots += is_inside & (slots >= places)
        return _usable(self.timeline, slots, query_rows, candidate_rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryKnown:
    """The latest candidates of the query in the timeline. For evaluating events that are not part of it.

    Attributes:
        timeline: Of what is known at evaluation: `Split.train`, or `Split.seen`.
        length: At most so many, >= 1.
    """

    timeline: Timeline
    length: int

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """As `History.slots`, latest last."""
        del events
        ends = self.timeline.starts[query_rows + 1][:, np.newaxis]
        slots = ends - self.length + np.arange(self.length)
        return _usable(self.timeline, slots, query_rows, candidate_rows)


def _usable(timeline: Timeline, slots: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
    """Blanks slots that are not the query's own, and those that hold the target's candidate from another event."""
    starts, ends = (timeline.starts[rows][:, np.newaxis] for rows in (query_rows, query_rows + 1))
    slots = np.where((slots >= starts) & (slots < ends), slots, -1)
    if not len(timeline.candidate_rows):
        return slots
    is_target = timeline.candidate_rows[slots] == candidate_rows[:, np.newaxis]
    return np.where(is_target, -1, slots)
