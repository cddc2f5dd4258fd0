"""The index that scores every candidate, in stock TensorFlow operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.vectors import CandidateVectors


class ExactIndex(Index):
    """Scores every candidate, in stock TensorFlow operations.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, all different. Errors name candidates by them.

    Raises:
        ValueError: If `check_embeddings` refuses the embeddings or the ids.

    Example:
        >>> index = ExactIndex(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32), ["x", "y", "z"])
        >>> scores, rows = index.search(tf.constant([[3.0, 1.0]]), k=2, exclude=tf.constant([[0]]))
        >>> scores.numpy().tolist(), rows.numpy().tolist()
        ([[4.0, 1.0]], [[2, 1]])
    """

    kind = "exact"

    def __init__(self, embeddings: np.ndarray, ids: Sequence[str]) -> None:
        matrix = tf.Variable(check_embeddings(embeddings, ids), trainable=False, name="embeddings")
        super().__init__(CandidateVectors(matrix))

    @property
    def is_exact(self) -> bool:
        """Always true."""
        return True

    def find_rows(
        self, queries: tf.Tensor, k: int | tf.Tensor, width: int | tf.Tensor, exclude: tf.Tensor | None
    ) -> tf.Tensor:
        """Scores every candidate; arguments and result as in `Index.find_rows`."""
        return self.vectors.scan(queries, width, exclude)
