"""The rows of batches: the numbers that NumPy computes for a batch, of which the batch is assembled.

The codes that the rows' queries and candidates have in the encoded tables are added in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

from tfrs_twotower.batches.batch import Codes, EventBatch, ExplicitNegatives, QueryBatch, SoftmaxNegatives


class EventRows(NamedTuple):
    """The rows of a batch of events, as arrays, tensors or tensor specs.

    Attributes:
        queries: int32 [batch].
        candidates: int32 [num_rows].
        ratings: float32 [pairs].
        weights: float32 [pairs].
        query_places: int32 [pairs].
        is_other_positive: bool [batch, num_rows].
        log_sampling_probabilities: float32 [num_rows].
        history: int32 [batch, length], rows of past candidates, `NO_ROW` in an unused slot.
        history_ratings: float32 [batch, length], 0 in an unused slot.
        contexts: int32 [batch], rows of contexts.
        history_times: int64 [batch, length], seconds since 1970, `NO_TIME` in an unused slot.
        negative_events: int32 [n], as in `ExplicitNegatives`.
        negative_candidates: int32 [n].
        negative_weights: float32 [n].
    """

    queries: Any
    candidates: Any
    ratings: Any
    weights: Any = None
    query_places: Any = None
    is_other_positive: Any = None
    log_sampling_probabilities: Any = None
    history: Any = None
    history_ratings: Any = None
    contexts: Any = None
    history_times: Any = None
    negative_events: Any = None
    negative_candidates: Any = None
    negative_weights: Any = None

    def assemble(self, query: Codes, candidate: Codes) -> EventBatch:
        """Makes the batch of these rows, given as tensors.

        Args:
            query: Codes of `queries`.
            candidate: Codes of `candidates`.
        """
        negatives = None
        if self.is_other_positive is not None:
            negatives = SoftmaxNegatives(self.is_other_positive, self.log_sampling_probabilities)
        return EventBatch(
            query=query,
            candidate=candidate,
            candidate_rows=self.candidates,
            ratings=self.ratings,
            weights=self.weights,
            query_places=self.query_places,
            negatives=negatives,
            explicit_negatives=_explicit_negatives(self),
        )


class QueryRows(NamedTuple):
    """The rows of a batch of queries, as arrays, tensors or tensor specs.

    Attributes:
        queries: int32 [batch].
        candidates: int32 [num_rows].
        log_sampling_probabilities: float32 [num_rows].
        history: int32 [batch, any], rows of past candidates, `NO_ROW` in an unused slot.
        history_ratings: float32 [batch, any], 0 in an unused slot.
        target_places: int64 [events, 2].
        target_candidates: int32 [events].
        ratings: float32 [events].
        weights: float32 [events].
        contexts: int32 [batch], rows of contexts.
        history_times: int64 [batch, any], seconds since 1970, `NO_TIME` in an unused slot.
        negative_events: int32 [n], as in `ExplicitNegatives`.
        negative_candidates: int32 [n].
        negative_weights: float32 [n].
    """

    queries: Any
    candidates: Any
    log_sampling_probabilities: Any
    history: Any
    history_ratings: Any
    target_places: Any
    target_candidates: Any
    ratings: Any
    weights: Any = None
    contexts: Any = None
    history_times: Any = None
    negative_events: Any = None
    negative_candidates: Any = None
    negative_weights: Any = None

    def assemble(self, query: Codes, candidate: Codes) -> QueryBatch:
        """Makes the batch of these rows, given as tensors.

        Args:
            query: Codes of `queries`.
            candidate: Codes of `candidates`.
        """
        return QueryBatch(
            query=query,
            candidate=candidate,
            candidate_rows=self.candidates,
            log_sampling_probabilities=self.log_sampling_probabilities,
            target_places=self.target_places,
            target_candidates=self.target_candidates,
            ratings=self.ratings,
            weights=self.weights,
            explicit_negatives=_explicit_negatives(self),
        )


Rows = EventRows | QueryRows
_AnyRows = TypeVar("_AnyRows", EventRows, QueryRows)


def with_explicit_negatives(specs: _AnyRows) -> _AnyRows:
    """Returns the specs of rows that also have explicit negatives.

    Args:
        specs: Shape and dtype of each column, None for a column that is absent.
    """
    places = tf.TensorSpec([None], tf.int32)
    return specs._replace(
        negative_events=places, negative_candidates=places, negative_weights=tf.TensorSpec([None], tf.float32)
    )


def _explicit_negatives(rows: Rows) -> ExplicitNegatives | None:
    if rows.negative_events is None:
        return None
    return ExplicitNegatives(rows.negative_events, rows.negative_candidates, rows.negative_weights)


def to_flat(rows: Rows) -> list[Any]:
    """Returns the columns that are not None, in order, for `tf.numpy_function`, which takes no named tuples."""
    return [column for column in rows if column is not None]


def from_flat(specs: Rows, columns: Sequence[tf.Tensor]) -> Rows:
    """Returns the rows whose columns `to_flat` gave, with the shapes of their specs.

    Args:
        specs: Shape and dtype of each column, None for a column that is absent.
        columns: Tensors, in the order of `to_flat(specs)`.
    """
    remaining = iter(columns)
    return type(specs)(*(None if spec is None else tf.ensure_shape(next(remaining), spec.shape) for spec in specs))


def with_leading_dimension(specs: Rows) -> Rows:
    """Returns the specs of several batches' rows that are stacked.

    Args:
        specs: Shape and dtype of each column of one batch, None for a column that is absent.
    """
    return type(specs)(*(None if spec is None else tf.TensorSpec([None, *spec.shape], spec.dtype) for spec in specs))
