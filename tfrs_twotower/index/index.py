"""Nearest-candidate search in the graph, behind one contract.

`search(queries, k, exclude) -> (scores, rows)`: always exactly min(k, num_candidates) columns, best first, of equal
scores among those found the lower row first, no row twice. Scores are exact dot products, whatever searched. A slot
for which nothing is left holds row -1 and the lowest finite float32; no other slot does. A query that is not finite
gets empty slots. What a query gets does not depend on its batch, but where more than eight candidates score within a
rounding error of the last one.
"""

from __future__ import annotations

import abc
import math
import operator

import tensorflow as tf

from tfrs_twotower.index.filters import Condition
from tfrs_twotower.index.vectors import MAX_NORM, NO_ROW, NO_SCORE, CandidateVectors, ascending

# Found beyond k: how a search rounds scores depends on the batch, and decides only which of these it finds.
_SPARE = 8


class Index(tf.Module, abc.ABC):
    """Finds the candidates with the greatest dot products.

    A kind of index says how to find rows (`_find`). All else is here, the same for every kind: scores and order.

    Args:
        vectors: The candidates.

    Attributes:
        kind: Its name in manifests.
        vectors: The candidates.
        num_candidates: Size of the catalogue.
    """

    kind: str

    def __init__(self, vectors: CandidateVectors) -> None:
        super().__init__(name=f"{self.kind}_index")
        self.vectors = vectors
        self.num_candidates = vectors.num_candidates

    @property
    @abc.abstractmethod
    def is_exact(self) -> bool:
        """Whether it always finds the k best."""

    @abc.abstractmethod
    def _find(
        self, queries: tf.Tensor, k: int | tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None
    ) -> tf.Tensor:
        """Finds candidates, without those that are excluded.

        Args:
            queries: float32 [batch, embedding_dim], finite, none longer than `MAX_NORM`.
            k: So many are asked for, in 1..width.
            width: Columns, in 1..num_candidates.
            exclude: int32 [batch, e], as of `search`.

        Returns:
            int32 [batch, width], none twice in a row, best first, `NO_ROW` where nothing is left, and from column k on
            where an approximate search found nothing.
        """

    def search(
        self,
        queries: tf.Tensor,
        k: int | tf.Tensor,
        exclude: tf.Tensor | None = None,
        only: Condition | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the k best candidates of each query.

        Args:
            queries: float [batch, embedding_dim].
            k: Columns, >= 1; capped at num_candidates. An integer tensor is checked in the graph.
            exclude: int [batch, e], rows that a query must not get; what is no row, such as the padding -1, is
                harmless.
            only: What a candidate must be. The search is exact then, whatever the kind.

        Returns:
            (scores, rows): float32 and int32 [batch, min(k, num_candidates)].

        Raises:
            ValueError: If k is less than 1.
            tf.errors.InvalidArgumentError: If `exclude` or `only` is of another number of queries.
        """
        queries = tf.cast(queries, tf.float32)
        batch = tf.shape(queries)[0]
        checks = [] if only is None else [_assert_batch(size, batch, "only") for size in only.batch_sizes()]
        if exclude is not None:
            checks.append(_assert_batch(tf.shape(exclude)[0], batch, "exclude"))
            exclude = tf.cast(exclude, tf.int32)
        with tf.control_dependencies(checks):
            queries = tf.identity(queries)
        return self.search_aligned(queries, _columns(k, self.num_candidates), exclude, only)

    def search_aligned(
        self, queries: tf.Tensor, k: int | tf.Tensor, exclude: tf.Tensor | None = None, only: Condition | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `search`, for a caller who knows that all is of as many queries.

        Args:
            queries: float32 [batch, embedding_dim].
            k: In 1..num_candidates.
            exclude: int32 [batch, e], as of `search`.
            only: As of `search`.
        """
        queries, is_usable = _usable(queries)
        width = tf.minimum(k + _SPARE, self.num_candidates) if tf.is_tensor(k) else min(k + _SPARE, self.num_candidates)
        if only is not None:
            rows = self.vectors.scan(queries, width, exclude, only)
        else:
            rows = self._find(queries, k, width, exclude)
        scores, rows = _best(self.vectors, queries, rows, k)
        return tf.where(is_usable, scores, NO_SCORE), tf.where(is_usable, rows, NO_ROW)


def require_in_range(name: str, value: int, least: int, most: float = math.inf) -> None:
    """Checks a number that an index is made with.

    Raises:
        ValueError: If it is not in `least`..`most`; names it.
    """
    if not least <= value <= most:
        raise ValueError(f"`{name}` must be in {least}..{most}. Received: {value}.")


def _usable(queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(queries, bool [batch, 1]): those that are not finite or too long become zeros, and are marked."""
    # Of NaN or infinity the length is NaN or infinity, which is no less than anything; so is what overflows.
    is_usable = tf.norm(queries, axis=1, keepdims=True) <= MAX_NORM
    return tf.where(is_usable, queries, 0.0), is_usable


def _assert_batch(size: tf.Tensor, batch: tf.Tensor, name: str) -> tf.Operation:
    return tf.debugging.assert_equal(size, batch, message=f"`{name}` must have a row for each query.")


def _columns(k: int | tf.Tensor, num_candidates: int) -> int | tf.Tensor:
    if not tf.is_tensor(k):
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"`k` must be at least 1. Received: {k}.")
        return min(k, num_candidates)
    k = tf.cast(k, tf.int32)
    with tf.control_dependencies([tf.debugging.assert_positive(k, message="`k` must be at least 1.")]):
        return tf.minimum(k, num_candidates)


def _best(
    vectors: CandidateVectors, queries: tf.Tensor, rows: tf.Tensor, k: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores the found rows exactly, and orders them.

    Args:
        vectors: The candidates.
        queries: float32 [batch, embedding_dim].
        rows: int32 [batch, width], found candidates, none twice, or `NO_ROW`; width >= k.
        k: Columns of the result.

    Returns:
        As `Index.search`.
    """
    # Ascending rows, so that top_k, which prefers the earlier of equals, prefers the lower row.
    rows = ascending(rows)
    # Multiply and sum instead of a matrix product, whose rounding depends on the batch it is part of.
    scores = tf.reduce_sum(tf.expand_dims(queries, 1) * vectors.take(tf.maximum(rows, 0)), axis=2)
    scores, places = tf.math.top_k(tf.where(rows == NO_ROW, NO_SCORE, scores), k)
    return scores, tf.gather(rows, places, batch_dims=1)
