"""Recommendations for files of queries: equal to the bundle's own, resumable, in shards, and never mixed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfrs_twotower as tt
from tfrs_twotower.bundle import batch as batch_module
from tfrs_twotower.bundle.batch import batch_recommend
from tfrs_twotower.bundle.batch_folder import BatchFolder, BatchRecord
from tfrs_twotower.bundle.load import LoadedBundle

NUM = 50
#: Ids that the bundle knows, two that it does not, a missing one, and one that is repeated.
IDS = [*(f"u{row % 40}" for row in range(NUM - 4)), "x", "y", None, "u0"]


@pytest.fixture(scope="module")
def bundle(bundle_path) -> LoadedBundle:
    return tt.load_bundle(bundle_path)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(batch_module, "_ROWS_PER_BLOCK", 4)


def make_queries() -> pa.Table:
    ages = np.random.default_rng(0).integers(10, 70, NUM)
    return pa.table({"user_id": IDS, "age": pa.array(ages, pa.int8()), "note": ["?"] * NUM})


@pytest.fixture
def queries(tmp_path) -> Path:
    """A file whose row groups end elsewhere than parts and blocks."""
    pq.write_table(make_queries(), tmp_path / "queries.parquet", row_group_size=7)
    return tmp_path / "queries.parquet"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_recommendations_are_those_of_the_bundle_in_the_order_of_the_queries(bundle, queries, tmp_path):
    summary = batch_recommend(bundle, queries, tmp_path / "out", k=3, rows_per_part=11)
    # A part holds the rows of a fixed range, and every program that reads Parquet reads them as one table.
    names = [f"part-{number:05d}-of-00005.parquet" for number in range(5)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_batch.json", *names]
    assert [pq.read_metadata(tmp_path / "out" / name).num_rows for name in names] == [11, 11, 11, 11, 6]
    found = pq.read_table(tmp_path / "out")
    assert found["user_id"].to_pylist() == IDS
    table = make_queries()
    expected = bundle.recommend({"user_id": [name or "" for name in IDS], "age": table["age"]}, k=3)
    num_slots = (expected.candidate_ids != "").sum(axis=1)
    for name in ("candidate_ids", "scores", "probabilities"):
        values = getattr(expected, name)
        rows = [values[row, :num].tolist() for row, num in enumerate(num_slots)]
        if name == "candidate_ids":
            assert found[name].to_pylist() == rows
        else:  # batches of other sizes round otherwise
            np.testing.assert_allclose(np.concatenate(found[name].to_pylist()), np.concatenate(rows), rtol=1e-5)
    # Of the first 46 ids six repeat one of the first 40, and so does the last.
    assert (summary.num_queries, summary.num_repeated, summary.num_unknown) == (NUM, 7, 3)
    assert (summary.num_parts, summary.num_written, summary.num_found, summary.num_left) == (5, 5, 0, 0)
    assert (summary.missing, summary.ignored) == ((), ("note",))


def test_what_is_there_is_not_computed_again_and_what_is_missing_comes_out_the_same(bundle, queries, tmp_path):
    out, stopped = tmp_path / "out", tmp_path / "stopped"
    batch_recommend(bundle, queries, out, rows_per_part=11)

    def stop(task: str, done: int, total: int) -> None:
        if task == "Recommending" and done >= 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch_recommend(bundle, queries, stopped, rows_per_part=11, progress=stop)
    there = sorted(contents(stopped))
    assert there == ["_batch.json", "part-00000-of-00005.parquet", "part-00001-of-00005.parquet"]
    times = {name: (stopped / name).stat().st_mtime_ns for name in there}
    calls = []
    summary = batch_recommend(bundle, queries, stopped, rows_per_part=11, progress=lambda *call: calls.append(call))
    assert contents(stopped) == contents(out)
    assert {name: (stopped / name).stat().st_mtime_ns for name in there} == times
    assert (summary.num_written, summary.num_found, summary.num_left) == (3, 2, 0)
    recommending = [(done, total) for task, done, total in calls if task == "Recommending"]
    assert (recommending[0], recommending[-1]) == ((0, 28), (28, 28))
    assert [call for call in calls if call[0] == "Counting ids"][-1] == ("Counting ids", NUM, NUM)
    assert batch_recommend(bundle, queries, stopped, rows_per_part=11).num_written == 0


def test_shards_make_together_what_one_process_makes(bundle, queries, tmp_path):
    out, shards = tmp_path / "out", tmp_path / "shards"
    batch_recommend(bundle, queries, out, rows_per_part=11)
    first = batch_recommend(bundle, queries, shards, rows_per_part=11, shard=tt.batches.Shard(index=1, count=2))
    assert (first.num_queries, first.num_written, first.num_left) == (22, 2, 3)
    second = batch_recommend(bundle, queries, shards, rows_per_part=11, shard=tt.batches.Shard(index=0, count=2))
    assert (second.num_queries, second.num_written, second.num_left) == (28, 3, 0)
    assert contents(shards) == contents(out)


@pytest.mark.parametrize("pattern", ["", "day=*/*.parquet"])
def test_several_files_are_read_in_the_order_of_their_names(bundle, tmp_path, pattern):
    folder, table = tmp_path / "queries", make_queries()
    names = ["day=1/a.parquet", "day=2/a.parquet"] if pattern else ["a.parquet", "b.parquet"]
    for name, part in zip(names, (table[:20], table[20:]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, folder / name)
    (folder / "_SUCCESS.parquet").write_bytes(b"")
    summary = batch_recommend(bundle, folder / pattern, tmp_path / "out", k=1, rows_per_part=15)
    assert summary.num_parts == 4
    assert pq.read_table(tmp_path / "out")["user_id"].to_pylist() == IDS


def test_no_queries_make_no_parts(bundle, tmp_path):
    pq.write_table(make_queries()[:0], tmp_path / "queries.parquet")
    summary = batch_recommend(bundle, tmp_path / "queries.parquet", tmp_path / "out")
    assert (summary.num_queries, summary.num_parts, summary.num_written) == (0, 0, 0)
    assert sorted(contents(tmp_path / "out")) == ["_batch.json"]


def test_a_batch_of_other_queries_or_another_bundle_is_refused(bundle, queries, tmp_path, bundle_path):
    out = tmp_path / "out"
    batch_recommend(bundle, queries, out, k=3)
    before = contents(out)
    shutil.copytree(bundle_path, tmp_path / "7")
    manifest = tmp_path / "7" / "assets.extra" / "manifest.json"
    content = json.loads(manifest.read_text())
    export_id = content["export_id"]
    manifest.write_text(json.dumps({**content, "export_id": "other"}))
    other = tt.load_bundle(tmp_path / "7")
    for arguments, message in (
        ((bundle, queries, out, 2, 65_536), "k was 3 and is now 2. Go on"),
        ((bundle, queries, out, 3, 10), "rows_per_part was 65536 and is now 10. Go on"),
        (
            (other, queries, out, 3, 65_536),
            f'bundle.version was "1" and is now "7"; bundle.export_id was "{export_id}" and is now "other". Go on',
        ),
    ):
        *places, k, rows = arguments
        with pytest.raises(ValueError, match=f"out holds a batch that was begun with other arguments: {message}"):
            batch_recommend(*places, k=k, rows_per_part=rows)
    pq.write_table(make_queries().set_column(1, "age", pa.array([30] * NUM, pa.int8())), queries)
    with pytest.raises(ValueError, match=r'arguments: queries.0.sha256 was "\w{64}" and is now "\w{64}". Go on with'):
        batch_recommend(bundle, queries, out, k=3)
    assert contents(out) == before


def test_a_folder_with_something_else_is_refused(bundle, queries, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("Chapter 1")
    with pytest.raises(ValueError, match="out holds something else: thesis.txt. Choose an empty folder"):
        batch_recommend(bundle, queries, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["thesis.txt"]


def test_a_bad_value_is_named_by_file_column_and_row(bundle, tmp_path):
    table = make_queries()
    ages = pa.array([*range(10, 40), np.nan, *range(19)], pa.float64())
    pq.write_table(table.set_column(1, "age", ages), tmp_path / "b.parquet", row_group_size=7)
    pq.write_table(table.set_column(1, "age", ages)[:0], tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"b.parquet: `age` must hold numbers .*in float32; .*row 30: nan"):
        batch_recommend(bundle, tmp_path, tmp_path / "out", rows_per_part=20)
    # What was complete stays, and what was not is gone.
    assert sorted(contents(tmp_path / "out")) == ["_batch.json", "part-00000-of-00003.parquet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"k": 11}, "`k` must be in 1..10"), ({"rows_per_part": 0}, "`rows_per_part` must be at least 1. Received: 0.")],
)
def test_a_mistake_in_an_argument_is_found_before_anything_is_written(bundle, queries, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_recommend(bundle, queries, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_what_is_not_a_table_of_queries_is_named(bundle, tmp_path):
    with pytest.raises(FileNotFoundError, match="There are no Parquet files of queries at .*nothing"):
        batch_recommend(bundle, tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "queries.csv").write_text("user_id\nu1\n")
    with pytest.raises(ValueError, match="queries.csv is not a Parquet file that can be read: "):
        batch_recommend(bundle, tmp_path / "queries.csv", tmp_path / "out")
    pq.write_table(pa.table({"user_id": ["u1"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"a.parquet has user_id \(string\); .*b.parquet has user_id \(int64\)."):
        batch_recommend(bundle, tmp_path, tmp_path / "out")
    with pytest.raises(TypeError, match="`bundle` must be a bundle that `load_bundle` loaded. Received: a str."):
        batch_recommend("saved_models", tmp_path, tmp_path / "out")
    with pytest.raises(TypeError, match=r"`shard` must be a `Shard`. Received: \(0, 2\)."):
        batch_recommend(bundle, tmp_path, tmp_path / "out", shard=(0, 2))
    assert not (tmp_path / "out").exists()


# Begins a part, and waits to be killed. It needs no TensorFlow.
WRITER = """
import sys, time
from pathlib import Path
import pyarrow as pa
from tfrs_twotower.bundle.batch_folder import BatchFolder, BatchRecord

table = pa.table({"user_id": ["u1"]})
folder = BatchFolder(Path(sys.argv[1]), BatchRecord(bundle={}, k=1, rows_per_part=1, queries=()))
with folder.workplace("shard-0-of-1") as workplace, folder.write("part-0", table.schema, workplace) as writer:
    writer.write_table(table)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_shard_is_computed_by_one_process_and_what_a_killed_one_left_is_removed(tmp_path):
    table = pa.table({"user_id": ["u1"]})
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        folder = BatchFolder(tmp_path, BatchRecord(bundle={}, k=1, rows_per_part=1, queries=()))
        with (
            pytest.raises(RuntimeError, match="Another process is computing shard-0-of-1 in .*Wait for it, or end it."),
            folder.workplace("shard-0-of-1"),
        ):
            pass
        with folder.workplace("shard-0-of-2"):  # other shards do not mind
            pass
        other.kill()
    assert not folder.has("part-0")
    (left,) = (tmp_path / ".shard-0-of-1").iterdir()
    assert left.name.startswith("part-0.")
    with folder.workplace("shard-0-of-1") as workplace:
        assert list(workplace.iterdir()) == []
        with folder.write("part-0", table.schema, workplace) as writer:
            writer.write_table(table)
            assert not folder.has("part-0")
        assert folder.has("part-0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_batch.json", "part-0"]
