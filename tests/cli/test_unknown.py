"""Ids and values that a bundle does not have are named where a person asks."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.bundle.manifests import make_manifest
from tests.conftest import CANDIDATE, QUERY, export_unchecked
from tfrs_twotower.cli.unknown import note_on_candidates, note_on_filter

GROUPS = ["Süßwaren", "Bürobedarf", "Wäsche"] * 8


def catalogue(**columns) -> SimpleNamespace:
    """A stand-in for a bundle with the candidates m0 to m23, which was exported when there was also x1."""
    candidates = pa.table({"movie_id": [f"m{row}" for row in range(24)], **columns})
    ids = SimpleNamespace(numpy=lambda: np.array([b"m0", b"x1"], object))
    module = SimpleNamespace(query_side=SimpleNamespace(candidate_ids=ids))
    return SimpleNamespace(manifest=make_manifest(), candidates=candidates, module=module)


@pytest.mark.parametrize(
    ("ids", "note"),
    [
        (["m1", "x1", ""], None),  # removed candidates still count, and an empty id is padding
        (["m99"], "The bundle does not know the id in `history`: 'm99'."),
        (["m1", "a", "b", "a"], "The bundle does not know 2 of the 3 ids in `history`: 'a', 'b'."),
        (
            ["M1", "m2", " m3"],
            "The bundle does not know 2 of the 3 ids in `history`: 'M1', ' m3'. It knows 'm1', 'm3'.",
        ),
        (
            list("abcdefg"),
            "The bundle does not know 7 of the 7 ids in `history`: 'a', 'b', 'c', 'd', 'e' and 2 more.",
        ),
    ],
)
def test_unknown_candidates_are_named(ids, note):
    assert note_on_candidates(catalogue(), "history", ids) == note


def test_a_bundle_that_does_not_tell_what_it_was_exported_with_knows_its_catalogue():
    loaded = catalogue()
    loaded.module = SimpleNamespace()
    assert note_on_candidates(loaded, "history", ["m1", "x1"]) == (
        "The bundle does not know 1 of the 2 ids in `history`: 'x1'."
    )


@pytest.mark.parametrize(
    ("column", "values", "note"),
    [
        (GROUPS, ["Wäsche", "Bürobedarf"], None),
        (GROUPS, ["süsswaren"], "No candidate has `group` 'süsswaren'. The nearest: 'Süßwaren'."),
        (
            GROUPS,
            ["Wasche", "Wäsche", "Büro-Bedarf"],
            "No candidate has `group` 'Wasche' or 'Büro-Bedarf'. The nearest: 'Wäsche', 'Bürobedarf'.",
        ),
        (GROUPS, ["Autos"], "No candidate has `group` 'Autos'. Its values: 'Süßwaren', 'Bürobedarf', 'Wäsche'."),
        (
            ["b", "b", *(f"{row} y" for row in range(22))],
            ["Autos"],
            "No candidate has `group` 'Autos'. It has 23 values, such as 'b', '0 y', '1 y'.",
        ),
        ([["Drama", "War"]] * 24, ["drama"], "No candidate has `group` 'drama'. The nearest: 'Drama'."),
        ([1994, 1995] * 12, ["1994", "199"], "No candidate has `group` '199'. The nearest: '1995', '1994'."),
        ([True] * 24, ["false"], "No candidate has `group` 'false'. Its values: 'true'."),
        (pa.array([None] * 24, pa.string()), ["a"], "No candidate has `group` 'a'. No candidate has a value."),
    ],
)
def test_unknown_values_of_a_filter_are_named_with_the_nearest(column, values, note):
    assert note_on_filter(catalogue(group=column), "group", values) == note


@pytest.fixture(scope="module")
def remembering(planted, tmp_path_factory):
    """A version that takes a history, and filters."""
    query = dataclasses.replace(QUERY, features=(tt.History(of=CANDIDATE.features[0]),))
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    exact = tt.index.build_exact_index
    folder = tmp_path_factory.mktemp("saved_models") / "history"
    return export_unchecked(model, planted.split.seen, folder, k=5, build_index=exact, filter_by=("genres",))


@pytest.mark.filterwarnings("ignore:The model seems never to have been trained")
def test_recommend_names_what_it_does_not_know_and_recommends_all_the_same(call, remembering):
    result = call(
        "recommend", remembering, "--query", "history=m1,nope", "--exclude", "m2", "--exclude", "M3",
        "--only", "genres=even,Odd",
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stderr.splitlines() == [
        "Note: The bundle does not know 1 of the 2 ids in `history`: 'nope'.",
        "Note: The bundle does not know 1 of the 2 ids in `--exclude`: 'M3'. It knows 'm3'.",
        "Note: No candidate has `genres` 'even'. The nearest: 'Even'.",
    ]
    assert result.stdout.count("Title ") == 5
    nothing = call("recommend", remembering, "--query", "history=m1", "--only", "genres=None")
    assert nothing.returncode == 0
    *_, last = nothing.stderr.splitlines()
    assert last == "Note: No candidate is left to recommend."
    known = call("recommend", remembering, "--query", "history=m1,m2", "--only", "genres=Even")
    assert known.stderr == ""
