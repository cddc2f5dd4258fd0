import datetime

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.bucketized import Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.columns import list_rows, missing_input, read_columns, require_suitable_columns
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.numeric import Numeric
from tfrs_twotower.features.pretrained import PretrainedEmbedding
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.timestamp import Timestamp

TABLE = pa.table(
    {
        "text": ["a"],
        "tags": [["a"]],
        "number": [1.0],
        "flag": [True],
        "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
        "when": [datetime.datetime(2024, 1, 1)],
        "day": [datetime.date(2024, 1, 1)],
        "nothing": pa.nulls(1),
        "count": [3],
    }
)
NUMBER = {"boundaries": (1,)}


@pytest.mark.parametrize(
    ("feature", "error", "message"),
    [
        (Bucketized(name="age", **NUMBER), ValueError, "The table has no column age. Its columns: text, tags"),
        (Bucketized(name="text", **NUMBER), TypeError, "`text` must hold numbers to be Bucketized.*string"),
        (Numeric(name="flag"), TypeError, "`flag` must hold numbers to be Numeric.*bool"),
        (
            Categorical(name="number"),
            TypeError,
            "`number` must hold strings, integers or booleans to be Categorical.*double",
        ),
        (
            Hashed(name="number", num_buckets=2),
            TypeError,
            "`number` must hold strings, integers or booleans to be Hashed",
        ),
        (Categorical(name="tags"), TypeError, "`tags` must hold strings, integers or booleans to be Categorical.*list"),
        (MultiCategorical(name="text"), TypeError, "`text` must hold lists of strings or integers to be Multi"),
        (Text(name="count"), TypeError, "`count` must hold strings to be Text"),
        (Timestamp(name="tags"), TypeError, "`tags` must hold times to be Timestamp"),
        (PretrainedEmbedding(name="number", dim=1), TypeError, "`number` must hold lists of numbers to be Pretrained"),
        (PretrainedEmbedding(name="tags", dim=1), TypeError, "`tags` must hold lists of numbers to be Pretrained"),
    ],
)
def test_a_column_that_does_not_suit_its_feature_is_refused(feature, error, message):
    with pytest.raises(error, match=message):
        require_suitable_columns([feature], TABLE)


def test_suitable_columns_are_accepted():
    require_suitable_columns(
        [
            Categorical(name="text"),
            Categorical(name="count"),
            MultiCategorical(name="tags"),
            Bucketized(name="number", **NUMBER),
            Numeric(name="count"),
            PretrainedEmbedding(name="vector", dim=2),
            Timestamp(name="when"),
            Timestamp(name="day"),
            Timestamp(name="nothing"),
            PretrainedEmbedding(name="nothing", dim=2),
            History(of=Categorical(name="not_a_column_of_queries")),
        ],
        TABLE,
    )


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        (Numeric(name="x"), [1.0, np.nan], "`x` must have no NaN; a missing value is null.*first in row 1: nan"),
        (Bucketized(name="x", **NUMBER), [np.nan], "`x` must have no NaN"),
        (Timestamp(name="x"), [1e9, np.nan], "`x` must have no NaN.*row 1"),
        (
            Numeric(name="x"),
            [None, 1.0, np.inf],
            "`x` must be finite.*Received 1 other values, first in row 2: inf",
        ),
        (Numeric(name="x", log=True), [0.0, -0.5], "`x` must be at least 0 for its logarithm.*first in row 1: -0.5"),
        (PretrainedEmbedding(name="x", dim=1), [[0.0], None, [np.nan]], "`x` must hold finite vectors.*first in row 2"),
        (Numeric(name="x"), [1e39], "`x` must be finite in float32.*first in row 0: 1e\\+39"),
        (
            Timestamp(name="x"),
            ["2024-01-01", None, "some day"],
            "`x` must hold times.*first in row 2: 'some day",
        ),
        (Timestamp(name="x"), [0, NO_TIME], "`x` must hold times.*a missing one is null.*first in row 1"),
        (PretrainedEmbedding(name="x", dim=2), [[0.0, 1.0], [0.0]], "`x` must hold lists of 2 numbers.*first in row 1"),
    ],
)
def test_an_impossible_value_is_named_with_its_column_and_row(feature, values, message):
    with pytest.raises(ValueError, match=message):
        read_columns([feature], pa.table({"x": values}))


def test_values_beneath_a_null_list_do_not_count():
    """Arrow may keep values in the memory that a null list covers."""
    mask = pa.array([False, True, False])
    vectors = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array([1.0, np.nan, 3.0]), mask=mask)
    raw = read_columns([PretrainedEmbedding(name="x", dim=1)], pa.table({"x": vectors}))
    np.testing.assert_array_equal(raw["x"], np.array([[1], [np.nan], [3]], np.float32))


def test_a_bucketized_number_may_be_infinite():
    read_columns([Bucketized(name="x", **NUMBER)], pa.table({"x": [np.inf, -np.inf]}))


def test_a_null_is_a_missing_value_of_every_kind():
    table = pa.table(
        {
            "text": pa.array([None], pa.string()),
            "tags": pa.array([None], pa.list_(pa.string())),
            "number": pa.array([None], pa.float64()),
            "vector": pa.array([None], pa.list_(pa.float64())),
            "when": pa.array([None], pa.timestamp("ms")),
        }
    )
    features = [
        Text(name="text"),
        MultiCategorical(name="tags"),
        Numeric(name="number"),
        PretrainedEmbedding(name="vector", dim=2),
        Timestamp(name="when"),
    ]
    raw = read_columns(features, table)
    assert raw["text"].numpy().tolist() == [b""]
    assert raw["tags"].shape == [1, 0]
    assert raw["when"].numpy().tolist() == [NO_TIME]
    for name, shape in (("number", [1]), ("vector", [1, 2])):
        assert raw[name].shape == shape
        assert np.isnan(raw[name]).all()


def test_times_of_every_form_become_seconds():
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    for values in ([when], [int(when.timestamp())], ["2024-05-06T07:08:09Z"], pa.array([when], pa.timestamp("us"))):
        raw = read_columns([Timestamp(name="x")], pa.table({"x": values}))
        assert raw["x"].numpy().tolist() == [when.timestamp()]


def test_lists_of_integers_become_their_digits():
    raw = read_columns([MultiCategorical(name="x")], pa.table({"x": [[7, 8], [9]]}))
    assert raw["x"].numpy().tolist() == [[b"7", b"8"], [b"9", b""]]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_every_type_is_read(kind):
    raw = read_columns([Categorical(name="x")], pa.table({"x": pa.array(["a"]).cast(kind)}))
    assert raw["x"].numpy().tolist() == [b"a"]


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (tf.TensorSpec([None], tf.string), [2]),
        (tf.TensorSpec([None, None], tf.string), [2, 1]),
        (tf.TensorSpec([None], tf.float32), [2]),
        (tf.TensorSpec([None, 3], tf.float32), [2, 3]),
        (tf.TensorSpec([None], tf.int64), [2]),
    ],
)
def test_a_missing_input_has_one_missing_value_where_any_length_is_allowed(spec, shape):
    values = missing_input(spec, 2).numpy()
    assert list(values.shape) == shape
    if spec.dtype == tf.float32:
        assert np.isnan(values).all()
    else:
        assert (values == (b"" if spec.dtype == tf.string else NO_TIME)).all()


def test_each_value_of_a_list_column_knows_its_row():
    assert list_rows(pa.array([[1, 2], None, [], [3]])).tolist() == [0, 0, 3]
