import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.encoders import CodeEmbedding, HistoryEmbedding, PooledEmbedding, build_encoder, pool

NOTHING = tt.Vocabularies()


def test_buckets_have_a_vector_each_and_one_for_missing():
    encoder = build_encoder(tt.Bucketized(name="age", boundaries=(18, 25)), NOTHING, 3)
    assert encoder(tf.constant([0, 1, 2, 3])).shape == [4, 3]
    assert encoder.num_codes == 4


def test_a_features_own_length_goes_before_the_towers_and_the_rule():
    known = tt.Vocabularies({"id": tt.Vocabulary(("a",))})
    assert build_encoder(tt.Categorical(name="id", embedding_dim=5), known, 3)(tf.constant([0])).shape == [1, 5]
    assert build_encoder(tt.Categorical(name="id"), known, 3)(tf.constant([0])).shape == [1, 3]
    # 1.6 * 3 ** 0.56 = 2.96: the value, missing, unknown.
    assert build_encoder(tt.Categorical(name="id"), known, None)(tf.constant([0])).shape == [1, 3]


@pytest.mark.parametrize(("pooling", "size"), [("sum", 1), ("mean", 2), ("sqrtn", np.sqrt(2))])
def test_a_list_is_pooled_whatever_the_padding(pooling, size):
    encoder = PooledEmbedding(num_codes=4, embedding_dim=2, pooling=pooling)
    codes = tf.constant([[2, 3, 0, 0], [3, 0, 2, 0], [0, 0, 0, 0]])
    vectors = encoder(codes).numpy()
    table = encoder.table.embeddings.numpy()
    np.testing.assert_allclose(vectors[0], (table[2] + table[3]) / size, rtol=1e-6)
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-6)
    assert vectors[2].tolist() == [0, 0]
    assert encoder(tf.zeros([2, 0], tf.int64)).numpy().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_an_empty_list_has_a_finite_gradient(pooling):
    vectors, weights = tf.Variable(tf.ones([1, 2, 3])), tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        pooled = tf.reduce_sum(pool(vectors, weights, pooling))
    for gradient in tape.gradient(pooled, [vectors, weights]):
        assert np.isfinite(gradient).all()


def test_weights_count_and_ratings_pull_and_push():
    # 1 + 2 * rating: factors 3 and -1; the later of two weighs 1, the earlier half
    codes, ratings = tf.constant([[4, 3]]), tf.constant([[1.0, -1.0]])
    for pooling, size in (("sum", 1), ("mean", 1.5), ("sqrtn", np.sqrt(1.25))):
        encoder, table = history(by_rating=True, half_life=1.0, pooling=pooling)
        encoder.slope.assign(2.0)
        np.testing.assert_allclose(encoder(codes, ratings), [(1.5 * table[4] - table[3]) / size], rtol=1e-6)


def test_the_parts_of_a_history_add_up_to_its_vector():
    encoder, _ = history(by_rating=True, pooling="sqrtn", length=2)
    codes, ratings = tf.constant([[2, 0, 4, 5], [0, 3, 0, 0]]), tf.constant([[1.0, 0, 2, -1], [0, 0.5, 0, 0]])
    every_place = np.argwhere(np.ones([2, 4]))
    parts = encoder.parts(codes, ratings, tf.constant(every_place)).numpy().reshape(2, 4, 2)
    np.testing.assert_allclose(parts.sum(axis=1), encoder(codes, ratings), rtol=1e-6)
    assert not parts[0, 0].any()  # too old
    assert not parts[1, 0].any()  # padding


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_a_history_of_one_still_shows_its_rating(pooling):
    encoder, table = history(by_rating=True, pooling=pooling)
    encoder.slope.assign(0.5)
    liked, disliked = (encoder(tf.constant([[4]]), tf.constant([[rating]])).numpy() for rating in (1.0, -1.0))
    np.testing.assert_allclose(liked, [1.5 * table[4]], rtol=1e-6)
    np.testing.assert_allclose(disliked, [0.5 * table[4]], rtol=1e-6)


def history(**settings) -> tuple[HistoryEmbedding, np.ndarray]:
    encoder = HistoryEmbedding(**{"num_codes": 6, "embedding_dim": 2, "length": 9, "pooling": "sum", **settings})
    encoder.table.build(None)
    table = np.arange(12.0, dtype=np.float32).reshape(6, 2) ** 2
    encoder.table.embeddings.assign(table)
    return encoder, table


def test_only_the_latest_of_a_history_count():
    encoder, table = history(length=2)
    vectors = encoder(tf.constant([[2, 3, 4, 5], [5, 0, 4, 0]])).numpy()
    np.testing.assert_allclose(vectors, [table[4] + table[5], table[5] + table[4]])


def test_the_weight_halves_with_each_half_life_of_later_candidates():
    encoder, table = history(half_life=1.0)
    vectors = encoder(tf.constant([[2, 0, 3, 4, 0]])).numpy()
    np.testing.assert_allclose(vectors, [table[2] / 4 + table[3] / 2 + table[4]])


def test_a_rating_weighs_by_its_slope():
    encoder, table = history(by_rating=True)
    encoder.slope.assign(0.25)
    vectors = encoder(tf.constant([[2, 3]]), tf.constant([[2.0, -1.0]])).numpy()
    np.testing.assert_allclose(vectors, [1.5 * table[2] + 0.75 * table[3]])


def test_the_slope_learns():
    encoder, _ = history(by_rating=True)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(encoder(tf.constant([[2, 3]]), tf.constant([[2.0, -1.0]])))
    assert tape.gradient(total, encoder.slope) != 0


def test_known_values_are_taken_for_unknown_in_training_alone():
    encoder = CodeEmbedding(num_codes=5, embedding_dim=1, num_unknown=2, unknown_rate=0.5)
    encoder.table.build(None)
    encoder.table.embeddings.assign(np.arange(5.0).reshape(5, 1))
    codes = tf.constant([0] * 1000 + [3] * 1000)
    assert encoder(codes).numpy().ravel().tolist() == [0.0] * 1000 + [3.0] * 1000
    tf.keras.utils.set_random_seed(0)
    found = encoder(codes, training=True).numpy().ravel()
    assert found[:1000].tolist() == [0.0] * 1000  # missing stays missing
    counts = np.bincount(found[1000:].astype(int), minlength=5)
    # 1000 draws of a half: six standard deviations are 95; of a quarter, 82.
    assert abs(counts[3] - 500) < 95
    assert abs(counts[1] - 250) < 82
    assert counts[1] + counts[2] + counts[3] == 1000


def test_what_training_may_never_meet_starts_at_zero():
    encoder = build_encoder(
        tt.Categorical(name="id", num_oov_buckets=2), tt.Vocabularies({"id": tt.Vocabulary(("a",))}), 3
    )
    vectors = encoder(tf.constant([0, 1, 2, 3])).numpy()
    assert not vectors[:3].any()
    assert vectors[3].any()
