import math

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.lookups import (
    Buckets,
    NumberLookup,
    TimeLookup,
    WordLookup,
    build_lookups,
    is_missing,
    num_codes,
)
from tfrs_twotower.features.vocabularies import Boundaries, Moments

IDS = tt.Vocabularies({"id": tt.Vocabulary(("7", "42"))})


def look_up(feature, values, vocabularies=IDS, dtype=tf.string):
    return build_lookups(feature, vocabularies)[feature.name](tf.constant(values, dtype)).numpy().tolist()


def test_unknown_id_maps_to_oov_and_missing_to_0():
    assert look_up(tt.Categorical(name="id"), ["", "never seen", "7", "42"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["[UNK]", "[MASK]", "0", " ", "a\n", "a\x00", "\x00", "\U0001f3ac" * 300])
def test_a_value_that_looks_reserved_or_odd_is_a_value(value):
    known = tt.Vocabularies({"id": tt.Vocabulary(("a", value))})
    assert look_up(tt.Categorical(name="id"), ["a", value, "a "], known) == [2, 3, 1]


def test_a_vocabulary_may_be_empty():
    assert look_up(tt.Categorical(name="id"), ["", "x"], tt.Vocabularies()) == [0, 1]


def test_unknown_values_are_spread_over_their_buckets_and_stay_in_them():
    feature = tt.Categorical(name="id", num_oov_buckets=3)
    codes = look_up(feature, ["", "7", "42", *map(str, range(100, 160))])
    assert codes[:3] == [0, 4, 5]
    assert set(codes[3:]) == {1, 2, 3}
    assert look_up(feature, ["100"]) == [codes[3]]
    assert num_codes(feature, IDS) == 6


def test_hashed_values_share_the_buckets_and_missing_has_its_own():
    feature = tt.Hashed(name="id", num_buckets=5)
    codes = look_up(feature, ["", *map(str, range(200))])
    assert codes[0] == 0
    assert set(codes[1:]) == {1, 2, 3, 4, 5}
    assert num_codes(feature, IDS) == 6


def test_words_are_looked_up_whatever_their_case_and_punctuation():
    lookup = WordLookup(vocabulary=["été", "toy", "1995"])
    codes = lookup(tf.constant(["TOY (1995)", "L'ÉTÉ!", " ", ""])).numpy()
    assert codes.tolist() == [[3, 4], [1, 2], [0, 0], [0, 0]]


def test_only_so_many_words_count():
    lookup = WordLookup(vocabulary=["a", "b", "c"], max_words=2)
    assert lookup(tf.constant(["c, b, a", "a"])).numpy().tolist() == [[4, 3], [2, 0]]


def test_a_boundary_belongs_to_the_bucket_above():
    buckets = Buckets(boundaries=(18, 25))
    numbers = tf.constant([-1.0, 17.9, 18.0, 24.9, 25.0, np.inf, np.nan])
    assert buckets(numbers).numpy().tolist() == [1, 1, 2, 2, 3, 3, 0]


def test_learnt_boundaries_are_used():
    feature = tt.Bucketized(name="price", num_buckets=4)
    known = tt.Vocabularies({"price": Boundaries((2.0, 5.0))})
    assert look_up(feature, [1.0, 2.0, 9.0], known, tf.float32) == [1, 2, 3]
    assert num_codes(feature, known) == 4  # three buckets, and missing


def test_a_number_is_standardised_and_a_missing_one_is_the_mean_and_marked():
    feature = tt.Numeric(name="price")
    known = tt.Vocabularies({"price": Moments(10.0, 4.0)})
    assert look_up(feature, [14.0, np.nan, np.inf, -np.inf], known, tf.float32) == [[1, 0], [0, 1], [0, 1], [0, 1]]


def test_a_logarithm_is_taken_first_and_never_of_a_negative_number():
    numbers = tf.constant([math.e**2 - 1, -5.0, np.nan, np.inf, -np.inf])
    codes = NumberLookup(mean=1.0, standard_deviation=0.5, log=True)(numbers).numpy()
    np.testing.assert_allclose(codes, [[2, 0], [-2, 0], [0, 1], [0, 1], [0, 1]], rtol=1e-6)


def test_hour_and_weekday_turn_on_circles_and_the_past_recedes():
    # 2024-01-03 was a Wednesday.
    noon = np.datetime64("2024-01-03T12:00").astype("datetime64[s]").astype(int)
    lookup = TimeLookup(earliest=noon - 99 * 86_400, latest=noon)
    codes = lookup(tf.constant([noon, noon - 9 * 86_400, noon + 86_400, tt.NO_TIME], tf.int64)).numpy()
    weekday = 2 * math.pi * 2.5 / 7
    np.testing.assert_allclose(codes[0], [0, -1, math.sin(weekday), math.cos(weekday), 0, 0], atol=1e-5)
    np.testing.assert_allclose(codes[1][4], math.log(10) / math.log(100), rtol=1e-5)
    assert codes[2][4] == 0
    assert codes[3].tolist() == [0, 0, 0, 0, 0, 1]


def test_times_are_told_apart_by_the_second():
    feature = tt.Timestamp(name="when")
    later = look_up(feature, [1_700_000_000, 1_700_000_001], tt.Vocabularies(), tf.int64)
    step = 2 * math.pi / 86_400
    assert np.hypot(later[1][0] - later[0][0], later[1][1] - later[0][1]) == pytest.approx(step, rel=0.01)


def test_a_vector_goes_in_as_it_is_unless_a_part_of_it_is_missing():
    feature = tt.Embedding(name="image", dim=2)
    codes = look_up(feature, [[1.0, -2.0], [np.nan, 5.0]], tt.Vocabularies(), tf.float32)
    assert codes == [[1, -2, 0], [0, 0, 1]]


def test_a_history_is_looked_up_like_the_candidates_id():
    feature = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True)
    known = tt.Vocabularies({"history": tt.Vocabulary(("m1", "m2")), "history_rating": Moments(3.0, 2.0)})
    lookups = build_lookups(feature, known)
    assert lookups["history"](tf.constant([["m2", "?", ""]])).numpy().tolist() == [[3, 1, 0]]
    assert lookups["history_rating"](tf.constant([[5.0, 1.0, np.nan]])).numpy().tolist() == [[1, -1, 0]]
    assert num_codes(feature, known) == 4


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (tf.constant([0, 1], tf.int64), [True, False]),
        (tf.constant([[0, 0], [0, 3]], tf.int64), [True, False]),
        (tf.constant([[0.0, 1.0], [5.0, 0.0]]), [True, False]),
        (tf.zeros([1, 0], tf.int64), [True]),
    ],
)
def test_codes_say_what_was_missing(codes, expected):
    assert is_missing(codes).numpy().tolist() == expected


def test_another_kind_of_knowledge_is_refused():
    known = tt.Vocabularies({"price": tt.Vocabulary(("a",))})
    with pytest.raises(TypeError, match=r"`vocabularies\['price'\]` must be Moments"):
        build_lookups(tt.Numeric(name="price"), known)
