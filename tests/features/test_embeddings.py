import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.features.embeddings import CodeEmbedding, PooledEmbedding, pooling_shares


@pytest.mark.parametrize(("pooling", "size"), [("sum", 1), ("mean", 2), ("sqrtn", np.sqrt(2))])
def test_padding_does_not_change_how_a_list_is_pooled(pooling, size):
    encoder = PooledEmbedding(num_codes=4, embedding_dim=2, pooling=pooling)
    codes = tf.constant([[2, 3, 0, 0], [3, 0, 2, 0], [0, 0, 0, 0]])
    vectors = encoder(codes).numpy()
    table = encoder.table.embeddings.numpy()
    np.testing.assert_allclose(
        vectors[0], (table[2] + table[3]) / size, rtol=1e-6, atol=1e-8
    )  # the two may almost cancel
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-6)
    assert vectors[2].tolist() == [0, 0]
    assert encoder(tf.zeros([2, 0], tf.int64)).numpy().tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_an_empty_list_has_a_finite_gradient(pooling):
    weights = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pooling_shares(weights, pooling))
    assert np.isfinite(tape.gradient(total, weights)).all()


def test_id_dropout_treats_known_values_as_unknown_in_training_only():
    encoder = CodeEmbedding(num_codes=5, embedding_dim=1, num_unknown=2, id_dropout=0.5)
    encoder.table.build(None)
    encoder.table.embeddings.assign(np.arange(5.0).reshape(5, 1))
    codes = tf.constant([0] * 1000 + [3] * 1000)
    assert encoder(codes).numpy().ravel().tolist() == [0.0] * 1000 + [3.0] * 1000
    tf.keras.utils.set_random_seed(0)
    found = encoder(codes, training=True).numpy().ravel()
    assert found[:1000].tolist() == [0.0] * 1000  # a missing value stays missing
    counts = np.bincount(found[1000:].astype(int), minlength=5)
    # Of 1,000 values half stay, and a quarter gets each of the two unknown codes: six standard deviations of these
    # binomial counts are 95 and 82.
    assert abs(counts[3] - 500) < 95
    assert abs(counts[1] - 250) < 82
    assert counts[1] + counts[2] + counts[3] == 1000
