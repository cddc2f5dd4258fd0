import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.tensors import raw_tensors


def text(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.string, name=name)


def texts(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, None], tf.string, name=name)


def number(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.float32, name=name)


def test_missing_values_have_one_form_per_dtype():
    table = pa.table({"name": ["a", None], "age": pa.array([None, 3], pa.int32()), "kinds": [["x", "y"], None]})
    raw = raw_tensors(table, [text("name"), number("age"), texts("kinds")])
    assert raw["name"].numpy().tolist() == [b"a", b""]
    np.testing.assert_array_equal(raw["age"].numpy(), np.array([np.nan, 3], np.float32))
    assert raw["kinds"].numpy().tolist() == [[b"x", b"y"], [b"", b""]]


def test_a_table_without_rows_or_without_list_items_has_empty_tensors():
    table = pa.table({"name": pa.array([], pa.string()), "kinds": pa.array([], pa.list_(pa.string()))})
    raw = raw_tensors(table, [text("name"), texts("kinds")])
    assert raw["name"].shape == [0]
    assert raw["kinds"].shape == [0, 0]
    empty = raw_tensors(pa.table({"kinds": pa.array([[], []], pa.list_(pa.string()))}), [texts("kinds")])
    assert empty["kinds"].shape == [2, 0]


def test_booleans_are_the_words_that_json_has_for_them():
    read = raw_tensors(pa.table({"a": [True, None, False]}), [text("a")])
    assert read["a"].numpy().tolist() == [b"true", b"", b"false"]


def test_an_unreadable_column_is_named():
    with pytest.raises(ValueError, match="The table has no column b. Its columns: a."):
        raw_tensors(pa.table({"a": ["x"]}), [text("b")])
    with pytest.raises(TypeError, match="`a` must hold strings, integers or booleans. Received: double"):
        raw_tensors(pa.table({"a": [1.5]}), [text("a")])
    with pytest.raises(TypeError, match="`a` must hold numbers. Received: string"):
        raw_tensors(pa.table({"a": ["x"]}), [number("a")])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array(["a", None]).dictionary_encode(),
        pa.array([b"a", None]),
    ],
)
def test_text_of_every_arrow_type_is_read(column):
    raw = raw_tensors(pa.table({"x": column}), [text("x")])
    assert raw["x"].numpy().tolist() == [b"a", b""]


@pytest.mark.parametrize(
    "kind", [pa.large_list(pa.string()), pa.list_(pa.large_string()), pa.large_list(pa.large_string())]
)
def test_lists_of_text_of_every_arrow_type_are_read(kind):
    raw = raw_tensors(pa.table({"x": pa.array([["a", None], None], kind)}), [texts("x")])
    assert raw["x"].numpy().tolist() == [[b"a", b""], [b"", b""]]


def test_a_column_of_nulls_is_missing_throughout():
    raw = raw_tensors(pa.table({"x": pa.nulls(2), "y": pa.nulls(2)}), [text("x"), number("y")])
    assert raw["x"].numpy().tolist() == [b"", b""]
    assert np.isnan(raw["y"]).all()


def test_integers_become_their_digits_where_text_is_wanted():
    table = pa.table({"code": pa.array([7, None, 42]), "kind": pa.array(["a", "b", "a"]).dictionary_encode()})
    raw = raw_tensors(table, [text("code"), text("kind")])
    assert raw["code"].numpy().tolist() == [b"7", b"", b"42"]
    assert raw["kind"].numpy().tolist() == [b"a", b"b", b"a"]


def test_lists_of_numbers_of_any_length_are_padded():
    spec = tf.TensorSpec([None, None], tf.float32, name="x")
    raw = raw_tensors(pa.table({"x": [[1, None], None, [3]]}), [spec])["x"]
    np.testing.assert_array_equal(raw, np.array([[1, np.nan], [np.nan, np.nan], [3, np.nan]], np.float32))
    with pytest.raises(TypeError, match="`x` must hold lists of numbers. Received: list<item: string>"):
        raw_tensors(pa.table({"x": [["1"]]}), [spec])


def test_lists_of_times_are_padded():
    table = pa.table({"when": [["1970-01-01T00:00:07", None], None, ["1970-01-02"]]})
    raw = raw_tensors(table, [tf.TensorSpec([None, None], tf.int64, name="when")])["when"]
    assert raw.numpy().tolist() == [[7, NO_TIME], [NO_TIME, NO_TIME], [86_400, NO_TIME]]


def test_what_cannot_be_a_time_is_named():
    with pytest.raises(TypeError, match="`x` must hold times. Received: bool"):
        raw_tensors(pa.table({"x": [True]}), [tf.TensorSpec([None], tf.int64, name="x")])
