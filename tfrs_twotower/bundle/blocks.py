"""Large batches in the graph: they are computed a block of rows at a time, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.index.control_flow import not_inlined

#: Rows that are computed at once.
MAX_ROWS_AT_ONCE = 256
# Size of all outputs of a request. They are held twice while blocks are joined, and long ids take more than is counted.
_MAX_OUTPUT_BYTES = 2**26
# What TensorFlow holds for a string of up to 22 bytes.
_STRING_BYTES = 24


def in_blocks(
    function: Callable[..., dict[str, tf.Tensor]], specs: Mapping[str, tf.TensorSpec]
) -> Callable[..., dict[str, tf.Tensor]]:
    """Makes a function that computes large batches in blocks, and others at once.

    Args:
        function: From inputs [batch, ...] to outputs [batch, ...]; a row's output must not depend on other rows.
        specs: Input name -> dtype and shape.

    Returns:
        The function, which raises `tf.errors.InvalidArgumentError` for a batch whose outputs would exceed 64 MiB.

    Example:
        >>> double = in_blocks(lambda x: {"y": 2 * x}, {"x": tf.TensorSpec([None], tf.float32)})
        >>> outputs = tf.function(double)(x=tf.range(2000.0))
        >>> outputs["y"][-1].numpy().item(), outputs["y"].shape
        (3998.0, TensorShape([2000]))
    """
    concrete = tf.function(function).get_concrete_function(**specs)
    max_rows = _MAX_OUTPUT_BYTES // sum(map(_bytes_per_row, concrete.structured_outputs.values()))

    def compute(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        num_rows = tf.shape(next(iter(inputs.values())))[0]

        def loop() -> dict[str, tf.Tensor]:
            rule = ["A request must have at most this number of rows:", max_rows, "Split it. Received:", num_rows]
            with tf.control_dependencies([tf.debugging.Assert(num_rows <= max_rows, rule)]):
                num_blocks = (num_rows + MAX_ROWS_AT_ONCE - 1) // MAX_ROWS_AT_ONCE
            arrays = {
                name: tf.TensorArray(values.dtype, num_blocks, element_shape=values.shape, infer_shape=False)
                for name, values in concrete.structured_outputs.items()
            }

            def step(
                block: tf.Tensor, arrays: dict[str, tf.TensorArray]
            ) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
                rows = slice(block * MAX_ROWS_AT_ONCE, (block + 1) * MAX_ROWS_AT_ONCE)
                outputs = concrete(**{name: values[rows] for name, values in inputs.items()})
                return block + 1, {name: array.write(block, outputs[name]) for name, array in arrays.items()}

            _, arrays = tf.while_loop(lambda block, _: block < num_blocks, step, (0, arrays), parallel_iterations=1)
            return {name: array.concat() for name, array in arrays.items()}

        outputs: dict[str, tf.Tensor] = tf.cond(
            num_rows <= MAX_ROWS_AT_ONCE, lambda: concrete(**inputs), not_inlined(as_written(loop))
        )
        return outputs

    return compute


def _bytes_per_row(output: tf.Tensor) -> int:
    columns: int = output.shape[1:].num_elements() or 1  # 1 where a tower of a user's own leaves it open
    return columns * (_STRING_BYTES if output.dtype == tf.string else output.dtype.size)
