import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.self_attention import SelfAttention
from tfrs_twotower.features.sequences import HistoryEncoder, SequenceEmbedding, SequenceLayer

MOVIE_ID = tt.Categorical(name="movie_id")
NUM_CODES, DIM = 9, 4


class Digits(HistoryEncoder):
    """Reads a sequence of vectors as the digits of decimal numbers, so that every place and its order show."""

    def build_layer(self, embedding_dim, name):
        return DigitsLayer(name=name)


class DigitsLayer(SequenceLayer):
    def call(self, vectors, is_used, training=False):
        digits = tf.unstack(tf.where(is_used[:, :, tf.newaxis], vectors, 0.0), num=vectors.shape[1], axis=1)
        numbers, number = [], tf.zeros_like(digits[0])
        for digit in digits:
            number = 10 * number + digit
            numbers.append(number)
        return tf.stack(numbers, axis=1)


def build_digits(**settings) -> SequenceEmbedding:
    """Returns an embedding in which a candidate's vector is its code, in one dimension."""
    encoder = SequenceEmbedding(encoder=Digits(), num_codes=NUM_CODES, embedding_dim=1, **{"length": 5, **settings})
    encoder.table.build(None)
    encoder.table.embeddings.assign(np.arange(NUM_CODES, dtype=np.float32)[:, np.newaxis])
    return encoder


def build_attention(**settings) -> SequenceEmbedding:
    """Returns an embedding with attention whose every weight is random."""
    tf.keras.utils.set_random_seed(3)
    encoder = SequenceEmbedding(
        encoder=SelfAttention(num_layers=2, num_heads=2), num_codes=NUM_CODES, embedding_dim=DIM, length=20, **settings
    )
    encoder.table.build(None)
    for weight in encoder.weights:
        weight.assign(tf.random.normal(weight.shape))
    return encoder


def test_padding_may_lie_anywhere_and_only_the_latest_candidates_count():
    encoder = build_digits(length=3)
    codes = tf.constant([[0, 0, 7, 8], [7, 0, 8, 0], [5, 6, 7, 8], [0, 0, 0, 0]])
    assert encoder(codes).numpy().ravel().tolist() == [78, 78, 678, 0]


def test_ratings_and_times_stay_with_their_candidates():
    encoder = build_digits(by_rating=True, by_time=True)
    encoder.rating_vector.assign([100.0])
    gaps = np.zeros([encoder.gap_vectors.shape[0], 1], np.float32)
    # log(1 + 3) / log(4) = 1: a gap of three seconds is the second of the gaps.
    gaps[2] = 0.5
    encoder.gap_vectors.assign(gaps)
    codes = tf.constant([[1, 0, 2, 3, 0]])
    ratings, times = tf.constant([[0.0, 9.0, 0.0, 2.0, 9.0]]), tf.constant([[10, 11, 13, NO_TIME, 5]], tf.int64)
    # The first has no gap, the second 0.5 for its three seconds, the third no known time and 100 * 2.
    assert encoder(codes, ratings, times).numpy().item() == pytest.approx(100 * 1 + 10 * (2 + 0.5) + 3 + 200)


def test_every_place_is_encoded_by_what_lies_before_it():
    encoder = build_digits()
    each = encoder.encode_each(tf.constant([[1, 2, 3], [0, 4, 5]])).numpy()[:, :, 0]
    assert each.tolist() == [[0, 1, 12], [0, 0, 4]]


def test_a_place_never_sees_its_own_candidate_or_a_later_one():
    """Whatever candidate, rating and time a place and the later ones have, it is encoded alike."""
    encoder, rng = build_attention(by_rating=True, by_time=True), np.random.default_rng(0)
    codes = rng.integers(1, NUM_CODES, [2, 6])
    ratings, times = rng.normal(size=(2, 6)).astype(np.float32), np.sort(rng.integers(0, 10**6, [2, 6]))
    before = encoder.encode_each(*map(tf.constant, (codes, ratings, times))).numpy()
    for place in range(6):
        others = [values.copy() for values in (codes, ratings, times)]
        others[0][:, place:] = rng.integers(1, NUM_CODES, [2, 6 - place])
        others[1][:, place:] += 1
        others[2][:, place:] += 10**7
        after = encoder.encode_each(*map(tf.constant, others)).numpy()
        np.testing.assert_allclose(after[:, : place + 1], before[:, : place + 1], atol=1e-5)
        if place < 5:
            assert np.abs(after[:, place + 1 :] - before[:, place + 1 :]).max() > 0.1


def test_all_places_at_once_are_what_the_histories_are_one_by_one():
    encoder, rng = build_attention(by_time=True), np.random.default_rng(1)
    codes, times = rng.integers(1, NUM_CODES, [3, 8]), np.sort(rng.integers(0, 10**6, [3, 8]))
    codes[0, :5] = 0
    each = encoder.encode_each(tf.constant(codes), tf.constant(times)).numpy()
    for place in range(1, 8):
        alone = encoder(tf.constant(codes[:, :place]), tf.constant(times[:, :place]))
        np.testing.assert_allclose(each[:, place], alone, rtol=1e-4, atol=1e-4)


def test_attention_does_not_see_padding_or_the_rest_of_the_batch():
    encoder, rng = build_attention(), np.random.default_rng(2)
    codes = rng.integers(1, NUM_CODES, [1, 5])
    alone = encoder(tf.constant(codes))
    wide = np.concatenate([np.insert(codes, [0, 0, 2, 5], 0, axis=1), rng.integers(1, NUM_CODES, [1, 9])])
    np.testing.assert_allclose(encoder(tf.constant(wide))[:1], alone, rtol=1e-5, atol=1e-5)


def test_the_order_of_a_history_counts():
    encoder = build_attention()
    forth, back = encoder(tf.constant([[1, 2, 3]])).numpy(), encoder(tf.constant([[2, 1, 3]])).numpy()
    assert np.abs(forth - back).max() > 0.01


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"encoder": "self_attention"}, TypeError, "`encoder` of 'history' must be a SelfAttention, or None"),
        ({"encoder": SelfAttention(), "half_life": 2.0}, ValueError, "goes without `rating_vectors`"),
        ({"by_time": True}, ValueError, "`by_time` of 'history' needs an `encoder`"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        tt.History(of=MOVIE_ID, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "`num_layers` must be at least 1. Received: 0"),
        ({"num_heads": 0}, "`num_heads` must be at least 1. Received: 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\). Received: 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SelfAttention(**settings)
