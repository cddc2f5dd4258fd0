"""Splits a batch into the pieces that the replicas of a distribution strategy train on.

Together the pieces hold the whole batch, so that replicas take the step that one device would take. Each piece is
contiguous: the pieces one after the other are the batch in its order.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, ExplicitNegatives, QueryBatch, SoftmaxNegatives


def piece_of_events(batch: EventBatch, index: int, count: int, *, gathers_candidates: bool) -> EventBatch:
    """Returns one replica's piece of a batch of events.

    Args:
        batch: The batch of all replicas.
        index: This replica, 0 <= index < count.
        count: Number of replicas, >= 1.
        gathers_candidates: Whether the candidates of the other replicas will be gathered. If so, the piece describes
            the candidates of the whole batch, its own first, but it has the codes of its own only. If not, candidates
            beyond those of the pairs are left out. Explicit negatives are those of its own queries in any case.

    Example:
        >>> batch = EventBatch(
        ...     query={"user_id": tf.constant([2, 3, 4])}, candidate={"movie_id": tf.constant([5, 6, 7])},
        ...     candidate_rows=tf.constant([0, 1, 2]), ratings=tf.constant([5.0, 1.0, 3.0]),
        ... )
        >>> piece = piece_of_events(batch, 1, 2, gathers_candidates=True)
        >>> piece.candidate["movie_id"].numpy().tolist(), piece.candidate_rows.numpy().tolist()
        ([6, 7], [1, 2, 0])
    """
    num_queries, num_pairs = _length(batch.query), tf.shape(batch.ratings)[0]
    num_extra = batch.num_shared - num_pairs if gathers_candidates else 0

    def pairs_of(replica: int) -> tf.Tensor:
        first, last = _bounds(num_queries, replica, count)
        if batch.query_places is None:
            return tf.range(first, last)
        is_own = (first <= batch.query_places) & (batch.query_places < last)
        return tf.cast(tf.where(is_own)[:, 0], tf.int32)

    def rows_of(replica: int) -> tf.Tensor:
        first, last = _bounds(num_extra, replica, count)
        return tf.concat([pairs_of(replica), num_pairs + tf.range(first, last)], axis=0)

    first, last = _bounds(num_queries, index, count)
    pairs, rows = pairs_of(index), rows_of(index)
    described = rows
    if gathers_candidates:
        described = tf.concat([rows_of((index + place) % count) for place in range(count)], axis=0)
        rows_before = tf.add_n([tf.zeros([], tf.int32), *(tf.size(rows_of(replica)) for replica in range(index))])
    negatives = batch.negatives
    if negatives is not None:
        negatives = SoftmaxNegatives(
            is_other_positive=tf.gather(negatives.is_other_positive[first:last], described, axis=1),
            log_sampling_probabilities=tf.gather(negatives.log_sampling_probabilities, described),
        )
    places = tf.range(num_queries)
    explicit = _negatives_of(batch.explicit_negatives, (first <= places) & (places < last))
    if explicit is not None:
        unique, new_places = tf.unique(explicit.candidates)
        explicit = explicit._replace(candidates=tf.size(described) + new_places)
        rows, described = (tf.concat([shared, unique], axis=0) for shared in (rows, described))
    return EventBatch(
        query=tf.nest.map_structure(lambda codes: codes[first:last], batch.query),
        candidate=tf.nest.map_structure(lambda codes: tf.gather(codes, rows), batch.candidate),
        candidate_rows=tf.gather(batch.candidate_rows, described),
        ratings=tf.gather(batch.ratings, pairs),
        weights=None if batch.weights is None else tf.gather(batch.weights, pairs),
        query_places=None if batch.query_places is None else tf.gather(batch.query_places, pairs) - first,
        negatives=negatives,
        candidate_keys=None if batch.candidate_keys is None else tf.gather(batch.candidate_keys, described),
        rows_before=rows_before if gathers_candidates else None,
        explicit_negatives=explicit,
    )


def piece_of_queries(batch: QueryBatch, index: int, count: int) -> QueryBatch:
    """Returns one replica's piece of a batch of queries: some of the queries with their events, and all candidates.

    Args:
        batch: The batch of all replicas.
        index: This replica, 0 <= index < count.
        count: Number of replicas, >= 1.

    Example:
        >>> batch = QueryBatch(
        ...     query={"history": tf.constant([[2], [4]])}, candidate={"movie_id": tf.constant([2, 3, 4])},
        ...     candidate_rows=tf.constant([0, 1, 2]), log_sampling_probabilities=tf.zeros(3),
        ...     target_places=tf.constant([[0, 0], [1, 0]], tf.int64), target_candidates=tf.constant([0, 2]),
        ...     ratings=tf.constant([5.0, 1.0]),
        ... )
        >>> piece_of_queries(batch, 1, 2).pairs.numpy().tolist()
        [[0, 2]]
    """
    first, last = _bounds(_length(batch.query), index, count)
    queries = tf.cast(batch.target_queries, tf.int32)
    is_own = (first <= queries) & (queries < last)
    events = tf.where(is_own)[:, 0]
    before = tf.cast(tf.stack([first, 0]), tf.int64)
    return QueryBatch(
        query=tf.nest.map_structure(lambda codes: codes[first:last], batch.query),
        candidate=batch.candidate,
        candidate_rows=batch.candidate_rows,
        target_places=tf.gather(batch.target_places, events) - before,
        target_candidates=tf.gather(batch.target_candidates, events),
        ratings=tf.gather(batch.ratings, events),
        log_sampling_probabilities=batch.log_sampling_probabilities,
        weights=None if batch.weights is None else tf.gather(batch.weights, events),
        explicit_negatives=_negatives_of(batch.explicit_negatives, is_own),
    )


def _negatives_of(negatives: ExplicitNegatives | None, is_own: tf.Tensor) -> ExplicitNegatives | None:
    """Returns the explicit negatives of a replica's events.

    Args:
        negatives: Those of the batch.
        is_own: bool [events], whether an event is the replica's.
    """
    if negatives is None:
        return None
    new_places = tf.cumsum(tf.cast(is_own, tf.int32)) - 1
    kept = ExplicitNegatives(*(tf.boolean_mask(part, tf.gather(is_own, negatives.events)) for part in negatives))
    return kept._replace(events=tf.gather(new_places, kept.events))


def _length(codes: Any) -> tf.Tensor:
    return tf.shape(tf.nest.flatten(codes)[0])[0]


def _bounds(length: Any, index: int, count: int) -> tuple[Any, Any]:
    """The first place of a replica's part of a length, and the first after it."""
    return length * index // count, length * (index + 1) // count
