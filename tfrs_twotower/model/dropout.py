"""Dropout that draws few random numbers: on CPUs, one for each unit takes longer than a small model's layers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower.features.draws import uniform

# Each random integer of 32 bits decides on four units, with eight bits each.
_UNITS_PER_DRAW = 4
_NUM_LEVELS = 256


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
    num_dropped = min(round(rate * _NUM_LEVELS), _NUM_LEVELS - 1)
    if not num_dropped:
        return inputs
    num_units = tf.size(inputs)
    draws = uniform([-(-num_units // _UNITS_PER_DRAW)], tf.int32.min, tf.int32.max)
    levels = tf.reshape(tf.bitcast(draws, tf.uint8), [-1])[:num_units]
    kept = tf.cast(levels >= tf.constant(num_dropped, tf.uint8), inputs.dtype)
    return inputs * tf.reshape(kept * (_NUM_LEVELS / (_NUM_LEVELS - num_dropped)), tf.shape(inputs))


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
