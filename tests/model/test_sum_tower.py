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

#: Places of the past candidates in the histories, and their places in a catalogue.
PLACES, CANDIDATES = tf.constant([[0, 0], [0, 1], [1, 1]], tf.int64), tf.constant([7, 5, 5])


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
    outputs, parts = tower.encode_with_parts(CODES, PLACES, CANDIDATES)
    np.testing.assert_allclose(outputs, tower.encode(CODES), atol=1e-6)
    without = {**CODES, "history": tf.constant([[0, 3], [0, 0]], tf.int64)}
    np.testing.assert_allclose(outputs.numpy() - parts.vectors().numpy()[[0, 2]], tower.encode(without), atol=1e-6)


def test_dropout_drops_the_same_entries_of_a_query_and_its_parts():
    tower = dataclasses.replace(CONFIG, dropout=0.5).build_tower(KNOWN)
    outputs, parts = tower.encode_with_parts(CODES, PLACES, CANDIDATES, training=True)
    _, whole = tower.encode_with_parts(CODES, PLACES, CANDIDATES)
    kept = (outputs != 0).numpy()[[0, 0, 1]]
    assert kept[:, 3].all()  # the bias is never dropped
    factors = np.where(kept, [2.0, 2.0, 2.0, 1.0], 0.0)
    np.testing.assert_allclose(parts.vectors(), whole.vectors() * factors, rtol=1e-5)


def test_a_past_candidate_that_training_drops_has_no_part():
    past = dataclasses.replace(PAST, pooling="sum", by_rating=False, dropout=0.9)
    tower = dataclasses.replace(CONFIG, features=(CONFIG.features[0], past)).build_tower(KNOWN)
    _, whole = tower.encode_with_parts(CODES, PLACES, CANDIDATES)
    tf.random.set_seed(0)
    are_kept = []
    for _ in range(20):
        outputs, parts = tower.encode_with_parts(CODES, PLACES, CANDIDATES, training=True)
        is_kept = parts.vectors().numpy().any(axis=1)
        np.testing.assert_allclose(parts.vectors(), whole.vectors() * is_kept[:, np.newaxis], rtol=1e-6)
        slots = CODES["history"].numpy()
        slots[tuple(PLACES.numpy().T)] *= is_kept
        np.testing.assert_allclose(outputs, tower.encode({**CODES, "history": tf.constant(slots)}), atol=1e-6)
        are_kept.append(is_kept)
    assert 0 < np.mean(are_kept) < 1


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("settings", [{}, {"rating_vectors": True}, {"slope_per_entry": True}, {"by_rating": False}])
def test_scores_of_parts_are_the_products_of_the_parts_and_their_candidates(settings, dropout):
    past = dataclasses.replace(PAST, **settings)
    tower = dataclasses.replace(CONFIG, features=(CONFIG.features[0], past), dropout=dropout).build_tower(KNOWN)
    _, parts = tower.encode_with_parts(CODES, PLACES, CANDIDATES, training=True)
    catalogue = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    expected = (parts.vectors().numpy() * catalogue[CANDIDATES]).sum(axis=1)
    np.testing.assert_allclose(parts.scores(tf.constant(catalogue)), expected, rtol=1e-4, atol=1e-6)


def test_a_pair_that_occurs_twice_has_the_parts_of_both_events():
    tower = CONFIG.build_tower(KNOWN)
    codes = {**CODES, "history": tf.constant([[2, 2], [0, 3]], tf.int64)}
    _, parts = tower.encode_with_parts(codes, PLACES, tf.constant([7, 7, 5]))
    vectors = parts.vectors().numpy()
    np.testing.assert_array_equal(vectors[0], vectors[1])
    whole = tower.encoders["history"](codes["history"], codes["history_rating"])
    np.testing.assert_allclose(vectors[1:], whole, rtol=1e-5)


def test_without_a_history_there_are_no_parts():
    tower = dataclasses.replace(CONFIG, features=CONFIG.features[:1]).build_tower(KNOWN)
    _, parts = tower.encode_with_parts(CODES, PLACES, CANDIDATES)
    assert parts.scores(tf.ones([9, 4])).numpy().tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="There are no parts: the query tower has no history"):
        parts.vectors()


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
