"""A bundle whose catalogue changes in some places is the bundle that a refresh with the whole catalogue makes."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.checks import no_check
from tests.conftest import CANDIDATE, QUERY, export_unchecked, make_planted
from tfrs_twotower.bundle.build import build_bundle, build_sides
from tfrs_twotower.bundle.layout import portable_twin, versions
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.bundle.requests import raw_candidates, sample_requests
from tfrs_twotower.features.columns import missing_input
from tfrs_twotower.index.build import BuiltIndex
from tfrs_twotower.index.outcome import IndexOutcome
from tfrs_twotower.index.portable import PortableEffort, PortableIndex
from tfrs_twotower.index.scann import ScannEffort, ScannIndex
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.publishing import update
from tfrs_twotower.publishing.export import publish_bundle
from tfrs_twotower.publishing.refresh import open_version, restore_sides
from tfrs_twotower.publishing.update import update_catalogue

REMOVED = ["m0", "m3", "m4"]


@pytest.fixture(scope="module")
def seen(planted):
    return planted.split.seen


@pytest.fixture(scope="module")
def joint(seen):
    """Ranks by histories with ratings, and has another model for probabilities."""
    history = tt.History(of=CANDIDATE.features[0], length=4, by_rating=True)
    query = dataclasses.replace(QUERY, features=(*QUERY.features, history))
    return JointModel(
        retrieval_model=tt.build_two_tower(seen, query=query, candidate=CANDIDATE, task=tt.tasks.SampledSoftmaxTask()),
        rating_model=tt.build_two_tower(seen, query=QUERY, candidate=CANDIDATE),
    )


@pytest.fixture(scope="module")
def exported(joint, seen, tmp_path_factory):
    directory = tmp_path_factory.mktemp("update") / "shop"
    export_unchecked(joint, seen, directory, k=24, build_index=tt.index.build_exact_index, filter_by=["genres"])
    return directory


@pytest.fixture(scope="module")
def loaded(exported):
    return tt.load_bundle(exported)


def items(candidates: pa.Table) -> pa.Table:
    """Two new candidates, and one whose genres change."""
    return pa.table(
        {"movie_id": ["new0", "m7", "new1"], "title": ["N", "M", "O"], "genres": [["Even"], ["Odd"], ["Strange"]]},
        schema=candidates.schema,
    )


def outputs(bundle) -> list[dict[str, np.ndarray]]:
    """What all signatures give to known queries, to an unknown one with a history, and about added candidates."""
    sides, id_column = restore_sides(bundle, "1"), bundle.manifest.model.candidate.id
    candidates = pa.concat_tables([bundle.candidates.slice(18), bundle.candidates.slice(0, 6)])
    requests = sample_requests(
        sides.inputs, candidates, id_column=id_column, filter_by=bundle.manifest.filter_by, known=sides.known
    )
    replies = [bundle.module.signatures[request.signature](**request.inputs) for request in requests]
    assert {request.signature for request in requests} == set(bundle.module.signatures)
    return [{name: values.numpy() for name, values in reply.items()} for reply in replies]


def assert_same(ours, theirs):
    for our, their in zip(outputs(ours), outputs(theirs), strict=True):
        for name, values in our.items():
            if values.dtype == object:
                np.testing.assert_array_equal(values, their[name])
            else:
                # The tower's matrix products round differently in another batch.
                np.testing.assert_allclose(values, their[name], rtol=1e-5, atol=1e-6)


def test_a_changed_catalogue_is_that_of_a_refresh_with_the_whole(exported, unchecked, tmp_path):
    """Removed candidates are in histories, too; all signatures, filters, exclusions and probabilities are compared."""
    before = tt.load_bundle(shutil.copytree(exported, tmp_path / "shop"))
    added = items(before.candidates)
    updated = tt.load_bundle(update_catalogue(before, add=added, remove=REMOVED))
    assert updated.path.name == "2"
    assert updated.candidates["movie_id"].to_pylist() == [
        *(f"m{row}" for row in range(24) if f"m{row}" not in REMOVED), "new0", "new1"
    ]  # fmt: skip
    refreshed = tt.load_bundle(tt.refresh_bundle(before, updated.candidates))
    assert_same(updated, refreshed)
    assert updated.recommend({"user_id": "u1"}, only={"genres": ["Strange"]}).candidate_ids[0][0] == "new1"
    assert not set(REMOVED) & set(updated.recommend({"user_id": ["u0", "nobody"]}).candidate_ids.ravel())
    ours, theirs = updated.manifest, refreshed.manifest
    assert ours.model == theirs.model
    assert (ours.num_candidates, ours.k, ours.filter_by) == (theirs.num_candidates, theirs.k, theirs.filter_by)
    assert tt.publishing.rollback(updated.path.parent, to=1).name == "1"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"remove": [f"m{row}" for row in range(24)]}, ValueError, "must leave at least one candidate"),
        ({"add": {"movie_id": ["x"], "title": ["X"]}}, ValueError, "has no column genres"),
        ({"add": "items.csv"}, TypeError, "`add` must be a table. Received a path: items.csv"),
        ({"add": {"movie_id": [1], "title": ["X"], "genres": [["Even"]]}}, TypeError, "`add.movie_id` must hold str"),
        ({}, ValueError, "must change something"),
    ],
)
def test_an_impossible_change_publishes_nothing(loaded, change, error, message):
    with pytest.raises(error, match=message):
        update_catalogue(loaded, **change)
    assert versions(loaded.path.parent) == [1]


def publish_another(version: Path) -> None:
    shutil.copytree(version, version.with_name("2"))


def withdraw(version: Path) -> None:
    version.rename(version.with_name(".withdrawn-1"))


@pytest.mark.parametrize(
    ("change", "while_loading", "names"),
    [(publish_another, False, {"1", "2"}), (publish_another, True, {"1", "2"}), (withdraw, False, {".withdrawn-1"})],
)
def test_what_another_process_publishes_or_withdraws_meanwhile_is_not_lost(
    exported, tmp_path, monkeypatch, change, while_loading, names
):
    directory = shutil.copytree(exported, tmp_path / "shop")

    def load(path):
        loaded = open_version(path)
        change(directory / "1")
        return loaded

    if while_loading:
        monkeypatch.setattr(update, "open_version", load)
    else:
        monkeypatch.setattr(update, "FreshCheck", lambda: no_check(lambda: change(directory / "1")))
    with pytest.raises(RuntimeError, match="were changed by another process while 1 was being changed. Not published"):
        update_catalogue(directory, remove=REMOVED)
    assert {path.name for path in directory.iterdir()} == names


def build_tree(embeddings, ids, queries) -> BuiltIndex:
    effort = ScannEffort(num_partitions_to_search=20, num_reordering_candidates=len(ids))
    return untuned(ScannIndex(embeddings, ids, num_partitions=20, effort=effort))


def build_portable(embeddings, ids, queries) -> BuiltIndex:
    # All but one of the partitions, so that the search is approximate.
    return untuned(PortableIndex(embeddings, ids, effort=PortableEffort(num_partitions_to_search=9)))


def untuned(index) -> BuiltIndex:
    outcome = IndexOutcome(
        parameters=index.parameters(),
        recall={10: 1.0},
        latency_ms={1: 1.0},
        build_s=1.0,
        size_bytes=1,
        target={10: 0.9},
    )
    return BuiltIndex(index=index, outcome=outcome)


@pytest.mark.scann
def test_a_tree_and_its_portable_twin_keep_their_partitions(tmp_path, unchecked, monkeypatch):
    for kind in (ScannIndex, PortableIndex):
        monkeypatch.setattr(kind, "max_candidates_for_exact", 100)
    seen = make_planted(num_queries=200, num_candidates=300).split.seen
    sides = build_sides(tt.build_two_tower(seen, query=QUERY, candidate=CANDIDATE), seen)
    embeddings = sides.embed(seen.candidates)
    pair = [build_bundle(sides, seen.candidates, embeddings, build, k=10) for build in (build_tree, build_portable)]
    directory = tmp_path / "shop"
    publish_bundle(directory, *pair, no_check())
    path = update_catalogue(directory, add=items(seen.candidates), remove=REMOVED)
    manifests = [Manifest.read(folder) for folder in (path, portable_twin(directory) / "2")]
    assert [manifest.index.kind for manifest in manifests] == ["scann", "portable"]
    assert manifests[0].export_id == manifests[1].export_id
    for manifest in manifests:
        # Three vectors were put in, and those of m0, m3, m4 and m7 were taken out.
        assert manifest.index.outcome.num_changed == 7
        assert manifest.index.outcome.recall[10] >= 0.9
        assert manifest.num_candidates == 299
    for folder in (path, portable_twin(directory) / "2"):
        bundle = tt.load_bundle(folder)
        ids = bundle.candidates["movie_id"].to_pylist()
        found = bundle.recommend({"user_id": "nobody"}, k=10)
        # The expected answer is that of the towers themselves, for every candidate.
        query = bundle.module.signatures["embed_query"](**missing(bundle, "query"))["retrieval"].numpy()
        candidates = raw_candidates(bundle.candidates, restore_sides(bundle, "1").inputs.candidate)
        vectors = bundle.module.signatures["embed_candidate"](**candidates)["retrieval"].numpy()
        scores = dict(zip(ids, vectors @ query[0], strict=True))
        # Candidates without an event have the vector of their genres, so that many are equal.
        np.testing.assert_allclose(found.scores[0], sorted(scores.values(), reverse=True)[:10], rtol=1e-5, atol=1e-6)
        own = [scores[name] for name in found.candidate_ids[0]]
        np.testing.assert_allclose(found.scores[0], own, rtol=1e-5, atol=1e-6)


def missing(bundle, side):
    return {spec.name: missing_input(spec.tensor_spec) for spec in getattr(bundle.manifest.model, side).inputs}
