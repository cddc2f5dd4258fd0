"""Sorting and selection of scores and rows in the graph, faster than TensorFlow's own operations."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.data.rows import NO_ROW

#: Score of an empty slot. It is finite because JSON has no infinity.
NO_SCORE = float(np.finfo(np.float32).min)
# From this number of scores on, `top_k` looks at the maxima of blocks of scores first. The size of a block is the
# first of these that divides the number of scores.
_MIN_SCORES_FOR_BLOCKS = 4096
_BLOCK_SIZES = (64, 32, 48, 40, 50, 80, 96, 100, 125, 24, 16)


def has_blocks(num_scores: int) -> bool:
    """Whether `top_k` selects by blocks, which makes it cheap beside a copy of the scores."""
    return num_scores >= _MIN_SCORES_FOR_BLOCKS


@as_written
def top_k(scores: tf.Tensor, k: int | tf.Tensor, num_scores: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what `tf.math.top_k` returns, in less time.

    The k greatest scores lie in the k blocks with the greatest maxima, so only those blocks are sorted.

    Args:
        scores: float32 [batch, num_scores].
        k: Number of columns of the result, in 1..num_scores.
        num_scores: Number of columns of `scores`.

    Returns:
        (scores, places): float32 [batch, k], descending; int32 [batch, k], their columns in `scores`. Of equal scores
        the one with the lower column comes first.
    """
    if not has_blocks(num_scores):
        return tf.math.top_k(scores, k)
    # A block size that divides the number of scores saves a copy of them.
    size = next((size for size in _BLOCK_SIZES if num_scores % size == 0), _BLOCK_SIZES[0])
    num_blocks = -(-num_scores // size)
    if num_scores % size:
        scores = tf.pad(scores, [[0, 0], [0, num_blocks * size - num_scores]], constant_values=NO_SCORE)

    def select_by_blocks() -> tuple[tf.Tensor, tf.Tensor]:
        blocks = tf.reshape(scores, [-1, num_blocks, size])
        _, selected = tf.math.top_k(tf.reduce_max(blocks, axis=2), k)
        selected = tf.sort(selected, axis=1)  # so that of equal scores the lower column comes first
        members = tf.reshape(tf.gather(blocks, selected, batch_dims=1), [-1, k * size])
        best, places = tf.math.top_k(members, k)
        columns = tf.gather(selected, places // size, batch_dims=1) * size + places % size
        return best, tf.minimum(columns, num_scores - 1)  # only padding lies beyond, when nothing else is left

    def select_directly() -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(tf.math.top_k(scores, k))

    is_small = k * size <= num_scores // 4
    if tf.is_tensor(is_small):
        return tf.cond(is_small, select_by_blocks, select_directly)
    return select_by_blocks() if is_small else select_directly()


def sort_ascending(values: tf.Tensor) -> tf.Tensor:
    """Sorts each row of int32 [batch, n] in ascending order, with half the operations of `tf.sort`."""
    # The bitwise complement reverses the order and, unlike the negative, cannot overflow.
    complements = tf.math.top_k(tf.bitwise.invert(values), tf.shape(values)[1]).values
    return tf.bitwise.invert(complements)


@as_written
def is_member(values: tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """Tells which values occur among the members of the same row, by binary search.

    Args:
        values: int32 [batch, n].
        members: int32 [batch, m], in any order.

    Returns:
        bool [batch, n].
    """
    # With a last element above every row number, the position found always exists.
    top = tf.fill([tf.shape(members)[0], 1], tf.int32.max)
    ordered = tf.concat([sort_ascending(members), top], axis=1)
    positions = tf.searchsorted(ordered, values)
    return tf.gather(ordered, positions, batch_dims=1) == values


def drop_excluded(rows: tf.Tensor, exclude: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Removes excluded candidates from rankings.

    Args:
        rows: int32 [batch, n], best first, `NO_ROW` in empty slots.
        exclude: int32 [batch, e], rows to remove.
        width: Number of columns of the result, at most n.

    Returns:
        int32 [batch, width], the first of the remaining rows in their order, then `NO_ROW`.
    """
    num = tf.shape(rows)[1]
    places = tf.where((rows == NO_ROW) | is_member(rows, exclude), num, tf.range(num))
    negated, _ = tf.math.top_k(-places, width)
    padded = tf.pad(rows, [[0, 0], [0, 1]], constant_values=NO_ROW)
    return tf.gather(padded, -negated, batch_dims=1)
