"""The approximate index that any TensorFlow can run: blocks of candidates, of which a query opens the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.approximate import ApproximateIndex, Excluding
from tfrs_twotower.index.index import require_in_range
from tfrs_twotower.index.partitions import Blocks, cut_into_blocks
from tfrs_twotower.index.vectors import NO_ROW, NO_SCORE, CandidateVectors, check_embeddings


class PortableIndex(ApproximateIndex):
    """Scores the candidates of the most promising blocks, in stock TensorFlow operations.

    A block promises q.c + |q| s sqrt(2 ln b / d): its centre's score, and what the best of b members with spread s in
    d dimensions is expected to add. Each query is searched by itself, so that memory does not grow with the batch.

    Args:
        embeddings: float [num_candidates, embedding_dim], finite.
        ids: The candidates' ids, to name them in errors.
        blocks: How the catalogue is cut; by default `cut_into_blocks(embeddings)`.
        blocks_to_open: Blocks that a query opens, >= 1; by default a fiftieth of them. Capped at their number, and
            raised where more candidates are asked for than they hold.
        excluding: As of `ApproximateIndex`; so many times the blocks are opened.

    Attributes:
        blocks_to_open, excluding: The effort of a search. Signatures that are traced later follow a change.

    Raises:
        ValueError: As of `check_embeddings`, or if a number is out of range.
    """

    kind = "portable"

    def __init__(
        self,
        embeddings: np.ndarray,
        ids: Sequence[str],
        *,
        blocks: Blocks | None = None,
        blocks_to_open: int | None = None,
        excluding: Excluding = (),
    ) -> None:
        embeddings = check_embeddings(embeddings, ids)
        blocks = blocks if blocks is not None else cut_into_blocks(embeddings)
        num_blocks, block_size = blocks.rows.shape
        blocks_to_open = blocks_to_open if blocks_to_open is not None else math.ceil(num_blocks / 50)
        require_in_range("blocks_to_open", blocks_to_open, 1)
        self.blocks_to_open = min(blocks_to_open, num_blocks)
        self.num_blocks, self.block_size = num_blocks, block_size
        rows = blocks.rows.reshape(-1)
        matrix = np.where((rows == NO_ROW)[:, np.newaxis], np.float32(0), embeddings[rows])
        super().__init__(
            CandidateVectors(tf.Variable(matrix, trainable=False, name="embeddings"), rows),
            excluding=excluding,
        )
        expected_best = math.sqrt(2 * math.log(block_size) / embeddings.shape[1])
        keys = np.concatenate([blocks.centres, expected_best * blocks.spreads[:, np.newaxis]], axis=1)
        self.keys = tf.Variable(keys.astype(np.float32), trainable=False, name="block_keys")

    @property
    def is_exact(self) -> bool:
        """Whether it always finds the k best."""
        return self.blocks_to_open == self.num_blocks

    def _find_about(self, queries: tf.Tensor, width: int | tf.Tensor, num: int | tf.Tensor, effort: int) -> tf.Tensor:
        # Twice as many blocks at least as what is wanted fills.
        needed = 2 * (num + self.block_size - 1) // self.block_size
        num_opened = tf.minimum(tf.maximum(effort * self.blocks_to_open, needed), self.num_blocks)
        num_found = tf.minimum(num, num_opened * self.block_size)
        lengths = tf.norm(queries, axis=1, keepdims=True)
        promises = tf.matmul(tf.concat([queries, lengths], axis=1), self.keys, transpose_b=True)
        _, opened = tf.math.top_k(promises, num_opened, sorted=False)
        blocks = tf.reshape(self.vectors.matrix, [self.num_blocks, -1])
        rows_of_block = tf.reshape(self.vectors.rows, [self.num_blocks, -1])

        def search_one(of_query: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            query, opened = of_query
            members = tf.reshape(tf.gather(blocks, opened), [-1, self.vectors.embedding_dim])
            rows = tf.reshape(tf.gather(rows_of_block, opened), [-1])
            scores = tf.where(rows == NO_ROW, NO_SCORE, tf.linalg.matvec(members, query))
            return tf.gather(rows, tf.math.top_k(scores, num_found).indices)

        batch = tf.shape(queries)[0]
        added = [[0, tf.cast(batch == 0, tf.int32)], [0, 0]]  # of nothing a loop makes no matrix
        rows = tf.map_fn(
            search_one,
            (tf.pad(queries, added), tf.pad(opened, added)),
            fn_output_signature=tf.TensorSpec([None], tf.int32),
            parallel_iterations=4,
        )[:batch]
        return tf.pad(rows, [[0, 0], [0, num - num_found]], constant_values=NO_ROW)
