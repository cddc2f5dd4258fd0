import datetime

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.features.inputs import raw_specs, read_columns, require_suitable_columns

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
        (tt.Bucketized(name="age", **NUMBER), ValueError, "The table has no column age. Its columns: text, tags"),
        (tt.Bucketized(name="text", **NUMBER), TypeError, "`text` must hold numbers to be Bucketized.*string"),
        (tt.Numeric(name="flag"), TypeError, "`flag` must hold numbers to be Numeric.*bool"),
        (tt.Categorical(name="number"), TypeError, "`number` must hold strings or integers to be Categorical.*double"),
        (tt.Hashed(name="number", num_buckets=2), TypeError, "`number` must hold strings or integers to be Hashed"),
        (tt.Categorical(name="tags"), TypeError, "`tags` must hold strings or integers to be Categorical.*list"),
        (tt.MultiCategorical(name="text"), TypeError, "`text` must hold lists of strings or integers to be Multi"),
        (tt.Text(name="count"), TypeError, "`count` must hold strings to be Text"),
        (tt.Timestamp(name="tags"), TypeError, "`tags` must hold times to be Timestamp"),
        (tt.Embedding(name="number", dim=1), TypeError, "`number` must hold lists of numbers to be Embedding"),
        (tt.Embedding(name="tags", dim=1), TypeError, "`tags` must hold lists of numbers to be Embedding"),
    ],
)
def test_a_column_must_suit_its_feature(feature, error, message):
    with pytest.raises(error, match=message):
        require_suitable_columns([feature], TABLE)


def test_columns_that_suit_pass():
    require_suitable_columns(
        [
            tt.Categorical(name="text"),
            tt.Categorical(name="count"),
            tt.MultiCategorical(name="tags"),
            tt.Bucketized(name="number", **NUMBER),
            tt.Numeric(name="count"),
            tt.Embedding(name="vector", dim=2),
            tt.Timestamp(name="when"),
            tt.Timestamp(name="day"),
            tt.Timestamp(name="nothing"),
            tt.Embedding(name="nothing", dim=2),
            tt.History(of=tt.Categorical(name="not a column of queries".replace(" ", "_"))),
        ],
        TABLE,
    )


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        (tt.Numeric(name="x"), [1.0, np.nan], "`x` must have no NaN; a missing value is null.*first in row 1: nan"),
        (tt.Bucketized(name="x", **NUMBER), [np.nan], "`x` must have no NaN"),
        (tt.Timestamp(name="x"), [1e9, np.nan], "`x` must have no NaN.*row 1"),
        (
            tt.Numeric(name="x"),
            [None, 1.0, np.inf],
            "`x` must be finite.*Received 1 other values, first in row 2: inf",
        ),
        (tt.Numeric(name="x", log=True), [0.0, -0.5], "`x` must be at least 0 for its logarithm.*first in row 1: -0.5"),
        (tt.Embedding(name="x", dim=1), [[0.0], None, [np.nan]], "`x` must hold finite vectors.*first in row 2"),
        (tt.Numeric(name="x"), [1e39], "`x` must be finite in float32.*first in row 0: 1e\\+39"),
        (
            tt.Timestamp(name="x"),
            ["2024-01-01", None, "Jan 1 2024"],
            "`x` must hold times.*first in row 2: 'Jan 1",
        ),
        (tt.Timestamp(name="x"), [0, tt.NO_TIME], "`x` must hold times.*a missing one is null.*first in row 1"),
        (tt.Embedding(name="x", dim=2), [[0.0, 1.0], [0.0]], "`x` must hold lists of 2 numbers.*first in row 1"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_its_feature_and_row(feature, values, message):
    with pytest.raises(ValueError, match=message):
        read_columns([feature], pa.table({"x": values}))


def test_values_beneath_a_null_list_do_not_count():
    """Arrow keeps what lies beneath a null."""
    mask = pa.array([False, True, False])
    vectors = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array([1.0, np.nan, 3.0]), mask=mask)
    raw = read_columns([tt.Embedding(name="x", dim=1)], pa.table({"x": vectors}))
    np.testing.assert_array_equal(raw["x"], np.array([[1], [np.nan], [3]], np.float32))


def test_a_bucket_may_be_without_end():
    read_columns([tt.Bucketized(name="x", **NUMBER)], pa.table({"x": [np.inf, -np.inf]}))


def test_null_is_missing_for_every_kind():
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
        tt.Text(name="text"),
        tt.MultiCategorical(name="tags"),
        tt.Numeric(name="number"),
        tt.Embedding(name="vector", dim=2),
        tt.Timestamp(name="when"),
    ]
    raw = read_columns(features, table)
    assert raw["text"].numpy().tolist() == [b""]
    assert raw["tags"].shape == [1, 0]
    assert raw["when"].numpy().tolist() == [tt.NO_TIME]
    for name, shape in (("number", [1]), ("vector", [1, 2])):
        assert raw[name].shape == shape
        assert np.isnan(raw[name]).all()


def test_times_of_every_form_are_seconds():
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    for values in ([when], [int(when.timestamp())], ["2024-05-06T07:08:09Z"], pa.array([when], pa.timestamp("us"))):
        raw = read_columns([tt.Timestamp(name="x")], pa.table({"x": values}))
        assert raw["x"].numpy().tolist() == [when.timestamp()]


def test_lists_of_integers_are_their_digits():
    raw = read_columns([tt.MultiCategorical(name="x")], pa.table({"x": [[7, 8], [9]]}))
    assert raw["x"].numpy().tolist() == [[b"7", b"8"], [b"9", b""]]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_every_type_is_read(kind):
    raw = read_columns([tt.Categorical(name="x")], pa.table({"x": pa.array(["a"]).cast(kind)}))
    assert raw["x"].numpy().tolist() == [b"a"]


def test_a_history_by_rating_has_two_inputs():
    history = tt.History(of=tt.Categorical(name="movie_id"), name="past", by_rating=True)
    assert [(spec.name, spec.dtype.name, spec.shape.rank) for spec in raw_specs(history)] == [
        ("past", "string", 2),
        ("past_rating", "float32", 2),
    ]
