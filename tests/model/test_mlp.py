import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.model.mlp import CrossStack, HiddenLayer

INPUTS = tf.constant(np.random.default_rng(0).normal(size=(5, 3)), tf.float32)


def test_a_cross_layer_multiplies_the_first_input_by_the_previous_output():
    layer = CrossStack(num_layers=2)
    found = layer(INPUTS).numpy()
    crossed = INPUTS.numpy()
    for cross in layer.crosses:
        kernel, bias = (weight.numpy() for weight in cross.weights)
        crossed = INPUTS.numpy() * (crossed @ kernel + bias) + crossed  # Wang et al. 2021, eq. 1
    np.testing.assert_allclose(found, crossed, rtol=1e-5)


@pytest.mark.parametrize("units", [3, 4])
def test_a_residual_layer_adds_its_input(units):
    layer = HiddenLayer(units=units, activation="tanh", normalization="none", residual=True)
    found = layer(INPUTS).numpy()
    kernel, bias = (weight.numpy() for weight in layer.dense.weights)
    straight = INPUTS.numpy() if units == 3 else INPUTS.numpy() @ layer.shortcut.weights[0].numpy()
    np.testing.assert_allclose(found, np.tanh(INPUTS.numpy() @ kernel + bias) + straight, rtol=1e-5)


def test_layer_normalisation_uses_one_row_at_a_time():
    layer = HiddenLayer(units=4, activation="linear", normalization="layer")
    hidden = layer(INPUTS).numpy()
    np.testing.assert_allclose(hidden.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(layer(INPUTS[:1]), hidden[:1], rtol=1e-5, atol=1e-6)


def test_dropout_and_batch_statistics_are_applied_in_training_only():
    layer = HiddenLayer(units=50, dropout=0.5)
    before = layer(INPUTS).numpy()
    trained = layer(INPUTS, training=True).numpy()
    assert 0.3 < np.mean(trained == 0) < 0.8
    assert np.abs(layer(INPUTS).numpy() - before).max() > 0  # the moving statistics have moved
    np.testing.assert_array_equal(layer(INPUTS), layer(INPUTS))
