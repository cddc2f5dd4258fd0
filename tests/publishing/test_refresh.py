"""A published bundle gets another catalogue; neither the model nor the training data is needed."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.checks import without_check
from tests.conftest import CANDIDATE, QUERY, export_unchecked
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.model.joint import JointModel

ALL = {"user_id": ["u0", "u1", "stranger"]}


@pytest.fixture(scope="module")
def exported(planted, trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("refresh")
    export_unchecked(
        trained, planted.split.seen, directory, k=24, build_index=tt.index.build_exact_index, filter_by=["genres"]
    )
    return directory


@pytest.fixture
def directory(exported, tmp_path):
    """A copy that a test may add versions to."""
    return shutil.copytree(exported, tmp_path / "bundle")


def changed(candidates: pa.Table) -> pa.Table:
    """Removes the first five candidates, and adds ten, five of each taste."""
    added = pa.table(
        {
            "movie_id": [f"new{row}" for row in range(10)],
            "title": [f"New {row}" for row in range(10)],
            "genres": [["Even"] if row % 2 == 0 else ["Odd", "Rare"] for row in range(10)],
        },
        schema=candidates.schema,
    )
    return pa.concat_tables([added, candidates.slice(5)])


def scores_by_id(bundle: LoadedBundle) -> list[dict[str, float]]:
    outputs = bundle.recommend(ALL)
    return [
        {name: score for name, score in zip(ids, scores, strict=True) if name}
        for ids, scores in zip(outputs.candidate_ids, outputs.scores.tolist(), strict=True)
    ]


def test_candidates_are_added_and_removed_and_the_others_keep_their_scores(planted, directory):
    before = tt.load_bundle(directory)
    path = tt.refresh_bundle(directory, changed(planted.split.seen.candidates), build_index=tt.index.build_exact_index)
    after = tt.load_bundle(path)
    assert path.name == "2"
    assert after.manifest.num_candidates == 29
    assert after.manifest.model.refreshed_from == "1"
    for bundle in (before, after):
        assert bundle.knows(["u0", "stranger", ""]).tolist() == [True, False, False]
    removed = {f"m{row}" for row in range(5)}
    for old, new in zip(scores_by_id(before), scores_by_id(after), strict=True):
        assert not removed & set(new)
        # The added candidates displace the worst of an unknown query, and fill empty slots of a known one.
        assert {f"new{row}" for row in range(10)} & set(new)
        for name in set(old) & set(new):
            # The tower's matrix products round differently in another batch.
            assert new[name] == pytest.approx(old[name], rel=1e-5, abs=1e-5)
        assert set(new) - set(old) - {f"new{row}" for row in range(10)} == set()


@pytest.fixture(scope="module")
def chain(planted, exported, tmp_path_factory):
    """(the loaded version that was exported, those that follow it): each has the next catalogue.

    The catalogues are a data frame with only the columns that are needed, a single candidate, one that lacks five
    candidates and has ten new ones, and at last all in another order, with missing values.
    """
    directory, candidates = tmp_path_factory.mktemp("chain") / "bundle", planted.split.seen.candidates
    shutil.copytree(exported, directory)
    last = candidates.take(np.arange(24)[::-1]).to_pydict()
    last["title"] = [float("nan"), *last["title"][1:]]
    last["price"] = np.array([1.5, np.nan, *range(22)])
    last["genres"] = [*last["genres"][:-1], None]
    tables = [candidates.select(["movie_id", "genres"]).to_pandas(), candidates.slice(0, 1), changed(candidates), last]
    with without_check():
        paths = [tt.refresh_bundle(directory, table, build_index=tt.index.build_exact_index) for table in tables]
    return tt.load_bundle(directory / "1"), [tt.load_bundle(path) for path in paths]


def test_the_query_side_stays_bit_identical_through_many_refreshes(chain):
    first, (second, *_, last) = chain
    inputs = {"user_id": tf.constant(ALL["user_id"]), "age": tf.constant([np.nan, 30.0, 20.0])}
    for name, values in first.module.signatures["embed_query"](**inputs).items():
        np.testing.assert_array_equal(values, last.module.signatures["embed_query"](**inputs)[name])
    np.testing.assert_array_equal(first.recommend(ALL).candidate_ids, second.recommend(ALL).candidate_ids)
    assert last.manifest.k == 24
    # The two catalogues differ in some values, and names of functions in length; but no refresh may add to the graph.
    sizes = [(bundle.path / "saved_model.pb").stat().st_size for bundle in (second, last)]
    assert sizes[1] - sizes[0] < 1000


def test_candidates_that_a_query_has_seen_stay_excluded(planted, chain):
    """This includes candidates that catalogues in between did not have."""
    seen, (_, (*_, last)) = planted.split.seen, chain
    ids = seen.candidates["movie_id"].to_pylist()
    outputs = last.recommend({"user_id": [f"u{row}" for row in range(40)]})
    for row in range(40):
        known = {ids[place] for place in seen.candidate_rows[seen.query_rows == row]}
        assert set(outputs.candidate_ids[row]) - {""} == set(ids) - known


def test_a_catalogue_may_be_a_data_frame_with_only_the_columns_that_are_needed(chain):
    _, (bundle, *_) = chain
    assert bundle.candidates.column_names == ["movie_id", "genres"]


def test_nan_is_a_missing_value_of_text_and_of_numbers(chain):
    _, (*_, bundle) = chain
    assert bundle.candidates["title"].null_count == bundle.candidates["price"].null_count == 1
    assert bundle.candidates["title"][0].as_py() is None
    assert bundle.candidates["price"][1].as_py() is None


def test_a_small_catalogue_gives_fewer_columns_until_a_larger_one_follows(chain):
    _, bundles = chain
    widths = [bundle.recommend({"user_id": "stranger"}).candidate_ids.shape[1] for bundle in bundles]
    assert widths == [24, 1, 24, 24]


def test_a_path_is_no_table(directory):
    with pytest.raises(TypeError, match=r"must be a table. Received a path: items.csv. Read it with: .*read_catalogue"):
        tt.refresh_bundle(directory, "items.csv")


def test_lists_may_come_from_a_text_file(planted, directory, unchecked, tmp_path):
    """The candidate tower takes genres, and the bundle filters by them."""
    before = tt.load_bundle(directory)
    rows = planted.split.seen.candidates.to_pylist()
    file = tmp_path / "items.csv"
    file.write_text("movie_id,genres\n" + "".join(f"{row['movie_id']},{'|'.join(row['genres'])}\n" for row in rows))
    catalogue = tt.publishing.read_catalogue(file, before)
    after = tt.load_bundle(tt.refresh_bundle(before, catalogue, build_index=tt.index.build_exact_index))
    for only in ({}, {"genres": ["Rare"]}):
        expected = before.recommend({"user_id": "stranger"}, only=only)
        found = after.recommend({"user_id": "stranger"}, only=only)
        assert found.candidate_ids.tolist() == expected.candidate_ids.tolist()
    assert any(found.candidate_ids[0])


@pytest.mark.scann
def test_a_refresh_may_change_the_kind_of_the_index(planted, directory, unchecked):
    for build_index in (tt.index.build_scann_index, tt.index.build_portable_index):
        path = tt.refresh_bundle(directory, planted.split.seen.candidates, build_index=build_index)
    assert json.loads((path / "assets.extra" / "manifest.json").read_text())["index"]["kind"] == "exact"


def test_a_joint_model_with_a_history_is_refreshed(planted, tmp_path, unchecked):
    history = tt.History(of=CANDIDATE.features[0], length=4, by_rating=True)
    seen = planted.split.seen
    query = dataclasses.replace(QUERY, features=(*QUERY.features, history))
    ranks = tt.build_two_tower(seen, query=query, candidate=CANDIDATE, task=tt.tasks.SampledSoftmaxTask())
    joint = JointModel(retrieval_model=ranks, rating_model=tt.build_two_tower(seen, query=QUERY, candidate=CANDIDATE))
    path = export_unchecked(joint, seen, tmp_path, k=24, build_index=tt.index.build_exact_index)
    before = tt.load_bundle(path).recommend(ALL)
    after = tt.load_bundle(tt.refresh_bundle(path, seen.candidates, build_index=tt.index.build_exact_index)).recommend(
        ALL
    )
    np.testing.assert_array_equal(after.candidate_ids, before.candidate_ids)
    np.testing.assert_allclose(after.probabilities, before.probabilities, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(0, 0), "`candidates` must have at least one row"),
        (lambda table: pa.concat_tables([table, table]), "must identify a row. Received 24 repeated ids"),
        (lambda table: table.drop_columns(["movie_id"]), "must have the id column 'movie_id'"),
        (lambda table: table.drop_columns(["genres"]), "`candidates`.* has no column genres"),
    ],
)
def test_a_bad_catalogue_is_named_and_nothing_is_published(planted, directory, unchecked, change, message):
    with pytest.raises(ValueError, match=message):
        tt.refresh_bundle(directory, change(planted.split.seen.candidates), build_index=tt.index.build_exact_index)
    assert versions(directory) == [1]


def test_a_folder_that_is_not_a_version_is_refused(planted, directory, unchecked, tmp_path):
    (directory / "1").rename(directory / "mine")
    with pytest.raises(ValueError, match="is not a version in a folder of versions"):
        tt.refresh_bundle(directory / "mine", planted.split.seen.candidates)
