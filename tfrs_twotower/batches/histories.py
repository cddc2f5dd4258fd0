"""What a query did besides the event in question: an input that never holds the target."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

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
        self.interactions = interactions
        self.candidate_rows = interactions.candidate_rows[order]
        self.ratings = interactions.ratings[order]
        self.places = np.empty(len(order), np.int64)
        self.places[order] = np.arange(len(order))
        counts = np.bincount(rows, minlength=interactions.num_queries)
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def latest(self, query_rows: np.ndarray, length: int) -> np.ndarray:
        """The latest events of each query.

        Args:
            query_rows: int [n].
            length: Slots per query, >= 1.

        Returns:
            int64 [n, length], positions in the timeline, latest last, -1 where a slot is unused.
        """
        starts, ends = self.starts[query_rows][:, np.newaxis], self.starts[query_rows + 1][:, np.newaxis]
        slots = ends - length + np.arange(length)
        return np.where(slots >= starts, slots, -1)

    def candidates_at(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is at positions in the timeline.

        Args:
            slots: int [...], positions, or -1.

        Returns:
            int32 and float32 [...], the candidates' rows and ratings; `NO_CANDIDATE` and 0 at a -1.
        """
        if not len(self.candidate_rows):
            return np.full(slots.shape, NO_CANDIDATE, np.int32), np.zeros(slots.shape, np.float32)
        used = slots >= 0
        rows = np.where(used, self.candidate_rows[slots], NO_CANDIDATE).astype(np.int32)
        return rows, np.where(used, self.ratings[slots], 0).astype(np.float32)

    def is_of(self, interactions: Interactions) -> bool:
        """Whether these are the timeline's own events, row for row."""
        events = self.interactions.events
        return events is interactions.events or bool(events.equals(interactions.events))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistorySource(abc.ABC):
    """Gives each event of a batch the query's other candidates.

    Attributes:
        timeline: Where the candidates come from.
        length: Slots per event, >= 1.
    """

    timeline: Timeline
    length: int

    #: Whether it looks up the batch's events in the timeline, which then must be theirs.
    is_of_own_events: ClassVar[bool]

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"`length` must be at least 1. Received: {self.length}.")

    def slots(self, events: np.ndarray, query_rows: np.ndarray, candidate_rows: np.ndarray) -> np.ndarray:
        """Positions in the timeline, int64 [batch, length], latest last, -1 where a slot is unused.

        Args:
            events: int64 [batch], rows of the events that the batch is made of.
            query_rows: int32 [batch], their queries.
            candidate_rows: int32 [batch], their candidates, the targets.
        """
        starts, ends = (self.timeline.starts[rows][:, np.newaxis] for rows in (query_rows, query_rows + 1))
        slots = self._latest(events, ends)
        slots = np.where((slots >= starts) & (slots < ends), slots, -1)
        if not len(self.timeline.candidate_rows):
            return slots
        # The target's candidate may also come from another event of the query.
        is_target = self.timeline.candidate_rows[slots] == candidate_rows[:, np.newaxis]
        return np.where(is_target, -1, slots)

    @abc.abstractmethod
    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """int64 [batch, length], positions to look at, some of which may not be the query's.

        Args:
            events: int64 [batch].
            ends: int64 [batch, 1], where the query's events end.
        """


class HistoryBefore(HistorySource):
    """The latest candidates of the query before the target. For training on the timeline's own events."""

    is_of_own_events = True

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        del ends
        return self.timeline.places[events][:, np.newaxis] - self.length + np.arange(self.length)


class HistoryApart(HistorySource):
    """The latest candidates of the query, before or after the target. For training on the timeline's own events."""

    is_of_own_events = True

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        places = self.timeline.places[events][:, np.newaxis]
        # Where the target is among the latest, one more slot is looked at and the target stepped over.
        is_inside = places >= ends - self.length
        slots = ends - self.length - is_inside + np.arange(self.length)
        return slots + (is_inside & (slots >= places))


class HistoryKnown(HistorySource):
    """The latest candidates of the query in the timeline. For evaluating events that are not part of it."""

    is_of_own_events = False

    def _latest(self, events: np.ndarray, ends: np.ndarray) -> np.ndarray:
        del events
        return ends - self.length + np.arange(self.length)
