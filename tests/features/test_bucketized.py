import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.features.cases import learn, look_up
from tfrs_twotower.features.bucketized import Boundaries, Bucketized, Buckets
from tfrs_twotower.features.vocabularies import Vocabularies


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boundaries": ()}, "`boundaries` of 'a' must be finite, ascending, at least one"),
        ({"boundaries": (2, 1)}, r"`boundaries` of 'a' must be finite, ascending.*\(2.0, 1.0\)"),
        ({"boundaries": (1, 1)}, "`boundaries` of 'a' must be finite, ascending"),
        ({"boundaries": (1, float("inf"))}, "`boundaries` of 'a' must be finite"),
        ({}, "'a' needs either `boundaries` or `num_buckets`. Received: None and None"),
        ({"boundaries": (1,), "num_buckets": 2}, "'a' needs either `boundaries` or `num_buckets`"),
    ],
)
def test_impossible_buckets_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Bucketized(name="a", **settings)


def test_boundaries_that_are_a_string_are_refused():
    with pytest.raises(TypeError, match="`boundaries` of 'a' must be numbers. Received: '18'"):
        Bucketized(name="a", boundaries="18")


def test_boundaries_become_a_tuple_of_floats():
    feature = Bucketized(name="age", boundaries=[18, 25])
    assert feature.boundaries == (18.0, 25.0)
    assert hash(feature) == hash(Bucketized(name="age", boundaries=(18.0, 25.0)))


def test_a_boundary_belongs_to_the_bucket_above():
    buckets = Buckets(boundaries=(18, 25))
    numbers = tf.constant([-1.0, 17.9, 18.0, 24.9, 25.0, np.inf, np.nan])
    assert buckets(numbers).numpy().tolist() == [1, 1, 2, 2, 3, 3, 0]


def test_learnt_boundaries_are_used():
    feature = Bucketized(name="price", num_buckets=4)
    vocabularies = Vocabularies({"price": Boundaries((2.0, 5.0))})
    assert look_up(feature, [1.0, 2.0, 9.0], vocabularies, tf.float32) == [1, 2, 3]
    # Three buckets, and missing.
    assert feature.build_encoder(vocabularies, embedding_dim=3).num_codes == 4


def test_each_bucket_has_a_vector_and_so_has_a_missing_number():
    encoder = Bucketized(name="age", boundaries=(18, 25)).build_encoder(Vocabularies(), embedding_dim=3)
    assert encoder(tf.constant([0, 1, 2, 3])).shape == [4, 3]
    assert encoder.num_codes == 4


def test_given_boundaries_need_no_learning():
    assert dict(learn(Bucketized(name="price", boundaries=(2,)))) == {}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Events of 1, 4, 100: a third lies below 4, two thirds below 100.
        ((1, 1, 0, 1), (4.0,)),
        # Events of 1 and 100, and nine of 4: the median is 4.
        ((1, 9, 0, 1), (4.0,)),
        # Nine events of 1, one of 4 and one of 100: the median is 1, below which there is nothing.
        ((0, 0, 1, 0), ()),
    ],
)
def test_boundaries_are_quantiles_of_the_events(counts, expected):
    assert learn(Bucketized(name="price", num_buckets=2), counts=counts)["price"] == Boundaries(expected)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40, unique=True),
    st.integers(2, 6),
)
def test_buckets_of_quantiles_are_equally_full(numbers, num_buckets):
    table = pa.table({"id": [str(i) for i in range(len(numbers))], "price": pa.array(numbers, pa.float32())})
    learnt = learn(Bucketized(name="price", num_buckets=num_buckets), counts=[1] * len(numbers), table=table)
    boundaries = learnt["price"].boundaries
    sizes = np.bincount(np.searchsorted(boundaries, np.float32(numbers), side="right"), minlength=len(boundaries) + 1)
    assert sizes.min() >= 1
    if len(numbers) >= num_buckets:
        assert len(sizes) == num_buckets
        assert sizes.max() - sizes.min() <= 1
