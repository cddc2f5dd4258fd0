"""Batches of whole queries: all events of each query are its history and its targets."""

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
from tfrs_twotower.data.rows import pair_codes


def build_query_batches(
    interactions: Interactions,
    tables: EncodedTables,
    *,
    batch_size: int,
    order: EpochOrder,
    num_sampled: int | None = None,
    threshold: float = 0.0,
    negative_weights: NegativeWeights | None = None,
) -> tf.data.Dataset:
    """Builds shuffled batches of queries for `model.fit`. The n-th iteration is epoch `initial_epoch + n`.

    With a context, the rows of a batch are requests: a query comes as many times in an epoch as it has contexts.

    Args:
        interactions: The training part.
        tables: Codes of its queries, candidates and contexts.
        batch_size: Queries per batch, or requests, >= 1; those without events are left out.
        order: Seed and first epoch, which decide the order of the queries. There is always one worker.
        num_sampled: Number of candidates drawn uniformly for a batch, beside those of its events, >= 0; None for the
            whole catalogue in every batch.
        threshold: A rating of at least this is positive; only needed with `negative_weights`.
        negative_weights: What explicit negatives count; None for batches without those that were shown.

    Returns:
        Batches, each a `QueryBatch`, of known cardinality.

    Raises:
        ValueError: If a number is out of range, there is no event, or an encoded table has another length.
    """
    tables.require_rows_of(interactions)
    negatives = list_impressions(interactions, threshold=threshold, weights=negative_weights)
    has_context = bool(tables.contexts)
    source = _QuerySource(interactions, batch_size, order.seed, num_sampled, negatives, has_context=has_context)
    return gather_batches(source, tables, initial_epoch=order.initial_epoch)


class _QuerySource:
    """Computes the rows of batches of queries."""

    def __init__(
        self,
        interactions: Interactions,
        batch_size: int,
        seed: int,
        num_sampled: int | None,
        negatives: NegativeLists | None,
        *,
        has_context: bool,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        if not interactions.num_events:
            raise ValueError("`interactions` must have an event.")
        self._timeline = Timeline(interactions)
        self._weights = None if interactions.weights is None else self._timeline.in_order(interactions.weights)
        self._lengths = np.diff(self._timeline.starts)
        self._active, self._contexts = np.flatnonzero(self._lengths), None
        if has_context:
            requests = interactions.requests
            self._active, self._contexts = requests.query_rows, requests.context_rows.astype(np.int32)
            self._event_contexts = self._timeline.in_order(interactions.contexts.rows)
        self._batch_size, self._seed = batch_size, seed
        self._negatives, self._events = negatives, self._timeline.in_order(np.arange(interactions.num_events))
        self.num_batches = -(-len(self._active) // batch_size)
        self._candidates = BatchCandidates(
            _owners(interactions, self._active, negatives),
            num_rows=len(self._active),
            batch_size=batch_size,
            num_sampled=num_sampled,
            seed=seed,
        )
        self.specs = QueryRows(
            queries=tf.TensorSpec([None], tf.int32),
            candidates=tf.TensorSpec([None], tf.int32),
            log_sampling_probabilities=tf.TensorSpec([None], tf.float32),
            history=tf.TensorSpec([None, None], tf.int32),
            history_ratings=tf.TensorSpec([None, None], tf.float32),
            target_places=tf.TensorSpec([None, 2], tf.int64),
            target_candidates=tf.TensorSpec([None], tf.int32),
            ratings=tf.TensorSpec([None], tf.float32),
            weights=None if self._weights is None and not has_context else tf.TensorSpec([None], tf.float32),
            contexts=tf.TensorSpec([None], tf.int32) if has_context else None,
        )
        if negatives is not None:
            self.specs = with_explicit_negatives(self.specs)

    def rows(self, epoch: int, number: int) -> QueryRows:
        """Returns the rows of batch `number` of an epoch."""
        places = np.arange(number * self._batch_size, min((number + 1) * self._batch_size, len(self._active)))
        order = shuffled_positions(places, len(self._active), seed=self._seed, epoch=epoch)
        query_rows = self._active[order].astype(np.int32)
        contexts = None if self._contexts is None else self._contexts[order]
        slots = self._timeline.latest(query_rows, int(self._lengths[query_rows].max()))
        history, ratings = self._timeline.candidates_at(slots)
        is_event = slots >= 0
        target_places, events = np.argwhere(is_event), self._events[slots[is_event]]
        candidates = self._candidates.columns(history[is_event], events, self._negatives, epoch, number)
        return QueryRows(
            queries=query_rows,
            log_sampling_probabilities=self._candidates.log_sampling_probabilities[candidates["candidates"]],
            history=history,
            history_ratings=ratings,
            target_places=target_places,
            ratings=ratings[is_event],
            weights=self._event_weights(slots[is_event], target_places[:, 0], contexts),
            contexts=contexts,
            **candidates,
        )

    def _event_weights(self, events: np.ndarray, places: np.ndarray, contexts: np.ndarray | None) -> np.ndarray | None:
        """float32 [events], what each counts; an event of another context than that of its row counts nothing."""
        weights = None if self._weights is None else self._weights[events]
        if contexts is None:
            return weights
        is_target = (self._event_contexts[events] == contexts[places]).astype(np.float32)
        return is_target if weights is None else weights * is_target


def _owners(interactions: Interactions, active: np.ndarray, negatives: NegativeLists | None) -> np.ndarray:
    """Returns the number of rows of an epoch that have each candidate, int64 [num_candidates].

    Args:
        interactions: The events.
        active: int [rows], the query of each row of an epoch.
        negatives: The explicit negatives of the events, whose candidates the rows have, too; None if there are none.
    """
    num_candidates = interactions.num_candidates
    pairs = pair_codes(interactions.query_rows, interactions.candidate_rows, num_candidates)
    if negatives is not None:
        query_rows = interactions.query_rows[negatives.group_rows]
        pairs = np.concatenate([pairs, pair_codes(query_rows, negatives.candidate_rows, num_candidates)])
    pairs = np.unique(pairs)
    num_rows = np.bincount(active, minlength=interactions.num_queries)
    owners = np.zeros(num_candidates, np.int64)
    np.add.at(owners, pairs % num_candidates, num_rows[pairs // num_candidates])
    return owners
