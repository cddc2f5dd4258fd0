"""Batches of sequences: the events of a query in order, each of which is a target for what comes before it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch_candidates import BatchCandidates
from tfrs_twotower.batches.batch_rows import QueryRows, with_explicit_negatives
from tfrs_twotower.batches.encoded import EncodedTables
from tfrs_twotower.batches.explicit_negatives import NegativeLists, NegativeWeights, list_impressions
from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.batches.pipeline import EpochOrder, gather_batches
from tfrs_twotower.batches.shuffle import shuffled_positions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.rows import NO_ROW, pair_codes, places_within


def build_sequence_batches(
    interactions: Interactions,
    tables: EncodedTables,
    *,
    length: int,
    batch_size: int,
    order: EpochOrder,
    num_sampled: int | None = None,
    threshold: float = 0.0,
    negative_weights: NegativeWeights | None = None,
) -> tf.data.Dataset:
    """Builds shuffled batches of sequences for `model.fit`. The n-th iteration is epoch `initial_epoch + n`.

    The events of a query, in order of time, are cut into parts of `length` targets, from the latest on. A part has one
    event more, the one before its first target, unless that is the first event of the query, which is a target without
    a history. Each event is a target once an epoch.

    Args:
        interactions: The training part.
        tables: Codes of its queries and candidates.
        length: Targets per part, >= 1: the longest history that is looked at.
        batch_size: Parts per batch, >= 1.
        order: Seed and first epoch, which decide the order of the parts. There is always one worker.
        num_sampled: Number of candidates drawn uniformly for a batch, beside those of its events, >= 0; None for the
            whole catalogue in every batch.
        threshold: A rating of at least this is positive; only needed with `negative_weights`.
        negative_weights: What explicit negatives count; None for batches without those that were shown.

    Returns:
        Batches, each a `QueryBatch` with a row for each part, of known cardinality. Padding of a history comes first.

    Raises:
        ValueError: If a number is out of range, there is no event, or an encoded table has another length.
    """
    tables.require_rows_of(interactions)
    negatives = list_impressions(interactions, threshold=threshold, weights=negative_weights)
    source = _SequenceSource(
        interactions, length, batch_size, order.seed, num_sampled, negatives, has_times=tables.have_times
    )
    return gather_batches(source, tables, initial_epoch=order.initial_epoch)


class _SequenceSource:
    """Computes the rows of batches of sequences."""

    def __init__(
        self,
        interactions: Interactions,
        length: int,
        batch_size: int,
        seed: int,
        num_sampled: int | None,
        negatives: NegativeLists | None,
        *,
        has_times: bool,
    ) -> None:
        for name, number in (("length", length), ("batch_size", batch_size)):
            if number < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {number}.")
        if not interactions.num_events:
            raise ValueError("`interactions` must have an event.")
        self._timeline = Timeline(interactions)
        self._weights = None if interactions.weights is None else self._timeline.in_order(interactions.weights)
        self._query_rows, self._first_targets, self._ends = _cut(self._timeline.starts, length)
        # A target without a history is its own part's first event; another part begins one event before its targets.
        is_first = self._first_targets == self._timeline.starts[self._query_rows]
        self._starts = self._first_targets - ~is_first
        self._batch_size, self._seed, num_parts = batch_size, seed, len(self._ends)
        self.num_batches = -(-num_parts // batch_size)
        self._takes_all = num_sampled is None
        num_candidates = interactions.num_candidates
        parts = np.repeat(np.arange(num_parts), self._ends - self._first_targets)
        pairs = pair_codes(parts, self._timeline.candidate_rows, num_candidates)
        self._negatives, self._events = negatives, self._timeline.in_order(np.arange(interactions.num_events))
        if negatives is not None:
            parts_of_events = parts[self._timeline.places]
            of_negatives = pair_codes(parts_of_events[negatives.group_rows], negatives.candidate_rows, num_candidates)
            pairs = np.concatenate([pairs, of_negatives])
        pairs = np.unique(pairs)
        self._candidates = BatchCandidates(
            np.bincount(pairs % num_candidates, minlength=num_candidates),
            num_rows=num_parts,
            batch_size=batch_size,
            num_sampled=num_sampled,
            seed=seed,
        )
        self.specs = QueryRows(
            queries=tf.TensorSpec([None], tf.int32),
            candidates=tf.TensorSpec([None], tf.int32),
            log_sampling_probabilities=None if self._takes_all else tf.TensorSpec([None], tf.float32),
            history=tf.TensorSpec([None, None], tf.int32),
            history_ratings=tf.TensorSpec([None, None], tf.float32),
            target_places=tf.TensorSpec([None, 2], tf.int64),
            target_candidates=tf.TensorSpec([None], tf.int32),
            ratings=tf.TensorSpec([None], tf.float32),
            weights=None if self._weights is None else tf.TensorSpec([None], tf.float32),
            history_times=tf.TensorSpec([None, None], tf.int64) if has_times else None,
        )
        if negatives is not None:
            self.specs = with_explicit_negatives(self.specs)

    def rows(self, epoch: int, number: int) -> QueryRows:
        """Returns the rows of batch `number` of an epoch."""
        num_parts = len(self._ends)
        places = np.arange(number * self._batch_size, min((number + 1) * self._batch_size, num_parts))
        parts = shuffled_positions(places, num_parts, seed=self._seed, epoch=epoch)
        starts, ends = self._starts[parts][:, np.newaxis], self._ends[parts][:, np.newaxis]
        width = int((ends - starts).max())
        slots = ends - width + np.arange(width)
        is_target = slots >= self._first_targets[parts][:, np.newaxis]
        slots = np.where(slots >= starts, slots, NO_ROW)
        history, ratings = self._timeline.candidates_at(slots)
        events = self._events[slots[is_target]]
        candidates = self._candidates.columns(history[is_target], events, self._negatives, epoch, number)
        logs = None if self._takes_all else self._candidates.log_sampling_probabilities[candidates["candidates"]]
        return QueryRows(
            queries=self._query_rows[parts].astype(np.int32),
            log_sampling_probabilities=logs,
            history=history,
            history_ratings=ratings,
            target_places=np.argwhere(is_target),
            ratings=ratings[is_target],
            weights=None if self._weights is None else self._weights[slots[is_target]],
            history_times=None if self.specs.history_times is None else self._timeline.times_at(slots),
            **candidates,
        )


def _cut(starts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts the events of each query into parts of `length` events, from the latest on; the first part may be shorter.

    Args:
        starts: int64 [num_queries + 1], where the events of each query start.
        length: Events per part.

    Returns:
        (query_rows, first, ends): int64 [num_parts] each, in order of time: a part's query, where its events start, and
        where they end.
    """
    num_parts = -(-np.diff(starts) // length)
    query_rows = np.repeat(np.arange(len(num_parts)), num_parts)
    later = np.repeat(num_parts, num_parts) - 1 - places_within(num_parts)  # parts of the query after this one
    ends = starts[query_rows + 1] - later * length
    return query_rows, np.maximum(starts[query_rows], ends - length), ends
