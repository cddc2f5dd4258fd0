import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.normalization import normalize_ratings

RATINGS = make_interactions([0, 1], [1, 0], [3.0, 5.0], num_queries=2, num_candidates=2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query_id": "uid"}, ValueError, "`queries` must have the id column 'uid'. Received: user_id, age."),
        ({"queries": pa.table({"user_id": [1, 2]})}, TypeError, "`queries.user_id` must hold strings. Received: int64"),
        ({"queries": pa.table({"user_id": ["u", None]})}, ValueError, "`queries.user_id` must not hold nulls"),
        ({"queries": pa.table({"user_id": ["u", ""]})}, ValueError, "`queries.user_id` must not hold an empty id"),
        ({"queries": pa.table({"user_id": ["u", "u"]})}, ValueError, r"Received 1 repeated ids, the first \['u'\]"),
        ({"events": pa.table({"query_row": [0]})}, ValueError, "Missing: candidate_row, rating; received: query_row"),
        (
            {"events": pa.table({"query_row": [0, 2], "candidate_row": [0, 0], "rating": [1.0, 1.0]})},
            ValueError,
            r"must be a row of `queries`, 0 to 1. Received 1 other values, the first in rows \[1\], counted "
            r"from 0: \[2\]",
        ),
        (
            {"events": pa.table({"query_row": [0], "candidate_row": [-1], "rating": [1.0]})},
            ValueError,
            "`candidate_row` must be a row of `candidates`",
        ),
        (
            {"events": pa.table({"query_row": [0], "candidate_row": [0], "rating": [float("nan")]})},
            ValueError,
            r"`rating` must be finite. Received 1 other values, the first in rows \[0\]",
        ),
    ],
)
def test_invalid_tables_are_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(RATINGS, **change)


@pytest.mark.parametrize("column", [pa.array([5, None]), pa.array([5, 7], pa.timestamp("ms")), pa.array([5.0, 7.0])])
def test_a_timestamp_must_be_an_integer(column):
    with pytest.raises(TypeError, match="`timestamp` must hold integers and no nulls"):
        dataclasses.replace(RATINGS, events=RATINGS.events.append_column("timestamp", column))


@pytest.mark.parametrize("column", [pa.array([0.7]), pa.array([None], pa.int32())])
def test_a_row_must_be_an_integer(column):
    events = pa.table({"query_row": column, "candidate_row": [0], "rating": [1.0]})
    with pytest.raises(TypeError, match="`query_row` must hold integers and no nulls"):
        dataclasses.replace(RATINGS, events=events)


def test_a_row_beyond_32_bits_does_not_wrap_around():
    events = pa.table({"query_row": [2**32], "candidate_row": [0], "rating": [1.0]})
    with pytest.raises(ValueError, match="`query_row` must be a row of `queries`, 0 to 1"):
        dataclasses.replace(RATINGS, events=events)


def test_selecting_events_keeps_all_queries_and_candidates():
    part = RATINGS.with_events(np.array([1]))
    assert part.events.to_pylist() == [{"query_row": 1, "candidate_row": 0, "rating": 5.0}]
    assert part.queries is RATINGS.queries
    assert part.candidates is RATINGS.candidates


def test_fingerprint_follows_the_data():
    same = make_interactions([0, 1], [1, 0], [3.0, 5.0], num_queries=2, num_candidates=2)
    other = make_interactions([0, 1], [1, 0], [3.0, 4.0], num_queries=2, num_candidates=2)
    assert same.fingerprint() == RATINGS.fingerprint() != other.fingerprint()
    changed = [
        dataclasses.replace(RATINGS, queries=RATINGS.queries.append_column("x", [[1, 2]])),
        dataclasses.replace(RATINGS, queries=RATINGS.queries.set_column(1, "age", [[1.0, 2.0]])),
        dataclasses.replace(RATINGS, candidates=RATINGS.candidates.set_column(1, "title", [["a", None]])),
        dataclasses.replace(RATINGS, events=RATINGS.events.append_column("timestamp", [[1, 2]])),
    ]
    assert len({ratings.fingerprint() for ratings in (RATINGS, other, *changed)}) == 6


def test_fingerprint_tells_queries_from_candidates():
    def make(queries: list[str], candidates: list[str]) -> Interactions:
        events = pa.table({"query_row": [0], "candidate_row": [0], "rating": [1.0]})
        tables = {"queries": pa.table({"id": queries}), "candidates": pa.table({"id": candidates})}
        return Interactions(events=events, query_id="id", candidate_id="id", **tables)

    assert make(["a"], ["b", "c"]).fingerprint() != make(["a", "b"], ["c"]).fingerprint()


def test_normalizing_keeps_all_ratings_in_order():
    flat = pa.table(
        {
            "user": ["b", "a", "b"],
            "item": ["y", "y", "x"],
            "kinds": [["p"], ["p"], []],
            "rating": [1, 2, 3],
            "timestamp": [30, 20, 10],
        }
    )
    ratings = normalize_ratings(flat, query_id="user", candidate_id="item", candidate_features=["kinds"])
    assert ratings.queries.to_pylist() == [{"user": "b"}, {"user": "a"}]
    assert ratings.candidates.to_pylist() == [{"item": "y", "kinds": ["p"]}, {"item": "x", "kinds": []}]
    assert ratings.events.to_pydict() == {
        "query_row": [0, 1, 0],
        "candidate_row": [0, 0, 1],
        "rating": [1.0, 2.0, 3.0],
        "timestamp": [30, 20, 10],
    }


def test_normalizing_names_a_missing_column():
    with pytest.raises(ValueError, match="The table has no column age. Its columns: u, m, rating."):
        normalize_ratings(
            pa.table({"u": ["a"], "m": ["b"], "rating": [1.0]}), query_id="u", candidate_id="m", query_features=["age"]
        )


def test_normalizing_names_the_id_and_row_of_a_feature_with_two_values():
    flat = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "x"], "age": [1, 2, 3], "rating": [1.0, 1.0, 1.0]})
    with pytest.raises(
        ValueError, match="`age` must have one value for each id. Received for 'a': 1 first, 3 in row 2"
    ):
        normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age"])


def test_normalizing_treats_missing_values_as_equal():
    flat = pa.table(
        {
            "u": ["a", "a"],
            "m": ["x", "y"],
            "age": [float("nan")] * 2,
            "zip": pa.nulls(2, pa.string()),
            "rating": [1.0, 2.0],
        }
    )
    ratings = normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age", "zip"])
    assert ratings.num_queries == 1


def test_normalizing_names_the_row_of_an_id_that_is_null():
    flat = pa.table({"u": ["a", None], "m": ["x", "y"], "rating": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"`u` must not hold nulls. Received 1, the first in rows \[1\]"):
        normalize_ratings(flat, query_id="u", candidate_id="m")


def test_normalizing_treats_nans_in_lists_as_equal():
    flat = pa.table({"u": ["a", "a"], "m": ["x", "y"], "v": [[1.0, float("nan")]] * 2, "rating": [1.0, 2.0]})
    assert normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["v"]).num_queries == 1
