"""Plain Python values become tensors, and mistakes are named."""

import datetime
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.bundle.model_entry import InputSpec
from tfrs_twotower.bundle.values import (
    filter_values,
    ids_tensor,
    lists_tensor,
    require_equal_lists,
    to_list,
    to_tensor,
)
from tfrs_twotower.data.times import NO_TIME

NAME = InputSpec(name="name", dtype="string", shape=(None,))
AGE = InputSpec(name="age", dtype="float32", shape=(None,))
TIME = InputSpec(name="time", dtype="int64", shape=(None,))
TAGS = InputSpec(name="tags", dtype="string", shape=(None, None))
RATINGS = InputSpec(name="ratings", dtype="float32", shape=(None, None))
FACE = InputSpec(name="face", dtype="float32", shape=(None, 2))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        (1, 2),
        np.array([1, 2]),
        [np.int64(1), np.int32(2)],
        pa.array([1, 2]),
        pa.chunked_array([[1], [2]]),
        pd.Series([1, 2]),
        tf.constant([1, 2]),
    ],
    ids=lambda values: type(values).__name__,
)
def test_every_sequence_becomes_a_list_of_plain_values(values):
    plain = to_list(values)
    assert plain == [1, 2]
    assert {type(value) for value in plain} == {int}


@pytest.mark.parametrize("value", ["text", b"bytes", 5, 1.5, True, None, datetime.datetime(2024, 1, 1)])
def test_one_value_becomes_a_list_of_one(value):
    assert to_list(value) == [value]


def test_scalars_of_numpy_tensorflow_and_arrow_become_a_list_of_one():
    assert to_list(np.float32(1.5)) == [1.5]
    assert to_list(tf.constant("a")) == [b"a"]
    assert to_list(np.str_("a")) == ["a"]
    assert to_list(np.array("a")) == ["a"]
    assert to_list(pa.scalar("a")) == ["a"]


def test_nested_lists_stay_nested():
    assert to_list([["a"], []]) == [["a"], []]
    assert to_list(np.array([["a"], ["b"]])) == [["a"], ["b"]]
    assert to_list(pa.array([["a"], None])) == [["a"], None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_numpy_become_datetimes_of_whole_seconds(unit):
    """Plain integers of nanoseconds would pass for seconds."""
    when = np.array(["2024-01-02T03:04:05"], f"datetime64[{unit}]")
    expected = [datetime.datetime(2024, 1, 2, 3, 4, 5)]
    assert to_list(when) == to_list(when[0]) == to_list([when[0]]) == expected


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        (NAME, ["a", b"b"], [b"a", b"b"]),
        (AGE, [1, 2.5], [1.0, 2.5]),
        (TIME, [0, -5, NO_TIME], [0, -5, NO_TIME]),
        (TAGS, [["a", "b"], [], "c"], [[b"a", b"b"], [b"", b""], [b"c", b""]]),
        (FACE, [[1, 2], np.array([3.0, 4.0])], [[1.0, 2.0], [3.0, 4.0]]),
    ],
    ids=lambda value: value.name if isinstance(value, InputSpec) else "",
)
def test_values_become_a_tensor_of_the_inputs_dtype(spec, values, expected):
    tensor = to_tensor(spec, values, len(values))
    assert tensor.dtype.name == spec.dtype
    assert tensor.numpy().tolist() == expected


def test_lists_of_numbers_are_padded_with_nan():
    tensor = to_tensor(RATINGS, [[5, 1.0], [3]], 2)
    np.testing.assert_array_equal(tensor, np.array([[5, 1], [3, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (NAME, [b"", b"", b""]),
        (TIME, [NO_TIME] * 3),
        (TAGS, [[b""]] * 3),
        (AGE, [np.nan] * 3),
        (FACE, [[np.nan, np.nan]] * 3),
    ],
    ids=lambda value: value.name if isinstance(value, InputSpec) else "",
)
def test_an_input_that_is_not_given_is_missing_in_every_row(spec, expected):
    tensor = to_tensor(spec, None, 3)
    assert tensor.dtype.name == spec.dtype
    if spec.dtype == "float32":
        np.testing.assert_array_equal(tensor, expected)
    else:
        assert tensor.numpy().tolist() == expected


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        (datetime.datetime(1970, 1, 1, 0, 1), 60),  # without a zone: UTC
        (datetime.datetime(1970, 1, 1, 1, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=1))), 0),
        (datetime.datetime(1970, 1, 1, 0, 0, 5, 999_999), 5),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 500_000), -1),  # rounded down, as before 1970 too
        (pd.Timestamp("1970-01-02"), 86_400),
    ],
)
def test_a_datetime_becomes_whole_seconds_since_1970(when, seconds):
    assert to_tensor(TIME, [when], 1).numpy().tolist() == [seconds]


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (NAME, ["a", 5], "`name` must be strings. Received in row 1: 5 (int). Write '5'."),
        (NAME, [42.0], "`name` must be strings. Received in row 0: 42.0 (float). Write '42'."),
        (NAME, [4.5], "`name` must be strings. Received in row 0: 4.5 (float). Write '4.5'."),
        (NAME, [True], "`name` must be strings. Received in row 0: True (bool)."),
        (NAME, [None], '`name` must be strings. Received in row 0: None (NoneType). A missing value is "".'),
        (NAME, [math.nan], '`name` must be strings. Received in row 0: nan (float). A missing value is "".'),
        (NAME, [["a"]], "`name` must be strings. Received in row 0: ['a'] (list)."),
        (AGE, ["30"], "`age` must be numbers. Received in row 0: '30' (str)."),
        (AGE, [1.0, True], "`age` must be numbers. Received in row 1: True (bool)."),
        (TIME, [1.0], "`time` must be whole seconds since 1970 or datetimes. Received in row 0: 1.0 (float)."),
        (
            TIME,
            [pd.NaT],
            "`time` must be whole seconds since 1970 or datetimes. Received in row 0: NaT (NaTType). A missing value "
            f"is {NO_TIME}.",
        ),
        (TAGS, [["a"], ["b", 3]], "`tags` must be strings. Received in row 1: 3 (int). Write '3'."),
        (FACE, [[1.0, None]], "`face` must be numbers. Received in row 0: None (NoneType). A missing value is NaN."),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_row(spec, values, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        to_tensor(spec, values, len(values))


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        (AGE, 1e39, "`age` must be numbers that float32 can hold. Received in row 0: 1e+39."),
        (AGE, 10**400, "`age` must be numbers that float32 can hold. Received in row 0: '10000000000000000000...'."),
        (TIME, 2**63, "`time` must be whole seconds since 1970 or datetimes that int64 can hold. Received in row 0: 9"),
        (NAME, "a\ud800", "`name` must be strings of valid Unicode. Received in row 0: 'a\\ud800'."),
    ],
)
def test_a_value_that_the_input_cannot_hold_is_named(spec, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        to_tensor(spec, [value], 1)


def test_infinity_is_taken_as_it_is():
    assert to_tensor(AGE, [math.inf, -math.inf], 2).numpy().tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("spec", [NAME, AGE, TIME, TAGS, RATINGS, FACE], ids=lambda spec: spec.name)
def test_no_row_is_a_tensor_of_the_inputs_shape(spec):
    for values in ([], None):
        tensor = to_tensor(spec, values, 0)
        assert tensor.dtype.name == spec.dtype
        assert spec.tensor_spec.shape.is_compatible_with(tensor.shape)
        assert tensor.shape[0] == 0


@pytest.mark.parametrize("values", [[[1.0, 2.0], [1.0]], [[1.0, 2.0], [1.0, 2.0, 3.0]]])
def test_a_vector_of_a_wrong_length_is_named_with_its_row(values):
    message = f"`face` must be lists of 2 numbers. Received in row 1: {len(values[1])}."
    with pytest.raises(ValueError, match=re.escape(message)):
        to_tensor(FACE, values, 2)


def test_ids_must_be_strings():
    assert ids_tensor("candidate_ids", ["m1", "m2"]).numpy().tolist() == [b"m1", b"m2"]
    assert ids_tensor("candidate_ids", []).shape == [0]
    with pytest.raises(TypeError, match="`candidate_ids` must be strings. Received in row 0: 7"):
        ids_tensor("candidate_ids", [7])


def test_a_list_for_each_query_is_padded():
    assert lists_tensor("exclude", [["a", "b"], []], 2).numpy().tolist() == [[b"a", b"b"], [b"", b""]]
    assert lists_tensor("exclude", np.array([["a"], ["b"]]), 2).numpy().tolist() == [[b"a"], [b"b"]]


@pytest.mark.parametrize("lists", [["a"], [["a"], ["b"]], [], "a", [b"a"]])
def test_there_must_be_a_list_for_each_query(lists):
    with pytest.raises(ValueError, match="`exclude` must be a list of strings for each of 1 queries. Received: "):
        lists_tensor("exclude", lists, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Drama", "Drama"),
        (1994, "1994"),
        (True, "true"),
        ([1994, False, "x"], ["1994", "false", "x"]),
        (np.array([1994, 1995]), ["1994", "1995"]),
        (("a", "b"), ["a", "b"]),
        (1.5, 1.5),  # refused later, with the name of the filter
    ],
)
def test_values_of_a_filter_become_text(value, expected):
    assert filter_values(value) == expected


RATINGS_OF = {"history_rating": "history"}


@pytest.mark.parametrize(
    "columns",
    [
        {"history": [["a", "b"], []], "history_rating": [[5.0, 1.0], []]},
        {"history": [["a", "b"]]},
        {"history_rating": [[], []]},
        {"history": ["a"], "history_rating": [5.0]},
        {"user_id": ["u0"]},
    ],
)
def test_ratings_may_be_as_long_as_their_history_or_absent(columns):
    require_equal_lists(columns, RATINGS_OF)


@pytest.mark.parametrize(
    ("columns", "row", "ratings", "candidates"),
    [
        ({"history": [["a"], ["a", "b"]], "history_rating": [[5.0], [5.0]]}, 1, 1, 2),
        ({"history_rating": [[], [5.0]]}, 1, 1, 0),
    ],
)
def test_ratings_of_another_length_than_their_history_are_named(columns, row, ratings, candidates):
    message = (
        f"`history_rating` must be as long as `history`. Received in row {row}: lists of {ratings} and {candidates}."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        require_equal_lists(columns, RATINGS_OF)
