"""A published bundle from Python: finding and loading it, plain values in, arrays out."""

import dataclasses
import pydoc
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked
from tfrs_twotower.bundle import load as load_module
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


def test_ids_are_strings_and_k_is_the_number_of_columns(bundle, planted):
    outputs = bundle.recommend({"user_id": ["u0", "u1"]}, k=3)
    assert outputs.candidate_ids.shape == outputs.scores.shape == outputs.probabilities.shape == (2, 3)
    assert outputs.candidate_ids[:, 0].tolist() == [f"m{row}" for row in planted.withheld[:2]]


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        ({"uid": "u0"}, ValueError, "Unknown query feature 'uid'. Known: user_id, age."),
        ({"user_id": 42}, TypeError, r"`user_id` must be strings. Received in row 0: 42 \(int\). Write '42'."),
        ({"user_id": ["u0", None]}, TypeError, r"`user_id` must be strings. Received in row 1: None"),
        ({"user_id": "u0", "age": "30"}, TypeError, r"`age` must be numbers. Received in row 0: '30' \(str\)"),
        ({"user_id": "u0", "age": True}, TypeError, r"`age` must be numbers. Received in row 0: True \(bool\)"),
        (
            {"user_id": ["u0", "u1"], "age": 30},
            ValueError,
            "All query features must have equally many values. Received: {'user_id': 2, 'age': 1}",
        ),
        ({"user_id": [], "age": 30}, ValueError, "equally many values. Received: {'user_id': 0, 'age': 1}"),
        ({"user_id": "u0", "age": 1e300}, ValueError, "`age` must be numbers that float32 can hold"),
        ({}, ValueError, "`queries` must give at least one feature. Known: user_id, age."),
        ("u0", TypeError, "`queries` must map features to values, such as {'user_id': '42'}. Received: a str."),
        (["u0"], TypeError, "`queries` must map features to values, such as {'user_id': '42'}. Received: a list."),
        (None, TypeError, "`queries` must map features to values, such as {'user_id': '42'}. Received: a NoneType."),
    ],
)
def test_a_mistake_is_named(bundle, queries, error, message):
    with pytest.raises(error, match=message):
        bundle.recommend(queries)


def with_original_names(bundle: LoadedBundle, **names) -> LoadedBundle:
    model = dataclasses.replace(bundle.manifest.model, original_names=names)
    return LoadedBundle(
        bundle.path, dataclasses.replace(bundle.manifest, model=model), bundle.candidates, bundle.module
    )


def test_inputs_may_be_called_as_in_the_users_table(bundle, filtering):
    renamed = with_original_names(bundle, user_id="Kunde-Nr")
    own, users = {"user_id": ["u0"], "age": [30]}, {"Kunde-Nr": ["u0"], "age": [30]}
    assert renamed.recommend(users).candidate_ids.tolist() == bundle.recommend(own).candidate_ids.tolist()
    assert renamed.recommend(own).candidate_ids.tolist() == bundle.recommend(own).candidate_ids.tolist()
    assert renamed.score(users, ["m1"]).scores.tolist() == bundle.score(own, ["m1"]).scores.tolist()
    dated = with_original_names(filtering, year="Erscheinungsjahr")
    expected = filtering.recommend({"user_id": "u0"}, only={"year": 1991}).candidate_ids.tolist()
    for name in ("Erscheinungsjahr", "year"):
        assert dated.recommend({"user_id": "u0"}, only={name: 1991}).candidate_ids.tolist() == expected


@pytest.mark.parametrize(
    ("names", "queries", "only", "message"),
    [
        (
            {"user_id": "Kunde-Nr"},
            {"kunde_nr": "u0"},
            None,
            "Unknown query feature 'kunde_nr'. Known: user_id (the column Kunde-Nr), age.",
        ),
        (
            {"user_id": "Kunde-Nr"},
            {"user_id": "u0", "Kunde-Nr": "u0"},
            None,
            "`queries` must give each feature once. Received 'user_id' twice, also as 'Kunde-Nr'.",
        ),
        # A column had the name of another input, which means that input.
        ({"user_id": "age"}, {"age": "u0"}, None, "`age` must be numbers. Received in row 0: 'u0' (str)."),
        (
            {"year": "Jahr"},
            {"user_id": "u0"},
            {"yr": 1991},
            "The bundle does not filter by 'yr'. Those it was exported with: genres, year (the column Jahr), is_new.",
        ),
        (
            {"year": "Jahr"},
            {"user_id": "u0"},
            {"Jahr": 1991, "year": 1991},
            "`only` must give each feature once. Received 'year' twice, also as 'year'.",
        ),
    ],
)
def test_an_error_says_which_columns_the_inputs_were(bundle, filtering, names, queries, only, message):
    loaded = with_original_names(bundle if only is None else filtering, **names)
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        loaded.recommend(queries, only=only)


def test_no_query_gives_no_recommendations(bundle, filtering):
    for loaded in (bundle, filtering):
        none = {"user_id": []}
        for arguments in ({}, {"exclude": []}, {"exclude": [], "k": 3}):
            found = loaded.recommend(none, **arguments)
            k = arguments.get("k", loaded.manifest.k)
            assert found.candidate_ids.shape == found.scores.shape == found.probabilities.shape == (0, k)
        similar, scores = loaded.similar([], k=2), loaded.score(none, [])
        assert similar.candidate_ids.shape == similar.scores.shape == (0, 2)
        assert scores.scores.shape == scores.probabilities.shape == (0,)
    for only in ({"year": 1991}, {"year": []}):
        assert filtering.recommend(none, only=only, k=3).candidate_ids.shape == (0, 3)


def test_one_query_may_be_given_as_a_value(bundle):
    assert bundle.score({"user_id": "u0"}, "m1").scores.shape == (1,)
    assert bundle.score({"user_id": pa.scalar("u0")}, np.array("m1")).scores.shape == (1,)
    assert bundle.similar(tf.constant("m1"), k=2).candidate_ids.shape == (1, 2)


@pytest.mark.parametrize(("queries", "ids"), [(1, ["m1", "m2"]), (2, ["m1"]), (2, "m1"), (1, [])])
def test_each_query_is_scored_with_one_candidate(bundle, queries, ids):
    received = 1 if isinstance(ids, str) else len(ids)
    message = f"`candidate_ids` must be one for each query. Received: {received} for {queries} queries. Repeat a query"
    with pytest.raises(ValueError, match=message):
        bundle.score({"user_id": ["u0"] * queries}, ids)


@pytest.mark.parametrize("k", [2.0, "3"])
def test_k_is_an_integer(bundle, k):
    with pytest.raises(TypeError, match=rf"`k` must be a whole number. Received: {k!r} \({type(k).__name__}\)"):
        bundle.recommend({"user_id": "u0"}, k=k)


@pytest.mark.parametrize(
    ("changes", "k", "message"),
    [
        ({"k": 10, "num_candidates": 24}, 0, r"`k` must be in 1..10, the bundle's. Received: k=0.$"),
        (
            {"k": 10, "num_candidates": 24},
            11,
            "`k` must be in 1..10, the bundle's. Received: k=11. Export the bundle with a larger k to get more of its "
            "24 candidates.$",
        ),
        ({"k": 24, "num_candidates": 24}, 25, "in 1..24: the catalogue has only 24 candidates. Received: k=25.$"),
    ],
)
def test_k_must_fit_the_bundle(bundle, changes, k, message):
    manifest = dataclasses.replace(bundle.manifest, **changes)
    loaded = LoadedBundle(bundle.path, manifest, bundle.candidates, bundle.module)
    with pytest.raises(ValueError, match=message):
        loaded.recommend({"user_id": "u0"}, k=k)


def test_a_large_batch_is_asked_for_in_several_calls(bundle, monkeypatch):
    queries = {"user_id": [f"u{row}" for row in range(5)]}
    ids = ["m3", "m1", "m4", "m1", "m5"]
    whole = [*bundle.recommend(queries, k=3, exclude=[["m0"]] * 5), *bundle.score(queries, ids)]
    monkeypatch.setattr(load_module, "_MAX_ROWS_PER_CALL", 2)
    parts = [*bundle.recommend(queries, k=3, exclude=[["m0"]] * 5), *bundle.score(queries, ids)]
    for ours, theirs in zip(parts, whole, strict=True):
        if ours is not None and ours.dtype == object:
            assert ours.tolist() == theirs.tolist()
        elif ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)  # a product of other shapes rounds differently


def test_a_missing_bundle_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no bundle at .*Make one with: tfrs-twotower train"):
        tt.load_bundle(tmp_path / "none")


def test_a_folder_that_is_not_a_bundle_is_named(tmp_path, bundle_path):
    with pytest.raises(FileNotFoundError, match="is not a bundle: it holds neither a SavedModel nor a version"):
        tt.load_bundle(tmp_path)
    foreign = tmp_path / "1"
    shutil.copytree(bundle_path, foreign)
    shutil.rmtree(foreign / "assets.extra")
    with pytest.raises(ValueError, match="is a SavedModel, but not one of this library's"):
        tt.load_bundle(tmp_path)
    (foreign / "assets.extra").mkdir()
    for manifest in ("{", "[]", '{"index": {"kind": "exact"}}'):
        (foreign / "assets.extra" / "manifest.json").write_text(manifest)
        with pytest.raises(ValueError, match=r"The manifest \S+1/assets.extra/manifest.json is damaged: "):
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
def test_a_damaged_bundle_is_named(tmp_path, bundle_path, damaged):
    shutil.copytree(bundle_path, tmp_path / "1")
    (tmp_path / "1" / damaged).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged and cannot be loaded"):
        tt.load_bundle(tmp_path)


# The steps of loading: reading the manifest, the SavedModel, and the catalogue.
STEPS = ["Manifest.read", "tf.saved_model.load", "read_candidates"]


def before(monkeypatch, step: str, act) -> None:
    """Lets something happen before a step of loading: what another process does meanwhile."""
    *owners, name = f"tfrs_twotower.bundle.load.{step}".split(".")
    owner = pydoc.locate(".".join(owners))
    original = getattr(owner, name)

    def patched(*arguments):
        act()
        return original(*arguments)

    monkeypatch.setattr(owner, name, patched)


@pytest.mark.parametrize("step", STEPS)
def test_a_version_that_is_removed_while_it_is_loaded_is_replaced_by_the_newest(
    monkeypatch, tmp_path, bundle_path, step
):
    shutil.copytree(bundle_path, tmp_path / "1")

    def publish_with_keep_1():
        if (tmp_path / "1").exists():
            shutil.copytree(bundle_path, tmp_path / "2")
            (tmp_path / "1").rename(tmp_path / ".removed-1")

    before(monkeypatch, step, publish_with_keep_1)
    assert tt.load_bundle(tmp_path).path == tmp_path / "2"


@pytest.mark.parametrize("step", STEPS)
def test_a_named_version_that_is_removed_while_it_is_loaded_is_missing_and_not_damaged(
    monkeypatch, tmp_path, bundle_path, step
):
    shutil.copytree(bundle_path, tmp_path / "1")
    shutil.copytree(bundle_path, tmp_path / "2")
    before(monkeypatch, step, lambda: shutil.rmtree(tmp_path / "1"))
    with pytest.raises(FileNotFoundError, match="/1 was removed while it was being loaded. Load the newest version"):
        tt.load_bundle(tmp_path / "1")


def test_loading_ends_where_every_version_is_removed_meanwhile(monkeypatch, tmp_path, bundle_path):
    shutil.copytree(bundle_path, tmp_path / "1")
    tried = []

    def replace_the_newest():
        number = len(tried) + 1
        tried.append(number)
        (tmp_path / str(number)).rename(tmp_path / str(number + 1))

    before(monkeypatch, "Manifest.read", replace_the_newest)
    with pytest.raises(FileNotFoundError, match="was removed while it was being loaded"):
        tt.load_bundle(tmp_path)
    assert 1 < len(tried) < 100


@pytest.fixture(scope="module")
def filtering(planted, trained, tmp_path_factory) -> LoadedBundle:
    """A bundle that filters by a list of strings, an integer and a boolean."""
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


def test_excluded_candidates_are_not_recommended(filtering):
    (before,) = names(filtering.recommend({"user_id": "u0"}))
    for exclude in ([["m1", "no such id"]], np.array([["m1", "m1"]]), [("m1",)]):
        (after,) = names(filtering.recommend({"user_id": "u0"}, exclude=exclude))
        assert after == before - {"m1"}
    both = names(filtering.recommend({"user_id": ["stranger", "stranger"]}, exclude=[["m1"], []]))
    assert both[1] - both[0] == {"m1"}


def test_only_candidates_that_match_the_filters_are_recommended(filtering):
    columns = filtering.candidates.to_pydict()
    rows = range(len(columns["movie_id"]))

    def ids_where(holds) -> set[str]:
        return {columns["movie_id"][row] for row in rows if holds(row)}

    stranger = {"user_id": "stranger"}
    assert names(filtering.recommend(stranger, only={"genres": ["Rare", "None"]})) == [
        ids_where(lambda row: "Rare" in columns["genres"][row])
    ]
    for year in (1991, [1991], np.int64(1991), ["1991"]):
        assert names(filtering.recommend(stranger, only={"year": year, "is_new": True})) == [
            ids_where(lambda row: columns["year"][row] == 1991 and columns["is_new"][row])
        ]
    per_query = filtering.recommend(
        {"user_id": ["stranger"] * 2}, only={"year": [[1990, 1992], []]}, exclude=[[], ["m0"]]
    )
    assert names(per_query) == [ids_where(lambda row: columns["year"][row] != 1991), ids_where(lambda row: row != 0)]


def test_a_candidate_is_not_among_those_similar_to_it(filtering):
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
        ({"only": "genres"}, TypeError, "`only` must map features to values"),
        ({"only": {"genres": [1.5]}}, TypeError, "`genres` must be strings. Received in row 0: 1.5"),
    ],
)
def test_a_mistake_in_a_condition_is_named(filtering, arguments, error, message):
    with pytest.raises(error, match=message):
        filtering.recommend({"user_id": "u0"}, **arguments)


def test_empty_filters_filter_nothing(bundle, filtering):
    for loaded in (bundle, filtering):
        assert names(loaded.recommend({"user_id": "u0"}, only={})) == names(loaded.recommend({"user_id": "u0"}))


def test_a_filter_of_a_bundle_without_filters_is_an_error(bundle):
    with pytest.raises(ValueError, match="does not filter by 'genres'. It was exported with none"):
        bundle.recommend({"user_id": "u0"}, only={"genres": ["Rare"]})


def test_ids_of_candidates_are_strings(bundle):
    with pytest.raises(TypeError, match="`candidate_ids` must be strings. Received in row 0: 7"):
        bundle.similar([7])


@pytest.mark.parametrize("ids", [["u0", "99999", " u0", "", "u39"], np.array([b"u0", b"x", b"U0", b"", b"u1"])])
def test_a_bundle_tells_which_queries_it_knows(bundle, ids):
    known = bundle.knows(ids)
    assert known.dtype == bool
    assert known.tolist() == [True, False, False, False, True]
    assert bundle.knows("u0").tolist() == [True]
    assert bundle.knows([]).tolist() == []


def test_ids_of_queries_are_strings(bundle):
    with pytest.raises(TypeError, match=r"`query_ids` must be strings. Received in row 0: 42 \(int\). Write '42'."):
        bundle.knows(42)


def test_a_bundle_that_knows_no_ids_says_so(bundle):
    module = SimpleNamespace(query_side=SimpleNamespace())
    older = LoadedBundle(bundle.path, bundle.manifest, bundle.candidates, module)
    with pytest.raises(ValueError, match="made by an older version of this library, and cannot tell which queries"):
        older.knows("u0")
    model = bundle.manifest.model
    query = dataclasses.replace(model.query, inputs=model.query.inputs[1:])
    manifest = dataclasses.replace(bundle.manifest, model=dataclasses.replace(model, query=query))
    with pytest.raises(ValueError, match="knows no query by its id, since the model uses neither ids nor histories"):
        LoadedBundle(bundle.path, manifest, bundle.candidates, bundle.module).knows("u0")
