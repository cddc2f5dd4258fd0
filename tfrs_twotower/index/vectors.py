"""The candidates' embeddings in memory: selected by row, and searched exhaustively where a search must be exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.control_flow import map_in_chunks
from tfrs_twotower.index.filters import Condition
from tfrs_twotower.index.ordering import NO_SCORE, drop_excluded, has_blocks, top_k

# Scores that an exhaustive search holds at once: 64 MiB of float32.
_MAX_SCORES_AT_ONCE = 2**24
# Up to this number of exclusions per query, excluded candidates are found and then dropped. Above it their scores are
# masked, which copies all scores.
_MAX_DROPPED = 32


class CandidateVectors(tf.Module):
    """The candidates' embeddings by row, whatever the order in which they are stored.

    Args:
        matrix: float32 [num_slots, embedding_dim], the stored embeddings.
        rows: int32 [num_slots], the candidate's row for each slot, `NO_ROW` for an unused slot. By default slot and row
            are the same.

    Attributes:
        num_candidates: Number of candidates.
        num_slots: Number of slots, used or not.
        embedding_dim: Size of an embedding.
        matrix: The stored embeddings.
        rows: int32 [num_slots] variable, or None if slot and row are the same.
        slots: int32 [num_candidates] variable, the slot of each row, or None if slot and row are the same.

    Example:
        >>> vectors = CandidateVectors(tf.Variable([[1.0, 0.0], [0.0, 2.0]]))
        >>> vectors.take(tf.constant([1])).numpy().tolist()
        [[0.0, 2.0]]
        >>> vectors.scan(tf.constant([[1.0, 1.0]]), 2).numpy().tolist()
        [[1, 0]]
    """

    def __init__(self, matrix: tf.Variable, rows: np.ndarray | None = None) -> None:
        super().__init__(name="candidate_vectors")
        self.matrix = matrix
        self.num_slots, self.embedding_dim = matrix.shape
        if rows is None:
            self.num_candidates, self.rows, self.slots = self.num_slots, None, None
            return
        slots = np.flatnonzero(rows != NO_ROW).astype(np.int32)
        self.num_candidates = len(slots)
        self.rows = tf.Variable(rows, trainable=False, name="rows")
        self.slots = tf.Variable(slots[np.argsort(rows[slots])], trainable=False, name="slots")

    def take(self, rows: tf.Tensor) -> tf.Tensor:
        """Selects embeddings by row.

        Args:
            rows: int32 [...], in 0..num_candidates - 1.

        Returns:
            float32 [..., embedding_dim].
        """
        # Gathering from the variable itself would make every later read of it a copy of the whole catalogue.
        slots = rows if self.slots is None else tf.gather(self.slots.read_value(), rows)
        return tf.gather(self.matrix.read_value(), slots)

    @as_written
    def scan(
        self,
        queries: tf.Tensor,
        width: int | tf.Tensor,
        exclude: tf.Tensor | None = None,
        only: Condition | None = None,
    ) -> tf.Tensor:
        """Finds the best allowed candidates by scoring every candidate.

        Args:
            queries: float32 [batch, embedding_dim].
            width: Number of columns, in 1..num_candidates.
            exclude: int32 [batch, e], rows that a query must not get. Values that are not rows have no effect.
            only: Condition that a candidate must meet.

        Returns:
            int32 [batch, width], best first, `NO_ROW` in empty slots.
        """

        def scan_chunk(take: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
            scores = tf.matmul(take(queries), self.matrix, transpose_b=True)
            if only is not None:
                allowed = only.take(take).allowed()
                if self.rows is not None:
                    allowed = tf.gather(allowed, tf.maximum(self.rows, 0), axis=1)
                scores = tf.where(allowed, scores, NO_SCORE)
            if self.rows is not None:
                scores = tf.where(self.rows == NO_ROW, NO_SCORE, scores)
            if exclude is None:
                return self._best_rows(scores, width)
            excluded = take(exclude)
            if not has_blocks(self.num_slots):
                return self._best_rows(self._mask(scores, excluded), width)
            num_with_excluded = tf.minimum(width + tf.shape(excluded)[1], self.num_candidates)
            return tf.cond(
                num_with_excluded - width <= _MAX_DROPPED,
                lambda: drop_excluded(self._best_rows(scores, num_with_excluded), excluded, width),
                lambda: self._best_rows(self._mask(scores, excluded), width),
            )

        return map_in_chunks(scan_chunk, tf.shape(queries)[0], max(1, _MAX_SCORES_AT_ONCE // self.num_slots))

    def _best_rows(self, scores: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
        """Returns the rows of the best slots, int32 [batch, width], `NO_ROW` where a score is `NO_SCORE`."""
        best, slots = top_k(scores, width, self.num_slots)
        rows = slots if self.rows is None else tf.gather(self.rows.read_value(), slots)
        return tf.where(best > NO_SCORE, rows, NO_ROW)

    def _mask(self, scores: tf.Tensor, exclude: tf.Tensor) -> tf.Tensor:
        """Sets the scores of excluded candidates to `NO_SCORE`; float32 [batch, num_slots]."""
        is_row = (exclude >= 0) & (exclude < self.num_candidates)
        slots = tf.where(is_row, exclude, 0)
        if self.slots is not None:
            slots = tf.gather(self.slots.read_value(), slots)
        queries = tf.broadcast_to(tf.expand_dims(tf.range(tf.shape(exclude)[0]), 1), tf.shape(exclude))
        # A value that is not a row updates slot 0 with the greatest float32, whose minimum with any score is the score.
        bounds = tf.where(is_row, NO_SCORE, tf.float32.max)
        return tf.tensor_scatter_nd_min(scores, tf.stack([queries, slots], axis=2), bounds)
