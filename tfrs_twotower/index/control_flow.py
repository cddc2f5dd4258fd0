"""Control flow in the graph that costs a call nothing where it is not taken."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower._autograph import as_written


def not_inlined(branch: Callable[[], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """Makes a rarely taken branch of `tf.cond` a single operation.

    TensorFlow inlines an ordinary branch, and then visits all of its operations in every call, taken or not.

    Args:
        branch: The branch, a function without arguments.

    Returns:
        A function that computes the same tensor.
    """
    function: Callable[[], tf.Tensor] = tf.function(branch, experimental_attributes={"_noinline": True})
    return function


def map_in_chunks(
    find: Callable[[Callable[[tf.Tensor], tf.Tensor]], tf.Tensor], num_queries: tf.Tensor, chunk_size: int
) -> tf.Tensor:
    """Processes the queries of a batch a chunk at a time, and joins the results.

    Args:
        find: A function (take) -> int32 [chunk, width], with the same width for every chunk, which is traced
            `as_written`. `take` is a function that selects the chunk's rows of a tensor with one row per query.
        num_queries: int32 [], size of the batch.
        chunk_size: Queries per chunk, >= 1.

    Returns:
        int32 [num_queries, width].
    """

    def loop() -> tf.Tensor:
        num_chunks = (num_queries + chunk_size - 1) // chunk_size
        found = tf.TensorArray(tf.int32, num_chunks, element_shape=[None, None], infer_shape=False)

        def step(chunk: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            start, stop = chunk * chunk_size, tf.minimum((chunk + 1) * chunk_size, num_queries)
            return chunk + 1, found.write(chunk, find(lambda values: values[start:stop]))

        _, found = tf.while_loop(lambda chunk, _: chunk < num_chunks, step, (0, found), parallel_iterations=1)
        return found.concat()

    return tf.cond(num_queries <= chunk_size, lambda: find(lambda values: values), not_inlined(as_written(loop)))
