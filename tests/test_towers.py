import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt

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
TABLE = pa.table({"user_id": ["1", "2", "?"], "age": [15.0, 30.0, None], "tags": [["a"], ["a", "b"], []]})


@pytest.fixture(scope="module")
def tower() -> tt.Tower:
    return tt.build_tower(CONFIG, {"user_id": ("1", "2"), "tags": ("a", "b")}, name="query")


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
    ],
)
def test_a_bad_configuration_is_refused_when_made(change, message):
    with pytest.raises(ValueError, match=message):
        tt.TowerConfig(**{"features": CONFIG.features, **change})
