import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History, HistoryEmbedding
from tfrs_twotower.features.learning import learn_query_vocabularies
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.numeric import Moments
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary

MOVIE_ID = Categorical(name="movie_id")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_life": 0.0}, "`half_life` of 'history' must be positive and finite. Received: 0.0"),
        ({"half_life": float("nan")}, "`half_life` of 'history' must be positive and finite"),
        ({"half_life": float("inf")}, "`half_life` of 'history' must be positive and finite"),
        ({"pooling": "max"}, "`pooling` of 'history' must be one of sum, mean, sqrtn. Received: 'max'"),
        ({"rating_vectors": True}, "`rating_vectors` of 'history' need `by_rating`"),
        ({"slope_per_entry": True}, "`slope_per_entry` of 'history' needs `by_rating` without `rating_vectors`"),
        (
            {"slope_per_entry": True, "by_rating": True, "rating_vectors": True},
            "`slope_per_entry` of 'history' needs `by_rating` without `rating_vectors`",
        ),
        ({"dropout": 1.0}, r"`dropout` of 'history' must be in \[0, 1\). Received: 1.0"),
        ({"dropout": -0.1}, r"`dropout` of 'history' must be in \[0, 1\). Received: -0.1"),
        ({"dropout": float("nan")}, r"`dropout` of 'history' must be in \[0, 1\). Received: nan"),
        (
            {"embedding_dim": 3, "shares_embedding": True},
            "`embedding_dim` of 'history' must be left out with `shares_embedding`.*'movie_id'. Received: 3",
        ),
    ],
)
def test_an_impossible_history_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        History(of=MOVIE_ID, **settings)


def test_a_history_must_be_of_an_id():
    with pytest.raises(TypeError, match="`of` must be the candidate id's Categorical or Hashed. Received: MultiCat"):
        History(of=MultiCategorical(name="genres"))


def test_a_history_by_rating_has_two_inputs():
    history = History(of=MOVIE_ID, name="past", by_rating=True)
    assert [(spec.name, spec.dtype.name, spec.shape.rank) for spec in history.raw_specs] == [
        ("past", "string", 2),
        ("past_rating", "float32", 2),
    ]


def test_a_history_learns_the_candidates_and_the_ratings():
    train = Interactions(
        queries=pa.table({"user_id": ["u", "v"]}),
        candidates=pa.table({"movie_id": ["m", "n"]}),
        events=pa.table({"query_row": [0, 1, 1], "candidate_row": [1, 1, 0], "rating": [1.0, 5.0, 3.0]}),
        query_id="user_id",
        candidate_id="movie_id",
    )
    past = History(of=MOVIE_ID, by_rating=True)
    hashed = History(of=Hashed(name="movie_id", num_buckets=9), name="hashed")
    # The ratings are 1, 5 and 3: their mean is 3 and their variance (4 + 4 + 0) / 3.
    assert dict(learn_query_vocabularies([past, hashed], train)) == {
        "history": Vocabulary(("n", "m"), (2, 1)),
        "history_rating": Moments(3.0, pytest.approx(np.sqrt(8 / 3))),
    }


def test_a_history_is_looked_up_like_the_candidates_id():
    feature = History(of=MOVIE_ID, by_rating=True)
    vocabularies = Vocabularies({"history": Vocabulary(("m1", "m2")), "history_rating": Moments(3.0, 2.0)})
    lookups = feature.build_lookups(vocabularies)
    assert lookups["history"](tf.constant([["m2", "?", ""]])).numpy().tolist() == [[3, 1, 0]]
    assert lookups["history_rating"](tf.constant([[5.0, 1.0, np.nan]])).numpy().tolist() == [[1, -1, 0]]
    # Missing, unknown and two candidates.
    assert feature.build_encoder(vocabularies, embedding_dim=2).num_codes == 4


def make_encoder(**settings) -> tuple[HistoryEmbedding, np.ndarray]:
    """Returns an encoder of six codes, and its table of vectors."""
    encoder = HistoryEmbedding(**{"num_codes": 6, "embedding_dim": 2, "length": 9, "pooling": "sum", **settings})
    encoder.table.build(None)
    table = np.arange(12.0, dtype=np.float32).reshape(6, 2) ** 2
    encoder.table.embeddings.assign(table)
    return encoder, table


def test_weights_count_and_ratings_pull_and_push():
    # The factors 1 + 2 * rating are 3 and -1. The later candidate has weight 1, the earlier one half.
    codes, ratings = tf.constant([[4, 3]]), tf.constant([[1.0, -1.0]])
    for pooling, size in (("sum", 1), ("mean", 1.5), ("sqrtn", np.sqrt(1.25))):
        encoder, table = make_encoder(by_rating=True, half_life=1.0, pooling=pooling)
        encoder.slope.assign(2.0)
        np.testing.assert_allclose(encoder(codes, ratings), [(1.5 * table[4] - table[3]) / size], rtol=1e-6)


def test_the_parts_of_a_history_add_up_to_its_vector():
    encoder, _ = make_encoder(by_rating=True, pooling="sqrtn", length=2)
    codes, ratings = tf.constant([[2, 0, 4, 5], [0, 3, 0, 0]]), tf.constant([[1.0, 0, 2, -1], [0, 0.5, 0, 0]])
    every_place = np.argwhere(np.ones([2, 4]))
    (term,) = encoder.terms(codes, ratings, tf.constant(every_place))
    vectors = term.look_up(tf.reshape(codes, [-1])) * term.weights[:, tf.newaxis]
    parts = vectors.numpy().reshape(2, 4, 2)
    np.testing.assert_allclose(parts.sum(axis=1), encoder(codes, ratings), rtol=1e-6)
    assert not parts[0, 0].any()  # too old
    assert not parts[1, 0].any()  # padding


def test_dropout_leaves_another_share_of_each_history_out_in_training_only():
    encoder, table = make_encoder(embedding_dim=2, length=1000, dropout=0.6)
    codes = tf.ones([300, 1000], tf.int64)
    np.testing.assert_allclose(encoder(codes), np.tile(1000 * table[1], (300, 1)), rtol=1e-5)
    tf.random.set_seed(0)
    kept = encoder(codes, training=True).numpy()[:, 0] / (1000 * table[1, 0])
    # A history keeps a share of uniform distribution on 0.4..1. A share of a thousand candidates has a standard
    # deviation of at most .016, and the mean of 300 shares one of .01: five of them each.
    assert 0.4 - 0.08 < kept.min() < 0.45
    assert 0.95 < kept.max() <= 1
    assert kept.mean() == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_a_history_of_one_candidate_still_shows_its_rating(pooling):
    encoder, table = make_encoder(by_rating=True, pooling=pooling)
    encoder.slope.assign(0.5)
    liked, disliked = (encoder(tf.constant([[4]]), tf.constant([[rating]])).numpy() for rating in (1.0, -1.0))
    np.testing.assert_allclose(liked, [1.5 * table[4]], rtol=1e-6)
    np.testing.assert_allclose(disliked, [0.5 * table[4]], rtol=1e-6)


def test_only_the_latest_candidates_of_a_history_count():
    encoder, table = make_encoder(length=2)
    vectors = encoder(tf.constant([[2, 3, 4, 5], [5, 0, 4, 0]])).numpy()
    np.testing.assert_allclose(vectors, [table[4] + table[5], table[5] + table[4]])


def test_a_weight_halves_with_each_half_life_of_later_candidates():
    encoder, table = make_encoder(half_life=1.0)
    vectors = encoder(tf.constant([[2, 0, 3, 4, 0]])).numpy()
    np.testing.assert_allclose(vectors, [table[2] / 4 + table[3] / 2 + table[4]])


def test_a_rating_counts_in_proportion_to_the_slope():
    encoder, table = make_encoder(by_rating=True)
    encoder.slope.assign(0.25)
    vectors = encoder(tf.constant([[2, 3]]), tf.constant([[2.0, -1.0]])).numpy()
    np.testing.assert_allclose(vectors, [1.5 * table[2] + 0.75 * table[3]])


def test_the_slope_is_trained():
    encoder, _ = make_encoder(by_rating=True)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(encoder(tf.constant([[2, 3]]), tf.constant([[2.0, -1.0]])))
    assert tape.gradient(total, encoder.slope) != 0
