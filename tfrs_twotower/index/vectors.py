"""The candidates' embeddings in memory: checked, taken by row, and scanned whole where a search must be exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower.index.filters import Condition

#: Row of an empty slot.
NO_ROW = -1
#: Score of an empty slot: finite, because JSON has no infinity.
NO_SCORE = float(np.finfo(np.float32).min)
#: Greatest length of an embedding: the product of two such, and every sum on the way to it, is finite in float32.
MAX_NORM = 1e18
# Scores held at once by a scan: 64 MiB of float32.
_SCORES_AT_ONCE = 2**24
# From so many scores on the best are looked for by blocks, of the first of these sizes that divides their number.
_LEAST_FOR_BLOCKS = 4096
_BLOCK_SIZES = (64, 32, 48, 40, 50, 80, 96, 100, 125, 24, 16)
# Excluded candidates that are found and left out again; of more the scores are masked, which copies all of them.
_MOST_FOUND_IN_VAIN = 32


def check_embeddings(embeddings: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Refuses what no index can be right about.

    Args:
        embeddings: float [num_candidates, embedding_dim], at least one of each, finite, none longer than `MAX_NORM`.
        ids: The candidates' ids, no two equal, to name them in errors.

    Returns:
        The embeddings as float32, in C order.

    Raises:
        ValueError: Naming the argument, or the ids of the first bad candidates.
    """
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not embeddings.size:
        raise ValueError(
            "`embeddings` must be floats [num_candidates, embedding_dim], at least one of each. "
            f"Received: {embeddings.dtype} {list(embeddings.shape)}."
        )
    if len(ids) != len(embeddings):
        raise ValueError(
            f"`ids` and `embeddings` must be equally many. Received: {len(ids)} ids, {len(embeddings)} embeddings."
        )
    if len(set(ids)) < len(ids):
        repeated = [name for name, times in Counter(ids).items() if times > 1]
        raise ValueError(f"`ids` must differ. Received twice: {', '.join(map(repr, repeated[:5]))}.")
    with np.errstate(over="ignore"):
        embeddings = np.ascontiguousarray(embeddings, np.float32)
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    for bad, rule, fault in (
        (~np.isfinite(lengths), "finite in float32", "with NaN or infinity"),
        (lengths > MAX_NORM, f"no longer than {MAX_NORM:g}", "longer"),
    ):
        if bad.any():
            named = ", ".join(repr(ids[row]) for row in np.flatnonzero(bad)[:5])
            raise ValueError(f"`embeddings` must be {rule}. Received {bad.sum()} {fault}, of candidates {named}.")
    return embeddings


class CandidateVectors(tf.Module):
    """The candidates' embeddings by row, in whatever order they lie.

    Args:
        matrix: float32 [num_slots, embedding_dim].
        rows: int32 [num_slots], the row of the candidate in each slot, `NO_ROW` where there is none. By default the
            slots are the rows.
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
        """float32 [..., embedding_dim], the embeddings of rows in 0..num_candidates - 1."""
        # Gathering from the variable itself would make every later read of it a copy of the whole catalogue.
        slots = rows if self.slots is None else tf.gather(self.slots.read_value(), rows)
        return tf.gather(self.matrix.read_value(), slots)

    def scan(
        self,
        queries: tf.Tensor,
        width: int | tf.Tensor,
        exclude: tf.Tensor | None = None,
        only: Condition | None = None,
    ) -> tf.Tensor:
        """Scores every candidate and takes the best of those that are allowed.

        Args:
            queries: float32 [batch, embedding_dim].
            width: Columns, in 1..num_candidates.
            exclude: int32 [batch, e], rows that a query must not get; what is no row is harmless.
            only: What a candidate must be.

        Returns:
            int32 [batch, width], best first, `NO_ROW` where nothing is left.
        """

        def scan_some(take: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
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
            if self.num_slots < _LEAST_FOR_BLOCKS:
                return self._best_rows(self._masked(scores, excluded), width)
            num_more = tf.minimum(width + tf.shape(excluded)[1], self.num_candidates)
            return tf.cond(
                num_more - width <= _MOST_FOUND_IN_VAIN,
                lambda: without(self._best_rows(scores, num_more), excluded, width),
                lambda: self._best_rows(self._masked(scores, excluded), width),
            )

        return in_chunks(scan_some, tf.shape(queries)[0], max(1, _SCORES_AT_ONCE // self.num_slots))

    def _best_rows(self, scores: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
        best, slots = top_k(scores, width, self.num_slots)
        rows = slots if self.rows is None else tf.gather(self.rows.read_value(), slots)
        return tf.where(best > NO_SCORE, rows, NO_ROW)

    def _masked(self, scores: tf.Tensor, exclude: tf.Tensor) -> tf.Tensor:
        is_row = (exclude >= 0) & (exclude < self.num_candidates)
        slots = tf.where(is_row, exclude, 0)
        if self.slots is not None:
            slots = tf.gather(self.slots.read_value(), slots)
        queries = tf.broadcast_to(tf.expand_dims(tf.range(tf.shape(exclude)[0]), 1), tf.shape(exclude))
        # Where there is nothing to exclude, the first slot keeps the least of its score and the greatest number.
        bounds = tf.where(is_row, NO_SCORE, tf.float32.max)
        return tf.tensor_scatter_nd_min(scores, tf.stack([queries, slots], axis=2), bounds)


def without(rows: tf.Tensor, exclude: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Leaves out the excluded.

    Args:
        rows: int32 [batch, n], best first, `NO_ROW` where nothing was found.
        exclude: int32 [batch, e].
        width: Columns of the result, at most n.

    Returns:
        int32 [batch, width], the first of those that are left, in order, `NO_ROW` where there are no more.
    """
    num = tf.shape(rows)[1]
    places = tf.where((rows == NO_ROW) | is_member(rows, exclude), num, tf.range(num))
    negated, _ = tf.math.top_k(-places, width)
    padded = tf.pad(rows, [[0, 0], [0, 1]], constant_values=NO_ROW)
    return tf.gather(padded, -negated, batch_dims=1)


def is_member(values: tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """Bool [batch, n], whether each value is among its row's members (int32 [batch, e]), by binary search."""
    # A sentinel above every row, so that the position found always exists.
    top = tf.fill([tf.shape(members)[0], 1], tf.int32.max)
    ordered = tf.concat([ascending(members), top], axis=1)
    positions = tf.searchsorted(ordered, values)
    return tf.gather(ordered, positions, batch_dims=1) == values


def ascending(values: tf.Tensor) -> tf.Tensor:
    """int32 [batch, n] in ascending order; as `tf.sort`, in half the operations."""
    # The complement reverses the order, and unlike the negative has no overflow.
    complements = tf.math.top_k(tf.bitwise.invert(values), tf.shape(values)[1]).values
    return tf.bitwise.invert(complements)


def top_k(scores: tf.Tensor, k: int | tf.Tensor, num: int) -> tuple[tf.Tensor, tf.Tensor]:
    """As `tf.math.top_k`, in less time: the k greatest are in the k blocks with the greatest maxima.

    Args:
        scores: float32 [batch, num].
        k: In 1..num.
        num: Columns.
    """
    if num < _LEAST_FOR_BLOCKS:
        return tf.math.top_k(scores, k)
    # A size without a rest saves a copy of the scores.
    size = next((size for size in _BLOCK_SIZES if num % size == 0), _BLOCK_SIZES[0])
    num_blocks = -(-num // size)
    if num % size:
        scores = tf.pad(scores, [[0, 0], [0, num_blocks * size - num]], constant_values=NO_SCORE)

    def choose() -> tuple[tf.Tensor, tf.Tensor]:
        blocks = tf.reshape(scores, [-1, num_blocks, size])
        _, chosen = tf.math.top_k(tf.reduce_max(blocks, axis=2), k)
        chosen = tf.sort(chosen, axis=1)  # so that of equal scores the first comes first
        members = tf.reshape(tf.gather(blocks, chosen, batch_dims=1), [-1, k * size])
        best, places = tf.math.top_k(members, k)
        slots = tf.gather(chosen, places // size, batch_dims=1) * size + places % size
        return best, tf.minimum(slots, num - 1)  # where all that is left is padding

    def sort() -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(tf.math.top_k(scores, k))

    few = k * size <= num // 4
    return tf.cond(few, choose, sort) if tf.is_tensor(few) else choose() if few else sort()


def in_chunks(find: Callable[[Callable[[tf.Tensor], tf.Tensor]], tf.Tensor], num: tf.Tensor, size: int) -> tf.Tensor:
    """Joins what is found for `num` queries, `size` at a time.

    Args:
        find: (take) -> int32 [batch, any], equally wide each time, where `take` takes from what has a row for each
            query the rows of those that it is asked for.
        num: int32 [].
        size: Queries at a time, >= 1.
    """

    def loop() -> tf.Tensor:
        num_chunks = (num + size - 1) // size
        found = tf.TensorArray(tf.int32, num_chunks, element_shape=[None, None], infer_shape=False)

        def step(chunk: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            start, stop = chunk * size, tf.minimum((chunk + 1) * size, num)
            return chunk + 1, found.write(chunk, find(lambda values: values[start:stop]))

        _, found = tf.while_loop(lambda chunk, _: chunk < num_chunks, step, (0, found), parallel_iterations=1)
        return found.concat()

    return tf.cond(num <= size, lambda: find(lambda values: values), apart(loop))


def apart(branch: Callable[[], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """Keeps a rare branch of a condition one operation: TensorFlow visits all that it inlines, in every call."""
    function: Callable[[], tf.Tensor] = tf.function(branch, experimental_attributes={"_noinline": True})
    return function
