"""Checks in the graph that the inputs of a request fit each other: TensorFlow would repeat a single row silently."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME


def aligned(inputs: Mapping[str, tf.Tensor], histories_of: Mapping[str, str]) -> dict[str, tf.Tensor]:
    """Returns inputs that can be read only after all of them were found to fit each other.

    All inputs must have equally many rows, perhaps none, and ratings or times must be as wide as their history unless
    all of them are missing. If not, the graph raises `tf.errors.InvalidArgumentError`, which names inputs and sizes.

    Args:
        inputs: Input name -> tensor [batch, ...].
        histories_of: Name of an input of ratings or times -> name of its history; others than those in `inputs` are
            ignored.

    Raises:
        tf.errors.InvalidArgumentError: Without a graph, at once.

    Example:
        >>> sorted(aligned({"user_id": tf.constant(["a", "b"]), "age": tf.constant([20.0, 30.0])}, {}))
        ['age', 'user_id']
    """
    checks = [] if len(inputs) < 2 else [_require_equal_rows(inputs)]
    for number_name, name in histories_of.items():
        if number_name in inputs:
            checks.append(_require_equal_widths(inputs, number_name, name))
    # Every use of an input waits for the checks, so that theirs is the error, even where outputs are pruned.
    with tf.control_dependencies([check for check in checks if check is not None]):
        return {name: tf.identity(values) for name, values in inputs.items()}


def _require_equal_rows(inputs: Mapping[str, tf.Tensor]) -> tf.Operation | None:
    sizes = {name: tf.shape(values)[0] for name, values in inputs.items()}
    first, *others = sizes.values()
    is_equal = tf.reduce_all(tf.stack(others) == first)
    return _require(is_equal, "All inputs must have equally many rows. Received:", sizes)


def _require_equal_widths(inputs: Mapping[str, tf.Tensor], number_name: str, name: str) -> tf.Operation | None:
    numbers = inputs[number_name]
    widths = {name: tf.shape(inputs[name])[1], number_name: tf.shape(numbers)[1]}
    is_equal = widths[name] == widths[number_name]
    is_time = numbers.dtype == tf.int64
    is_missing = numbers == NO_TIME if is_time else tf.math.is_nan(numbers)
    kind, missing = ("time", f"{NO_TIME}") if is_time else ("rating", "NaN")
    rule = f"`{number_name}` must have a {kind} for each place of `{name}`, or {missing} alone. Received lists of:"
    return _require(is_equal | tf.reduce_all(is_missing), rule, widths)


def _require(condition: tf.Tensor, rule: str, sizes: Mapping[str, tf.Tensor]) -> tf.Operation | None:
    # Strings and int32 alone: with other types TensorFlow wraps the operation in a `tf.cond`.
    data = [part for name, size in sizes.items() for part in (f"{name}:", size)]
    return tf.debugging.Assert(condition, [rule, *data])
