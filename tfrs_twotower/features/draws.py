"""Random numbers of training steps, which follow from the number of the step.

TensorFlow's own random operations remember how often they have run, and forget it with the process. A training that is
interrupted and goes on later would draw others than one that was not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf


class _Step(threading.local):
    """The step that is being traced or run, for each thread its own."""

    def __init__(self) -> None:
        self.number: tf.Tensor | None = None
        self.seed = self.num_draws = 0


_STEP = _Step()


@contextlib.contextmanager
def draws_of_step(number: tf.Tensor | tf.Variable) -> Iterator[None]:
    """Makes what is drawn inside follow from TensorFlow's global seed, the number of the step, and the draw's place.

    Args:
        number: Integer scalar, the number of the training step.

    Example:
        >>> tf.random.set_seed(1)
        >>> drawn = []
        >>> for step in (7, 8, 7):
        ...     with draws_of_step(tf.constant(step)):
        ...         drawn.append(uniform([3], 0, 1_000_000).numpy().tolist())
        >>> drawn[0] == drawn[2], drawn[0] == drawn[1]
        (True, False)
    """
    before = _STEP.seed, _STEP.number, _STEP.num_draws
    _STEP.seed, _STEP.number, _STEP.num_draws = tf.compat.v1.get_seed(0)[0], tf.cast(number, tf.int64), 0
    try:
        yield
    finally:
        _STEP.seed, _STEP.number, _STEP.num_draws = before


def uniform(shape: tf.Tensor | list[int], low: float, high: float, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """Draws uniformly; in a training step of this library's models as `draws_of_step` says.

    Args:
        shape: int32 [rank].
        low: Lowest value.
        high: Value that is not reached.
        dtype: Of the result, an integer or float.
    """
    if _STEP.number is None:
        return tf.random.uniform(shape, low, high, dtype=dtype)
    return tf.random.stateless_uniform(shape, _next_seed(_STEP.number), low, high, dtype=dtype)


def random_bits(shape: tf.Tensor | list[int]) -> tf.Tensor:
    """Draws int32 numbers of 32 random bits; in a training step as `draws_of_step` says.

    Args:
        shape: int32 [rank].
    """
    if _STEP.number is None:
        return tf.random.uniform(shape, tf.int32.min, tf.int32.max, dtype=tf.int32)
    draws = tf.random.stateless_uniform(shape, _next_seed(_STEP.number), None, None, dtype=tf.int32)
    # `uniform` from the lowest number to the highest draws the same, except for the highest bit, but divides each
    # number, which takes longer.
    return tf.bitwise.bitwise_xor(draws, tf.int32.min)


def _next_seed(step: tf.Tensor) -> tf.Tensor:
    _STEP.num_draws += 1
    key = tf.constant((_STEP.seed * 1_000_003 + _STEP.num_draws) % 2**62, tf.int64)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        key += tf.cast(replica.replica_id_in_sync_group, tf.int64) * 2**40
    return tf.stack([key, step])
