"""Vectors in files: their products are the bundle's scores, and those of different exports are kept apart."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfrs_twotower as tt
from tests.every_kind import make_interactions
from tfrs_twotower.bundle import vectors as module
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.vectors import Vectors, read_vectors, write_candidate_vectors, write_query_vectors


@pytest.fixture(scope="module")
def bundle(every_kind_path) -> LoadedBundle:
    """A bundle whose candidates have biases, and whose rating model is another than the retrieval model."""
    return exported_as(tt.load_bundle(every_kind_path), "0f2d")


def exported_as(bundle: LoadedBundle, export_id: str | None) -> LoadedBundle:
    manifest = dataclasses.replace(bundle.manifest, export_id=export_id)
    return LoadedBundle(bundle.path, manifest, bundle.candidates, bundle.module)


@pytest.fixture
def queries(tmp_path):
    """Known and unknown queries, one with a given history, with columns that only recommendations take."""
    table = pa.table(
        {
            "user_id": ["u3", "new", "u0"],
            "age": [30, 40, None],
            "history": [None, ["m1", "m2"], []],
            "exclude_ids": [["m1"]] * 3,
            "filter_of_another_bundle": ["x"] * 3,
        }
    )
    pq.write_table(table, tmp_path / "queries.parquet")
    return tmp_path / "queries.parquet"


@pytest.fixture
def written(bundle, queries, tmp_path, monkeypatch) -> list[Vectors]:
    """The vectors of the candidates and of the queries, written in several pieces."""
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 2)
    calls = []
    progress = lambda task, done, total: calls.append((task, done, total))  # noqa: E731
    assert write_candidate_vectors(bundle, tmp_path / "candidates.parquet", progress=progress) == 50
    assert (calls[0], calls[-1]) == (("Computing vectors", 0, 50), ("Computing vectors", 50, 50))
    assert write_query_vectors(bundle, queries, tmp_path / "vectors.parquet") == 3
    return read_vectors(tmp_path / "candidates.parquet", tmp_path / "vectors.parquet")


def test_inner_products_are_the_scores_and_the_log_odds_of_the_bundle(bundle, written):
    candidates, queries = written
    ids = candidates.ids.to_pylist()
    for row, given in enumerate(
        [
            {"user_id": "u3", "age": 30.0},
            {"user_id": "new", "age": 40.0, "history": [["m1", "m2"]]},
            {"user_id": "u0"},
        ]
    ):
        # A bundle scores a candidate of the history without it, but the vector is that of the whole history.
        seen = set(given.get("history", [[]])[0]) | seen_by(given["user_id"])
        others = [place for place, name in enumerate(ids) if name not in seen]
        asked = {name: [values[0] if name == "history" else values] * len(others) for name, values in given.items()}
        expected = bundle.score(asked, [ids[place] for place in others])
        # Both compute the same sums in another order.
        np.testing.assert_allclose(
            candidates.retrieval[others] @ queries.retrieval[row], expected.scores, rtol=1e-4, atol=1e-5
        )
        log_odds = candidates.rating[others] @ queries.rating[row]
        np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), expected.probabilities, rtol=1e-4)


def seen_by(user_id: str) -> set[str]:
    known = make_interactions()
    users, movies = known.queries["user_id"].to_pylist(), known.candidates["movie_id"].to_pylist()
    pairs = zip(known.query_rows, known.candidate_rows, strict=True)
    return {movies[candidate] for query, candidate in pairs if users[query] == user_id}


def test_the_file_is_plain_parquet_that_says_what_it_holds(bundle, written, tmp_path):
    candidates, queries = written
    schema = pq.read_schema(tmp_path / "candidates.parquet")
    assert schema.names == ["movie_id", "retrieval", "rating"]
    # Eight entries, and the bias of the candidates.
    assert schema.field("retrieval").type == pa.list_(pa.float32(), 9)
    assert schema.field("rating").type == pa.list_(pa.float32(), 8)
    described = {key: value for key, value in schema.metadata.items() if key.startswith(b"tfrs_twotower.")}
    assert described == {
        b"tfrs_twotower.side": b"candidate",
        b"tfrs_twotower.id_column": b"movie_id",
        b"tfrs_twotower.version": bundle.path.name.encode(),
        b"tfrs_twotower.export_id": b"0f2d",
        b"tfrs_twotower.metric": b"inner product",
    }
    assert (candidates.side, candidates.id_column, queries.side, queries.id_column) == (
        "candidate",
        "movie_id",
        "query",
        "user_id",
    )
    assert candidates.ids.to_pylist() == bundle.candidates["movie_id"].to_pylist()
    assert queries.ids.to_pylist() == ["u3", "new", "u0"]


def test_vectors_of_different_exports_are_not_read_together(bundle, written, tmp_path):
    write_candidate_vectors(exported_as(bundle, "beef"), tmp_path / "other.parquet")
    message = r"of different exports .* \(export 0f2d\), .*other.parquet of version 1 \(export beef\). Write both"
    with pytest.raises(ValueError, match=message):
        read_vectors(tmp_path / "vectors.parquet", tmp_path / "other.parquet")
    assert [vectors.export_id for vectors in read_vectors(tmp_path / "other.parquet")] == ["beef"]


def test_what_holds_no_vectors_is_named(queries, tmp_path):
    with pytest.raises(ValueError, match="queries.parquet does not say which export its vectors are of"):
        read_vectors(queries)
    (tmp_path / "text.parquet").write_text("vectors")
    with pytest.raises(ValueError, match="text.parquet is not a Parquet file that can be read"):
        read_vectors(tmp_path / "text.parquet")


def test_a_bundle_that_does_not_know_its_export_writes_no_vectors(bundle, queries, tmp_path):
    older = exported_as(bundle, None)
    for write in (write_candidate_vectors, lambda *arguments: write_query_vectors(arguments[0], queries, arguments[1])):
        with pytest.raises(ValueError, match="was made by an older version of this library. Export it again."):
            write(older, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()


def test_a_failure_leaves_the_file_as_it_was(bundle, written, tmp_path, monkeypatch):
    before = (tmp_path / "vectors.parquet").read_bytes()
    pq.write_table(pa.table({"user_id": ["a", "b", "c"], "age": [1, 2, np.nan]}), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="bad.parquet: `age` must hold numbers .*row 2: nan"):
        write_query_vectors(bundle, tmp_path / "bad.parquet", tmp_path / "vectors.parquet")
    assert (tmp_path / "vectors.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_no_queries_have_no_vectors(bundle, tmp_path):
    pq.write_table(pa.table({"user_id": pa.array([], pa.string())}), tmp_path / "queries.parquet")
    assert write_query_vectors(bundle, tmp_path / "queries.parquet", tmp_path / "vectors.parquet") == 0
    (vectors,) = read_vectors(tmp_path / "vectors.parquet")
    assert (vectors.retrieval.shape, vectors.rating.shape) == ((0, 9), (0, 8))
