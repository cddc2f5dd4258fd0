import dataclasses
import keyword

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.reading import exactly
from tfrs_twotower.data.input_names import input_name, is_input_name, is_reserved
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.data.normalization import normalize_ratings
from tfrs_twotower.data.partition import Split, require_split
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.storage import open_interactions, save_interactions
from tfrs_twotower.data.tables import load_ratings

CALLED = "The column `{}` is called `{}` from here on, so that it can name an input of a SavedModel."
CLASH = (
    "The columns {!r} and {!r} would both be called {!r}: names of inputs have only letters, digits and underscores. "
    "Rename one of the two columns."
)


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Customer ID", "customer_id"),
        ("product-sku", "product_sku"),
        ("Straße", "strasse"),
        ("ÆRØ łódź", "aero_lodz"),
        ("Prénom (usuel)", "prenom_usuel"),
        ("2nd choice", "column_2nd_choice"),
        ("_id", "id"),
        ("class", "column_class"),
        ("self", "column_self"),
        ("exclude_ids", "column_exclude_ids"),
        ("candidate_id", "column_candidate_id"),
        ("filter_genre", "column_filter_genre"),
        ("Filter genre", "column_filter_genre"),
        ("history", "column_history"),
        ("history_rating", "column_history_rating"),
        ("评分", "column_7"),
        ("", "column_7"),
        ("userId", "userId"),
        ("age", "age"),
    ],
)
def test_a_column_gets_an_input_name(column, name):
    assert input_name(column, 7) == name


@given(st.text(max_size=20))
def test_an_input_name_is_always_one(column):
    name = input_name(column, 3)
    assert is_input_name(name)
    assert not is_reserved(name)
    assert not keyword.iskeyword(name)
    assert input_name(name, 1) == name


FLAT = {
    "Customer ID": [1, 2, 1],
    "product-sku": ["a", "b", "b"],
    "Straße": ["x", "y", "x"],
    "stars": [1, 2, 3],
    "exclude_ids": ["p", "q", "r"],
    "rating": [7, 8, 9],
}
FLAT_SCHEMA = Schema(
    query_id="Customer ID", candidate_id="product-sku", rating="stars", query_features=("Straße",),
    candidate_features=(), event_features=("exclude_ids", "rating"),
)  # fmt: skip
NAMES = {
    "customer_id": "Customer ID",
    "strasse": "Straße",
    "column_exclude_ids": "exclude_ids",
    "column_rating": "rating",
    "product_sku": "product-sku",
}


def test_columns_have_input_names_in_interactions():
    ratings = load_ratings(FLAT, FLAT_SCHEMA)
    assert ratings.queries.to_pylist() == [
        {"customer_id": "1", "strasse": "x"},
        {"customer_id": "2", "strasse": "y"},
    ]
    assert ratings.candidates.to_pylist() == [{"product_sku": "a"}, {"product_sku": "b"}]
    assert (ratings.query_id, ratings.candidate_id) == ("customer_id", "product_sku")
    assert ratings.events.to_pydict() == {
        "query_row": [0, 1, 0],
        "candidate_row": [0, 1, 1],
        "rating": [1.0, 2.0, 3.0],
        "column_exclude_ids": ["p", "q", "r"],
        "column_rating": [7, 8, 9],
    }
    assert ratings.original_names == NAMES
    assert list(ratings.notes) == [CALLED.format(column, name) for name, column in NAMES.items()]


def test_columns_of_separate_tables_have_input_names():
    ratings = load_ratings(
        {"Customer ID": [1], "sku": ["a"]},
        Schema(query_id="Customer ID", candidate_id="sku"),
        queries={"Customer ID": [1], "Year of birth": [1990]},
        candidates={"sku": ["a"], "Preis (€)": [2.5]},
    )
    assert ratings.queries.to_pylist() == [{"customer_id": "1", "year_of_birth": 1990}]
    assert ratings.candidates.to_pylist() == [{"sku": "a", "preis": 2.5}]


def test_the_id_of_candidates_may_be_called_candidate_id():
    ratings = load_ratings({"user": [1], "candidate_id": ["a"]}, Schema(query_id="user", candidate_id="candidate_id"))
    assert ratings.candidate_id == "candidate_id"
    ratings = load_ratings({"candidate_id": [1], "item": ["a"]}, Schema(query_id="candidate_id", candidate_id="item"))
    assert ratings.query_id == "column_candidate_id"


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            {"Customer ID": [1], "m": [1], "customer_id": [1]},
            {},
            CLASH.format("Customer ID", "customer_id", "customer_id"),
        ),
        (
            {"Customer ID": [1], "m": [1]},
            {"candidates": {"m": [1], "customer-id": [1]}},
            CLASH.format("Customer ID", "customer-id", "customer_id"),
        ),
    ],
)
def test_columns_that_would_have_the_same_name_are_refused(table, options, message):
    features = () if options else ("customer_id",)
    with exactly(ValueError, message):
        load_ratings(table, Schema(query_id="Customer ID", candidate_id="m", query_features=features), **options)


def test_names_and_notes_survive_selection_replacement_and_storage(tmp_path):
    ratings = load_ratings(FLAT, FLAT_SCHEMA)
    implicit = load_ratings(FLAT, Schema(query_id="Customer ID", candidate_id="product-sku"))
    assert (ratings.has_ratings, implicit.has_ratings) == (True, False)
    save_interactions(ratings, tmp_path / "rated")
    save_interactions(implicit, tmp_path / "implicit")
    for kept, original in (
        (ratings.with_events(np.array([1])), ratings),
        (dataclasses.replace(ratings, source="x"), ratings),
        (open_interactions(tmp_path / "rated"), ratings),
        (open_interactions(tmp_path / "implicit"), implicit),
    ):
        assert kept.original_names == original.original_names
        assert kept.notes == original.notes
        assert kept.has_ratings == original.has_ratings


# The columns of a flat table: what depends on the query (age, tags), on the candidate (price), and on neither.
MANY = {
    "u": [1, 2, 1, 2],
    "m": ["a", "b", "b", "a"],
    "age": [30, None, 30, None],
    "tags": [["p"], [], ["p"], []],
    "price": [1.5, float("nan"), float("nan"), 1.5],
    "hour": [1, 2, 3, 4],
    "shop": ["s"] * 4,
    "nothing": [None] * 4,
    "odd": [{"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}],
}
QUERIES_NOTE = "Features of queries, because they have one value for each query id: `age`, `tags`."
CANDIDATES_NOTE = "Features of candidates, because they have one value for each candidate id: `price`."
LEFT_OUT = "Left out, because they do not depend on one id alone, or have no values: {}."


@pytest.mark.parametrize(
    ("features", "query_columns", "candidate_columns", "notes"),
    [
        (
            {},
            ["u", "age", "tags"],
            ["m", "price"],
            [QUERIES_NOTE, CANDIDATES_NOTE, LEFT_OUT.format("`hour`, `shop`")],
        ),
        ({"query_features": (), "candidate_features": ()}, ["u"], ["m"], []),
        (
            {"query_features": ()},
            ["u"],
            ["m", "price"],
            [CANDIDATES_NOTE, LEFT_OUT.format("`age`, `tags`, `hour`, `shop`")],
        ),
        (
            {"candidate_features": ("price",)},
            ["u", "age", "tags"],
            ["m", "price"],
            [QUERIES_NOTE, LEFT_OUT.format("`hour`, `shop`")],
        ),
    ],
)
def test_features_of_a_flat_table_are_found(features, query_columns, candidate_columns, notes):
    ratings = load_ratings(MANY, Schema(query_id="u", candidate_id="m", **features))
    assert ratings.queries.column_names == query_columns
    assert ratings.candidates.column_names == candidate_columns
    assert list(ratings.notes) == notes
    assert ratings.queries["u"].to_pylist() == ["1", "2"]


def test_lists_are_mentioned_of_the_features_that_are_found_alone():
    lists = ["['a']", "['b']", "['b']", "['a']"]
    table = {**{name: MANY[name] for name in ("u", "m")}, "kinds": lists, "other": ["['a']", "[]", "[]", "[]"]}
    ratings = load_ratings(table, Schema(query_id="u", candidate_id="m"))
    assert ratings.candidates["kinds"].to_pylist() == [["a"], ["b"]]
    assert list(ratings.notes) == [
        "Features of candidates, because they have one value for each candidate id: `kinds`.",
        LEFT_OUT.format("`other`"),
        "The text in `kinds` is read as lists, such as ['a'].",
    ]


def test_a_side_whose_ids_never_recur_has_no_features_to_find():
    ratings = load_ratings({"u": [1, 2], "m": ["a", "a"], "x": [3, 4]}, Schema(query_id="u", candidate_id="m"))
    assert ratings.queries.column_names == ["u"]
    assert list(ratings.notes) == [LEFT_OUT.format("`x`")]


def test_all_columns_of_a_separate_table_are_features_unless_the_schema_names_some():
    table, candidates = {"u": [1], "m": ["a"]}, {"m": ["a"], "x": [1], "y": ["b"], "none": [None]}
    ratings = load_ratings(table, Schema(query_id="u", candidate_id="m"), candidates=candidates)
    assert ratings.candidates.to_pylist() == [{"m": "a", "x": 1, "y": "b"}]
    assert list(ratings.notes) == [
        "Left out of `candidates`, because they have no values that a feature can have: `none`."
    ]
    named = Schema(query_id="u", candidate_id="m", candidate_features=("y",))
    assert load_ratings(table, named, candidates=candidates).candidates.to_pylist() == [{"m": "a", "y": "b"}]


def test_a_feature_of_a_type_that_no_feature_has_is_refused():
    with exactly(
        TypeError,
        ("`ratings.odd` must hold text, numbers, truth values, times, or lists of these. Received: struct<a: int64>."),
    ):
        load_ratings(MANY, Schema(query_id="u", candidate_id="m", query_features=("odd",)))


# Four words, each in three lists or more.
GENRES = ["a|b", "a|c", "b|c", "a|b|c", "b", "d|a", "d|b", "d | c"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            GENRES,
            [["a", "b"], ["a", "c"], ["b", "c"], ["a", "b", "c"], ["b"], ["d", "a"], ["d", "b"], ["d", "c"]],
        ),
        (["US|1", "US|2", "US|3", "DE|1", "DE|4", "US|5", "US|6", "DE|7"], None),
        (["a|b", "c", "c", "c", "c", "c", "c", "c"], None),
        (["a|", "a|b", "a|b|", "b|a", "b", "a", "b|", "|"], None),
        (['["a", "b"]', "[]", '["b"]'], [["a", "b"], [], ["b"]]),
        (["['a', 'b']", "[]", "['b']"], [["a", "b"], [], ["b"]]),
        (["[0.5, 1]", "[2, 3]", "[1.5]"], [[0.5, 1.0], [2.0, 3.0], [1.5]]),
        (["[1, 2]", "[2]", "[]"], [[1, 2], [2], []]),
        (["[a]", "[b]", "[c]"], None),
        (['["a", 1]', "[]", "[]"], None),
        (['["a"]', "a", "b"], None),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
def test_text_that_shows_lists_becomes_lists(values, expected, separate):
    ids = list("abcdefgh")[: len(values)]
    table, features = {"u": ids, "m": ids}, {"m": ids, "kinds": values}
    schema = Schema(query_id="u", candidate_id="m", query_features=(), candidate_features=("kinds",))
    ratings = (
        load_ratings(table, schema, candidates=features) if separate else load_ratings({**table, **features}, schema)
    )
    assert ratings.candidates["kinds"].to_pylist() == (values if expected is None else expected)
    example = next(value for value in values if "|" in value or len(value) > 2)
    assert list(ratings.notes) == ([f"The text in `kinds` is read as lists, such as {example}."] if expected else [])


IDS_OF_ALL = Schema(query_id="u", candidate_id="m")
COMMAS = "The comma in numbers of `kinds` such as {} is read as a decimal comma."
THOUSANDS = (
    "`kinds` holds numbers such as {}, whose comma may divide a fraction or thousands. The column stays text; write "
    "them with a decimal point, or without a comma."
)


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (["12,53", "9,90", "-0,5"], [12.53, 9.9, -0.5], COMMAS.format("12,53")),
        (["12", "9,90", " 7,1 "], [12, 9.9, 7.1], COMMAS.format("9,90")),
        (["1.299,95", "1.000.000,5", "3"], [1299.95, 1000000.5, 3], COMMAS.format("1.299,95")),
        (["1,250", "9,90", "7"], [1.25, 9.9, 7], COMMAS.format("1,250")),
        (["9,90", "", "N/A"], [9.9, None, None], COMMAS.format("9,90")),
        (["9,90", None, "8,5"], [9.9, None, 8.5], COMMAS.format("9,90")),
        (["1,250", "2,750", "7"], ["1,250", "2,750", "7"], THOUSANDS.format("1,250")),
        (["9,90", "8,50", "on request"], ["9,90", "8,50", "on request"], None),
        (["9,90", "8,50", "7.25"], ["9,90", "8,50", "7.25"], None),
        (["1,2,3", "4,5", "6"], ["1,2,3", "4,5", "6"], None),
        (["007", "12", "x"], ["007", "12", "x"], None),
        (["007", "9,90", "8"], ["007", "9,90", "8"], None),
        (["01,5", "9,90", "8"], ["01,5", "9,90", "8"], None),
        (["0,5", "0", "8"], [0.5, 0, 8], COMMAS.format("0,5")),
        (["", "", "NA"], ["", "", "NA"], None),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("is_declared", [False, True])
def test_features_with_decimal_commas_are_numbers(values, expected, note, separate, is_declared):
    # Each id has two events, so that the features of a flat table can be found.
    ids = list("abc")
    users, flat = [f"{row}{place}" for row in ids for place in "xy"], [row for row in ids for _ in "xy"]
    features = {"m": ids, "kinds": values}
    schema = Schema(query_id="u", candidate_id="m", candidate_features=("kinds",) if is_declared else None)
    if separate:
        ratings = load_ratings({"u": users, "m": flat}, schema, candidates=features)
    else:
        repeated = [value for value in values for _ in "xy"]
        ratings = load_ratings({"u": users, "m": flat, "kinds": repeated}, schema)
    assert ratings.candidates["kinds"].to_pylist() == expected
    assert [sentence for sentence in ratings.notes if "comma" in sentence] == ([note] if note else [])


@pytest.mark.parametrize(
    ("usual", "odd", "note"),
    [
        (["9,90", "8,50"], ["on request"], ("9,90", 1, "on request")),
        (["9.90", "8.50"], ["on request", "soon"], ("9.90", 2, "on request")),
        (["9,90", "8"], ["7.25"], ("9,90", 1, "7.25")),
        (["9,90", "8"], ["7.25", "", "NA", None], ("9,90", 1, "7.25")),
        (["85711", "94043"], ["T8H1N"], None),
        (["9,90", "8,50"], [f"word {number}" for number in range(9)], None),
        (["blue", "red"], ["9,90"], None),
    ],
)
def test_few_cells_that_keep_a_feature_from_being_a_number_are_named(usual, odd, note):
    values = [*usual * 20, *odd]
    ids = list(map(str, range(len(values))))
    ratings = load_ratings({"u": ids, "m": ids}, IDS_OF_ALL, candidates={"m": ids, "price": values})
    assert ratings.candidates["price"].to_pylist() == values
    text = (
        "`price` holds numbers such as {}, but stays text because of {} other values, such as {!r}. Correct them, or "
    )
    assert list(ratings.notes) == ([] if note is None else [text.format(*note) + "leave these cells empty."])


def test_a_context_with_decimal_commas_is_a_number():
    schema = Schema(query_id="u", candidate_id="m", event_features=("paid",))
    ratings = load_ratings({"u": [1, 2], "m": ["a", "a"], "paid": ["1,5", "2,25"]}, schema)
    assert ratings.events["paid"].to_pylist() == [1.5, 2.25]


REPEATED = {
    "u": [1, 2, 1, 1, 2],
    "m": ["a", "b", "a", "c", "b"],
    "r": [1.0, 2.0, 4.0, 3.0, 5.0],
    "t": [30, 10, 20, 5, 10],
    "w": [1.0, 1.0, 3.0, 2.0, 0.0],
    "device": ["p", "q", "r", "s", "t"],
}
COUNTED = "2 of 3 pairs of a query and a candidate have several events, 4 in all. "


# Pairs: (1, a) in rows 0 and 2, of which row 0 is later; (2, b) in rows 1 and 4 at one time; (1, c) in row 3.
@pytest.mark.parametrize(
    ("repeats", "ratings", "rows", "note"),
    [
        (
            "keep",
            [1, 2, 4, 3, 5],
            [0, 1, 2, 3, 4],
            "They are kept; random splits keep the events of a pair in one part.",
        ),
        ("last", [1, 3, 5], [0, 3, 4], "The last event of each pair is kept."),
        # (1 * 1 + 3 * 4) / (1 + 3) = 3.25 and (1 * 2 + 0 * 5) / (1 + 0) = 2.
        ("mean", [3.25, 3, 2], [0, 3, 4], "Each pair has become one event with the mean rating."),
        ("sum", [5, 3, 7], [0, 3, 4], "Each pair has become one event with the sum of the ratings."),
        ("count", [2, 1, 2], [0, 3, 4], "Each pair has become one event whose rating is the number of events."),
    ],
)
def test_events_of_a_pair_are_counted_and_merged(repeats, ratings, rows, note):
    schema = Schema(
        query_id="u", candidate_id="m", rating="r", timestamp="t", weight="w", query_features=(), candidate_features=(),
        event_features=("device",),
    )  # fmt: skip
    loaded = load_ratings(REPEATED, schema, repeats=repeats)
    assert loaded.ratings.tolist() == ratings
    for column, name in (("timestamp", "t"), ("weight", "w"), ("device", "device")):
        assert loaded.events[column].to_pylist() == [REPEATED[name][row] for row in rows]
    assert loaded.notes[-1] == COUNTED + note


@pytest.mark.parametrize(
    ("repeats", "ratings", "has_ratings"),
    [("keep", [1] * 5, False), ("last", [1] * 3, False), ("mean", [1] * 3, False), ("count", [2, 1, 2], True)],
)
def test_without_ratings_counting_makes_some(repeats, ratings, has_ratings):
    schema = Schema(query_id="u", candidate_id="m", query_features=(), candidate_features=())
    loaded = load_ratings(REPEATED, schema, repeats=repeats)
    assert loaded.ratings.tolist() == ratings
    assert loaded.has_ratings == has_ratings


def test_without_times_the_last_row_is_the_last_event():
    schema = Schema(query_id="u", candidate_id="m", rating="r", query_features=(), candidate_features=())
    assert load_ratings(REPEATED, schema, repeats="last").ratings.tolist() == [4, 3, 5]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 5), st.integers(0, 3)), min_size=1),
    repeats=st.sampled_from(["last", "mean", "sum", "count"]),
)
def test_merging_agrees_with_a_loop_over_the_events(pairs, repeats):
    query, candidate, ratings, times = (list(values) for values in zip(*pairs, strict=True))
    schema = Schema(query_id="u", candidate_id="m", rating="r", timestamp="t", query_features=(), candidate_features=())
    loaded = load_ratings({"u": query, "m": candidate, "r": ratings, "t": times}, schema, repeats=repeats)
    expected = {}
    for pair in set(zip(query, candidate, strict=True)):
        rows = [row for row in range(len(pairs)) if (query[row], candidate[row]) == pair]
        last = max(rows, key=lambda row: (times[row], row))
        values = [ratings[row] for row in rows]
        rating = {"last": ratings[last], "mean": sum(values) / len(values), "sum": sum(values), "count": len(values)}
        expected[last] = (str(pair[0]), str(pair[1]), np.float32(rating[repeats]), times[last])
    found = zip(
        loaded.queries["u"].take(loaded.query_rows).to_pylist(),
        loaded.candidates["m"].take(loaded.candidate_rows).to_pylist(),
        loaded.ratings,
        loaded.timestamps,
        strict=True,
    )
    assert list(found) == [expected[row] for row in sorted(expected)]


RATINGS = load_ratings({"u": [1], "m": [1]}, Schema(query_id="u", candidate_id="m"))


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (
            lambda value: require_interactions(value, "train"),
            pa.table({}),
            "`train` must be `Interactions`. Received: a Table. Read a table or a file with `load_ratings` first.",
        ),
        (
            lambda value: require_split(value, "split"),
            RATINGS,
            "`split` must be a `Split`. Received: a Interactions. Make one with a function such as `temporal_split`.",
        ),
        (
            lambda value: dataclasses.replace(RATINGS, events=value),
            {"query_row": [0]},
            "`events` must be an Arrow table. Received: a dict. Read other tables with `load_ratings`.",
        ),
        (
            lambda value: dataclasses.replace(RATINGS, events=RATINGS.events.set_column(2, "rating", [value])),
            ["five"],
            "`rating` must hold numbers. Received: string. Read other tables with `load_ratings`.",
        ),
        (RATINGS.with_events, [0.5], "`rows` must be integers [n]. Received: float64 [1]."),
        (
            lambda value: Split(train=value, validation=RATINGS, test=RATINGS, history=RATINGS),
            "ratings.csv",
            "`train` must be `Interactions`. Received: a str. Read a table or a file with `load_ratings` first.",
        ),
        (
            lambda value: save_interactions(value, "folder"),
            7,
            "`interactions` must be `Interactions`. Received: a int. Read a table or a file with `load_ratings` first.",
        ),
        (
            lambda value: normalize_ratings(value, query_id="u", candidate_id="m"),
            {"u": [1]},
            "`flat` must be an Arrow table. Received: a dict. Use `load_ratings` for it.",
        ),
        (
            lambda value: Schema(query_id=value, candidate_id="m"),
            None,
            "`query_id` must be the name of a column. Received: None.",
        ),
        (
            lambda value: Schema(query_id="u", candidate_id="m", rating=value),
            3,
            "`rating` must be the name of a column. Received: 3.",
        ),
        (
            lambda value: Schema(query_id="u", candidate_id="m", event_features=value),
            None,
            "`event_features` must be a tuple of names. Received: None.",
        ),
        (
            lambda value: Schema(query_id="u", candidate_id="m", query_features=value),
            (1, 2),
            "`query_features` must be a tuple of names. Received: (1, 2).",
        ),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(check, value, message):
    with exactly(TypeError, message):
        check(value)


def test_rows_and_columns_that_do_not_fit_are_refused():
    with exactly(ValueError, "`rows` must be rows of `events`, 0 to 0. Received: 0 to 1."):
        RATINGS.with_events(np.array([0, 1]))
    flat = pa.table({"u": ["a"], "m": ["b"], "rating": ["five"]})
    message = "`rating` must hold values that fit float. Received: string. Use `load_ratings`, which reads other forms."
    with exactly(ValueError, message):
        normalize_ratings(flat, query_id="u", candidate_id="m")


def test_the_right_arguments_are_returned():
    assert require_interactions(RATINGS, "train") is RATINGS
    assert isinstance(RATINGS, Interactions)
