import dataclasses
import shutil

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked
from tfrs_twotower.bundle.load import LoadedBundle


@pytest.fixture(scope="module")
def bundle(bundle_path) -> LoadedBundle:
    return tt.load_bundle(bundle_path)


def test_the_newest_version_is_found(bundle_path, tmp_path):
    for version in ("9", "10"):
        shutil.copytree(bundle_path, tmp_path / version)
    (tmp_path / "11").mkdir()  # not a bundle
    assert tt.load_bundle(tmp_path).path.name == "10"


def test_plain_values_lists_and_arrays_mean_the_same(bundle):
    one = bundle.recommend({"user_id": "u0", "age": 30})
    for user, age in (
        (["u0"], [30.0]),
        (np.array(["u0"]), np.array([30])),
        ((b"u0",), (30,)),
        ("u0", np.int64(30)),
        (["u0"], [np.float32(30)]),
        (pa.array(["u0"]), tf.constant([30.0])),
    ):
        other = bundle.recommend({"user_id": user, "age": age})
        assert other.candidate_ids.tolist() == one.candidate_ids.tolist()
        assert other.scores.tolist() == one.scores.tolist()


def test_ids_are_strings_and_k_cuts_the_columns(bundle, planted):
    outputs = bundle.recommend({"user_id": ["u0", "u1"]}, k=3)
    assert outputs.candidate_ids.shape == outputs.scores.shape == outputs.probabilities.shape == (2, 3)
    assert outputs.candidate_ids[:, 0].tolist() == [f"m{row}" for row in planted.withheld[:2]]


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        ({"uid": "u0"}, ValueError, "Unknown query feature 'uid'. Known: user_id, age."),
        ({"user_id": 42}, TypeError, r"`user_id` must be strings. Received in row 0: 42 \(int\)"),
        ({"user_id": ["u0", None]}, TypeError, r"`user_id` must be strings. Received in row 1: None"),
        ({"user_id": "u0", "age": "30"}, TypeError, r"`age` must be numbers. Received in row 0: '30' \(str\)"),
        ({"user_id": "u0", "age": True}, TypeError, r"`age` must be numbers. Received in row 0: True \(bool\)"),
        ({"user_id": ["u0", "u1"], "age": 30}, ValueError, r"equally many, and at least one.*'user_id': 2, 'age': 1"),
        ({}, ValueError, "at least one. Received: none"),
        ({"user_id": []}, ValueError, "at least one. Received: {'user_id': 0}"),
    ],
)
def test_a_mistake_is_named(bundle, queries, error, message):
    with pytest.raises(error, match=message):
        bundle.recommend(queries)


def test_k_is_an_integer(bundle):
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        bundle.recommend({"user_id": "u0"}, k=2.0)


@pytest.mark.parametrize("k", [0, 11])
def test_k_must_fit_the_bundle(bundle, k):
    with pytest.raises(ValueError, match=rf"`k` must be in 1..10, the bundle's. Received: k={k}"):
        bundle.recommend({"user_id": "u0"}, k=k)


def test_nothing_there_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="No bundle at .*Make one with: tfrs-twotower train"):
        tt.load_bundle(tmp_path / "none")


def test_a_folder_that_is_no_bundle_says_so(tmp_path, bundle_path):
    with pytest.raises(FileNotFoundError, match="is no bundle: it holds neither a SavedModel nor a version"):
        tt.load_bundle(tmp_path)
    foreign = tmp_path / "1"
    shutil.copytree(bundle_path, foreign)
    shutil.rmtree(foreign / "assets.extra")
    for manifest in (None, "{", "[]", '{"index": {"kind": "exact"}}'):
        if manifest is not None:
            (foreign / "assets.extra").mkdir(exist_ok=True)
            (foreign / "assets.extra" / "manifest.json").write_text(manifest)
        with pytest.raises(ValueError, match="is a SavedModel, but not one of this library's"):
            tt.load_bundle(tmp_path)


@pytest.mark.parametrize(
    "damaged",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/candidates.parquet",
    ],
)
def test_a_damaged_bundle_says_so(tmp_path, bundle_path, damaged):
    shutil.copytree(bundle_path, tmp_path / "1")
    (tmp_path / "1" / damaged).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged and cannot be loaded"):
        tt.load_bundle(tmp_path)


@pytest.fixture(scope="module")
def filtering(planted, trained, tmp_path_factory) -> LoadedBundle:
    """A bundle that filters by genres, a year and a truth value."""
    known = planted.split.seen
    size = known.num_candidates
    candidates = known.candidates.append_column("year", pa.array([1990 + row % 3 for row in range(size)]))
    candidates = candidates.append_column("is_new", pa.array([row % 4 == 0 for row in range(size)]))
    known = dataclasses.replace(known, candidates=candidates)
    directory = tmp_path_factory.mktemp("filtering")
    filter_by = ["genres", "year", "is_new"]
    return tt.load_bundle(
        export_unchecked(trained, known, directory, build_index=tt.index.build_exact_index, filter_by=filter_by)
    )


def names(outputs) -> list[set[str]]:
    return [set(filter(None, row)) for row in outputs.candidate_ids]


def test_what_is_excluded_is_not_recommended(filtering):
    (before,) = names(filtering.recommend({"user_id": "u0"}))
    for exclude in ([["m1", "no such id"]], np.array([["m1", "m1"]]), [("m1",)]):
        (after,) = names(filtering.recommend({"user_id": "u0"}, exclude=exclude))
        assert after == before - {"m1"}
    both = names(filtering.recommend({"user_id": ["stranger", "stranger"]}, exclude=[["m1"], []]))
    assert both[1] - both[0] == {"m1"}


def test_only_what_holds_is_recommended(filtering):
    columns = filtering.candidates.to_pydict()
    rows = range(len(columns["movie_id"]))

    def those(holds) -> set[str]:
        return {columns["movie_id"][row] for row in rows if holds(row)}

    stranger = {"user_id": "stranger"}
    assert names(filtering.recommend(stranger, only={"genres": ["Rare", "None"]})) == [
        those(lambda row: "Rare" in columns["genres"][row])
    ]
    for year in (1991, [1991], np.int64(1991), ["1991"]):
        assert names(filtering.recommend(stranger, only={"year": year, "is_new": True})) == [
            those(lambda row: columns["year"][row] == 1991 and columns["is_new"][row])
        ]
    of_each = filtering.recommend(
        {"user_id": ["stranger"] * 2}, only={"year": [[1990, 1992], []]}, exclude=[[], ["m0"]]
    )
    assert names(of_each) == [those(lambda row: columns["year"][row] != 1991), those(lambda row: row != 0)]


def test_similar_candidates_are_found_without_themselves(filtering):
    outputs = filtering.similar(["m0", "m1", "no such id"], k=5)
    assert outputs.candidate_ids.shape == outputs.scores.shape == (3, 5)
    for own, found in zip(("m0", "m1"), names(outputs), strict=False):
        assert own not in found
        assert len(found) == 5
    assert names(outputs)[2] == set()
    assert filtering.similar("m0", k=1).candidate_ids.shape == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"exclude": ["m1"]}, ValueError, "`exclude` must be a list of strings for each of 1 queries"),
        ({"exclude": [["m1"], ["m2"]]}, ValueError, "`exclude` must be a list of strings for each of 1 queries"),
        ({"exclude": [[1]]}, TypeError, "`exclude` must be strings. Received in row 0: 1"),
        (
            {"only": {"title": ["x"]}},
            ValueError,
            "does not filter by 'title'. Those it was exported with: genres, year",
        ),
        ({"only": {"genres": [["Rare"], []]}}, ValueError, "`genres` must be a list of strings for each of 1 queries"),
        ({"only": {"genres": [1.5]}}, TypeError, "`genres` must be strings. Received in row 0: 1.5"),
    ],
)
def test_a_mistaken_condition_is_named(filtering, arguments, error, message):
    with pytest.raises(error, match=message):
        filtering.recommend({"user_id": "u0"}, **arguments)


def test_no_condition_is_no_condition(bundle, filtering):
    for loaded in (bundle, filtering):
        assert names(loaded.recommend({"user_id": "u0"}, only={})) == names(loaded.recommend({"user_id": "u0"}))


def test_a_bundle_without_filters_says_so(bundle):
    with pytest.raises(ValueError, match="does not filter by 'genres'. It was exported with none"):
        bundle.recommend({"user_id": "u0"}, only={"genres": ["Rare"]})


def test_similar_needs_ids(bundle):
    with pytest.raises(ValueError, match="`candidate_ids` must be at least one"):
        bundle.similar([])
    with pytest.raises(TypeError, match="`candidate_ids` must be strings. Received in row 0: 7"):
        bundle.similar([7])
