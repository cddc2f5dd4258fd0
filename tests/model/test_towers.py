import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.encoders import CodeEmbedding
from tfrs_twotower.features.vocabularies import Moments
from tfrs_twotower.model.tower_config import tower_config_from_config

CONFIG = tt.TowerConfig(
    features=(
        tt.Categorical(name="user_id"),
        tt.Bucketized(name="age", boundaries=(20, 40)),
        tt.MultiCategorical(name="tags"),
    ),
    embedding_dim=4,
    hidden_units=(8,),
    output_dim=3,
)
KNOWN = tt.Vocabularies({"user_id": tt.Vocabulary(("1", "2")), "tags": tt.Vocabulary(("a", "b"))})
TABLE = pa.table({"user_id": ["1", "2", "?"], "age": [15.0, 30.0, None], "tags": [["a"], ["a", "b"], []]})


@pytest.fixture(scope="module")
def tower() -> tt.Tower:
    return tt.build_tower(CONFIG, KNOWN, name="query")


def raw(rows: slice = slice(None)) -> dict[str, tf.Tensor]:
    return {
        "user_id": tf.constant(["1", "2", "?"])[rows],
        "age": tf.constant([15.0, 30.0, np.nan])[rows],
        "tags": tf.constant([["a", ""], ["a", "b"], ["", ""]])[rows],
    }


def test_raw_features_go_straight_in(tower):
    vectors = tower(raw())
    assert vectors.shape == [3, 3]
    assert np.isfinite(vectors).all()


def test_the_two_halves_together_are_the_whole(tower):
    np.testing.assert_array_equal(tower.encode(tower.lookup(raw())), tower(raw()))
    np.testing.assert_allclose(tower.embed_codes(tower.encode_table(TABLE)), tower(raw()), rtol=1e-5)


def test_a_row_is_embedded_the_same_alone_and_in_a_batch(tower):
    whole = tower(raw()).numpy()
    for row in range(3):
        # A matrix product rounds differently at another batch size, in the last bits.
        np.testing.assert_allclose(tower(raw(slice(row, row + 1))), whole[row : row + 1], rtol=1e-5, atol=1e-6)


def test_embedding_in_parts_gives_the_whole(tower):
    codes = tower.encode_table(TABLE)
    parts = tower.embed_codes(codes, batch_size=2)
    np.testing.assert_allclose(parts, tower.embed_codes(codes), rtol=1e-5, atol=1e-6)
    assert tower.embed_codes({name: values[:0] for name, values in codes.items()}).shape == (0, 3)


def test_unknown_users_of_different_ages_differ(tower):
    features = {**raw(slice(0, 2)), "user_id": tf.constant(["new", "newer"]), "tags": tf.constant([["a"], ["a"]])}
    young, older = tower(features).numpy()
    assert np.abs(young - older).max() > 1e-4


def test_a_list_where_one_value_belongs_is_an_error(tower):
    with pytest.raises(ValueError, match=r"`user_id` must have the shape \(None,\). Received: \(3, 1\)"):
        tower({**raw(), "user_id": tf.constant([["1"], ["2"], ["?"]])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": tt.Categorical(name="a")}, r"`features` must be a tuple. Received: Categorical\("),
        ({"features": ("user_id",)}, "`features` must be of these kinds: Categorical.*Received: 'user_id'"),
        ({"hidden_units": 64}, "`hidden_units` must be a tuple. Received: 64"),
        ({"hidden_units": (64.5,)}, "`hidden_units` must be a whole number. Received: 64.5"),
        ({"output_dim": None}, "`output_dim` must be a whole number"),
        ({"activation": tf.nn.relu}, "`activation` must be a name that Keras knows"),
    ],
)
def test_a_setting_of_another_type_is_refused(change, message):
    with pytest.raises(TypeError, match=message):
        tt.TowerConfig(**{"features": CONFIG.features, **change})


def test_a_ragged_tensor_is_a_list(tower):
    features = {**raw(), "tags": tf.ragged.constant([["a"], ["a", "b"], []])}
    np.testing.assert_array_equal(tower(features), tower(raw()))


def test_a_ragged_rating_that_is_not_there_is_missing():
    """Whatever else is in the batch."""
    history = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True)
    known = tt.Vocabularies({"history": tt.Vocabulary(("a", "b")), "history_rating": Moments(3.0, 1.0)})
    tower = tt.build_tower(tt.TowerConfig(features=(history,), hidden_units=()), known)
    ids, ratings = tf.ragged.constant([["a", "b"], ["a", "b", "a"]]), tf.ragged.constant([[5.0], [1.0, 5.0, 1.0]])
    both = tower({"history": ids, "history_rating": ratings})
    alone = tower({"history": ids[:1], "history_rating": ratings[:1]})
    np.testing.assert_allclose(both[:1], alone, rtol=1e-6)


def test_a_vector_is_not_ragged():
    tower = tt.build_tower(tt.TowerConfig(features=(tt.Embedding(name="a", dim=3),)), tt.Vocabularies())
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
    features = (tt.Embedding(name="a", dim=2), tt.Embedding(name="b", dim=3))
    tower = tt.build_tower(tt.TowerConfig(features=features), tt.Vocabularies())
    with pytest.raises(ValueError, match=r"`a` must have the shape \(None, 2\). Received: \(1, 3\)"):
        tower({"a": tf.zeros([1, 3]), "b": tf.zeros([1, 2])})


@pytest.mark.parametrize("value", [[["a"], ["a", "b"]], [None, "a"]])
def test_what_is_no_tensor_is_named(tower, value):
    with pytest.raises(ValueError, match="`tags` cannot be made a string tensor"):
        tower({**raw(slice(0, 2)), "tags": value})


@pytest.mark.parametrize("values", [["1"], [b"1"], np.array(["1"]), np.array([b"1"], object)])
def test_text_and_bytes_are_one_id(tower, values):
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ()}, "`features` must be at least one, with unique names"),
        ({"features": (tt.Categorical(name="a"),) * 2}, r"unique names. Received: \['a', 'a'\]"),
        ({"hidden_units": (8, 0)}, "must be at least 1"),
        ({"output_dim": 0}, "must be at least 1"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
        ({"l2": -1.0}, "`l2` must be at least 0"),
        ({"num_cross_layers": -1}, "`num_cross_layers` must be at least 0"),
        ({"activation": "rellu"}, "`activation` must be a name that Keras knows. Received: 'rellu'"),
        ({"normalization": "group"}, "`normalization` must be batch, layer or none. Received: 'group'"),
        ({"embedding_dim": 0}, "must be at least 1"),
        (
            {"features": (tt.History(of=tt.Categorical(name="a"), by_rating=True), tt.Numeric(name="history_rating"))},
            "unique names",
        ),
    ],
)
def test_a_bad_configuration_is_refused_when_made(change, message):
    with pytest.raises(ValueError, match=message):
        tt.TowerConfig(**{"features": CONFIG.features, **change})


def test_a_configuration_round_trips_with_every_setting():
    config = tt.TowerConfig(
        features=(tt.Categorical(name="a"), tt.Bucketized(name="b", boundaries=(1, 2))),
        embedding_dim=None,
        hidden_units=(7, 5),
        output_dim=3,
        activation="gelu",
        normalization="layer",
        dropout=0.1,
        residual=True,
        num_cross_layers=2,
        l2=0.5,
    )
    assert tower_config_from_config(json.loads(json.dumps(config.to_config()))) == config


def test_every_setting_makes_a_tower():
    config = dataclasses.replace(
        CONFIG, embedding_dim=None, activation="gelu", normalization="layer", residual=True, num_cross_layers=2
    )
    tower = tt.build_tower(config, KNOWN, name="query")
    whole = tower(raw()).numpy()
    assert np.isfinite(whole).all()
    for row in range(3):
        np.testing.assert_allclose(tower(raw(slice(row, row + 1))), whole[row : row + 1], rtol=1e-5, atol=1e-6)


def test_past_candidates_are_codes_with_the_paddings_last():
    config = tt.TowerConfig(features=(tt.History(of=tt.Categorical(name="movie_id")),))
    tower = tt.build_tower(config, tt.Vocabularies({"history": tt.Vocabulary(("m2", "m1"))}), name="query")
    past = tower.encode_past(pa.table({"movie_id": ["m1", "new", "m2"]}))
    assert past["history"].tolist() == [3, 1, 2, 0]


def test_a_times_raw_input_keeps_its_seconds():
    config = tt.TowerConfig(features=(tt.Timestamp(name="when"),), hidden_units=())
    tower = tt.build_tower(config, tt.Vocabularies(), name="candidate")
    codes = tower.lookup({"when": tf.constant([1_700_000_000, 1_700_000_001])})["when"]
    vectors = tower({"when": tf.constant([1_700_000_000, 1_700_000_001])})
    np.testing.assert_array_equal(tower.encode({"when": codes}), vectors)
    assert np.abs(vectors[0] - vectors[1]).max() > 0


def test_a_table_over_2_gb_is_no_constant_in_the_graph():
    """Variables of a tower's tables are initialised by operations: the graph's size does not follow theirs."""

    def size_of_graph(num_rows: int) -> int:
        layer = CodeEmbedding(num_codes=num_rows, embedding_dim=4)

        @tf.function
        def initialize() -> tf.Tensor:
            return layer.table.embeddings_initializer([num_rows, 4])

        return initialize.get_concrete_function().graph.as_graph_def().ByteSize()

    assert size_of_graph(1_000_000) <= size_of_graph(10) + 100


PAST = tt.History(of=tt.Categorical(name="movie_id"), by_rating=True, pooling="sqrtn")
SUM_KNOWN = tt.Vocabularies(
    {
        "user_id": tt.Vocabulary(("1", "2"), (3, 1)),
        "history": tt.Vocabulary(("m1", "m2")),
        "history_rating": Moments(3.0, 1.0),
    }
)
SUM_CONFIG = tt.SumTowerConfig(
    features=(tt.Categorical(name="user_id"), PAST), output_dim=3, has_bias=True, frequency_of="user_id"
)
SUM_CODES = {
    "user_id": tf.constant([2, 3], tf.int64),
    "history": tf.constant([[2, 3], [0, 3]], tf.int64),
    "history_rating": tf.constant([[1.0, -1.0], [0.0, 2.0]]),
}


def test_a_sum_tower_adds_vectors_and_a_bias_from_frequency():
    tower = tt.build_tower(SUM_CONFIG, SUM_KNOWN)
    vectors = [tower.encoders["user_id"](SUM_CODES["user_id"])]
    vectors.append(tower.encoders["history"](SUM_CODES["history"], SUM_CODES["history_rating"]))
    expected = vectors[0].numpy() + vectors[1].numpy()
    logs = np.log([4.0, 2.0])
    expected[:, 3] += logs - logs.mean()
    np.testing.assert_allclose(tower.encode(SUM_CODES), expected, rtol=1e-5)


def test_a_query_without_its_part_is_the_query_without_that_candidate():
    """Up to the size that the root divides by, which stays."""
    features = (SUM_CONFIG.features[0], dataclasses.replace(PAST, pooling="sum"))
    tower = tt.build_tower(dataclasses.replace(SUM_CONFIG, features=features), SUM_KNOWN)
    outputs, parts = tower.encode_with_parts(SUM_CODES, tf.constant([[0, 0], [0, 1], [1, 1]], tf.int64))
    np.testing.assert_allclose(outputs, tower.encode(SUM_CODES), atol=1e-6)
    without = {**SUM_CODES, "history": tf.constant([[0, 3], [0, 0]], tf.int64)}
    np.testing.assert_allclose(outputs.numpy() - parts.numpy()[[0, 2]], tower.encode(without), atol=1e-6)


def test_a_part_loses_the_entries_that_its_query_loses():
    tower = tt.build_tower(dataclasses.replace(SUM_CONFIG, dropout=0.5), SUM_KNOWN)
    places = tf.constant([[0, 0], [0, 1], [1, 1]], tf.int64)
    outputs, parts = tower.encode_with_parts(SUM_CODES, places, training=True)
    _, whole = tower.encode_with_parts(SUM_CODES, places)
    kept = (outputs != 0).numpy()[[0, 0, 1]]
    assert kept[:, 3].all()  # never the bias
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
        dataclasses.replace(SUM_CONFIG, **change)
