"""What the candidates of a history contribute to their query's embedding, and to the scores that come of it.

A batch of queries has thousands of events, and a vector for each takes more time to write and read than all of a step's
arithmetic. A history's embedding is a sum, so both the embeddings and the scores that an event contributes to itself
are products of matrices with a row for each query and a column for each candidate among the events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryTerm:
    """One term of a history's embedding: weights of candidates times their vectors.

    Attributes:
        weights: float32 [batch, columns], the sum of the weights that a query gives to a candidate.
        vectors: float32 [columns, dim], the vectors of the candidates.
    """

    weights: tf.Tensor
    vectors: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryParts:
    """What each event's candidate contributes to the embedding of its query, by all events of the pair.

    Attributes:
        terms: The terms of the histories; none if the query tower has no history.
        kept: float32 [batch, dim], the factor of each entry of a query's embedding, 0 where it is dropped; None if
            nothing is dropped.
        columns: int32 [columns], the place of each column's candidate among those of the batch.
        pairs: int64 [events, 2], the row and the column of each event.

    Example:
        A query whose only event gives the vector of the second candidate half its weight:

        >>> term = HistoryTerm(weights=tf.constant([[0.5]]), vectors=tf.constant([[4.0, 2.0]]))
        >>> pairs = tf.constant([[0, 0]], tf.int64)
        >>> parts = HistoryParts(terms=(term,), kept=None, columns=tf.constant([1]), pairs=pairs)
        >>> parts.vectors().numpy().tolist(), parts.scores(tf.constant([[9.0, 9.0], [1.0, 10.0]])).numpy().tolist()
        ([[2.0, 1.0]], [12.0])
    """

    terms: Sequence[HistoryTerm]
    kept: tf.Tensor | None
    columns: tf.Tensor
    pairs: tf.Tensor

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> HistoryParts:
        """Returns the parts with a linear function of their vectors, which may add entries after the others.

        Args:
            function: From float32 [n, dim] to float32 [n, any].
        """
        terms = [dataclasses.replace(term, vectors=function(term.vectors)) for term in self.terms]
        kept = self.kept
        if terms and kept is not None:
            num_added = terms[0].vectors.shape[1] - kept.shape[1]
            kept = tf.pad(kept, [[0, 0], [0, num_added]], constant_values=1.0)
        return dataclasses.replace(self, terms=terms, kept=kept)

    def scores(self, candidates: tf.Tensor) -> tf.Tensor:
        """Computes what each event contributes to the score of its own candidate.

        Args:
            candidates: float32 [num_rows, dim], those of the batch.

        Returns:
            float32 [events], the products of the parts with the events' candidates; 0 without a history.
        """
        if not self.terms:
            return tf.zeros([tf.shape(self.pairs)[0]])
        own = tf.gather(candidates, self.columns)
        products = [term.weights * _products(self.kept, term.vectors * own) for term in self.terms]
        return tf.gather_nd(tf.add_n(products), self.pairs)

    def vectors(self) -> tf.Tensor:
        """Returns the parts themselves, float32 [events, dim], for a task that needs more than scores.

        Raises:
            ValueError: If there is no history.
        """
        if not self.terms:
            raise ValueError("There are no parts: the query tower has no history.")
        rows, columns = self.pairs[:, 0], self.pairs[:, 1]
        total = tf.add_n(
            [
                tf.gather_nd(term.weights, self.pairs)[:, tf.newaxis] * tf.gather(term.vectors, columns)
                for term in self.terms
            ]
        )
        return total if self.kept is None else total * tf.gather(self.kept, rows)


def no_parts(places: tf.Tensor) -> HistoryParts:
    """Returns the parts of events whose queries have no history.

    Args:
        places: int64 [events, 2], the query and the slot of each event.
    """
    return HistoryParts(terms=(), kept=None, columns=tf.zeros([0], tf.int32), pairs=places)


def _products(kept: tf.Tensor | None, vectors: tf.Tensor) -> tf.Tensor:
    """float32 [batch or 1, columns], the sums of each vector's entries that a query keeps."""
    if kept is None:
        return tf.reduce_sum(vectors, axis=1)[tf.newaxis]
    return tf.matmul(kept, vectors, transpose_b=True)
