import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions

STAR = make_interactions([0, 1], [1, 0], [3.0, 5.0], num_queries=2, num_candidates=2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query_id": "uid"}, ValueError, "`queries` must have the id column 'uid'. Received: user_id, age."),
        ({"queries": pa.table({"user_id": [1, 2]})}, TypeError, "`queries.user_id` must hold strings. Received: int64"),
        ({"queries": pa.table({"user_id": ["u", None]})}, ValueError, "`queries.user_id` must have no null"),
        ({"queries": pa.table({"user_id": ["u", ""]})}, ValueError, "`queries.user_id` must have no empty id"),
        ({"queries": pa.table({"user_id": ["u", "u"]})}, ValueError, r"Received 1 repeated ids, first \['u'\]"),
        ({"events": pa.table({"query_row": [0]})}, ValueError, "Missing: candidate_row, rating; received: query_row"),
        (
            {"events": pa.table({"query_row": [0, 2], "candidate_row": [0, 0], "rating": [1.0, 1.0]})},
            ValueError,
            r"`query_row` must be a row of `queries`, 0 to 1. Received 1 others, first \[2\] in event rows \[1\]",
        ),
        (
            {"events": pa.table({"query_row": [0], "candidate_row": [-1], "rating": [1.0]})},
            ValueError,
            "`candidate_row` must be a row of `candidates`",
        ),
        (
            {"events": pa.table({"query_row": [0], "candidate_row": [0], "rating": [float("nan")]})},
            ValueError,
            r"`rating` must be finite. Received 1 other values, first in rows \[0\]",
        ),
    ],
)
def test_a_bad_star_is_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(STAR, **change)


@pytest.mark.parametrize("column", [pa.array([5, None]), pa.array([5, 7], pa.timestamp("ms")), pa.array([5.0, 7.0])])
def test_a_timestamp_is_an_integer(column):
    with pytest.raises(TypeError, match="`timestamp` must hold integers, none of them null"):
        dataclasses.replace(STAR, events=STAR.events.append_column("timestamp", column))


@pytest.mark.parametrize("column", [pa.array([0.7]), pa.array([None], pa.int32())])
def test_a_row_is_an_integer(column):
    events = pa.table({"query_row": column, "candidate_row": [0], "rating": [1.0]})
    with pytest.raises(TypeError, match="`query_row` must hold integers, none of them null"):
        dataclasses.replace(STAR, events=events)


def test_a_row_beyond_32_bits_does_not_wrap_around():
    events = pa.table({"query_row": [2**32], "candidate_row": [0], "rating": [1.0]})
    with pytest.raises(ValueError, match="`query_row` must be a row of `queries`, 0 to 1"):
        dataclasses.replace(STAR, events=events)


def test_selecting_events_keeps_queries_and_candidates():
    part = STAR.with_events(np.array([1]))
    assert part.events.to_pylist() == [{"query_row": 1, "candidate_row": 0, "rating": 5.0}]
    assert part.queries is STAR.queries
    assert part.candidates is STAR.candidates


def test_fingerprint_follows_the_data():
    same = make_interactions([0, 1], [1, 0], [3.0, 5.0], num_queries=2, num_candidates=2)
    other = make_interactions([0, 1], [1, 0], [3.0, 4.0], num_queries=2, num_candidates=2)
    assert same.fingerprint() == STAR.fingerprint() != other.fingerprint()
    changed = [
        dataclasses.replace(STAR, queries=STAR.queries.append_column("x", [[1, 2]])),
        dataclasses.replace(STAR, queries=STAR.queries.set_column(1, "age", [[1.0, 2.0]])),
        dataclasses.replace(STAR, candidates=STAR.candidates.set_column(1, "title", [["a", None]])),
        dataclasses.replace(STAR, events=STAR.events.append_column("timestamp", [[1, 2]])),
    ]
    assert len({star.fingerprint() for star in (STAR, other, *changed)}) == 6


def test_fingerprint_tells_queries_from_candidates():
    def star(queries: list[str], candidates: list[str]) -> tt.Interactions:
        events = pa.table({"query_row": [0], "candidate_row": [0], "rating": [1.0]})
        tables = {"queries": pa.table({"id": queries}), "candidates": pa.table({"id": candidates})}
        return tt.Interactions(events=events, query_id="id", candidate_id="id", **tables)

    assert star(["a"], ["b", "c"]).fingerprint() != star(["a", "b"], ["c"]).fingerprint()


def test_normalizing_keeps_every_rating_in_order():
    flat = pa.table(
        {
            "user": ["b", "a", "b"],
            "item": ["y", "y", "x"],
            "kinds": [["p"], ["p"], []],
            "rating": [1, 2, 3],
            "timestamp": [30, 20, 10],
        }
    )
    star = tt.normalize_ratings(flat, query_id="user", candidate_id="item", candidate_features=["kinds"])
    assert star.queries.to_pylist() == [{"user": "b"}, {"user": "a"}]
    assert star.candidates.to_pylist() == [{"item": "y", "kinds": ["p"]}, {"item": "x", "kinds": []}]
    assert star.events.to_pydict() == {
        "query_row": [0, 1, 0],
        "candidate_row": [0, 0, 1],
        "rating": [1.0, 2.0, 3.0],
        "timestamp": [30, 20, 10],
    }


def test_normalizing_names_a_missing_column():
    with pytest.raises(ValueError, match="The table has no column age. Its columns: u, m, rating."):
        tt.normalize_ratings(
            pa.table({"u": ["a"], "m": ["b"], "rating": [1.0]}), query_id="u", candidate_id="m", query_features=["age"]
        )


def test_normalizing_names_the_id_and_row_of_a_feature_with_two_values():
    flat = pa.table({"u": ["a", "b", "a"], "m": ["x", "x", "x"], "age": [1, 2, 3], "rating": [1.0, 1.0, 1.0]})
    with pytest.raises(
        ValueError, match="`age` must have one value for each id. Received for 'a': 1 first, 3 in row 2"
    ):
        tt.normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age"])


def test_normalizing_takes_missing_values_of_one_id_for_the_same():
    flat = pa.table(
        {
            "u": ["a", "a"],
            "m": ["x", "y"],
            "age": [float("nan")] * 2,
            "zip": pa.nulls(2, pa.string()),
            "rating": [1.0, 2.0],
        }
    )
    star = tt.normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["age", "zip"])
    assert star.num_queries == 1


def test_normalizing_names_the_row_of_an_id_that_is_null():
    flat = pa.table({"u": ["a", None], "m": ["x", "y"], "rating": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"`u` must have no null. Received 1, first in rows \[1\]"):
        tt.normalize_ratings(flat, query_id="u", candidate_id="m")


def test_normalizing_takes_lists_with_the_same_nan_for_the_same():
    flat = pa.table({"u": ["a", "a"], "m": ["x", "y"], "v": [[1.0, float("nan")]] * 2, "rating": [1.0, 2.0]})
    assert tt.normalize_ratings(flat, query_id="u", candidate_id="m", query_features=["v"]).num_queries == 1
