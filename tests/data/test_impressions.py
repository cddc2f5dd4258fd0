"""Impressions: read from lists in any form, checked, and kept by everything that selects or renumbers events."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import tfrs_twotower as tt
from tfrs_twotower.data.impressions import Impressions

SCHEMA = tt.Schema(query_id="customer", candidate_id="sku", impressions="shown")
CUSTOMERS, CHOSEN = ["c1", "c2", "c1", "c3"], ["1", "2", "3", "1"]
# What was shown and not chosen: the chosen candidate, a second time and unknown ids are left out.
WANTED = [["2", "3"], [], ["1"], ["3"]]
FORMS = {
    "lists": [["1", "2", "3"], None, ["1", "1", "3"], ["3", "9"]],
    "whole numbers": [[1, 2, 3], [], [1, 1, 3], [3, 9]],
    "floats": [[1.0, 2.0, 3.0], [2.0], [1.0], [3.0, float("nan")]],
    "bars": ["1|2|3", "", "1|1|3", "3|9"],
    "one each and none": ["2|3", None, "1", "3"],
    "JSON": ['["1", "2", "3"]', "[]", '["1", "3"]', '["3"]'],
    "Python": ["['2', '3', '1']", "", "['1']", "['3']"],
    "numbers in brackets": ["[2, 3]", "[2]", "[1]", "[3]"],
}


def lists_of(interactions: tt.Interactions) -> list[list[str]]:
    ids = interactions.candidates[interactions.candidate_id].to_pylist()
    return [[ids[row] for row in rows] for rows in interactions.events["impressions"].to_pylist()]


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_ids_are_read_in_every_form(form):
    table = {"customer": CUSTOMERS, "sku": CHOSEN, "shown": FORMS[form]}
    assert [sorted(ids) for ids in lists_of(tt.load_ratings(table, SCHEMA))] == WANTED


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_lists_are_read_from_files(tmp_path, suffix):
    file = tmp_path / f"ratings.{suffix}"
    if suffix == "csv":
        # Every value looks like a number here, and an id such as 01 must stay text.
        rows = zip(CUSTOMERS, ["01", "2", "3", "01"], ["2", "", "01", "3"], strict=True)
        file.write_text("customer,sku,shown\n" + "".join(f"{','.join(row)}\n" for row in rows))
        assert lists_of(tt.load_ratings(file, SCHEMA)) == [["2"], [], ["01"], ["3"]]
        return
    shown = pa.array(FORMS["lists"], pa.large_list(pa.large_string()))
    table = pa.table({"customer": CUSTOMERS, "sku": CHOSEN, "shown": shown})
    if suffix == "parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    assert lists_of(tt.load_ratings(file, SCHEMA)) == WANTED


def test_what_was_found_is_said():
    table = {"customer": CUSTOMERS, "sku": CHOSEN, "shown": FORMS["lists"]}
    assert tt.load_ratings(table, SCHEMA).notes == (
        "`ratings.shown` names 4 candidates that were shown and not chosen, 1.0 for each event.",
        "In `ratings.shown`, 1 of 8 ids is not in the catalogue, such as 9: it is left out.",
    )
    nothing = tt.load_ratings({**table, "shown": [None] * 4}, SCHEMA)
    assert lists_of(nothing) == [[]] * 4
    assert nothing.notes == ("`ratings.shown` names 0 candidates that were shown and not chosen, 0.0 for each event.",)
    # A catalogue of its own has candidates that nobody has chosen.
    listed = tt.load_ratings(table, SCHEMA, candidates={"sku": ["9", "1", "2", "3"]})
    assert sorted(lists_of(listed)[3]) == ["3", "9"]


@pytest.mark.parametrize(
    ("shown", "error", "message"),
    [
        ([1, 2, 3, 1], TypeError, r"`ratings.shown` must hold lists of candidate ids, or text .* Received: int64"),
        ([True] * 4, TypeError, "must hold lists of candidate ids, .* Received: bool"),
        ([{"sku": "1"}] * 4, TypeError, "must hold lists of candidate ids, .* Received: struct<sku: string>"),
        ([[1.5], [2.0], [], []], TypeError, "`ratings.shown` must hold strings or integers. Received: float64 with"),
        ([[True], [], [], []], TypeError, "`ratings.shown` must hold strings or integers. Received: bool"),
        ([[["1"]], [], [], []], TypeError, "`ratings.shown` must hold strings or integers. Received: list"),
        (["1 2 3", "2 3", "", "1 3"], ValueError, "Received 3 ids, of which none is in the catalogue, such as 1 2 3"),
        ([["x"], ["y"], [], []], ValueError, "`ratings.shown` must list ids of candidates. Received 2 ids"),
        ([["1"], [2], [], []], TypeError, "`ratings.shown` must hold"),
    ],
)
def test_a_column_that_lists_no_candidates_is_refused(shown, error, message):
    with pytest.raises(error, match=message):
        tt.load_ratings({"customer": CUSTOMERS, "sku": CHOSEN, "shown": shown}, SCHEMA)


def test_a_missing_column_and_a_second_meaning_are_refused():
    with pytest.raises(ValueError, match="`ratings` has no column shown"):
        tt.load_ratings({"customer": CUSTOMERS, "sku": CHOSEN}, SCHEMA)
    with pytest.raises(TypeError, match="`impressions` must be the name of a column. Received: 3"):
        tt.Schema(query_id="customer", candidate_id="sku", impressions=3)
    with pytest.raises(ValueError, match="A column must have only one meaning. Named twice: sku"):
        tt.Schema(query_id="customer", candidate_id="sku", impressions="sku")


def interactions(impressions, kind=None, **columns) -> tt.Interactions:
    """Two queries, four candidates m0 to m3, and one event for each list, with the candidate of its row."""
    num = len(impressions)
    events = {"query_row": np.arange(num) % 2, "candidate_row": np.arange(num) % 4, "rating": np.ones(num)}
    return tt.Interactions(
        queries=pa.table({"user_id": ["a", "b"]}),
        candidates=pa.table({"movie_id": ["m0", "m1", "m2", "m3"]}),
        events=pa.table({**events, "impressions": pa.array(impressions, kind), **columns}),
        query_id="user_id",
        candidate_id="movie_id",
    )


@pytest.mark.parametrize(
    ("impressions", "kind", "error", "message"),
    [
        ([1, 2], None, TypeError, "`impressions` must hold lists of rows of `candidates`. Received: int64"),
        ([["m1"], []], None, TypeError, "`impressions` must hold lists of rows of `candidates`. Received: list"),
        ([[1], None], None, ValueError, "`impressions` must hold no nulls, but empty lists. Received: 1 nulls"),
        ([[1, None], []], None, ValueError, "`impressions` must hold no nulls"),
        ([[1, 4], []], None, ValueError, r"`impressions` must hold rows of `candidates`, 0 to 3. Received 1 .* \[4\]"),
        ([[-1], []], pa.list_(pa.int32()), ValueError, "`impressions` must hold rows of `candidates`"),
    ],
)
def test_interactions_with_impossible_impressions_are_refused(impressions, kind, error, message):
    with pytest.raises(error, match=message):
        interactions(impressions, kind)


def test_selected_and_stored_events_keep_their_impressions(tmp_path):
    data = interactions([[1, 2], [], [3], [0]])
    selected = data.with_events(np.array([2, 0]))
    assert selected.events["impressions"].to_pylist() == [[3], [1, 2]]
    assert selected.impressions.starts.tolist() == [0, 1, 3]
    assert data.event_features == ()
    tt.data.save_interactions(selected, tmp_path / "stored")
    stored = tt.data.open_interactions(tmp_path / "stored")
    assert stored.impressions.candidate_rows.tolist() == [3, 1, 2]
    assert stored.fingerprint() == selected.fingerprint()
    # The same candidates in other lists are other data.
    assert interactions([[1], [2]]).fingerprint() != interactions([[1, 2], []]).fingerprint()


@pytest.mark.filterwarnings("ignore:Without a training event")
@pytest.mark.parametrize("make", [lambda data: tt.random_split(data, seed=0), tt.temporal_split])
def test_the_parts_of_a_split_have_the_impressions_of_their_events(make):
    lists = [[row // 4 % 4] for row in range(40)]
    split = make(interactions(lists, timestamp=pa.array(np.arange(40))))
    for part in (split.train, split.validation, split.test, split.seen, split.context):
        assert part.events["impressions"].to_pylist() == [lists[time] for time in part.timestamps]


def test_merged_and_dropped_candidates_are_renumbered():
    known = interactions([[1], [2]], timestamp=pa.array([0, 10]))
    newer = dataclasses.replace(
        interactions([[0, 3], [1]], timestamp=pa.array([20, 30])),
        candidates=pa.table({"movie_id": ["m3", "new", "m1", "m0"]}),
    )
    merged, _ = tt.data.merge_interactions(known, newer)
    assert lists_of(merged) == [["m1"], ["m2"], ["m3", "m0"], ["new"]]
    with pytest.raises(ValueError, match="`newer` must have the columns of events of `known`.* Missing: impressions"):
        tt.data.merge_interactions(known, dataclasses.replace(newer, events=newer.events.drop_columns("impressions")))
    days = pa.array(np.array([0, 50, 100, 100]) * 86_400)
    kept = tt.data.drop_unseen(interactions([[1], [2], [1, 0, 3], [2, 0]], timestamp=days), after_days=60).interactions
    # m0 has no event after day 40.
    assert kept.candidates["movie_id"].to_pylist() == ["m1", "m2", "m3"]
    assert lists_of(kept) == [["m2"], ["m1", "m3"], ["m2"]]


def test_merged_repeats_have_the_impressions_of_the_last_event():
    table = {"customer": ["c1", "c1", "c2"], "sku": ["1", "1", "2"], "shown": [["2"], [], ["1"]]}
    assert lists_of(tt.load_ratings(table, SCHEMA, repeats="count")) == [[], ["1"]]


def test_columns_of_several_chunks_are_read_and_written():
    column = pa.chunked_array([[[0, 2], []], [[1]], []], pa.list_(pa.int64()))
    impressions = Impressions.of_column(column)
    assert impressions.to_column().to_pylist() == [[0, 2], [], [1]]
    # A slice of a chunk has only its own items.
    assert Impressions.of_column(column.slice(1)).to_column().to_pylist() == [[], [1]]
    assert impressions.where(np.array([False, True, True])).to_column().to_pylist() == [[2], [], [1]]
