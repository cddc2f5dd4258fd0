"""Tables of queries: every kind of feature, exclusions and filters, and mistakes named by column and row."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.bundle.manifests import make_manifest
from tests.every_kind import make_interactions
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.model_entry import InputSpec, QuerySchema
from tfrs_twotower.bundle.query_tables import QueryTables

K = 10


@pytest.fixture(scope="module")
def bundle(every_kind_path) -> LoadedBundle:
    """A bundle whose queries have every kind of feature, filtered by genres and year."""
    return tt.load_bundle(every_kind_path)


def require_equal(table: pa.Table, expected) -> None:
    """Compares the lists of a table with arrays, of which empty slots are left out."""
    for row, ids in enumerate(expected.candidate_ids):
        num = sum(ids != "")
        assert table["candidate_ids"][row].as_py() == ids[:num].tolist()
        assert table["scores"][row].as_py() == expected.scores[row, :num].tolist()
        assert table["probabilities"][row].as_py() == expected.probabilities[row, :num].tolist()


def test_every_kind_of_feature_is_read_from_its_column(bundle):
    known = make_interactions().queries
    table = known.set_column(0, "user_id", pa.array([f"new {row}" for row in range(known.num_rows)]))
    rows = range(known.num_rows)
    table = table.append_column("history", pa.array([[f"m{row}", "m3", "m7"][: row % 4] for row in rows]))
    table = table.append_column("history_rating", pa.array([[5, None, 1][: row % 4] for row in rows]))
    table = table.append_column("comment", pa.array(["?"] * known.num_rows))
    values = {name: table[name].to_pylist() for name in table.column_names if name != "comment"}
    values["history_rating"] = [[5.0, np.nan, 1.0][: row % 4] for row in rows]
    found = bundle.recommend_table(table)
    assert found.column_names == ["user_id", "candidate_ids", "scores", "probabilities"]
    assert found["user_id"].to_pylist() == values["user_id"]
    require_equal(found, bundle.recommend(values))


def test_a_null_is_what_the_bundle_remembers(bundle):
    names = make_interactions().queries.column_names
    table = pa.table({"user_id": ["u1", "stranger", None, ""]} | {name: pa.nulls(4) for name in names[1:]})
    require_equal(bundle.recommend_table(table), bundle.recommend({"user_id": ["u1", "stranger", "", ""]}))
    # Without ratings, a history's ratings are unknown.
    table = pa.table({"user_id": ["", ""], "history": [["m1", "m2"], None], "history_rating": pa.nulls(2)})
    expected = bundle.recommend({"history": [["m1", "m2"], []]})
    require_equal(bundle.recommend_table(table), expected)
    ratings = pa.array([None, []], pa.list_(pa.float64()))
    require_equal(bundle.recommend_table(table.set_column(2, "history_rating", ratings)), expected)


@pytest.mark.parametrize(
    "exclude", [[["m1", "m2"], None, []], pa.array([["m1", "m2"], [], []], pa.large_list(pa.large_string()))]
)
def test_excluded_candidates_are_not_recommended(bundle, exclude):
    ids = ["new"] * 3
    found = bundle.recommend_table(pa.table({"user_id": ids, "exclude_ids": exclude}))
    require_equal(found, bundle.recommend({"user_id": ids}, exclude=[["m1", "m2"], [], []]))


def test_filters_are_columns_of_values_or_of_lists(bundle):
    ids = ["u0", "u1", "u2"]
    columns = {
        "filter_genres": ["War", None, "Drama"],
        "filter_year": [[1990, 1991], [1992], None],
        "exclude_ids": [["m0"], [], []],
    }
    found = bundle.recommend_table(pa.table({"user_id": ids, **columns}), k=4)
    only = {"genres": [["War"], [], ["Drama"]], "year": [[1990, 1991], [1992], []]}
    require_equal(found, bundle.recommend({"user_id": ids}, k=4, only=only, exclude=columns["exclude_ids"]))
    # Few candidates are left: their lists are shorter than k.
    assert min(len(names) for names in bundle.recommend_table(pa.table({"user_id": ids, **columns}))[1].to_pylist()) < K


def test_ids_stay_as_they_are_and_integers_are_recognised_by_their_digits(bundle):
    found = bundle.recommend_table(pa.table({"user_id": pa.array([7, None, 42], pa.int32())}), k=1)
    assert found["user_id"].equals(pa.chunked_array([pa.array([7, None, 42], pa.int32())]))
    assert (
        found["candidate_ids"].to_pylist()
        == bundle.recommend_table(pa.table({"user_id": ["7", "", "42"]}), k=1)["candidate_ids"].to_pylist()
    )


def test_a_table_without_rows_has_recommendations_of_the_same_columns(bundle):
    table = pa.table({"user_id": ["u1"]})
    assert bundle.recommend_table(table.slice(0, 0)).schema == bundle.recommend_table(table).schema
    assert bundle.recommend_table(table.slice(0, 0)).num_rows == 0


def test_columns_may_have_the_names_of_the_users_table():
    manifest = make_manifest(original_names={"user_id": "user id", "history_rating": "past stars"})
    table = pa.table({"user id": ["u1"], "history": [["m1", "m2"]], "past stars": [[4, 5]], "note": ["x"]})
    tables = QueryTables(manifest, table.schema)
    assert (tables.id_column, tables.ignored, tables.missing) == ("user id", ("note",), ())
    tensors = tables.tensors(table)
    assert {name: tensor.numpy().tolist() for name, tensor in tensors.items()} == {
        "user_id": [b"u1"],
        "history": [[b"m1", b"m2"]],
        "history_rating": [[4, 5]],
    }


def test_a_query_that_is_not_an_input_still_has_its_id():
    query = QuerySchema(
        id="user_id",
        features=(),
        inputs=(InputSpec(name="age", dtype="float32", shape=(None,)),),
        histories=(),
        ratings_of={},
    )
    table = pa.table({"user_id": ["a", "b"], "age": [1, None]})
    tables = QueryTables(make_manifest(query=query), table.schema)
    assert list(tables.tensors(table)) == ["age"]
    assert tables.ids(table).numpy().tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"uid": ["a"]}, ValueError, "The table of queries has no column user_id. Its columns: uid."),
        ({"user_id": [1.5]}, TypeError, "`user_id` must hold strings, integers or booleans. Received: double."),
        ({"user_id": ["a"], "age": ["30"]}, TypeError, "`age` must hold numbers. Received: string."),
        ({"user_id": ["a"], "joined": [True]}, TypeError, "`joined` must hold times. Received: bool."),
        (
            {"user_id": ["a"], "history": ["m1"]},
            TypeError,
            "`history` must hold lists of strings, integers",
        ),
        (
            {"user_id": ["a"], "history_rating": [5.0]},
            TypeError,
            "`history_rating` must hold lists of numbers. Received: double.",
        ),
        ({"user_id": ["a"], "exclude_ids": [[0.5]]}, TypeError, "`exclude_ids` must hold lists of strings, integers"),
        ({"user_id": ["a"], "filter_genres": [0.5]}, TypeError, "`filter_genres` must hold strings, integers"),
        (
            {"user_id": ["a"], "filter_maker": ["x"]},
            ValueError,
            "the column filter_maker, but the bundle has only these filters: filter_genres, filter_year. Rename",
        ),
        (
            {"user_id": ["a", "b"], "age": [30, np.nan]},
            ValueError,
            "`age` must hold numbers .*row 101: nan",
        ),
        ({"user_id": ["a", "b"], "age": [30, 1e300]}, ValueError, r"in float32; .*null. Received in row 101: 1e\+300"),
        (
            {"user_id": ["a"] * 2, "face": [None, [1, 2]]},
            ValueError,
            "`face` must hold lists of 3 numbers; .*row 101",
        ),
        (
            {"user_id": ["a"], "face": [[1, 2, np.inf]]},
            ValueError,
            "`face` must hold numbers that .*row 100",
        ),
        (
            {"user_id": ["a"] * 2, "joined": ["2024-01-01", "soon"]},
            ValueError,
            "`joined` must hold times; .*'soon'",
        ),
        (
            {"user_id": ["a"] * 2, "history": [["m1"], ["m1", "m2"]], "history_rating": [[5.0], [4.0]]},
            ValueError,
            "`history_rating` must be as long as `history`. Received in row 101: lists of 1 and 2.",
        ),
        (
            {"user_id": ["a"], "history_rating": [[5.0]]},
            ValueError,
            "`history_rating` must be as long as `history`. Received in row 100: lists of 1 and 0.",
        ),
    ],
)
def test_a_mistake_is_named(bundle, columns, error, message):
    with pytest.raises(error, match=message):
        bundle.recommend_table(pa.table(columns), first_row=100)


def test_a_filter_of_a_bundle_without_filters_is_an_error():
    with pytest.raises(ValueError, match="has the column filter_genres, but the bundle has no filters. Rename"):
        QueryTables(make_manifest(), pa.schema([("user_id", pa.string()), ("filter_genres", pa.string())]))


def test_k_must_fit_the_bundle(bundle):
    with pytest.raises(ValueError, match="`k` must be in 1..10, the bundle's. Received: k=11."):
        bundle.recommend_table(pa.table({"user_id": ["u1"]}), k=11)


def test_times_may_be_dates_numbers_or_text(bundle):
    day = datetime.date(2024, 1, 2)
    seconds = 1704153600  # of 2024-01-02, by `date --date 2024-01-02 +%s` in UTC
    for column in ([day], [seconds], ["2024-01-02"], [float(seconds)], pa.array([day]).cast(pa.timestamp("us"))):
        table = pa.table({"user_id": ["a"], "joined": column})
        assert QueryTables(bundle.manifest, table.schema).tensors(table)["joined"].numpy().tolist() == [seconds]
