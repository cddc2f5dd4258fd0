"""The manifest: its form in JSON, and the form of version 0.1."""

import copy
import dataclasses
import functools
import json
import math
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MANIFEST_FILE
from tfrs_twotower.bundle.manifest import IndexEntry, Manifest, Rerank, read_manifest
from tfrs_twotower.bundle.model_entry import DataSource, InputSpec, QuerySchema, SideSchema, require_metrics
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
sides = {
    "id": names,
    "features": st.lists(features).map(tuple),
    "inputs": st.lists(inputs, unique_by=lambda spec: spec.name).map(tuple),
}


@st.composite
def query_sides(draw) -> QuerySchema:
    """A query side whose histories and ratings are among its inputs."""
    fields = {name: draw(field) for name, field in sides.items()}
    taken = [spec.name for spec in fields["inputs"]]
    histories = draw(st.lists(st.sampled_from(taken))) if taken else []
    ratings_of = draw(st.dictionaries(st.sampled_from(taken), st.sampled_from(histories))) if histories else {}
    context = draw(st.lists(st.sampled_from(taken), unique=True)) if taken else []
    times_of = draw(st.dictionaries(st.sampled_from(taken), st.sampled_from(histories))) if histories else {}
    return QuerySchema(
        **fields, histories=tuple(histories), ratings_of=ratings_of, times_of=times_of, context=tuple(context)
    )


outcomes = st.builds(
    IndexOutcome,
    parameters=st.fixed_dictionaries({"num_partitions": counts, "excluding": st.dictionaries(counts, counts)}),
    recall=st.dictionaries(counts, shares),
    latency_ms=st.dictionaries(counts, shares.map(lambda value: round(value, 3))),
    build_s=st.integers(0, 10**6).map(lambda tenths: tenths / 10),
    size_bytes=counts,
    note=st.none() | names,
    target=st.none() | st.dictionaries(counts, shares),
    num_changed=counts,
)
manifests = st.builds(
    make_manifest,
    versions=st.dictionaries(names, names),
    created=st.datetimes().map(lambda time: time.isoformat()),
    query=query_sides(),
    candidate=st.builds(SideSchema, **sides),
    num_queries=counts,
    positive_threshold=st.floats(-10, 10),
    has_probabilities=st.booleans(),
    metrics=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False)),
    data=st.builds(DataSource, source=names, fingerprint=names),
    refreshed_from=st.none() | counts.map(str),
    num_candidates=st.integers(100, 10**9),
    requested_k=st.integers(100, 10**9),
    k=st.integers(1, 100),
    filter_by=st.lists(names, unique=True).map(tuple),
    candidates_sha256=st.none() | names,
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
    added = [
        "candidates_sha256",
        "card",
        "export_id",
        "is_twin",
        "original_names",
        "recipe",
        "recommend_seen",
        "refreshed_from",
    ]
    assert sorted(content) == sorted([*OLD, *added])
    assert sorted(content["query"]) == ["context", "features", "histories", "id", "inputs", "ratings_of", "times_of"]
    assert sorted(content["index"]) == sorted([*OLD["index"], "num_changed", "target"])
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
    with pytest.raises(ValueError, match=f"^The manifest is damaged: `{key}` is missing.$"):
        Manifest.from_dict(content)


def changed(content: Any, path: Sequence[str | int], value: Any) -> Any:
    """Returns a copy of JSON with another value at a path."""
    if not path:
        return value
    copied = copy.copy(content)
    copied[path[0]] = changed(copied[path[0]] if len(path) > 1 else None, path[1:], value)
    return copied


DAMAGED = [
    ((), [], "It must be an object with keys. Received: a list"),
    ((), None, "It must be an object with keys. Received: None"),
    (("versions",), ["tensorflow"], "`versions` must be an object with keys. Received: a list"),
    (("versions", "tensorflow"), 2.2, "`versions.tensorflow` must be a text. Received: 2.2"),
    (("created",), 20240506, "`created` must be a text. Received: 20240506"),
    (("created",), "\ud800", "`created` must be a text. Received: "),
    (("query",), [], "`query` must be an object with keys. Received: a list"),
    (("query", "id"), None, "`query.id` must be a text. Received: None"),
    (("query", "features", 0), "user_id", r"`query.features\[0\]` must be an object with keys. Received: 'user_id'"),
    (("query", "features", 0, "unknown_rate"), math.nan, r"`query.features\[0\].unknown_rate` must be a number"),
    (("query", "features", 1, "by_rating"), "no", r"`query.features\[1\].by_rating` must be true or false"),
    (("query", "features", 1, "name"), "seen", r"`query.features\[1\].name` must be an input's name. Received: 'seen'"),
    (("query", "inputs", 1, "name"), "user_id", "`query.inputs` must have different names"),
    (("query", "inputs", 3, "name"), "stars", "`query.ratings_of` must have inputs' names as keys"),
    (("query", "inputs", 2, "dtype"), "str", r"`query.inputs\[2\].dtype` must be string or float32 or int64"),
    (("query", "inputs", 2, "shape"), [2], r"`query.inputs\[2\].shape` must be a list that begins with null"),
    (("query", "inputs", 2, "shape"), [None, "2"], r"`query.inputs\[2\].shape\[1\]` must be a whole number"),
    (("candidate", "inputs"), ["movie_id"], r"`candidate.inputs\[0\]` must be an object with keys"),
    (("num_queries",), -1, "`num_queries` must be a whole number of at least 0. Received: -1"),
    (("positive_threshold",), "3", "`positive_threshold` must be a number. Received: '3'"),
    (("has_probabilities",), 1, "`has_probabilities` must be true or false. Received: 1"),
    (("metrics",), [0.78], "`metrics` must be an object with keys. Received: a list"),
    (("metrics",), {"auc": "0.78"}, "`metrics.auc` must be a number. Received: '0.78'"),
    (("metrics",), {"auc": 10**400}, "`metrics.auc` must be a number. Received: a whole number of 1329 bits"),
    (("metrics",), {"auc": None}, "`metrics.auc` must be a number. Received: None"),
    (("metrics", "cases"), {}, "`metrics.cases.model` is missing"),
    (("data", "source"), {}, "`data.source` must be a text. Received: an object with keys"),
    (("num_candidates",), 2**63, "`num_candidates` must be a whole number of at least 1"),
    (("requested_k",), True, "`requested_k` must be a whole number of at least 1. Received: True"),
    (("k",), 101, "`k` must be a whole number in 1..100. Received: 101"),
    (("filter_by",), "genres", "`filter_by` must be a list. Received: 'genres'"),
    (("filter_by",), [["genres"]], r"`filter_by\[0\]` must be a text. Received: a list"),
    (("rerank",), {}, "`rerank.first` is missing"),
    (("rerank", "first"), 0, "`rerank.first` must be a whole number of at least 1. Received: 0"),
    (("rerank", "weight"), 1.5, "`rerank.weight` must be a number in 0..1. Received: 1.5"),
    (("index",), None, "`index` must be an object with keys. Received: None"),
    (("index", "kind"), 5, "`index.kind` must be a text. Received: 5"),
    (("index", "is_exact"), "yes", "`index.is_exact` must be true or false. Received: 'yes'"),
    (("index", "recall"), {"ten": 1.0}, "`index.recall` must have whole numbers as keys. Received: 'ten'"),
    (("candidates_sha256",), 0, "`candidates_sha256` must be a text. Received: 0"),
    (("recommend_seen",), "no", "`recommend_seen` must be true or false. Received: 'no'"),
    (("refreshed_from",), 3, "`refreshed_from` must be a text. Received: 3"),
    (("recipe",), [], "`recipe` must be an object with keys. Received: a list"),
    (("original_names",), {"movie_id": None}, "`original_names.movie_id` must be a text. Received: None"),
]


@pytest.mark.parametrize(("path", "value", "message"), DAMAGED, ids=[message for *_, message in DAMAGED])
def test_a_damaged_value_is_named(path, value, message):
    with pytest.raises(ValueError, match=f"^The manifest is damaged: {message}"):
        Manifest.from_dict(changed(OLD, path, value))


def test_a_description_is_not_nested_without_end():
    nested: Any = 0
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match=r"`recipe.layers(\[0\]){63}` must not be nested deeper than 64 levels"):
        Manifest.from_dict({**OLD, "recipe": {"layers": nested}})
    while nested:  # Python's own clean-up of so many levels would be recursive
        nested = nested.pop()


def test_keys_of_a_newer_version_are_ignored():
    newer = changed(changed(OLD, ("shards",), [1]), ("query", "inputs", 0, "unit"), "m")
    assert Manifest.from_dict(newer) == Manifest.from_dict(OLD)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A version's folder without a manifest."""
    (tmp_path / EXTRA_FOLDER).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "It must be JSON. Received: Expecting value: line 1 column 1"),
        (b'{"created": ', "It must be JSON. Received: Expecting value: line 1 column 13"),
        (b"[]", "It must be an object with keys. Received: a list"),
        (b"null", "It must be an object with keys. Received: None"),
        ('{"created": "heute früh"}'.encode("latin-1"), "It must be UTF-8. Received at byte 21: 0xfc"),
        (json.dumps(OLD).encode("utf-16"), "It must be UTF-8. Received at byte 0: 0xff"),
        (b"[" * 100_000 + b"]" * 100_000, "It must not be nested deeper than 64 levels"),
        (b'{"k": ' * 100_000, "It must not be nested deeper than 64 levels"),
        (b" " * (16 * 2**20 + 1), "It must have at most 16,777,216 bytes"),
        (json.dumps(OLD).replace("943", "9" * 5000).encode(), "`num_queries` must be a whole number .* Received: inf"),
        (
            json.dumps(OLD).replace("0.78", "1e999").encode(),
            "`metrics.cases.model.auc` must be a number. Received: inf",
        ),
        (json.dumps(OLD).replace("0.78", "NaN").encode(), "`metrics.cases.model.auc` must be a number. Received: nan"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_is_named(folder, data, message):
    (folder / MANIFEST_FILE).write_bytes(data)
    with pytest.raises(ValueError, match=f"^The manifest {folder / MANIFEST_FILE} is damaged: {message}"):
        Manifest.read(folder)
    assert read_manifest(folder) is None


def test_a_file_with_a_byte_order_mark_is_read(folder):
    (folder / MANIFEST_FILE).write_text(json.dumps(OLD), encoding="utf-8-sig")
    assert Manifest.read(folder) == Manifest.from_dict(OLD)


@pytest.mark.parametrize("make", [None, Path.mkdir, lambda path: path.symlink_to(os.devnull)])
def test_what_is_not_a_file_is_no_manifest(folder, make):
    if make is not None:
        make(folder / MANIFEST_FILE)
    with pytest.raises(FileNotFoundError, match="There is no file .*manifest.json"):
        Manifest.read(folder)
    assert read_manifest(folder) is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**64, 10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "[/red]", "x" * 100_000, "string", "History", "user_id"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def paths_of(content: Any) -> list[tuple[str | int, ...]]:
    """Returns the paths to all values in JSON, but not that to the whole."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path for key, value in items for path in [(key,), *((key, *rest) for rest in paths_of(value))]]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), content=manifests.map(Manifest.to_dict) | st.just(OLD))
def test_whatever_is_edited_a_manifest_is_read_whole_or_refused_in_words(data, content, folder):
    content = json.loads(json.dumps(content))
    for _ in range(data.draw(st.integers(1, 3))):
        *outer, key = data.draw(st.sampled_from(paths_of(content)))
        place = functools.reduce(operator.getitem, outer, content)
        if data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(json_values)
    (folder / MANIFEST_FILE).write_text(json.dumps(content))
    manifest = read_manifest(folder)
    if manifest is None:
        with pytest.raises(ValueError, match=rf"^The manifest {folder}\S+ is damaged: `.{{1,300}}$"):
            Manifest.read(folder)
        return
    manifest.write(folder)
    written = Manifest.read(folder)  # with rounded times
    assert Manifest.from_dict(written.to_dict()) == written
    assert dataclasses.replace(written, index=manifest.index) == manifest


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
