import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions


@pytest.fixture
def data() -> tt.Interactions:
    star = make_interactions([0, 1, 1], [1, 0, 2], [1, 2, 3], num_queries=2, num_candidates=3)
    events = star.events.append_column("timestamp", [[7, 8, 9]]).append_column("weight", [[1.0, 0.5, 2.0]])
    # In two chunks, as a folder of shards gives it.
    return dataclasses.replace(star, events=pa.concat_tables([events.slice(0, 1), events.slice(1)]))


def test_what_is_opened_is_what_was_saved(data, tmp_path):
    tt.save_interactions(data, tmp_path / "deep" / "ratings")
    opened = tt.open_interactions(tmp_path / "deep" / "ratings")
    for name in ("queries", "candidates", "events"):
        assert getattr(opened, name).equals(getattr(data, name))
    assert (opened.query_id, opened.candidate_id, opened.source) == ("user_id", "movie_id", "planted")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ratings"]


def test_columns_are_mapped_and_not_copied(data, tmp_path):
    tt.save_interactions(data, tmp_path / "ratings")
    before = pa.total_allocated_bytes()
    opened = tt.open_interactions(tmp_path / "ratings")
    columns = [opened.query_rows, opened.candidate_rows, opened.ratings, opened.timestamps]
    assert pa.total_allocated_bytes() == before
    assert not any(column.flags.owndata for column in columns)


def test_what_is_there_is_not_overwritten(data, tmp_path):
    (tmp_path / "ratings").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        tt.save_interactions(data, tmp_path / "ratings")
    assert list(tmp_path.iterdir()) == [tmp_path / "ratings"]


def test_a_failed_save_leaves_nothing(data, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pa.ipc, "new_file", fail)
    with pytest.raises(OSError, match="disk full"):
        tt.save_interactions(data, tmp_path / "ratings")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_of_interactions_says_so(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="No folder at .*Make one with `save_interactions`"):
        tt.open_interactions(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no interactions, or damaged ones"):
        tt.open_interactions(tmp_path)
    tt.save_interactions(data, tmp_path / "ratings")
    (tmp_path / "ratings" / "events.arrow").write_bytes(b"ARROW1")
    with pytest.raises(ValueError, match="ratings holds no interactions, or damaged ones"):
        tt.open_interactions(tmp_path / "ratings")


def test_training_from_a_mapped_file_is_training_from_memory(planted, tmp_path):
    from tests.conftest import CANDIDATE, QUERY

    train = planted.split.train
    tt.save_interactions(train, tmp_path / "train")
    model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    batches = [
        list(model.training_batches(part, batch_size=50, seed=3).as_numpy_iterator())
        for part in (train, tt.open_interactions(tmp_path / "train"))
    ]
    for ours, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours["rating"], theirs["rating"])
        for side in ("query", "candidate"):
            for name, values in ours[side].items():
                np.testing.assert_array_equal(values, theirs[side][name])
