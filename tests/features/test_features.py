import dataclasses

import numpy as np
import pytest

import tfrs_twotower as tt
from tfrs_twotower.features.features import feature_from_config

MOVIE_ID = tt.Categorical(name="movie_id")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.Categorical(name="user id"), "`name` must be a letter, then letters, .*'user id'"),
        (lambda: tt.Categorical(name="_id"), "`name` must be a letter"),
        (lambda: tt.Categorical(name="âge"), "`name` must be a letter"),
        (lambda: tt.Categorical(name="a", embedding_dim=0), "`embedding_dim` of 'a' must be at least 1"),
        (lambda: tt.Categorical(name="a", max_size=0), "`max_size` of 'a' must be at least 1"),
        (lambda: tt.Categorical(name="a", num_oov_buckets=0), "`num_oov_buckets` of 'a' must be at least 1"),
        (lambda: tt.Categorical(name="a", unknown_rate=1.0), r"`unknown_rate` of 'a' must be in \[0, 1\)"),
        (lambda: tt.MultiCategorical(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: tt.MultiCategorical(name="a", pooling="max"), "`pooling` of 'a' must be one of sum, mean, sqrtn.*max"),
        (lambda: tt.Text(name="a", pooling=None), "`pooling` of 'a' must be one of"),
        (lambda: tt.Hashed(name="a", num_buckets=1), "`num_buckets` of 'a' must be at least 2"),
        (lambda: tt.Bucketized(name="a", boundaries=()), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(2, 1)), "`boundaries` of 'a' must be finite, ascending"),
        (lambda: tt.Bucketized(name="a", boundaries=(1, float("inf"))), "`boundaries` of 'a' must be finite"),
        (lambda: tt.Bucketized(name="a"), "'a' needs either `boundaries` or `num_buckets`"),
        (lambda: tt.Bucketized(name="a", boundaries=(1,), num_buckets=2), "'a' needs either"),
        (lambda: tt.Bucketized(name="a", num_buckets=1), "`num_buckets` of 'a' must be at least 2"),
        (lambda: tt.Embedding(name="a", dim=0), "`dim` of 'a' must be at least 1"),
        (lambda: tt.History(of=MOVIE_ID, length=0), "`length` of 'history' must be at least 1"),
        (lambda: tt.History(of=MOVIE_ID, half_life=0.0), "`half_life` of 'history' must be positive and finite"),
        (lambda: tt.History(of=MOVIE_ID, half_life=float("nan")), "`half_life` of 'history' must be positive"),
        (
            lambda: tt.History(of=MOVIE_ID, embedding_dim=3, shares_embedding=True),
            "`embedding_dim` of 'history' must be left out with `shares_embedding`",
        ),
    ],
)
def test_a_bad_declaration_is_refused_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.Hashed(name="a", num_buckets=10.5), "`num_buckets` of 'a' must be a whole number. Received: 10.5"),
        (lambda: tt.Hashed(name="a", num_buckets=None), "`num_buckets` of 'a' must be a whole number. Received: None"),
        (lambda: tt.Categorical(name="a", min_count=True), "`min_count` of 'a' must be a whole number. Received: True"),
        (lambda: tt.Categorical(name="a", embedding_dim="8"), "`embedding_dim` of 'a' must be a whole number"),
        (lambda: tt.Embedding(name="a", dim=None), "`dim` of 'a' must be a whole number"),
        (lambda: tt.Bucketized(name="a", boundaries="18"), "`boundaries` of 'a' must be numbers. Received: '18'"),
    ],
)
def test_a_setting_of_another_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_whole_number_of_numpys_is_an_int():
    assert type(tt.Categorical(name="a", min_count=np.int64(3)).min_count) is int


@pytest.mark.parametrize("name", ["self", "class", "None"])
def test_a_name_that_no_call_can_use_is_refused(name):
    with pytest.raises(ValueError, match="must be no word of Python's"):
        tt.Categorical(name=name)


def test_a_history_is_of_an_id():
    with pytest.raises(TypeError, match="`of` must be the candidate id's Categorical or Hashed"):
        tt.History(of=tt.MultiCategorical(name="genres"))


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="embeding_dim"):
        tt.Categorical(name="a", embeding_dim=3)


def test_a_declaration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tt.Categorical(name="a").name = "b"


def test_boundaries_are_floats_in_a_tuple_whatever_they_came_as():
    feature = tt.Bucketized(name="age", boundaries=[18, 25])
    assert feature.boundaries == (18.0, 25.0)
    assert hash(feature) == hash(tt.Bucketized(name="age", boundaries=(18.0, 25.0)))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"kind": "Categorial", "name": "a"}, ValueError, "`kind` must be one of Categorical, Hashed,.*'Categorial'"),
        ({"name": "a"}, ValueError, "`kind` must be one of"),
        ({"kind": "Numeric", "name": "a", "logarithm": True}, TypeError, "logarithm"),
    ],
)
def test_an_unknown_configuration_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        feature_from_config(config)
