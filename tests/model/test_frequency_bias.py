import numpy as np
import tensorflow as tf

from tfrs_twotower.model.frequency_bias import FrequencyBias


def test_the_bias_is_the_factor_times_the_logarithm_of_the_count_relative_to_the_known_values():
    """The two first codes, of missing and unknown values, have never been counted."""
    layer = FrequencyBias(num_codes=5)
    layer.learn([9, 3, 0])
    logs = np.log1p([0, 0, 9, 3, 0])
    expected = logs - np.log1p([9, 3, 0]).mean()
    np.testing.assert_allclose(layer(tf.range(5)), expected, rtol=1e-6)
    layer.factor.assign(0.5)
    np.testing.assert_allclose(layer(tf.constant([2, 2])), 0.5 * expected[[2, 2]], rtol=1e-6)


def test_without_counts_the_bias_is_zero():
    layer = FrequencyBias(num_codes=2)
    layer.learn(())
    assert layer(tf.constant([0, 1])).numpy().tolist() == [0.0, 0.0]


def test_only_the_factor_is_trained():
    layer = FrequencyBias(num_codes=3)
    assert [weight.name for weight in layer.trainable_weights] == ["factor:0"]
