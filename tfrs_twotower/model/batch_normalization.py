"""Batch normalisation of rows that takes fewer operations and passes over a batch than Keras's own layer."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class BatchNormalization(tf.keras.layers.BatchNormalization):
    """Keras's layer, with the gradient in closed form instead of that of each operation.

    In training it maps float [batch, units] to the same shape; whatever else the layer may do, Keras's own code does.

    References:
        Ioffe and Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
        Shift", section 3.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | tf.Tensor | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalises by the batch's moments in training, and by the moving ones otherwise."""
        is_plain = inputs.shape.rank == 2 and mask is None and not self.synchronized
        if training is not True or not self.trainable or not is_plain:
            return super().call(inputs, training=training, mask=mask)
        # As in Keras, float16 and bfloat16 are too short for moments.
        values = tf.cast(inputs, self._param_dtype)
        mean = tf.reduce_mean(values, axis=0)
        centered = values - mean
        variance = tf.reduce_mean(tf.square(centered), axis=0)
        for moving, moment in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub((moving - moment) * (1 - self.momentum))
        normalized = _normalized(values, centered, tf.math.rsqrt(variance + self.epsilon), self.gamma, self.beta)
        return tf.cast(normalized, self.compute_dtype)


def _normalized(
    values: tf.Tensor, centered: tf.Tensor, inverse_deviation: tf.Tensor, scale: tf.Variable, offset: tf.Variable
) -> tf.Tensor:
    """Returns `centered * inverse_deviation * scale + offset`, with the gradient for the values that were centred."""

    @tf.custom_gradient
    def normalize(
        values: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
        slope = inverse_deviation * scale

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            for_offset = tf.reduce_sum(upstream, axis=0)
            for_scale = tf.reduce_sum(upstream * centered, axis=0) * inverse_deviation
            slope_by_rows = slope / tf.cast(tf.shape(values)[0], values.dtype)
            for_values = upstream * slope - (
                centered * (slope_by_rows * inverse_deviation * for_scale) + slope_by_rows * for_offset
            )
            return for_values, for_scale, for_offset

        return centered * slope + offset, gradient

    normalized: tf.Tensor = normalize(values, tf.convert_to_tensor(scale), tf.convert_to_tensor(offset))
    return normalized
