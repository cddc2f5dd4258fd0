import datetime
import warnings

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_interactions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.tables import load_ratings

SCHEMA = Schema(
    query_id="customer",
    candidate_id="sku",
    rating="stars",
    timestamp="when",
    weight="weight",
    query_features=("age",),
    candidate_features=("kinds",),
    event_features=("device",),
)
COLUMNS = {
    "customer": [7, 8, 7],
    "sku": ["a", "b", "b"],
    "stars": [5.0, 1.0, 3.0],
    "when": [100, 200, 300],
    "weight": [1.0, 0.5, 2.0],
    "age": [30, None, 30],
    "kinds": [["x"], [], []],
    "device": ["tv", "web", "web"],
}


def changed(**columns) -> pa.Table:
    return pa.table({**COLUMNS, **columns})


def without(*columns: str) -> dict:
    return {name: values for name, values in COLUMNS.items() if name not in columns}


def check_ratings(ratings: Interactions) -> None:
    assert ratings.queries.to_pylist() == [{"customer": "7", "age": 30}, {"customer": "8", "age": None}]
    assert ratings.candidates.to_pylist() == [{"sku": "a", "kinds": ["x"]}, {"sku": "b", "kinds": []}]
    assert ratings.events.to_pydict() == {
        "query_row": [0, 1, 0],
        "candidate_row": [0, 1, 1],
        "rating": [5.0, 1.0, 3.0],
        "timestamp": [100, 200, 300],
        "weight": [1.0, 0.5, 2.0],
        "device": ["tv", "web", "web"],
    }


def test_a_dictionary_and_an_arrow_table_are_accepted():
    check_ratings(load_ratings(COLUMNS, SCHEMA))
    check_ratings(load_ratings(pa.table(COLUMNS), SCHEMA))


def test_a_data_frame_is_accepted_and_not_changed():
    frame = pandas.DataFrame({**COLUMNS, "age": [30.0, np.nan, 30.0]}, index=[5, 6, 7])
    before = frame.copy(deep=True)
    check_ratings(load_ratings(frame, SCHEMA))
    pandas.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.parquet", pyarrow.parquet.write_table),
        ("r.feather", pyarrow.feather.write_feather),
        ("r.arrow", pyarrow.feather.write_feather),
    ],
)
def test_a_file_and_a_folder_of_shards_are_accepted(tmp_path, name, write):
    table = pa.table(COLUMNS)
    write(table, tmp_path / name)
    check_ratings(load_ratings(tmp_path / name, SCHEMA))
    (tmp_path / "shards").mkdir()
    write(table.slice(0, 1), tmp_path / "shards" / f"0-{name}")
    write(table.slice(1), tmp_path / "shards" / f"1-{name}")
    (tmp_path / "shards" / "_SUCCESS").touch()
    check_ratings(load_ratings(str(tmp_path / "shards"), SCHEMA))


def test_tfrecords_are_accepted(tmp_path):
    def feature(value) -> tf.train.Feature:
        values = value if isinstance(value, list) else [value]
        if all(isinstance(item, str) for item in values) and values:
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[item.encode() for item in values]))
        if all(isinstance(item, int) for item in values) and values:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if all(isinstance(item, float) for item in values) and values:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList())

    columns = {**COLUMNS, "age": [30, 40, 30]}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    with tf.io.TFRecordWriter(str(tmp_path / "r.tfrecord-00000-of-00001")) as writer:
        for row in rows:
            example = tf.train.Example(
                features=tf.train.Features(feature={name: feature(value) for name, value in row.items()})
            )
            writer.write(example.SerializeToString())
    ratings = load_ratings(tmp_path, SCHEMA)
    assert ratings.queries.to_pylist() == [{"customer": "7", "age": 30}, {"customer": "8", "age": 40}]
    assert ratings.candidates.to_pylist() == [{"sku": "a", "kinds": ["x"]}, {"sku": "b", "kinds": []}]
    assert ratings.events["timestamp"].to_pylist() == [100, 200, 300]


CSV = "customer,sku,stars,when\n007,a,5,2024-01-01\n8,b,1,2024-01-02 12:00:00\n007,b,3.5,1704240000\n"


def test_in_a_csv_ids_are_text_and_times_are_read(tmp_path):
    (tmp_path / "r.csv").write_text(CSV)
    schema = Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when")
    ratings = load_ratings(tmp_path / "r.csv", schema)
    assert ratings.queries["customer"].to_pylist() == ["007", "8"]
    assert ratings.ratings.tolist() == [5.0, 1.0, 3.5]
    # 2024-01-01 is 19,723 days after 1970-01-01.
    assert ratings.timestamps.tolist() == [19723 * 86400, 19724 * 86400 + 43200, 19725 * 86400]
    assert ratings.source == "r.csv"


def test_text_features_of_a_data_frame_can_be_trained_on():
    """pandas holds text as large_string, and integers with a missing value as floats."""
    columns = {
        "user": [1, None, 2, 1],
        "item": ["a", "b", "b", "b"],
        "stars": [5, 1, 2, 1],
        "mood": ["x", "y", "y", "x"],
    }
    schema = Schema(query_id="user", candidate_id="item", rating="stars", query_features=("mood",))
    with pytest.warns(UserWarning, match="`user` holds missing ids in 1 of 4 rows"):
        ratings = load_ratings(pandas.DataFrame(columns), schema, on_invalid="drop")
    assert ratings.queries.to_pylist() == [{"user": "1", "mood": "x"}, {"user": "2", "mood": "y"}]
    config = tt.MLPTowerConfig(features=(tt.Categorical(name="user"), tt.Categorical(name="mood")))
    candidate = tt.MLPTowerConfig(features=(tt.Categorical(name="item"),))
    model = tt.build_two_tower(ratings, query=config, candidate=candidate)
    assert model.query_tower.encode_table(ratings.queries)["mood"].tolist() == [2, 3]


def test_features_must_be_a_tuple_of_names():
    with pytest.raises(TypeError, match=r"`query_features` must be a tuple of names. Received: 'age'; add a comma"):
        Schema(query_id="customer", candidate_id="sku", query_features=("age"))


def test_implicit_feedback_counts_as_a_rating_of_1():
    schema = Schema(query_id="customer", candidate_id="sku")
    ratings = load_ratings(without("stars"), schema)
    assert ratings.ratings.tolist() == [1.0, 1.0, 1.0]
    assert ratings.timestamps is None
    assert ratings.weights is None


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        ([datetime.date(1970, 1, 2)] * 3, 86400),
        ([datetime.datetime(1970, 1, 1, 0, 1)] * 3, 60),
        (["1970-01-01T00:00:09Z"] * 3, 9),
        ([7.9] * 3, 7),
    ],
)
def test_times_of_every_kind_are_seconds(when, seconds):
    assert load_ratings(changed(when=when), SCHEMA).timestamps.tolist() == [seconds] * 3


def test_separate_tables_hold_features_and_ids_without_events():
    queries = {"customer": ["7", "8", "9"], "age": [1, 2, 3]}
    candidates = {"sku": ["c", "b", "a", "b"], "kinds": [["z"], ["y"], ["x"], ["y"]], "unused": [1, 2, 3, 4]}
    ratings = load_ratings(without("age", "kinds"), SCHEMA, queries=queries, candidates=candidates)
    assert ratings.queries["customer"].to_pylist() == ["7", "8", "9"]
    # The second "b" is an exact duplicate of the first.
    assert ratings.candidates.to_pylist() == [
        {"sku": "c", "kinds": ["z"]},
        {"sku": "b", "kinds": ["y"]},
        {"sku": "a", "kinds": ["x"]},
    ]
    assert ratings.candidate_rows.tolist() == [2, 1, 1]


BAD_ROWS = [
    (
        {"customer": ["7", None, ""]},
        r"`customer` holds missing ids in 2 of 3 rows, the first in rows \[1, 2\], counted from 0: \[None, ''\]",
    ),
    ({"sku": [None, "b", "b"]}, r"`sku` holds missing ids in 1 of 3 rows, the first in rows \[0\]"),
    (
        {"stars": [1.0, np.nan, np.inf]},
        r"`stars` holds values that are not finite numbers in 2 of 3 rows, the first in rows \[1, 2\]",
    ),
    (
        {"stars": ["5", "five", "3"]},
        r"`stars` holds values that are not finite numbers in 1 of 3 rows, the first in rows \[1\], counted "
        r"from 0: \['five'\]",
    ),
    (
        {"stars": [1.0, None, 3.0]},
        r"`stars` holds values that are not finite numbers in 1 of 3 rows, the first in rows \[1\], counted "
        r"from 0: \[None\]",
    ),
    ({"weight": [1.0, np.inf, 1.0]}, r"`weight` holds values that are not finite numbers in 1 of 3 rows"),
    (
        {"weight": [1.0, -2.0, 1.0]},
        r"`weight` holds negative numbers in 1 of 3 rows, the first in rows \[1\], counted from 0: \[-2.0\]",
    ),
    ({"when": ["2024-01-01", "soon", ""]}, r"`when` holds values that are not times in 2 of 3 rows.*\['soon', ''\]"),
    ({"when": ["2024-01-01", "2024-02-31", "2024-01-02"]}, r"values that are not times in 1 .*\['2024-02-31'\]"),
    ({"when": [1.0, 1e30, 2.0]}, r"`when` holds values that are not times in 1 of 3 rows"),
    ({"when": [1, None, 3]}, r"`when` holds values that are not times in 1 of 3 rows"),
]


@pytest.mark.parametrize(("columns", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_column(columns, message):
    with pytest.raises(ValueError, match=message):
        load_ratings(changed(**columns), SCHEMA)


@pytest.mark.parametrize(("columns", "message"), BAD_ROWS)
def test_bad_rows_can_be_dropped_with_a_warning_that_counts_them(columns, message):
    # There is one more row, a valid one, so that something is left.
    table = {name: [*columns.get(name, values), values[0]] for name, values in COLUMNS.items()}
    if "when" in columns:
        table["when"][3] = "100" if isinstance(columns["when"][0], str) else 100
    if "stars" in columns and isinstance(columns["stars"][0], str):
        table["stars"][3] = "5"
    if "customer" in columns:
        table["customer"][3] = "7"
    with pytest.warns(UserWarning, match=message.replace("of 3 rows", "of 4 rows")) as record:
        ratings = load_ratings(table, SCHEMA, on_invalid="drop")
    number = int(str(record[0].message).split()[2])
    assert ratings.num_events == 4 - number


def test_an_event_of_an_unlisted_candidate_is_named_or_dropped():
    candidates = {"sku": ["b"], "kinds": [["x"]]}
    message = (
        r"`sku` holds ids that `candidates` does not have in 1 of 3 rows, the first in rows \[0\], counted from 0: "
        r"\['a'\]"
    )
    with pytest.raises(ValueError, match=message):
        load_ratings(without("kinds"), SCHEMA, candidates=candidates)
    with pytest.warns(UserWarning, match=message):
        ratings = load_ratings(without("kinds"), SCHEMA, candidates=candidates, on_invalid="drop")
    assert ratings.num_events == 2
    assert ratings.queries["customer"].to_pylist() == ["8", "7"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ratings": without("stars")}, ValueError, "`ratings` has no column stars. Its columns: customer, sku, when"),
        ({"ratings": changed().slice(0, 0)}, ValueError, "`ratings` must have at least one row"),
        ({"ratings": changed(customer=[1.5, 2.5, 3.5])}, TypeError, "`ratings.customer` must hold strings or integers"),
        ({"ratings": changed(customer=[b"\xff", b"b", b"c"])}, ValueError, "`ratings.customer` cannot be read as"),
        ({"ratings": changed(customer=[None] * 3)}, ValueError, "`customer` holds missing ids in 3 of 3 rows"),
        ({"ratings": changed(stars=[[1], [2], [3]])}, ValueError, "`stars` must hold numbers. Received: list"),
        ({"ratings": changed(when=[True, True, False])}, ValueError, "`when` must hold times. Received: bool"),
        ({"ratings": changed(age=[30, None, 31])}, ValueError, "`age` must have one value .* is an event feature"),
        ({"candidates": {"sku": ["a", "b"]}}, ValueError, "`candidates` has no column kinds. Its columns: sku"),
        ({"candidates": {"sku": ["a", None], "kinds": [[], []]}}, ValueError, "`candidates.sku` holds missing ids in "),
        (
            {"candidates": {"sku": ["a", "b", "b"], "kinds": [["x"], ["y"], ["z"]]}},
            ValueError,
            r"`kinds` must have one value for each id. Received for 'b': .* in row 2",
        ),
        ({"on_invalid": "ignore"}, ValueError, "`on_invalid` must be 'fail' or 'drop'"),
        ({"ratings": "nowhere.csv"}, FileNotFoundError, "There is nothing at nowhere.csv"),
    ],
)  # fmt: skip
def test_an_unusable_table_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        load_ratings(**{"ratings": COLUMNS, "schema": SCHEMA, **arguments})


def test_dropping_every_row_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="`ratings` must have at least one row that can be used"):
            load_ratings(changed(stars=[np.nan] * 3), SCHEMA, on_invalid="drop")


def test_a_column_cannot_have_two_meanings():
    with pytest.raises(ValueError, match="A column must have only one meaning. Named twice: sku"):
        Schema(query_id="customer", candidate_id="sku", query_features=("sku",))


def test_an_event_feature_with_the_name_of_a_column_of_events_gets_another_name():
    schema = Schema(query_id="customer", candidate_id="sku", rating="stars", event_features=("rating", "weight"))
    ratings = load_ratings({**without("weight"), "rating": ["a", "b", "c"], "weight": [7, 8, 9]}, schema)
    assert ratings.events["column_rating"].to_pylist() == ["a", "b", "c"]
    assert ratings.events["column_weight"].to_pylist() == [7, 8, 9]
    assert ratings.original_names == {"column_rating": "rating", "column_weight": "weight"}


def test_ids_may_be_bytes_and_dictionaries():
    table = changed(customer=[b"7", b"8", b"7"], sku=pa.array(["a", "b", "b"]).dictionary_encode())
    check_ratings(load_ratings(table, SCHEMA))


def test_the_callers_table_is_not_changed():
    table = pa.table(COLUMNS)
    before = pa.table(COLUMNS)
    load_ratings(table, SCHEMA)
    assert table.equals(before)


def test_one_class_only_is_an_error_before_training():
    data = make_interactions([0, 1], [0, 1], [5, 4], num_queries=2, num_candidates=2)
    model = tt.build_two_tower(data, query=QUERY, candidate=CANDIDATE)
    with pytest.raises(
        ValueError, match=r"both sides of the threshold 3. Received: 2 ratings from 4 to 5, one class only"
    ):
        model.training_batches(data, seed=0)
