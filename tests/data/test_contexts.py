"""Contexts and requests: what is equal is held once, and each event is of the request that it belongs to."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfrs_twotower as tt
from tfrs_twotower.data.contexts import find_contexts

VALUES = {
    "hour": st.none() | st.integers(0, 2),
    "price": st.none() | st.sampled_from([0.5, 1.5]),
    "device": st.none() | st.sampled_from(["phone", "tv"]),
    "words": st.none() | st.lists(st.none() | st.sampled_from(["a", "b"]), max_size=2),
}
TYPES = pa.schema(
    {"hour": pa.int64(), "price": pa.float32(), "device": pa.string(), "words": pa.list_(pa.string())}.items()
)


def make_events(rows, **features) -> tt.Interactions:
    queries, candidates = np.array(rows).T
    return tt.Interactions(
        queries=pa.table({"user_id": ["u0", "u1", "u2"], "age": [20, 30, 40]}),
        candidates=pa.table({"item_id": ["i0", "i1"]}),
        events=pa.table({"query_row": queries, "candidate_row": candidates, "rating": [1.0] * len(rows), **features}),
        query_id="user_id",
        candidate_id="item_id",
    )


@given(st.lists(st.fixed_dictionaries(VALUES), max_size=12))
def test_events_share_a_context_exactly_if_all_their_features_are_equal(events):
    contexts = find_contexts(pa.Table.from_pylist(events, TYPES))
    assert contexts.table.take(pa.array(contexts.rows)).to_pylist() == events
    assert contexts.table.num_rows == len({repr([event[name] for name in VALUES]) for event in events})
    assert contexts.rows.dtype == np.int32


def test_a_request_is_a_query_in_a_context_of_its_events():
    events = make_events([(1, 0), (0, 1), (1, 1), (1, 0)], hour=[9, 9, 20, 9])
    requests = events.requests
    hours = events.contexts.table["hour"].to_numpy()[requests.context_rows]
    found = list(zip(requests.query_rows.tolist(), hours.tolist(), strict=True))
    assert sorted(found) == [(0, 9), (1, 9), (1, 20)]
    assert found == [(0, 9), (1, 9), (1, 20)] or found == [(0, 9), (1, 20), (1, 9)]
    assert [found[place] for place in requests.of_events] == [(1, 9), (0, 9), (1, 20), (1, 9)]


def test_without_event_features_every_query_is_a_request():
    events = make_events([(1, 0), (0, 1)])
    assert events.event_features == ()
    assert events.requests.query_rows.tolist() == [0, 1, 2]
    assert events.requests.of_events.tolist() == [1, 0]
    assert events.by_request() is events


def test_what_a_query_has_seen_is_repeated_for_each_of_its_requests():
    events = make_events([(1, 0), (0, 1), (1, 1)], hour=[9, 9, 20])
    seen = np.array([[1, 5], [2, 6], [1, 7], [0, 8]])
    assert events.requests.of_pairs(seen).tolist() == [[0, 8], [1, 5], [1, 7], [2, 5], [2, 7]]
    assert events.requests.of_pairs(seen, np.array([2])).tolist() == [[2, 5], [2, 7]]
    assert events.requests.of_pairs(np.zeros((0, 2), int)).shape == (0, 2)


def test_a_row_for_each_request_has_the_columns_of_query_and_context():
    events = make_events([(1, 0), (0, 1), (1, 1)], hour=[9, 9, 20], request=["x", "y", "z"])
    by_request = events.by_request()
    assert by_request.query_id == "request_"  # `request` is taken
    assert by_request.num_queries == 3
    rows = by_request.queries.to_pylist()
    found = [rows[row] for row in by_request.query_rows]
    assert [(row["user_id"], row["age"], row["hour"], row["request"]) for row in found] == [
        ("u1", 30, 9, "x"),
        ("u0", 20, 9, "y"),
        ("u1", 30, 20, "z"),
    ]
    assert by_request.event_features == ()
    assert by_request.candidate_rows.tolist() == [0, 1, 1]


def test_a_feature_of_events_and_of_queries_is_refused():
    with pytest.raises(ValueError, match="`events` must not have the features of `queries`.*in both: age. Rename"):
        make_events([(0, 0)], age=[3])


def test_a_table_of_queries_with_an_event_feature_is_refused():
    ratings = {"user": ["a", "b"], "item": ["x", "x"], "hour": [1, 2]}
    schema = tt.Schema(query_id="user", candidate_id="item", event_features=("hour",))
    with pytest.raises(ValueError, match="in both: hour"):
        tt.load_ratings(ratings, schema, queries={"user": ["a", "b"], "hour": [3, 4]})


def test_newer_events_in_another_context_are_new():
    known = make_events([(0, 0), (1, 1)], hour=[9, None])
    newer = make_events([(0, 0), (0, 0), (1, 1)], hour=[9, 20, None])
    merged, rows = tt.data.merge_interactions(known, newer)
    assert merged.events["hour"].to_pylist() == [9, None, 20]
    assert rows.tolist() == [2]


def test_newer_events_without_the_context_are_refused():
    known = make_events([(0, 0)], hour=[9])
    without = dataclasses.replace(known, events=known.events.drop_columns(["hour"]))
    with pytest.raises(ValueError, match="columns of events of `known`: .*hour.*Missing: hour"):
        tt.data.merge_interactions(known, without)
