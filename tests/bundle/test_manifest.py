"""The manifest: its form in JSON, and the form of version 0.1."""

import copy
import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MANIFEST_FILE
from tfrs_twotower.bundle.manifest import (
    DataSource,
    IndexEntry,
    InputSpec,
    Manifest,
    QuerySchema,
    Rerank,
    SideSchema,
    read_manifest,
    require_metrics,
)
from tfrs_twotower.index.outcome import IndexOutcome

# What version 0.1 wrote: no `histories` and `ratings_of`, the whole report as metrics, and parameters of old names.
OLD = {
    "versions": {"tfrs_twotower": "0.1.0", "tensorflow": "2.20.0"},
    "created": "2024-05-06T07:08:09+00:00",
    "query": {
        "id": "user_id",
        "features": [
            {"kind": "Categorical", "name": "user_id", "unknown_rate": 0.1},
            {"kind": "History", "name": "watched", "of": {"kind": "Categorical"}, "length": 50, "by_rating": False},
            {"kind": "History", "name": "bought", "of": {"kind": "Hashed"}, "length": 20, "by_rating": True},
        ],
        "inputs": [
            {"name": "user_id", "dtype": "string", "shape": [None]},
            {"name": "watched", "dtype": "string", "shape": [None, None]},
            {"name": "bought", "dtype": "string", "shape": [None, None]},
            {"name": "bought_rating", "dtype": "float32", "shape": [None, None]},
        ],
    },
    "candidate": {
        "id": "movie_id",
        "features": [{"kind": "Embedding", "name": "photo", "dim": 512}],
        "inputs": [{"name": "photo", "dtype": "float32", "shape": [None, 512]}],
    },
    "num_queries": 943,
    "positive_threshold": 3.0,
    "has_probabilities": True,
    "metrics": {
        "cases": {"model": {"auc": 0.78, "ndcg@10": 0.31}, "popularity": {"ndcg@10": 0.2}},
        "intervals": {"auc": {"mean": 0.78, "low": 0.77, "high": 0.79}},
    },
    "data": {"source": "ratings.csv", "fingerprint": "00ff"},
    "num_candidates": 200_000,
    "requested_k": 100,
    "k": 100,
    "filter_by": ["genres"],
    "rerank": {"first": 200, "weight": 0.5},
    "index": {
        "requested": "portable",
        "kind": "portable",
        "is_exact": False,
        "parameters": {"num_blocks": 447, "blocks_to_open": 23, "excluding": {"16": 1, "1024": 4}},
        "recall": {"10": 0.991, "100": 0.985},
        "latency_ms": {"1": 1.25, "256": 90.5},
        "build_s": 12.5,
        "size_bytes": 51_200_000,
        "note": None,
    },
}

names = st.text("abcé_09", min_size=1, max_size=8)
counts = st.integers(1, 10**9)
shares = st.floats(0, 1).map(lambda value: round(value, 4))
inputs = st.builds(
    InputSpec,
    name=names,
    dtype=st.sampled_from(["string", "float32", "int64"]),
    shape=st.sampled_from([(None,), (None, None), (None, 7)]),
)
features = st.fixed_dictionaries({"kind": st.sampled_from(["Categorical", "GeoPoint"]), "name": names})
sides = {"id": names, "features": st.lists(features).map(tuple), "inputs": st.lists(inputs).map(tuple)}
outcomes = st.builds(
    IndexOutcome,
    parameters=st.fixed_dictionaries({"num_partitions": counts, "excluding": st.dictionaries(counts, counts)}),
    recall=st.dictionaries(counts, shares),
    latency_ms=st.dictionaries(counts, shares.map(lambda value: round(value, 3))),
    build_s=st.integers(0, 10**6).map(lambda tenths: tenths / 10),
    size_bytes=counts,
    note=st.none() | names,
)
manifests = st.builds(
    make_manifest,
    versions=st.dictionaries(names, names),
    created=st.datetimes().map(lambda time: time.isoformat()),
    query=st.builds(
        QuerySchema, **sides, histories=st.lists(names).map(tuple), ratings_of=st.dictionaries(names, names)
    ),
    candidate=st.builds(SideSchema, **sides),
    num_queries=counts,
    positive_threshold=st.floats(-10, 10),
    has_probabilities=st.booleans(),
    metrics=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False)),
    data=st.builds(DataSource, source=names, fingerprint=names),
    refreshed_from=st.none() | counts.map(str),
    num_candidates=counts,
    requested_k=counts,
    k=counts,
    filter_by=st.lists(names, unique=True).map(tuple),
    rerank=st.none() | st.builds(Rerank, first=counts, weight=st.floats(0, 1)),
    recommend_seen=st.booleans(),
    export_id=st.none() | names,
    is_twin=st.booleans(),
    index=st.builds(IndexEntry, requested=names, kind=names, is_exact=st.booleans(), outcome=outcomes),
)


@settings(deadline=None)
@given(manifests)
def test_a_manifest_is_the_same_after_a_round_trip_through_json(manifest):
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict(), allow_nan=False))) == manifest


def test_a_manifest_that_is_written_is_read(tmp_path):
    manifest = make_manifest(filter_by=("genres",), rerank=Rerank(first=7, weight=0.25), refreshed_from="3")
    (tmp_path / EXTRA_FOLDER).mkdir()
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == read_manifest(tmp_path) == manifest


def test_the_model_lies_flat_beside_the_catalogue_in_json():
    """The keys are read by other programs, and must not change."""
    content = make_manifest().to_dict()
    added = ["refreshed_from", "recipe", "original_names", "recommend_seen", "export_id", "is_twin"]
    assert sorted(content) == sorted([*OLD, *added])
    assert sorted(content["query"]) == ["features", "histories", "id", "inputs", "ratings_of"]
    assert sorted(content["index"]) == sorted(OLD["index"])
    assert content["metrics"] == {"auc": 0.8}
    assert content["query"]["inputs"][1] == {"name": "history", "dtype": "string", "shape": (None, None)}


def test_a_manifest_of_0_1_is_read():
    manifest = Manifest.from_dict(copy.deepcopy(OLD))
    query = manifest.model.query
    assert query.histories == ("bought", "watched")
    assert query.ratings_of == {"bought_rating": "bought"}
    assert query.input("bought_rating") == InputSpec(name="bought_rating", dtype="float32", shape=(None, None))
    assert manifest.model.candidate.inputs[0].shape == (None, 512)
    assert manifest.model.metrics == {"auc": 0.78, "ndcg@10": 0.31}
    assert manifest.model.data == DataSource(source="ratings.csv", fingerprint="00ff")
    assert manifest.model.refreshed_from is None
    assert (manifest.num_candidates, manifest.requested_k, manifest.filter_by) == (200_000, 100, ("genres",))
    assert manifest.rerank == Rerank(first=200, weight=0.5)
    assert (manifest.index.requested, manifest.index.is_exact) == ("portable", False)
    assert manifest.index.outcome.recall == {10: 0.991, 100: 0.985}
    assert manifest.index.outcome.parameters["blocks_to_open"] == 23  # parameters keep their old names
    assert manifest.index.outcome.parameters["excluding"] == {16: 1, 1024: 4}


def test_a_manifest_of_0_1_without_metrics_is_read():
    manifest = Manifest.from_dict({**OLD, "metrics": {}, "rerank": None, "refreshed_from": "2"})
    assert manifest.model.metrics == {}
    assert manifest.rerank is None
    assert manifest.model.refreshed_from == "2"


def test_a_manifest_of_0_1_is_written_in_the_new_form():
    manifest = Manifest.from_dict(OLD)
    content = manifest.to_dict()
    assert content["metrics"] == {"auc": 0.78, "ndcg@10": 0.31}
    assert content["query"]["ratings_of"] == {"bought_rating": "bought"}
    assert Manifest.from_dict(content) == manifest


def test_features_of_any_kind_may_describe_themselves_as_they_like():
    own = ({"kind": "History", "name": "places"}, {"name": "home", "latitude": 52.5})
    manifest = make_manifest()
    manifest = dataclasses.replace(
        manifest,
        model=dataclasses.replace(manifest.model, query=dataclasses.replace(manifest.model.query, features=own)),
    )

    assert Manifest.from_dict(manifest.to_dict()) == manifest


@pytest.mark.parametrize("key", [*OLD])
def test_a_manifest_that_lacks_a_key_is_damaged(key):
    content = {name: value for name, value in OLD.items() if name != key}
    with pytest.raises(ValueError, match=f"manifest lacks something or is damaged: KeyError.*{key}"):
        Manifest.from_dict(content)


@pytest.mark.parametrize(
    "change",
    [
        {"index": None},
        {"index": {"kind": "exact"}},
        {"index": {**OLD["index"], "recall": {"ten": 1.0}}},
        {"query": []},
        {"query": {"id": "user_id", "features": [{"name": "no kind"}], "inputs": []}},
        {"candidate": {"id": "movie_id", "features": [], "inputs": ["movie_id"]}},
        {"rerank": {"first": 0}},
        {"rerank": {"number": 5}},
        {"data": {"source": "ratings.csv"}},
        {"metrics": {"cases": {}}},
        {"filter_by": None},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_damaged_value_is_a_value_error(change):
    with pytest.raises(ValueError, match="damaged|has no key|`first` must be"):
        Manifest.from_dict({**OLD, **change})


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", '"manifest"', json.dumps({**OLD, "index": 5})])
def test_a_missing_or_damaged_file_is_no_manifest(tmp_path, text):
    (tmp_path / EXTRA_FOLDER).mkdir()
    if text is not None:
        (tmp_path / MANIFEST_FILE).write_text(text)
    assert read_manifest(tmp_path) is None
    with pytest.raises((OSError, ValueError)):
        Manifest.read(tmp_path)


def test_a_number_that_json_does_not_have_is_not_written(tmp_path):
    (tmp_path / EXTRA_FOLDER).mkdir()
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_manifest(index=make_index_entry(recall={10: math.nan})).write(tmp_path)
    assert not (tmp_path / MANIFEST_FILE).exists()


@pytest.mark.parametrize(("packages", "needs_scann"), [(["tensorflow"], False), (["tensorflow", "scann"], True)])
def test_a_host_needs_scann_if_the_bundle_was_written_with_it(packages, needs_scann):
    assert make_manifest(versions=dict.fromkeys(packages, "1.0")).needs_scann == needs_scann


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "0.8", None])
def test_metrics_must_be_finite_numbers(value):
    require_metrics({"auc": 0.8, "num_queries": 40})
    with pytest.raises(ValueError, match="`metrics` must be finite numbers. Received for 'auc'"):
        require_metrics({"auc": value})


@pytest.mark.parametrize("shape", [(None,), (None, None), (None, 3)])
def test_an_input_becomes_a_tensor_spec_and_back(shape):
    spec = InputSpec(name="x", dtype="float32", shape=shape)
    assert InputSpec.of(spec.tensor_spec) == spec
    assert spec.is_list == (len(shape) == 2)
