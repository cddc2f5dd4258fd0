"""A bundle that version 0.1 exported is loaded, listed, refreshed and rolled back.

`bundle_of_0_1.tar.xz` holds the bundle and the script that made it with version 0.1: a joint model with a rated history
on planted preferences, reranked, with two filters and an exact index. `bundle_of_0_1.json` holds what version 0.1
itself recommended from it, and from its own refresh of the same bundle.
"""

import json
import math
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests import forks
from tfrs_twotower.bundle.check import ask_in_fresh_process, find_difference
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.manifest import Manifest, Rerank
from tfrs_twotower.bundle.warmup import read_warmup
from tfrs_twotower.index.ordering import NO_SCORE

DATA = Path(__file__).parents[1] / "data_files"
RECORDED = json.loads((DATA / "bundle_of_0_1.json").read_text(encoding="utf-8"))
# Two known queries, an unknown one with a history, and one of which nothing is known.
QUERIES = {
    "user_id": ["u0", "u3", "stranger", "stranger"],
    "age": [math.nan, 30.0, 50.0, math.nan],
    "history": [[], [], ["m0", "m2"], []],
    "history_rating": [[], [], [5.0, 5.0], []],
}
# The first two candidates are removed, and two are added.
CATALOGUE = {
    "movie_id": ["new0", "new1", *(f"m{row}" for row in range(2, 12))],
    "title": ["New 0", "New 1", *(f"Title {row}" for row in range(2, 12))],
    "genres": [["Even"], ["Odd", "Rare"], *(["Odd", "Rare"] if row % 2 else ["Even"] for row in range(2, 12))],
    "year": [1990, 2020, *(1990 + row % 3 for row in range(2, 12))],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A folder of versions with the bundle as its only one, which no test changes."""
    folder = tmp_path_factory.mktemp("of_0_1") / "planted"
    with tarfile.open(DATA / "bundle_of_0_1.tar.xz") as archive:
        archive.extraction_filter = lambda member, path: member  # every Python 3.10 accepts it
        archive.extractall(folder)
    (folder / "make_bundle.py").unlink()
    return folder


@pytest.fixture(scope="module")
def bundle(directory) -> LoadedBundle:
    return tt.load_bundle(directory)


def require_recorded(bundle: LoadedBundle, recorded: dict[str, dict[str, list]]) -> None:
    """Requires the ids that version 0.1 recommended, and its numbers, which were recorded with six digits."""
    outputs = {
        "recommend": bundle.recommend(QUERIES),
        "recommend_filtered": bundle.recommend(
            QUERIES, only={"genres": ["Rare"], "year": [1990, 1991]}, exclude=[["m1"]] * 4
        ),
        "similar": bundle.similar(["m0", "m3", "no such id"]),
        "score": bundle.score(QUERIES, ["m0", "m1", "m4", "m5"]),
    }
    assert set(outputs) == set(recorded)
    for signature, expected in recorded.items():
        for name, values in outputs[signature]._asdict().items():
            if name == "candidate_ids":
                assert values.tolist() == expected[name], signature
            elif values is None:
                assert name not in expected
            else:
                # The lowest score was recorded as null.
                numbers = np.array(expected[name], float)
                numbers[np.isnan(numbers)] = NO_SCORE
                np.testing.assert_allclose(values, numbers, rtol=1e-5, atol=1e-5, err_msg=f"{signature}, {name}")


def test_it_recommends_what_version_0_1_recommended(directory, bundle):
    assert bundle.path == directory / "1"
    require_recorded(bundle, RECORDED["exported"])


def test_its_manifest_is_read(directory):
    manifest = Manifest.read(directory / "1")
    assert manifest.versions["tfrs_twotower"] == "0.1.0"
    assert manifest.model.query.histories == ("history",)
    assert manifest.model.query.ratings_of == {"history_rating": "history"}
    assert [feature["kind"] for feature in manifest.model.candidate.features] == ["Categorical", "MultiCategorical"]
    assert (manifest.num_candidates, manifest.model.num_queries) == (12, 16)
    assert (manifest.k, manifest.requested_k, manifest.filter_by) == (8, 8, ("genres", "year"))
    assert manifest.rerank == Rerank(first=5)
    assert (manifest.index.requested, manifest.index.kind, manifest.index.is_exact) == ("exact", "exact", True)
    assert not manifest.needs_scann
    for name, value in RECORDED["metrics"].items():
        assert manifest.model.metrics[name] == pytest.approx(value, abs=1e-6)


def test_a_rating_without_its_candidate_is_refused(bundle):
    with pytest.raises(
        ValueError, match="`history_rating` must be as long as `history`. Received in row 0: lists of 1 and 0"
    ):
        bundle.recommend({"user_id": "u0", "history_rating": [[5.0]]})


def test_a_fresh_process_predicts_the_same(bundle):
    requests = read_warmup(bundle.path)
    assert {request.signature for request in requests} == set(bundle.module.signatures)
    (replies,) = ask_in_fresh_process({bundle.path: requests})
    assert find_difference(bundle.module.signatures, requests, replies) is None


def test_it_is_listed_refreshed_and_rolled_back(directory, bundle, unchecked, tmp_path):
    directory = Path(shutil.copytree(directory, tmp_path / "planted"))
    path = tt.refresh_bundle(directory, pa.table(CATALOGUE))
    refreshed = tt.load_bundle(directory)
    assert refreshed.path == path == directory / "2"
    require_recorded(refreshed, RECORDED["refreshed"])
    assert refreshed.manifest.model.refreshed_from == "1"
    assert refreshed.manifest.model.metrics == {}
    # A refreshed bundle can be refreshed, too: with the old catalogue it recommends as before.
    again = tt.refresh_bundle(directory, bundle.candidates)
    require_recorded(tt.load_bundle(again), RECORDED["exported"])
    listed = tt.publishing.list_versions(directory)
    assert [(version.number, version.manifest.num_candidates) for version in listed] == [(1, 12), (2, 12), (3, 12)]
    assert [version.is_served for version in listed] == [False, False, True]

    assert tt.publishing.rollback(directory, to=1) == directory / "1"
    assert versions(directory) == [1]
    assert [version.is_withdrawn for version in tt.publishing.list_versions(directory)] == [False, True, True]
    require_recorded(tt.load_bundle(directory), RECORDED["exported"])


def test_a_gate_compares_with_its_metrics(directory):
    """The metrics lie in a report there, and flat in a new manifest."""
    manifest = Manifest.read(directory / "1")
    gate = tt.publishing.QualityGate(metrics={"log_loss": 0.01})
    gate.require(manifest, directory)
    without_metrics = Manifest.from_dict({**manifest.to_dict(), "metrics": {}})
    with pytest.raises(tt.publishing.QualityError, match="log_loss was not measured"):
        gate.require(without_metrics, directory)
    worse = {**manifest.model.metrics, "log_loss": manifest.model.metrics["log_loss"] + 0.02}
    with pytest.raises(tt.publishing.QualityError, match="worse than version 1's 0.4323"):
        gate.require(Manifest.from_dict({**manifest.to_dict(), "metrics": worse}), directory)


def test_the_command_line_lists_it_and_recommends_from_it(directory):
    def run(*arguments: object) -> str:
        return forks.start(["-m", "tfrs_twotower.cli", *arguments], as_for_users=False).finish()

    listed = run("list", directory)
    assert "served" in listed
    assert "1.0000" in listed  # its AUC
    shown = run("recommend", directory, "--query", "user_id=u0", "-k", "1")
    assert "Title 10" in shown
