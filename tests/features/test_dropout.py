import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.features.draws import draws_of_step, uniform
from tfrs_twotower.features.dropout import drop_units

NUM_UNITS = 100_000
#: Eight bits for each unit, then four, two and one.
RATES = [77 / 256, 5 / 16, 1 / 4, 1 / 2]


def kept(rate: float, shape=(NUM_UNITS,), step: int = 0) -> np.ndarray:
    tf.random.set_seed(5)
    with draws_of_step(tf.constant(step)):
        return drop_units(tf.ones(shape), rate).numpy()


@pytest.mark.parametrize("rate", [*RATES, 0.001, 3 / 4, 15 / 16, 255 / 256])
def test_a_share_of_the_units_is_dropped_and_the_others_are_scaled_up(rate):
    """The expected sum stays the same; a share of n independent units has a deviation of sqrt(p (1 - p) / n)."""
    in_effect = round(rate * 256) / 256
    units = kept(rate)
    share = (units == 0).mean()
    assert abs(share - in_effect) <= 5 * np.sqrt(in_effect * (1 - in_effect) / NUM_UNITS)
    np.testing.assert_allclose(units[units != 0], 1 / (1 - in_effect), rtol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_units_that_share_a_random_number_are_dropped_independently(rate):
    """The correlation of n pairs of independent units has a deviation of 1 / sqrt(n)."""
    is_kept = kept(rate) > 0
    for distance in range(1, 40):
        correlation = np.corrcoef(is_kept[:-distance], is_kept[distance:])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(NUM_UNITS)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7), (0, 4)])
def test_a_step_and_a_seed_decide_for_any_shape(rate, shape):
    assert kept(rate, shape).shape == shape
    np.testing.assert_array_equal(kept(rate, shape), kept(rate, shape))
    assert (kept(rate) != kept(rate, step=1)).any()


def test_the_units_that_a_step_drops_by_eight_bits_have_not_changed():
    """Models trained from a seed stay what they were: each byte of a number from the lowest to the highest decides."""
    with draws_of_step(tf.constant(0)):
        draws = uniform([NUM_UNITS // 4], tf.int32.min, tf.int32.max).numpy()
    np.testing.assert_array_equal(kept(77 / 256) == 0, draws.view(np.uint8) < 77)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_kept(dtype):
    tf.random.set_seed(5)
    units = drop_units(tf.ones([NUM_UNITS], dtype), 77 / 256)
    assert units.dtype == dtype
    assert set(np.unique(tf.cast(units, tf.float64).numpy())) == {0.0, float(tf.constant(256 / 179, dtype))}
