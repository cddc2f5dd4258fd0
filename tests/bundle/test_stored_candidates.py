"""The catalogue's file: only the one that the index was built of is shown with recommendations."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import CANDIDATES_FILE, MANIFEST_FILE


@pytest.fixture(scope="module")
def saved_model(bundle_path):
    """The SavedModel of a version, which is the same in all copies."""
    return tf.saved_model.load(str(bundle_path))


@pytest.fixture
def folder(bundle_path, saved_model, tmp_path, monkeypatch) -> Path:
    """A copy of a version, whose SavedModel has been loaded before."""
    monkeypatch.setattr(tf.saved_model, "load", lambda path: saved_model)
    return Path(shutil.copytree(bundle_path, tmp_path / "1"))


def forget_sha256(folder: Path) -> None:
    """Makes the manifest that of an older version, which recorded no SHA-256."""
    content = json.loads((folder / MANIFEST_FILE).read_text())
    del content["candidates_sha256"]
    (folder / MANIFEST_FILE).write_text(json.dumps(content))


def with_ids(table: pa.Table, ids: list) -> pa.Table:
    return table.set_column(0, "movie_id", pa.array(ids))


# In each, row 0 is "m0", and there are 24 candidates.
WRONG_IDS = {
    "reversed": (lambda table: table.take(list(range(24))[::-1]), "row 0 is 'm23' there, and 'm0' in the SavedModel"),
    "moved by one": (lambda table: table.take([*range(1, 24), 0]), "row 0 is 'm1' there, and 'm0' in the SavedModel"),
    "two swapped": (lambda table: table.take([*range(22), 23, 22]), "row 22 is 'm23' there, and 'm22' in"),
    "of others": (lambda table: with_ids(table, [f"x{row}" for row in range(24)]), "row 0 is 'x0' there, and 'm0'"),
    "without an id": (
        lambda table: with_ids(table, [*(f"m{row}" for row in range(23)), None]),
        "row 23 is None there, and 'm23' in the SavedModel",
    ),
    "numbers": (lambda table: with_ids(table, list(range(24))), "row 0 is '0' there, and 'm0' in the SavedModel"),
    "lists": (lambda table: with_ids(table, [["m0"]] * 24), "must have texts in 'movie_id'"),
    "truncated": (lambda table: table.slice(0, 23), "has 23 candidates, the SavedModel 24, and the manifest 24"),
    "empty": (lambda table: table.slice(0, 0), "has 0 candidates, the SavedModel 24, and the manifest 24"),
    "repeated": (lambda table: pa.concat_tables([table, table]), "has 48 candidates, the SavedModel 24"),
    "without ids": (lambda table: table.drop_columns(["movie_id"]), "must have a column 'movie_id'"),
    "ids twice": (lambda table: table.append_column("movie_id", table["movie_id"]), "movie_id"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_IDS.values(), ids=WRONG_IDS)
def test_a_catalogue_with_other_ids_is_refused(folder, change, message):
    table = pq.read_table(folder / CANDIDATES_FILE)
    forget_sha256(folder)
    pq.write_table(change(table), folder / CANDIDATES_FILE)
    with pytest.raises(ValueError, match=rf"1 is damaged and cannot be loaded \(assets.extra/candidates.*{message}"):
        tt.load_bundle(folder)


@pytest.mark.parametrize("knows_sha256", [True, False])
def test_titles_that_were_moved_are_refused_unless_the_bundle_is_old(folder, knows_sha256):
    table = pq.read_table(folder / CANDIDATES_FILE)
    titles = pa.array([f"Title {(row + 1) % 24}" for row in range(24)])
    pq.write_table(table.set_column(1, "title", titles), folder / CANDIDATES_FILE)
    if knows_sha256:
        with pytest.raises(ValueError, match="candidates.parquet is not the file that was exported: its SHA-256 is"):
            tt.load_bundle(folder)
    else:
        forget_sha256(folder)
        assert tt.load_bundle(folder).candidates["title"][0].as_py() == "Title 1"


def test_a_file_of_another_kind_is_named(folder):
    forget_sha256(folder)
    (folder / CANDIDATES_FILE).write_bytes(b"PAR1 no footer PAR1")
    with pytest.raises(ValueError, match="candidates.parquet is not a Parquet file that can be read"):
        tt.load_bundle(folder)


def test_a_manifest_that_counts_other_candidates_is_refused(folder):
    content = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**content, "num_candidates": 25}))
    with pytest.raises(ValueError, match="has 24 candidates, the SavedModel 24, and the manifest 25"):
        tt.load_bundle(folder)
