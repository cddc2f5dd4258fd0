import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.numeric import Moments
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary

PAST = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True, pooling="sqrtn")
KNOWN = Vocabularies(
    {
        "user_id": Vocabulary(("1", "2"), (3, 1)),
        "history": Vocabulary(("m1", "m2")),
        "history_rating": Moments(3.0, 1.0),
    }
)
CONFIG = tt.SumTowerConfig(
    features=(tt.Categorical(name="user_id"), PAST), output_dim=3, has_bias=True, frequency_of="user_id"
)
CODES = {
    "user_id": tf.constant([2, 3], tf.int64),
    "history": tf.constant([[2, 3], [0, 3]], tf.int64),
    "history_rating": tf.constant([[1.0, -1.0], [0.0, 2.0]]),
}


def test_a_sum_tower_adds_its_features_vectors_and_a_bias_from_frequency():
    tower = CONFIG.build_tower(KNOWN)
    vectors = [tower.encoders["user_id"](CODES["user_id"])]
    vectors.append(tower.encoders["history"](CODES["history"], CODES["history_rating"]))
    expected = vectors[0].numpy() + vectors[1].numpy()
    logs = np.log([4.0, 2.0])
    expected[:, 3] += logs - logs.mean()
    np.testing.assert_allclose(tower.encode(CODES), expected, rtol=1e-5)


def test_a_query_minus_a_part_is_the_query_without_that_candidate():
    """This is exact for sums; with "sqrtn" the divisor stays that of the whole history."""
    features = (CONFIG.features[0], dataclasses.replace(PAST, pooling="sum"))
    tower = dataclasses.replace(CONFIG, features=features).build_tower(KNOWN)
    outputs, parts = tower.encode_with_parts(CODES, tf.constant([[0, 0], [0, 1], [1, 1]], tf.int64))
    np.testing.assert_allclose(outputs, tower.encode(CODES), atol=1e-6)
    without = {**CODES, "history": tf.constant([[0, 3], [0, 0]], tf.int64)}
    np.testing.assert_allclose(outputs.numpy() - parts.numpy()[[0, 2]], tower.encode(without), atol=1e-6)


def test_dropout_drops_the_same_entries_of_a_query_and_its_parts():
    tower = dataclasses.replace(CONFIG, dropout=0.5).build_tower(KNOWN)
    places = tf.constant([[0, 0], [0, 1], [1, 1]], tf.int64)
    outputs, parts = tower.encode_with_parts(CODES, places, training=True)
    _, whole = tower.encode_with_parts(CODES, places)
    kept = (outputs != 0).numpy()[[0, 0, 1]]
    assert kept[:, 3].all()  # the bias is never dropped
    factors = np.where(kept, [2.0, 2.0, 2.0, 1.0], 0.0)
    np.testing.assert_allclose(parts, whole * factors, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": (tt.Categorical(name="user_id", embedding_dim=3),)}, "`embedding_dim` of 'user_id' must be left"),
        ({"has_bias": False}, "`frequency_of` must name a Categorical of a tower that has a bias"),
        ({"frequency_of": "history"}, "`frequency_of` must name a Categorical"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
    ],
)
def test_an_impossible_sum_tower_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)
