import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_interactions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.storage import open_interactions, save_interactions


@pytest.fixture
def data() -> Interactions:
    ratings = make_interactions([0, 1, 1], [1, 0, 2], [1, 2, 3], num_queries=2, num_candidates=3)
    events = ratings.events.append_column("timestamp", [[7, 8, 9]]).append_column("weight", [[1.0, 0.5, 2.0]])
    # The events are in two chunks, as they are when a folder of shards is read.
    return dataclasses.replace(ratings, events=pa.concat_tables([events.slice(0, 1), events.slice(1)]))


def test_opening_gives_back_what_was_saved(data, tmp_path):
    save_interactions(data, tmp_path / "deep" / "ratings")
    opened = open_interactions(tmp_path / "deep" / "ratings")
    for name in ("queries", "candidates", "events"):
        assert getattr(opened, name).equals(getattr(data, name))
    assert (opened.query_id, opened.candidate_id, opened.source) == ("user_id", "movie_id", "planted")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ratings"]


def test_columns_are_mapped_and_not_copied(data, tmp_path):
    save_interactions(data, tmp_path / "ratings")
    before = pa.total_allocated_bytes()
    opened = open_interactions(tmp_path / "ratings")
    columns = [opened.query_rows, opened.candidate_rows, opened.ratings, opened.timestamps]
    assert pa.total_allocated_bytes() == before
    assert not any(column.flags.owndata for column in columns)


def test_an_existing_folder_is_not_overwritten(data, tmp_path):
    (tmp_path / "ratings").mkdir()
    with pytest.raises(FileExistsError, match="already exists"):
        save_interactions(data, tmp_path / "ratings")
    assert list(tmp_path.iterdir()) == [tmp_path / "ratings"]


def test_a_failed_save_leaves_nothing(data, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pa.ipc, "new_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_interactions(data, tmp_path / "ratings")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_interactions_is_refused(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder at .*Write one with `save_interactions`"):
        open_interactions(tmp_path / "none")
    with pytest.raises(ValueError, match="does not hold interactions, or they are damaged"):
        open_interactions(tmp_path)
    save_interactions(data, tmp_path / "ratings")
    (tmp_path / "ratings" / "events.arrow").write_bytes(b"ARROW1")
    with pytest.raises(ValueError, match="ratings does not hold interactions, or they are damaged"):
        open_interactions(tmp_path / "ratings")


def test_training_from_a_mapped_file_equals_training_from_memory(planted, tmp_path):
    train = planted.split.train
    save_interactions(train, tmp_path / "train")
    model = tt.build_two_tower(train, query=QUERY, candidate=CANDIDATE)
    batches = [
        list(model.training_batches(part, batch_size=50, seed=3).as_numpy_iterator())
        for part in (train, open_interactions(tmp_path / "train"))
    ]
    for ours, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours.ratings, theirs.ratings)
        for side, other in ((ours.query, theirs.query), (ours.candidate, theirs.candidate)):
            assert side.keys() == other.keys()
            for name, values in side.items():
                np.testing.assert_array_equal(values, other[name])
