"""The contract of every index: nearest-candidate search in the graph.

`search(queries, k, exclude)` returns (scores, rows) with exactly min(k, num_candidates) columns, best first and no row
twice. Among found candidates of equal scores the lower row comes first. Scores are exact dot products for every kind of
index. A slot for which no candidate is left holds row -1 and the lowest finite float32, and no other slot does. A query
that is not finite gets empty slots only. The result of a query does not depend on the other queries of its batch,
unless more than eight candidates score within a rounding error of the last one.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import tensorflow as tf

from tfrs_twotower._autograph import is_written_for_graphs
from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.embeddings import MAX_NORM
from tfrs_twotower.index.filters import Condition
from tfrs_twotower.index.ordering import NO_SCORE, sort_ascending
from tfrs_twotower.index.outcome import Parameters
from tfrs_twotower.index.vectors import CandidateVectors

# Candidates found beyond k. How a search rounds scores depends on the batch, and affects only which of these it finds.
_NUM_SPARE = 8


class Index(tf.Module, abc.ABC):
    """Finds the candidates with the greatest dot products.

    A subclass is a kind of index. It defines `kind` and `is_exact`, and finds rows in `find_rows`. Exact scores, their
    order, empty slots and filters are the same for every kind and are defined here. `build_exact` builds, verifies and
    measures an index of an exact kind.

    Args:
        vectors: The candidates' embeddings.

    Attributes:
        kind: Name of the kind in manifests.
        required_packages: Names of the Python packages whose operations the graph uses, beyond TensorFlow.
        vectors: The candidates' embeddings.
        num_candidates: Size of the catalogue.

    Example:
        >>> class ScanningIndex(Index):
        ...     kind = "scanning"
        ...     is_exact = True
        ...
        ...     def find_rows(self, queries, k, width, exclude):
        ...         return self.vectors.scan(queries, width, exclude)
        >>> index = ScanningIndex(CandidateVectors(tf.Variable([[1.0, 0.0], [0.0, 1.0]])))
        >>> scores, rows = index.search(tf.constant([[3.0, 4.0]]), k=2)
        >>> scores.numpy().tolist(), rows.numpy().tolist()
        ([[4.0, 3.0]], [[1, 0]])
    """

    kind: ClassVar[str]
    required_packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, vectors: CandidateVectors) -> None:
        super().__init__(name=f"{self.kind}_index")
        self.vectors = vectors
        self.num_candidates = vectors.num_candidates

    @property
    def uses_autograph(self) -> bool:
        """Whether Python in `find_rows` may depend on tensors, as in a user's own class, even one derived from ours."""
        return not is_written_for_graphs(self)

    @property
    @abc.abstractmethod
    def is_exact(self) -> bool:
        """Whether a search always finds the k best candidates."""

    @abc.abstractmethod
    def find_rows(
        self, queries: tf.Tensor, k: int | tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None
    ) -> tf.Tensor:
        """Finds candidates that are not excluded.

        Args:
            queries: float32 [batch, embedding_dim], finite, none longer than `MAX_NORM`.
            k: Number of candidates that the caller wants, in 1..width.
            width: Number of columns, in 1..num_candidates.
            exclude: int32 [batch, e], as in `search`.

        Returns:
            int32 [batch, width], best first, no row twice. `NO_ROW` fills slots for which no candidate is left; from
            column k on, it also fills slots for which an approximate search found none.
        """

    def parameters(self) -> Parameters:
        """Returns the parameters that a manifest records. By default there are none."""
        return {}

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
            k: Number of columns, >= 1, capped at num_candidates. An integer tensor is checked in the graph.
            exclude: int [batch, e], rows that a query must not get. Values that are not rows, such as the padding -1,
                have no effect.
            only: Condition that a candidate must meet. With a condition every kind of index searches exactly.

        Returns:
            (scores, rows): float32 and int32 [batch, min(k, num_candidates)].

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If `k` is less than 1.
            tf.errors.InvalidArgumentError: If `exclude` or `only` has another number of queries than `queries`.
        """
        queries = tf.cast(queries, tf.float32)
        batch = tf.shape(queries)[0]
        checks = [] if only is None else [_assert_batch(size, batch, "only") for size in only.batch_sizes()]
        if exclude is not None:
            checks.append(_assert_batch(tf.shape(exclude)[0], batch, "exclude"))
            exclude = tf.cast(exclude, tf.int32)
        with tf.control_dependencies(checks):
            queries = tf.identity(queries)
        return self.search_aligned(queries, _num_columns(k, self.num_candidates), exclude, only)

    def search_aligned(
        self, queries: tf.Tensor, k: int | tf.Tensor, exclude: tf.Tensor | None = None, only: Condition | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Searches without the checks of `search`, for callers whose arguments are aligned by construction.

        Args:
            queries: float32 [batch, embedding_dim].
            k: Number of columns, in 1..num_candidates.
            exclude: int32 [batch, e], as in `search`.
            only: Condition for the same number of queries, as in `search`.

        Returns:
            (scores, rows): float32 and int32 [batch, k].
        """
        queries, is_usable = _replace_unusable(queries)
        limit = k + _NUM_SPARE
        width = tf.minimum(limit, self.num_candidates) if tf.is_tensor(k) else min(limit, self.num_candidates)
        if only is not None:
            rows = self.vectors.scan(queries, width, exclude, only)
        else:
            rows = self.find_rows(queries, k, width, exclude)
        scores, rows = _best(self.vectors, queries, rows, k)
        return tf.where(is_usable, scores, NO_SCORE), tf.where(is_usable, rows, NO_ROW)


def _replace_unusable(queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Replaces queries that are too long or not finite by zeros.

    Returns:
        (queries, is_usable): float32 [batch, embedding_dim], bool [batch, 1].
    """
    # A vector with NaN or infinity, or whose length overflows, has a length of NaN or infinity, and fails the test.
    is_usable = tf.norm(queries, axis=1, keepdims=True) <= MAX_NORM
    return tf.where(is_usable, queries, 0.0), is_usable


def _assert_batch(size: tf.Tensor, batch: tf.Tensor, name: str) -> tf.Operation:
    return tf.debugging.assert_equal(size, batch, message=f"`{name}` must have a row for each query.")


def _num_columns(k: int | tf.Tensor, num_candidates: int) -> int | tf.Tensor:
    """Checks k and caps it at the size of the catalogue."""
    if not tf.is_tensor(k):
        return min(whole_number(k, "`k`", 1), num_candidates)
    k = tf.cast(k, tf.int32)
    with tf.control_dependencies([tf.debugging.assert_positive(k, message="`k` must be at least 1.")]):
        return tf.minimum(k, num_candidates)


def _best(
    vectors: CandidateVectors, queries: tf.Tensor, rows: tf.Tensor, k: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores the found candidates exactly, and orders them.

    Args:
        vectors: The candidates' embeddings.
        queries: float32 [batch, embedding_dim].
        rows: int32 [batch, width], found candidates, none twice, or `NO_ROW`; width >= k.
        k: Number of columns of the result.

    Returns:
        (scores, rows), as `Index.search` returns them.
    """
    # Rows in ascending order, so that top_k, which prefers the earlier of two equals, prefers the lower row.
    rows = sort_ascending(rows)
    # Multiply and sum instead of a matrix product, whose rounding depends on the batch it is part of.
    scores = tf.reduce_sum(tf.expand_dims(queries, 1) * vectors.take(tf.maximum(rows, 0)), axis=2)
    scores, places = tf.math.top_k(tf.where(rows == NO_ROW, NO_SCORE, scores), k)
    return scores, tf.gather(rows, places, batch_dims=1)
