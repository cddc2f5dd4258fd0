import math

import numpy as np
import pytest
import tensorflow as tf

from tests.features.cases import DAY_S, learn, look_up
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.timestamp import TimeLookup, TimeSpan, Timestamp


def test_hour_and_weekday_turn_on_circles_and_the_past_recedes():
    # 2024-01-03 was a Wednesday.
    noon = np.datetime64("2024-01-03T12:00").astype("datetime64[s]").astype(int)
    lookup = TimeLookup(earliest=noon - 99 * DAY_S, latest=noon)
    codes = lookup(tf.constant([noon, noon - 9 * DAY_S, noon + DAY_S, NO_TIME], tf.int64)).numpy()
    # Noon is half of a day. Wednesday noon is 2.5 of the 7 days of a week that begins on Monday.
    weekday = 2 * math.pi * 2.5 / 7
    # float32 holds sin(pi) as 0 within 1e-7; the days since 1970 are exact in float64.
    np.testing.assert_allclose(codes[0], [0, -1, math.sin(weekday), math.cos(weekday), 0, 0], atol=1e-5)
    np.testing.assert_allclose(codes[1][4], math.log(10) / math.log(100), rtol=1e-5)
    assert codes[2][4] == 0
    assert codes[3].tolist() == [0, 0, 0, 0, 0, 1]


def test_times_are_told_apart_by_the_second():
    codes = look_up(Timestamp(name="when"), [1_700_000_000, 1_700_000_001], dtype=tf.int64)
    step = 2 * math.pi / DAY_S
    # float32 holds points of the circle to within 1e-7, which is 0.1 % of a step.
    assert np.hypot(codes[1][0] - codes[0][0], codes[1][1] - codes[0][1]) == pytest.approx(step, rel=0.01)


def test_the_learnt_span_is_that_of_the_events():
    feature = Timestamp(name="when")
    assert learn(feature, counts=(1, 1, 1, 0))["when"] == TimeSpan(DAY_S, 3 * DAY_S)
    assert learn(feature, counts=(0, 0, 1, 0))["when"] == TimeSpan(0.0, 0.0)
