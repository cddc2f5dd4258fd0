"""Dropout that draws few random numbers: on CPUs, one for each unit takes longer than a small model's layers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower.features.draws import random_bits

# The rate is a multiple of 1/256: eight bits decide on a unit, or fewer if they suffice, as one does for a half.
_MAX_BITS = 8
_BYTES_PER_DRAW = 4


def drop_units(inputs: tf.Tensor, rate: float) -> tf.Tensor:
    """Sets a share of all units to zero, and scales up the others so that the expected sum stays the same.

    Args:
        inputs: Floats of any shape.
        rate: Share that is dropped, in [0, 1); in effect the nearest multiple of 1/256 below 1.

    Returns:
        Floats of the same shape.

    References:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".

    Example:
        >>> tf.random.set_seed(0)
        >>> sorted(set(drop_units(tf.ones([1000]), 0.75).numpy().tolist()))
        [0.0, 4.0]
    """
    num_bits, num_dropped = _MAX_BITS, min(round(rate * 2**_MAX_BITS), 2**_MAX_BITS - 1)
    if not num_dropped:
        return inputs
    while num_bits > 1 and num_dropped % 2 ** (num_bits // 2) == 0:
        num_bits, num_dropped = num_bits // 2, num_dropped // 2 ** (num_bits // 2)
    levels = tf.cast(_random_levels(tf.size(inputs), num_bits), inputs.dtype)
    # A comparison of bytes takes longer than this. A single bit is the result: a unit is dropped if it is 0.
    kept = levels if num_bits == 1 else tf.minimum(tf.nn.relu(levels - (num_dropped - 1)), 1)
    return inputs * tf.reshape(kept * (2**num_bits / (2**num_bits - num_dropped)), tf.shape(inputs))


def _random_levels(num_levels: tf.Tensor, num_bits: int) -> tf.Tensor:
    """Draws numbers of 1, 2, 4 or 8 bits, uint8 [num_levels]."""
    shifts = range(0, _MAX_BITS, num_bits)
    draws = random_bits([-(-num_levels // (_BYTES_PER_DRAW * len(shifts)))])
    if len(shifts) > 1:
        mask = (2**num_bits - 1) * 0x01010101
        draws = tf.bitwise.bitwise_and(tf.bitwise.right_shift(draws[:, tf.newaxis], list(shifts)), mask)
    return tf.reshape(tf.bitcast(draws, tf.uint8), [-1])[:num_levels]


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class UnitDropout(tf.keras.layers.Layer):
    """A layer that drops units in training; see `drop_units`.

    Args:
        rate: Share of units dropped, in [0, 1).
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps floats of any shape to the same shape."""
        return drop_units(inputs, self.rate) if training else inputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": self.rate}
