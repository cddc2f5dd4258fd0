"""Ids that nothing has happened with for some time are dropped, and catalogue without events stays."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt

DAY = 86_400


def ratings() -> tt.Interactions:
    """Days 0, 50 and 100; "old" ids have events of day 0 alone, "mixed" ones also later."""
    return tt.Interactions(
        queries=pa.table({"user_id": ["old", "mixed", "recent", "none"], "age": [1, 2, 3, 4]}),
        candidates=pa.table({"movie_id": ["none", "old", "mixed", "recent"]}),
        events=pa.table(
            {
                "query_row": pa.array([0, 0, 1, 1, 2, 2], pa.int32()),
                "candidate_row": pa.array([1, 2, 1, 2, 2, 3], pa.int32()),
                "rating": pa.array([1.0, 2, 3, 4, 5, 5], pa.float32()),
                "timestamp": np.array([0, 0, 0, 50, 100, 100]) * DAY,
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )


@pytest.mark.parametrize(
    ("after_days", "queries", "candidates", "event_rows"),
    [
        (100, [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]),
        (50, [1, 2, 3], [0, 2, 3], [3, 4, 5]),
        (49.9, [2, 3], [0, 2, 3], [4, 5]),
        (0, [2, 3], [0, 2, 3], [4, 5]),
    ],
)
def test_ids_without_a_recent_event_go_with_their_events(after_days, queries, candidates, event_rows):
    before = ratings()
    kept = tt.data.drop_unseen(before, after_days=after_days)
    assert kept.query_rows.tolist() == queries
    assert kept.candidate_rows.tolist() == candidates
    assert kept.event_rows.tolist() == event_rows
    after = kept.interactions
    assert after.queries.equals(before.queries.take(pa.array(queries)))
    assert after.events.drop_columns(["query_row", "candidate_row"]).equals(
        before.events.take(pa.array(event_rows)).drop_columns(["query_row", "candidate_row"])
    )
    for table, rows, name in (("queries", "query_rows", "user_id"), ("candidates", "candidate_rows", "movie_id")):
        ids = [np.array(getattr(part, table)[name].to_pylist())[getattr(part, rows)] for part in (before, after)]
        np.testing.assert_array_equal(ids[0][event_rows], ids[1])


def test_events_without_times_are_refused():
    timeless = dataclasses.replace(ratings(), events=ratings().events.drop_columns(["timestamp"]))
    with pytest.raises(ValueError, match="`interactions` must have times: without them"):
        tt.data.drop_unseen(timeless, after_days=30)


@pytest.mark.parametrize("after_days", [-1, float("nan"), float("inf")])
def test_impossible_numbers_of_days_are_refused(after_days):
    with pytest.raises(ValueError, match="`after_days` must be finite and at least 0. Received: "):
        tt.data.drop_unseen(ratings(), after_days=after_days)
