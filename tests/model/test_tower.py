import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.embeddings import CodeEmbedding
from tfrs_twotower.features.numeric import Moments
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.model.tower import Tower

CONFIG = tt.MLPTowerConfig(
    features=(
        tt.Categorical(name="user_id"),
        tt.Bucketized(name="age", boundaries=(20, 40)),
        tt.MultiCategorical(name="tags"),
    ),
    embedding_dim=4,
    hidden_units=(8,),
    output_dim=3,
)
KNOWN = Vocabularies({"user_id": Vocabulary(("1", "2")), "tags": Vocabulary(("a", "b"))})
TABLE = pa.table({"user_id": ["1", "2", "?"], "age": [15.0, 30.0, None], "tags": [["a"], ["a", "b"], []]})


@pytest.fixture(scope="module")
def tower() -> Tower:
    return CONFIG.build_tower(KNOWN, name="query")


def raw(rows: slice = slice(None)) -> dict[str, tf.Tensor]:
    return {
        "user_id": tf.constant(["1", "2", "?"])[rows],
        "age": tf.constant([15.0, 30.0, np.nan])[rows],
        "tags": tf.constant([["a", ""], ["a", "b"], ["", ""]])[rows],
    }


def test_a_tower_takes_raw_features(tower):
    vectors = tower(raw())
    assert vectors.shape == [3, 3]
    assert np.isfinite(vectors).all()


def test_lookup_and_encoding_together_are_the_tower(tower):
    np.testing.assert_array_equal(tower.encode(tower.lookup(raw())), tower(raw()))
    np.testing.assert_allclose(tower.embed_codes(tower.encode_table(TABLE)), tower(raw()), rtol=1e-5)


def test_a_row_is_embedded_the_same_alone_and_in_a_batch(tower):
    whole = tower(raw()).numpy()
    for row in range(3):
        # A matrix product's last bits depend on the batch size.
        np.testing.assert_allclose(tower(raw(slice(row, row + 1))), whole[row : row + 1], rtol=1e-5, atol=1e-6)


def test_embedding_in_parts_equals_embedding_all_at_once(tower):
    codes = tower.encode_table(TABLE)
    parts = tower.embed_codes(codes, batch_size=2)
    np.testing.assert_allclose(parts, tower.embed_codes(codes), rtol=1e-5, atol=1e-6)
    assert tower.embed_codes({name: values[:0] for name, values in codes.items()}).shape == (0, 3)


def test_unknown_users_of_different_ages_differ(tower):
    features = {**raw(slice(0, 2)), "user_id": tf.constant(["new", "newer"]), "tags": tf.constant([["a"], ["a"]])}
    young, older = tower(features).numpy()
    assert np.abs(young - older).max() > 1e-4


def test_a_list_for_a_single_value_is_refused(tower):
    with pytest.raises(ValueError, match=r"`user_id` must have the shape \(None,\). Received: \(3, 1\)"):
        tower({**raw(), "user_id": tf.constant([["1"], ["2"], ["?"]])})


def test_a_ragged_tensor_is_a_padded_list(tower):
    features = {**raw(), "tags": tf.ragged.constant([["a"], ["a", "b"], []])}
    np.testing.assert_array_equal(tower(features), tower(raw()))


def test_absent_ratings_of_a_ragged_history_are_missing():
    """The result is the same whatever else is in the batch."""
    history = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True)
    known = Vocabularies({"history": Vocabulary(("a", "b")), "history_rating": Moments(3.0, 1.0)})
    tower = tt.MLPTowerConfig(features=(history,), hidden_units=()).build_tower(known)
    ids, ratings = tf.ragged.constant([["a", "b"], ["a", "b", "a"]]), tf.ragged.constant([[5.0], [1.0, 5.0, 1.0]])
    both = tower({"history": ids, "history_rating": ratings})
    alone = tower({"history": ids[:1], "history_rating": ratings[:1]})
    np.testing.assert_allclose(both[:1], alone, rtol=1e-6, atol=1e-7)


def test_a_ragged_vector_is_refused():
    tower = tt.MLPTowerConfig(features=(tt.PretrainedEmbedding(name="a", dim=3),)).build_tower(Vocabularies())
    with pytest.raises(ValueError, match=r"`a` must have the shape \(None, 3\). Received a ragged tensor"):
        tower({"a": tf.ragged.constant([[1.0, 2.0, 3.0], [1.0]])})


def test_keras_predicts_from_numpy_and_from_a_data_set(tower):
    arrays = {name: values.numpy() for name, values in raw().items()}
    expected = tower(raw()).numpy()
    np.testing.assert_allclose(tower.predict(arrays, verbose=0), expected, rtol=1e-5, atol=1e-6)
    batches = tf.data.Dataset.from_tensor_slices(raw()).batch(2)
    np.testing.assert_allclose(tower.predict(batches, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_whole_and_double_numbers_are_numbers(tower):
    for ages in ([15, 30], np.array([15.0, 30.0]), np.array([15, 30], np.int16)):
        features = {**raw(slice(0, 2)), "age": ages}
        np.testing.assert_array_equal(tower(features), tower(raw(slice(0, 2))))


def test_a_vector_of_another_length_is_named():
    features = (tt.PretrainedEmbedding(name="a", dim=2), tt.PretrainedEmbedding(name="b", dim=3))
    tower = tt.MLPTowerConfig(features=features).build_tower(Vocabularies())
    with pytest.raises(ValueError, match=r"`a` must have the shape \(None, 2\). Received: \(1, 3\)"):
        tower({"a": tf.zeros([1, 3]), "b": tf.zeros([1, 2])})


@pytest.mark.parametrize("value", [[["a"], ["a", "b"]], [None, "a"]])
def test_what_is_no_tensor_is_named(tower, value):
    with pytest.raises(ValueError, match="`tags` cannot be made a string tensor"):
        tower({**raw(slice(0, 2)), "tags": value})


@pytest.mark.parametrize("values", [["1"], [b"1"], np.array(["1"]), np.array([b"1"], object)])
def test_text_and_bytes_are_the_same_id(tower, values):
    features = {**raw(slice(0, 1)), "user_id": values}
    np.testing.assert_array_equal(tower(features), tower(raw(slice(0, 1))))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"user_id": tf.constant([1, 2, 3])}, TypeError, "`user_id` must be string. Received: int32"),
        ({"age": tf.constant(["15", "30", "45"])}, TypeError, "`age` must be float32. Received: string"),
    ],
)
def test_a_wrong_type_is_an_error_not_an_unknown_value(tower, change, error, message):
    with pytest.raises(error, match=message):
        tower({**raw(), **change})


def test_a_missing_feature_is_named(tower):
    with pytest.raises(ValueError, match="`age` is missing. The query tower takes: user_id, age, tags"):
        tower({"user_id": tf.constant(["1"]), "tags": tf.constant([["a"]])})


def test_past_candidates_become_codes_with_that_of_padding_last():
    config = tt.MLPTowerConfig(features=(tt.History(of=tt.Categorical(name="movie_id")),))
    tower = config.build_tower(Vocabularies({"history": Vocabulary(("m2", "m1"))}), name="query")
    (encoded,) = tower.encode_histories(pa.table({"movie_id": ["m1", "new", "m2"]}))
    assert encoded.name == "history"
    assert encoded.codes.tolist() == [3, 1, 2, 0]
    assert encoded.rating_name is encoded.code_ratings is None


def test_past_ratings_become_codes_of_their_own():
    config = tt.MLPTowerConfig(features=(tt.History(of=tt.Categorical(name="movie_id"), by_rating=True),))
    known = Vocabularies({"history": Vocabulary(("m1",)), "history_rating": Moments(3.0, 2.0)})
    (encoded,) = config.build_tower(known, name="query").encode_histories(pa.table({"movie_id": ["m1"]}))
    assert encoded.rating_name == "history_rating"
    # (rating - mean) / standard deviation
    np.testing.assert_allclose(encoded.code_ratings(tf.constant([[5.0, 2.0]])), [[1.0, -0.5]])


def test_timestamps_a_second_apart_have_different_vectors():
    config = tt.MLPTowerConfig(features=(tt.Timestamp(name="when"),), hidden_units=())
    tower = config.build_tower(Vocabularies(), name="candidate")
    codes = tower.lookup({"when": tf.constant([1_700_000_000, 1_700_000_001])})["when"]
    vectors = tower({"when": tf.constant([1_700_000_000, 1_700_000_001])})
    np.testing.assert_array_equal(tower.encode({"when": codes}), vectors)
    assert np.abs(vectors[0] - vectors[1]).max() > 0


def test_the_graphs_size_does_not_grow_with_a_towers_tables():
    """Operations initialise a tower's tables. A constant of more than 2 GB could not be in the graph."""

    def size_of_graph(num_rows: int) -> int:
        layer = CodeEmbedding(num_codes=num_rows, embedding_dim=4)

        @tf.function
        def initialize() -> tf.Tensor:
            return layer.table.embeddings_initializer([num_rows, 4])

        return initialize.get_concrete_function().graph.as_graph_def().ByteSize()

    assert size_of_graph(1_000_000) <= size_of_graph(10) + 100
