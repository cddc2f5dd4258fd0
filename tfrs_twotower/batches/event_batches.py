"""Batches of events: each place in an epoch is one event, which takes three gathers.

The events' columns are read where they lie, in memory or in a mapped file; nothing of their length is copied.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch_rows import EventRows
from tfrs_twotower.batches.encoded import EncodedTables
from tfrs_twotower.batches.histories import HistorySource
from tfrs_twotower.batches.negatives import Negatives
from tfrs_twotower.batches.pipeline import EpochOrder, RowSource, gather_batches
from tfrs_twotower.batches.shuffle import shuffled_positions
from tfrs_twotower.data.interactions import Interactions

#: Events whose rows are computed at once: enough that calling Python does not count, few enough to start at once.
_EVENTS_PER_STACK = 8192


def build_training_batches(
    interactions: Interactions,
    tables: EncodedTables,
    *,
    batch_size: int,
    order: EpochOrder,
    negatives: Negatives | None = None,
    history: HistorySource | None = None,
) -> tf.data.Dataset:
    """Builds shuffled batches for `model.fit`. The n-th iteration over the data set is epoch `initial_epoch + n`.

    Every iteration counts as an epoch, even one that reads only the first batch: build another data set to look at a
    batch.

    Args:
        interactions: The training part.
        tables: Codes of its queries, candidates and contexts.
        batch_size: Events per batch, >= 1. The last batch of an epoch may be smaller; negatives are added to it.
        order: Seed, first epoch and shard, which decide the order of the events.
        negatives: A `NegativeSampler` adds pairs with candidates that the query has no event with, rated 0, after the
            events; queries and histories stay one row per event, and `query_places` gives the query of each pair.
            `InBatchNegatives` add their uniform candidates after the events', and describe all of them for a softmax.
        history: Source of the query's other events; None for a model without a history.

    Returns:
        Batches, each an `EventBatch`, in the order of `shuffled_positions`, of known cardinality.

    Raises:
        ValueError: If `batch_size` is below 1, an encoded table has another length, or the history's timeline is of
            other events.
    """
    tables.require_rows_of(interactions)

    def positions(places: np.ndarray, epoch: int) -> np.ndarray:
        places = order.shard.index + order.shard.count * places
        return shuffled_positions(places, interactions.num_events, seed=order.seed, epoch=epoch)

    num_events = order.shard.size(interactions.num_events)
    contexts = interactions.contexts.rows if tables.contexts else None
    events = _EventSource(
        interactions, positions, num_events, batch_size, history, contexts, has_times=tables.have_times
    )
    source: RowSource = events if negatives is None else _WithNegatives(events, negatives, order)
    return gather_batches(source, tables, initial_epoch=order.initial_epoch)


def build_evaluation_batches(
    interactions: Interactions, tables: EncodedTables, *, batch_size: int, history: HistorySource | None = None
) -> tf.data.Dataset:
    """Builds batches in the order of the events, the same each time.

    Args:
        interactions: Any part.
        tables: Codes of its queries and candidates.
        batch_size: Events per batch, >= 1.
        history: Source of the query's past events, usually a `FixedHistory`.

    Returns:
        Batches, each an `EventBatch`.

    Raises:
        ValueError: If `batch_size` is below 1, an encoded table has another length, or the history's timeline is of
            other events.
    """
    tables.require_rows_of(interactions)
    contexts = interactions.contexts.rows if tables.contexts else None
    num_events = interactions.num_events
    source = _EventSource(
        interactions,
        lambda places, _: places,
        num_events,
        batch_size,
        history,
        contexts,
        has_times=tables.have_times,
    )
    return gather_batches(source, tables)


class _EventSource:
    """Computes the rows of batches of events."""

    def __init__(
        self,
        interactions: Interactions,
        positions: Callable[[np.ndarray, int], np.ndarray],
        num_events: int,
        batch_size: int,
        history: HistorySource | None,
        contexts: np.ndarray | None,
        *,
        has_times: bool,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        if history is not None and history.is_of_own_events and not history.timeline.is_of(interactions):
            raise ValueError(
                "`history` must have the timeline of the very events that the batches are made of, in their order: a "
                f"{type(history).__name__} looks an event up by its row. For other events use FixedHistory."
            )
        self._query_rows, self._candidate_rows = interactions.query_rows, interactions.candidate_rows
        self._ratings, self._weights = interactions.ratings, interactions.weights
        self._positions, self._num_events, self._batch_size = positions, num_events, batch_size
        self._history, self._contexts, self._has_times = history, contexts, has_times
        self.num_batches = -(-num_events // batch_size)
        self.batches_per_stack = max(1, _EVENTS_PER_STACK // batch_size)
        whole, has_rest = num_events // batch_size, num_events % batch_size > 0
        self.num_stacks = -(-whole // self.batches_per_stack) + has_rest
        self.specs = EventRows(
            queries=tf.TensorSpec([None], tf.int32),
            candidates=tf.TensorSpec([None], tf.int32),
            ratings=tf.TensorSpec([None], tf.float32),
        )
        if self._weights is not None:
            self.specs = self.specs._replace(weights=tf.TensorSpec([None], tf.float32))
        if history is not None:
            self.specs = self.specs._replace(
                history=tf.TensorSpec([None, history.length], tf.int32),
                history_ratings=tf.TensorSpec([None, history.length], tf.float32),
            )
            if has_times:
                self.specs = self.specs._replace(history_times=tf.TensorSpec([None, history.length], tf.int64))
        if contexts is not None:
            self.specs = self.specs._replace(contexts=tf.TensorSpec([None], tf.int32))

    def rows(self, epoch: int, number: int) -> EventRows:
        """Returns the rows of batch `number` of an epoch."""
        return self._rows_at(number * self._batch_size, (number + 1) * self._batch_size, epoch)

    def stacked_rows(self, epoch: int, number: int) -> EventRows:
        """Returns the rows of several batches; see `StackedRowSource`. The last stack is the last, smaller batch."""
        whole = self._num_events // self._batch_size
        first, last = (min(place * self.batches_per_stack, whole) for place in (number, number + 1))
        if first == whole:
            last = whole + 1
        rows = self._rows_at(first * self._batch_size, last * self._batch_size, epoch)
        return EventRows(
            *(None if column is None else column.reshape(last - first, -1, *column.shape[1:]) for column in rows)
        )

    def _rows_at(self, start: int, stop: int, epoch: int) -> EventRows:
        """Returns the rows of the events at places of the epoch's order."""
        events = self._positions(np.arange(start, min(stop, self._num_events)), epoch)
        rows = EventRows(
            queries=self._query_rows[events], candidates=self._candidate_rows[events], ratings=self._ratings[events]
        )
        if self._weights is not None:
            rows = rows._replace(weights=self._weights[events])
        if self._history is not None:
            slots = self._history.slots(events, rows.queries, rows.candidates)
            history, ratings = self._history.timeline.candidates_at(slots)
            rows = rows._replace(history=history, history_ratings=ratings)
            if self._has_times:
                rows = rows._replace(history_times=self._history.timeline.times_at(slots))
        if self._contexts is not None:
            rows = rows._replace(contexts=self._contexts[events])
        return rows


class _WithNegatives:
    """Computes the rows of batches of events to which negatives are added."""

    def __init__(self, events: _EventSource, negatives: Negatives, order: EpochOrder) -> None:
        self._events, self._negatives, self._order = events, negatives, order
        self.num_batches = events.num_batches
        self.specs = negatives.extend_specs(events.specs)

    def rows(self, epoch: int, number: int) -> EventRows:
        """Returns the rows of batch `number` of an epoch."""
        generator = np.random.default_rng([self._order.seed, epoch, number, self._order.shard.index])
        return self._negatives.extend(self._events.rows(epoch, number), generator)
