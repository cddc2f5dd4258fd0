"""Rules that the declarations of all kinds share; rules of a single kind are tested beside it."""

import dataclasses
import json

import numpy as np
import pytest

from tfrs_twotower.features.bucketized import Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.config import describe, to_config
from tfrs_twotower.features.feature import NumberEncoder
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.numeric import Numeric
from tfrs_twotower.features.pretrained import PretrainedEmbedding
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.vocabularies import Vocabularies

MOVIE_ID = Categorical(name="movie_id")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Categorical(name="a", embedding_dim=0), "`embedding_dim` of 'a' must be at least 1. Received: 0"),
        (lambda: Categorical(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: Categorical(name="a", max_size=0), "`max_size` of 'a' must be at least 1"),
        (lambda: Categorical(name="a", num_oov_buckets=0), "`num_oov_buckets` of 'a' must be at least 1"),
        (lambda: MultiCategorical(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: Text(name="a", max_words=0), "`max_words` of 'a' must be at least 1"),
        (lambda: Text(name="a", min_count=0), "`min_count` of 'a' must be at least 1"),
        (lambda: Hashed(name="a", num_buckets=1), "`num_buckets` of 'a' must be at least 2"),
        (lambda: Hashed(name="a", num_buckets=2, embedding_dim=0), "`embedding_dim` of 'a' must be at least 1"),
        (lambda: Bucketized(name="a", num_buckets=1), "`num_buckets` of 'a' must be at least 2"),
        (lambda: PretrainedEmbedding(name="a", dim=0), "`dim` of 'a' must be at least 1"),
        (lambda: History(of=MOVIE_ID, length=0), "`length` of 'history' must be at least 1"),
    ],
)
def test_a_number_below_its_minimum_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hashed(name="a", num_buckets=10.5), "`num_buckets` of 'a' must be a whole number. Received: 10.5"),
        (lambda: Hashed(name="a", num_buckets=None), "`num_buckets` of 'a' must be a whole number. Received: None"),
        (lambda: Categorical(name="a", min_count=True), "`min_count` of 'a' must be a whole number. Received: True"),
        (lambda: Categorical(name="a", embedding_dim="8"), "`embedding_dim` of 'a' must be a whole number"),
        (lambda: PretrainedEmbedding(name="a", dim=None), "`dim` of 'a' must be a whole number. Received: None"),
    ],
)
def test_a_setting_that_is_not_a_whole_number_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_whole_number_of_numpy_is_saved_as_an_int():
    feature = Categorical(name="a", min_count=np.int64(3))
    assert json.loads(json.dumps(to_config(feature)))["config"]["min_count"] == 3
    assert type(describe(feature)["min_count"]) is int


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="embeding_dim"):
        Categorical(name="a", embeding_dim=3)


def test_a_declaration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Categorical(name="a").name = "b"


def test_numbers_reach_the_tower_unchanged():
    encoder = Numeric(name="price").build_encoder(Vocabularies(), embedding_dim=8)
    assert isinstance(encoder, NumberEncoder)
    assert encoder(np.array([[1.5, 0.0], [0.0, 1.0]], np.float32)).numpy().tolist() == [[1.5, 0.0], [0.0, 1.0]]
