import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.model.batch_normalization import BatchNormalization

RNG = np.random.default_rng(0)
INPUTS = tf.constant(RNG.normal(3.0, 2.0, size=(37, 8)), tf.float32)
UPSTREAM = tf.constant(RNG.normal(size=(37, 8)), tf.float32)


def make(kind: type, **options) -> tf.keras.layers.BatchNormalization:
    layer = kind(momentum=0.9, **options)
    layer.build(INPUTS.shape)
    layer.gamma.assign(tf.linspace(0.5, 2.0, 8))
    layer.beta.assign(tf.linspace(-1.0, 1.0, 8))
    return layer


def train(layer: tf.keras.layers.Layer, inputs: tf.Tensor = INPUTS) -> list[tf.Tensor]:
    """Returns the output, the gradients, and the moments that the layer goes on with."""

    @tf.function
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            total = tf.reduce_sum(tf.cast(outputs, tf.float32) * UPSTREAM)
        return [outputs, *tape.gradient(total, [inputs, *layer.trainable_variables])]

    return [*step(), layer.moving_mean, layer.moving_variance]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_step_of_training_is_that_of_keras(policy):
    ours, theirs = (
        train(make(kind, dtype=tf.keras.mixed_precision.Policy(policy)))
        for kind in (BatchNormalization, tf.keras.layers.BatchNormalization)
    )
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(tf.cast(found, tf.float32), tf.cast(expected, tf.float32), rtol=1e-5, atol=1e-5)


def test_outside_of_training_and_frozen_it_normalises_by_the_moving_moments():
    layer = make(BatchNormalization)
    layer.moving_mean.assign([3.0] * 8)
    layer.moving_variance.assign([4.0] * 8)
    expected = (INPUTS - 3.0) / np.sqrt(4.0 + layer.epsilon) * layer.gamma + layer.beta
    np.testing.assert_allclose(layer(INPUTS), expected, rtol=1e-5, atol=1e-6)
    layer.trainable = False
    np.testing.assert_allclose(layer(INPUTS, training=True), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean, [3.0] * 8)


def test_inputs_of_another_rank_are_normalised_as_by_keras():
    inputs = tf.reshape(INPUTS[:36], [4, 9, 8])
    ours, theirs = (kind()(inputs, training=True) for kind in (BatchNormalization, tf.keras.layers.BatchNormalization))
    np.testing.assert_array_equal(ours, theirs)
