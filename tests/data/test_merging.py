import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.data.merging import merge_interactions


def ratings(users, movies, events, *, columns=("query_row", "candidate_row", "rating", "timestamp"), **features):
    rows = list(zip(*events, strict=True)) or [()] * len(columns)
    return tt.Interactions(
        queries=pa.table({"user_id": users}),
        candidates=pa.table({"movie_id": movies, **features}),
        events=pa.table({name: pa.array(list(values)) for name, values in zip(columns, rows, strict=True)}),
        query_id="user_id",
        candidate_id="movie_id",
    )


def test_known_rows_stay_and_newer_features_replace_older_ones():
    known = ratings(
        ["a", "b"], ["x", "y"], [(0, 0, 5.0, 1), (1, 1, 4.0, 2)], title=["X", "Y"], genres=[["u"], ["v", "w"]]
    )
    newer = ratings(
        ["c", "b"], ["z", "y"], [(0, 0, 3.0, 5), (1, 1, 4.0, 2), (1, 1, 4.0, 9)], title=["Z", "New"], genres=[[], ["q"]]
    )
    merged, rows = merge_interactions(known, newer)
    assert merged.queries["user_id"].to_pylist() == ["a", "b", "c"]
    assert merged.candidates.to_pydict() == {
        "movie_id": ["x", "y", "z"],
        "title": ["X", "New", "Z"],
        "genres": [["u"], ["q"], []],
    }
    # The second newer event was known: the same pair, rating and time.
    assert rows.tolist() == [2, 3]
    assert list(zip(merged.query_rows, merged.candidate_rows, merged.timestamps, strict=True))[2:] == [
        (2, 2, 5),
        (1, 1, 9),
    ]


def test_a_feature_that_the_newer_table_lacks_is_kept_and_missing_for_new_ids():
    known = ratings(["a"], ["x"], [(0, 0, 5.0, 1)], title=["X"])
    merged, _ = merge_interactions(known, ratings(["a"], ["x", "y"], [(0, 1, 5.0, 2)]))
    assert merged.candidates["title"].to_pylist() == ["X", None]


def test_tables_that_do_not_match_are_refused():
    known = ratings(["a"], ["x"], [(0, 0, 5.0, 1)])
    without_times = ratings(["a"], ["x"], [(0, 0, 5.0)], columns=("query_row", "candidate_row", "rating"))
    with pytest.raises(ValueError, match="Missing: timestamp; too many: none"):
        merge_interactions(known, without_times)
    with pytest.raises(TypeError, match="`newer` must be `Interactions`"):
        merge_interactions(known, np.zeros(3))
