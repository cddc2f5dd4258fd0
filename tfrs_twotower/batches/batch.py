"""The batches that models are trained on: batches of events and batches of whole queries.

Batches are named tuples, which `tf.data`, `tf.function` and Keras hand on. They are assembled in `batch_rows.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

#: Input name -> codes, as a tower's lookup gives them.
Codes = dict[str, tf.Tensor]


class SoftmaxNegatives(NamedTuple):
    """What a softmax over a batch's candidates needs to know about them.

    Attributes:
        is_other_positive: bool [batch, num_rows], whether the training split has the candidate as a positive of the
            query.
        log_sampling_probabilities: float32 [num_rows], log Q: the logarithm of how often a batch is expected to hold
            each candidate, up to a constant.
    """

    is_other_positive: tf.Tensor
    log_sampling_probabilities: tf.Tensor


class ExplicitNegatives(NamedTuple):
    """The explicit negatives of a batch: candidates that were known and not chosen where others were.

    Attributes:
        events: int32 [n], ascending, the place in the batch of the event that each is compared with.
        candidates: int32 [n], the place of the candidate among those of the batch.
        weights: float32 [n], > 0, what each counts, where the chosen candidate counts 1.

    Example:
        >>> ExplicitNegatives(events=tf.constant([0]), candidates=tf.constant([2]), weights=tf.constant([1.0]))._fields
        ('events', 'candidates', 'weights')
    """

    events: tf.Tensor
    candidates: tf.Tensor
    weights: tf.Tensor


# The optional fields of a batch: only those that there are. `tf.data` takes 65 microseconds to hand on a field that is
# None to Python, and parameter servers cannot be served one.
_Optional = dict[str, Any]


def _with(optional: _Optional | None, given: Mapping[str, Any]) -> _Optional:
    """Returns the optional fields of a batch with further ones, of which None is absent."""
    return {**(optional or {}), **{name: value for name, value in given.items() if value is not None}}


class _EventFields(NamedTuple):
    query: Codes
    candidate: Codes
    candidate_rows: tf.Tensor
    ratings: tf.Tensor
    optional: _Optional


class EventBatch(_EventFields):
    """A batch of events, each with a query, a candidate and a rating.

    Args:
        query: Input name -> codes [batch, ...] of the events' queries.
        candidate: Input name -> codes [num_rows, ...], those of the pairs' candidates first. There are others only with
            `negatives` or `rows_before`; explicit negatives come last.
        candidate_rows: int32 [num_rows], rows of the catalogue.
        ratings: float32 [pairs].
        optional: The optional fields of another batch, which the arguments below add to.
        weights: float32 [pairs], the weight of each pair in the loss; None for 1 each.
        query_places: int32 [pairs], the place of each pair's query in the batch; None if pair i is of query i.
        negatives: What a softmax over the batch's candidates needs; None if there is none.
        candidate_keys: int64 [num_rows], numbers that identify a candidate in every catalogue; None if not needed.
        rows_before: int32 scalar, in a replica's piece of a batch whose candidates are gathered from all replicas: the
            number of candidates that the replicas before it have. Then `candidate` holds the replica's own rows only.
            None in a whole batch.
        explicit_negatives: Negatives of single queries, beside those of all; None if there are none. Their candidates
            come after those that `negatives` describe.

    Example:
        >>> batch = EventBatch(
        ...     query={"user_id": tf.constant([2, 3])},
        ...     candidate={"movie_id": tf.constant([4, 5])},
        ...     candidate_rows=tf.constant([2, 3]),
        ...     ratings=tf.constant([5.0, 1.0]),
        ... )
        >>> batch.queries_of_pairs(tf.constant([[0.5], [0.25]])).numpy().tolist()
        [[0.5], [0.25]]
    """

    __slots__ = ()

    def __new__(
        cls,
        query: Codes,
        candidate: Codes,
        candidate_rows: tf.Tensor,
        ratings: tf.Tensor,
        optional: _Optional | None = None,
        *,
        weights: tf.Tensor | None = None,
        query_places: tf.Tensor | None = None,
        negatives: SoftmaxNegatives | None = None,
        candidate_keys: tf.Tensor | None = None,
        rows_before: tf.Tensor | None = None,
        explicit_negatives: ExplicitNegatives | None = None,
    ) -> EventBatch:
        """Makes a batch; `tf.data` and `tf.function` call this with the first five arguments."""
        given = {
            "weights": weights,
            "query_places": query_places,
            "negatives": negatives,
            "candidate_keys": candidate_keys,
            "rows_before": rows_before,
            "explicit_negatives": explicit_negatives,
        }
        return super().__new__(cls, query, candidate, candidate_rows, ratings, _with(optional, given))

    @property
    def weights(self) -> tf.Tensor | None:
        """float32 [pairs], the weight of each pair in the loss; None for 1 each."""
        return self.optional.get("weights")

    @property
    def query_places(self) -> tf.Tensor | None:
        """int32 [pairs], the place of each pair's query in the batch; None if pair i is of query i."""
        return self.optional.get("query_places")

    @property
    def negatives(self) -> SoftmaxNegatives | None:
        """What a softmax over the batch's candidates needs; None if there is none."""
        return self.optional.get("negatives")

    @property
    def candidate_keys(self) -> tf.Tensor | None:
        """int64 [num_rows], numbers that identify a candidate in every catalogue; None if not needed."""
        return self.optional.get("candidate_keys")

    @property
    def rows_before(self) -> tf.Tensor | None:
        """int32 scalar, the number of candidates of the replicas before this one; None in a whole batch."""
        return self.optional.get("rows_before")

    @property
    def explicit_negatives(self) -> ExplicitNegatives | None:
        """Negatives of single queries; None if there are none."""
        return self.optional.get("explicit_negatives")

    @property
    def num_shared(self) -> tf.Tensor:
        """int32 scalar, the number of candidates before those of the explicit negatives, which all queries share."""
        if self.negatives is None:
            return tf.size(self.candidate_rows)
        return tf.size(self.negatives.log_sampling_probabilities)

    def queries_of_pairs(self, queries: tf.Tensor) -> tf.Tensor:
        """Returns each pair's query.

        Args:
            queries: float32 [batch, dim], one row per query of the batch.

        Returns:
            float32 [pairs, dim].
        """
        return queries if self.query_places is None else tf.gather(queries, self.query_places)

    def scores_of_pairs(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the product of each pair's query and candidate.

        Args:
            queries: float32 [batch, dim], one row per query of the batch.
            candidates: float32 [num_rows, dim]; those beyond the pairs' own are negatives of all.

        Returns:
            float32 [pairs].
        """
        queries = self.queries_of_pairs(queries)
        if self.negatives is not None or self.rows_before is not None:
            candidates = candidates[: tf.shape(queries)[0]]
        return tf.reduce_sum(queries * candidates, axis=1)


class _QueryFields(NamedTuple):
    query: Codes
    candidate: Codes
    candidate_rows: tf.Tensor
    target_places: tf.Tensor
    target_candidates: tf.Tensor
    ratings: tf.Tensor
    optional: _Optional


class QueryBatch(_QueryFields):
    """A batch of whole queries, each with all its events, which are both its history and its targets.

    With a context a row is a request, a query in one of its contexts. All events of the query are its history, and
    those of other contexts are no targets of the row: their weight is 0.

    For a tower that reads sequences a row is a part of a query's events, and an event's history is what comes before it
    in the row.

    Args:
        query: Input name -> codes [batch, ...].
        candidate: Input name -> codes [num_rows, ...], of candidates among which is every target.
        candidate_rows: int32 [num_rows], rows of the catalogue.
        target_places: int64 [events, 2], (query, slot) of each event in the histories.
        target_candidates: int32 [events], each event's place among the batch's candidates.
        ratings: float32 [events].
        optional: The optional fields of another batch, which the arguments below add to.
        log_sampling_probabilities: float32 [num_rows], log Q: the logarithm of the probability that a query's batch
            holds the candidate if it is not one of the query's own; or [batch, num_rows], which tells it for each
            query. None if the batch is known to have the whole catalogue.
        weights: float32 [events], the weight of each event in the loss; None for 1 each.
        explicit_negatives: Candidates that were shown with the events and not chosen; None if there are none, or they
            count nothing.

    Example:
        A query that rated the candidates in rows 0 and 2 of a catalogue of three:

        >>> batch = QueryBatch(
        ...     query={"history": tf.constant([[2, 4]])},
        ...     candidate={"movie_id": tf.constant([2, 3, 4])},
        ...     candidate_rows=tf.constant([0, 1, 2]),
        ...     log_sampling_probabilities=tf.zeros(3),
        ...     target_places=tf.constant([[0, 0], [0, 1]], tf.int64),
        ...     target_candidates=tf.constant([0, 2]),
        ...     ratings=tf.constant([5.0, 1.0]),
        ... )
        >>> batch.pairs.numpy().tolist()
        [[0, 0], [0, 2]]
    """

    __slots__ = ()

    def __new__(
        cls,
        query: Codes,
        candidate: Codes,
        candidate_rows: tf.Tensor,
        target_places: tf.Tensor,
        target_candidates: tf.Tensor,
        ratings: tf.Tensor,
        optional: _Optional | None = None,
        *,
        log_sampling_probabilities: tf.Tensor | None = None,
        weights: tf.Tensor | None = None,
        explicit_negatives: ExplicitNegatives | None = None,
    ) -> QueryBatch:
        """Makes a batch; `tf.data` and `tf.function` call this with the first seven arguments."""
        given = {
            "log_sampling_probabilities": log_sampling_probabilities,
            "weights": weights,
            "explicit_negatives": explicit_negatives,
        }
        optional = _with(optional, given)
        return super().__new__(
            cls, query, candidate, candidate_rows, target_places, target_candidates, ratings, optional
        )

    @property
    def log_sampling_probabilities(self) -> tf.Tensor | None:
        """float32 [num_rows] or [batch, num_rows], log Q; None if the batch is known to have the whole catalogue."""
        return self.optional.get("log_sampling_probabilities")

    @property
    def weights(self) -> tf.Tensor | None:
        """float32 [events], the weight of each event in the loss; None for 1 each."""
        return self.optional.get("weights")

    @property
    def explicit_negatives(self) -> ExplicitNegatives | None:
        """Candidates that were shown with the events and not chosen; None if there are none, or they count nothing."""
        return self.optional.get("explicit_negatives")

    @property
    def target_queries(self) -> tf.Tensor:
        """int64 [events], the place of each event's query in the batch."""
        return self.target_places[:, 0]

    @property
    def pairs(self) -> tf.Tensor:
        """int64 [events, 2], the places of each event's query and candidate in the batch."""
        return tf.stack([self.target_queries, tf.cast(self.target_candidates, tf.int64)], axis=1)

    @property
    def negative_pairs(self) -> tf.Tensor:
        """int64 [n, 2], the places of the query and the candidate of each explicit negative in the batch."""
        if self.explicit_negatives is None:
            return tf.zeros([0, 2], tf.int64)
        queries = tf.gather(self.target_queries, self.explicit_negatives.events)
        return tf.stack([queries, tf.cast(self.explicit_negatives.candidates, tf.int64)], axis=1)

    def by_event(self) -> QueryBatch:
        """Returns the batch in which each event is a query of its own, without codes: queries are encoded already.

        Example:
            The candidate that a query of a sampled batch has at another place is there for certain:

            >>> batch = QueryBatch(
            ...     query={}, candidate={}, candidate_rows=tf.constant([0, 1]),
            ...     log_sampling_probabilities=tf.constant([-1.0, -2.0]),
            ...     target_places=tf.constant([[0, 0], [1, 0]], tf.int64), target_candidates=tf.constant([0, 0]),
            ...     ratings=tf.constant([5.0, 1.0]),
            ... )
            >>> batch.by_event().log_sampling_probabilities.numpy().tolist()
            [[0.0, -2.0], [0.0, -2.0]]
        """
        events = tf.range(tf.shape(self.target_places, tf.int64)[0])
        logs = self.log_sampling_probabilities
        if logs is not None:
            num_rows = 1 + tf.reduce_max(tf.concat([self.target_queries, [-1]], axis=0))
            shape = tf.stack([num_rows, tf.size(logs, tf.int64)])
            own = tf.concat([self.pairs, self.negative_pairs], axis=0)
            is_own = tf.scatter_nd(own, tf.ones(tf.shape(own)[:1]), shape) > 0
            logs = tf.gather(tf.where(is_own, 0.0, logs), self.target_queries)
        return self._replace(
            query={},
            target_places=tf.stack([events, tf.zeros_like(events)], axis=1),
            optional=_with(self.optional, {"log_sampling_probabilities": logs}),
        )

    def scores_of_pairs(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns the product of each event's query and candidate, by one product of matrices.

        Args:
            queries: float32 [batch, dim].
            candidates: float32 [num_rows, dim].

        Returns:
            float32 [events].
        """
        return tf.gather_nd(tf.matmul(queries, candidates, transpose_b=True), self.pairs)


class JointBatch(NamedTuple):
    """One batch for each of the two models of a joint model.

    Attributes:
        retrieval: The retrieval model's batch.
        rating: The rating model's batch.

    Example:
        >>> events = EventBatch(query={}, candidate={}, candidate_rows=tf.constant([0]), ratings=tf.constant([5.0]))
        >>> JointBatch(retrieval=events, rating=events).rating.ratings.numpy().tolist()
        [5.0]
    """

    retrieval: EventBatch | QueryBatch
    rating: EventBatch | QueryBatch
