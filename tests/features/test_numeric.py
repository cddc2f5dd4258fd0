import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.features.cases import TABLE, learn, look_up
from tfrs_twotower.features.numeric import Moments, NumberLookup, Numeric
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary


def test_a_number_is_standardised_and_a_missing_one_is_the_mean_and_marked():
    vocabularies = Vocabularies({"price": Moments(10.0, 4.0)})
    codes = look_up(Numeric(name="price"), [14.0, np.nan, np.inf, -np.inf], vocabularies, tf.float32)
    assert codes == [[1, 0], [0, 1], [0, 1], [0, 1]]


def test_the_logarithm_is_taken_first_and_never_of_a_negative_number():
    numbers = tf.constant([math.e**2 - 1, -5.0, np.nan, np.inf, -np.inf])
    codes = NumberLookup(mean=1.0, standard_deviation=0.5, log=True)(numbers).numpy()
    # (log(1 + x) - 1) / 0.5, where log(1 + x) is 2 for the first number and 0 for the second.
    np.testing.assert_allclose(codes, [[2, 0], [-2, 0], [0, 1], [0, 1], [0, 1]], rtol=1e-6)


def test_moments_are_those_of_the_events():
    # The prices of the events are 1, 1 and 4: their mean is 2 and their variance (1 + 1 + 4) / 3.
    learnt = learn(Numeric(name="price"), counts=(2, 1, 1, 0))
    assert learnt["price"].mean == pytest.approx(2)
    assert learnt["price"].standard_deviation == pytest.approx(np.sqrt(2))
    logs = np.log1p([1, 1, 4])
    learnt = learn(Numeric(name="price", log=True), counts=(2, 1, 1, 0))
    assert learnt["price"].mean == pytest.approx(logs.mean())
    assert learnt["price"].standard_deviation == pytest.approx(logs.std())


def test_equal_numbers_have_a_deviation_of_1():
    table = TABLE.set_column(4, "price", [[0.1] * 4])
    assert learn(Numeric(name="price"), table=table)["price"] == Moments(pytest.approx(0.1), 1.0)


def test_numbers_that_float32_cannot_tell_apart_are_refused():
    table = pa.table({"id": ["a", "b", "c"], "price": [1.7e9, 1.7e9 + 1, 1.7e9 + 2]})
    with pytest.raises(
        ValueError, match="`price` must spread further.*Received: 1700000000 to .*declare a time as a Timestamp"
    ):
        learn(Numeric(name="price"), counts=(1, 1, 1), table=table)


def test_small_numbers_need_not_lie_far_apart():
    table = pa.table({"id": ["a", "b"], "price": [1e-11, 3e-11]})
    learnt = learn(Numeric(name="price"), counts=(1, 1), table=table)
    assert learnt["price"].mean == pytest.approx(2e-11)
    assert learnt["price"].standard_deviation == pytest.approx(1e-11)


def test_what_another_kind_learnt_is_refused():
    vocabularies = Vocabularies({"price": Vocabulary(("a",))})
    with pytest.raises(TypeError, match=r"`vocabularies\['price'\]` must be Moments. Received: Vocabulary"):
        Numeric(name="price").build_lookups(vocabularies)
