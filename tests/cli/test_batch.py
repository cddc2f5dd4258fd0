"""`batch-recommend` and `vectors` as a user meets them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.bundle.vectors import read_vectors


@pytest.fixture
def queries(tmp_path):
    pq.write_table(pa.table({"user_id": ["u0", "u1", "u1", "x"], "note": ["?"] * 4}), tmp_path / "queries.parquet")
    return tmp_path / "queries.parquet"


def test_a_batch_is_recommended_and_the_same_command_goes_on(call, bundle_path, planted, queries, tmp_path):
    out = tmp_path / "out"
    command = ["batch-recommend", bundle_path, "--queries", queries, "--output", out, "-k", 1, "--rows-per-part", 2]
    result = call(*command, "--shard", "1/2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == [
        "Parts: 1 written, 0 already there, 1 left to other shards, of 2 in all.",
        f"Recommendations: {out}",
    ]
    assert "Recommending: done in" in result.stderr
    result = call(*command)
    assert result.stdout.splitlines() == [
        "Queries: 4. Repeated ids: 1. Ids that the bundle does not know: 1.",
        "Features without a column: age. The bundle fills in what it knows of known queries.",
        "Columns that the bundle does not take: note.",
        "Parts: 1 written, 1 already there, 0 left to other shards, of 2 in all.",
        f"Recommendations: {out}",
    ]
    best = [f"m{planted.withheld[row]}" for row in (0, 1, 1)]
    assert [names[0] for names in pq.read_table(out)["candidate_ids"].to_pylist()[:3]] == best


@pytest.mark.parametrize("shard", ["1", "2/2", "-1/2", "a/b", "0/0"])
def test_a_shard_that_does_not_exist_is_one_line(call, bundle_path, queries, tmp_path, shard):
    result = call("batch-recommend", bundle_path, "--queries", queries, "--output", tmp_path / "out", "--shard", shard)
    assert result.error() == f"`--shard` must be i/n with 0 <= i < n, such as 0/4 to 3/4. Received: {shard!r}."


def test_a_mistake_in_the_queries_is_one_line(call, bundle_path, tmp_path):
    pq.write_table(pa.table({"user": ["u0"]}), tmp_path / "queries.parquet")
    result = call("batch-recommend", bundle_path, "--queries", tmp_path / "queries.parquet", "--output", tmp_path / "o")
    assert result.error() == "The table of queries has no column user_id. Its columns: user."


def test_the_vectors_of_candidates_and_queries_are_written(call, bundle_path, queries, tmp_path):
    result = call("vectors", bundle_path.parent, "--output", tmp_path / "candidates.parquet")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"24 vectors of version 1: {tmp_path / 'candidates.parquet'}\n"
    assert "Computing vectors: done in" in result.stderr
    result = call("vectors", bundle_path, "--output", tmp_path / "vectors.parquet", "--queries", queries)
    assert result.stdout == f"4 vectors of version 1: {tmp_path / 'vectors.parquet'}\n"
    found = read_vectors(tmp_path / "candidates.parquet", tmp_path / "vectors.parquet")
    assert [vectors.side for vectors in found] == ["candidate", "query"]
    assert found[1].ids.to_pylist() == ["u0", "u1", "u1", "x"]
