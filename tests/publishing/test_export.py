"""Exporting a trained model: what is checked before, written, compared in a fresh process, and published."""

import dataclasses
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import tfrs_twotower as tt
from tests.checks import without_check
from tests.conftest import CANDIDATE, QUERY, bundle_of, export_unchecked, export_version
from tfrs_twotower.bundle.build import Bundle, build_bundle, build_sides
from tfrs_twotower.bundle.check import FreshCheck
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.bundle.warmup import read_warmup
from tfrs_twotower.publishing.export import publish_bundle

EXACT = {"build_index": tt.index.build_exact_index}


@pytest.fixture(scope="module")
def shop(planted, trained, tmp_path_factory):
    """A folder of three versions.

    The first has filters, metrics, and warm-up requests of two sizes. The second recommends what was seen, too, and
    nobody says by which columns it filters. The third is the second, refreshed with the first 20 candidates.
    """
    directory, seen = tmp_path_factory.mktemp("export") / "shop", planted.split.seen
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The model seems")  # never to have been trained
        sizes = {"filter_by": ["genres"], "warmup_batch_sizes": (1, 40)}
        export_unchecked(trained, seen, directory, metrics={"auc": 0.9}, **sizes, **EXACT)
        again = export_unchecked(trained, seen, directory, recommend_seen=True, filter_by=None, **EXACT)
    with without_check():
        tt.refresh_bundle(again, seen.candidates.slice(0, 20))
    return directory


@pytest.fixture(scope="module")
def loaded(shop):
    """The three versions."""
    return [tt.load_bundle(shop / str(number)) for number in (1, 2, 3)]


@pytest.fixture
def first_version(shop, tmp_path):
    """A copy of the first version, in a folder that a test may add others to."""
    return shutil.copytree(shop / "1", tmp_path / "shop" / "1")


@pytest.fixture(scope="module")
def built(planted, trained):
    """A bundle in memory, which a test may write in another way."""
    return bundle_of(trained, planted.split.seen, k=10)


@pytest.fixture(scope="module")
def of_any_text(planted, tmp_path_factory):
    """(ids of its candidates, path, warnings) of a version of a model that was not trained, with ids in Unicode."""
    seen = planted.split.seen
    ids = pa.array([f"фильм-{row} é\U0001f3ac" for row in range(seen.num_candidates)])
    users = pa.array([f"ü{row}" for row in range(seen.num_queries)])
    genres = pa.array([["Comédie"]] * seen.num_candidates)
    candidates = seen.candidates.set_column(0, "movie_id", ids).set_column(2, "genres", genres)
    known = dataclasses.replace(seen, candidates=candidates, queries=seen.queries.set_column(0, "user_id", users))
    model = tt.build_two_tower(known, query=QUERY, candidate=CANDIDATE)
    directory = tmp_path_factory.mktemp("text")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        path = export_version(model, known, directory, k=5, build_index=tt.index.build_scann_index)
    return ids.to_pylist(), path, [str(warning.message) for warning in warned]


def test_each_export_is_the_next_version(shop, loaded):
    assert versions(shop) == [1, 2, 3]
    assert loaded[0].manifest.k == 24  # all candidates, since there are fewer than 100


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "`k` must be at least 1. Received: 0"),
        (25, "`k` must be in 1..num_candidates. Received: k=25, num_candidates=24"),
    ],
)
def test_k_must_fit_the_catalogue(planted, trained, tmp_path, k, message):
    with pytest.raises(ValueError, match=message):
        export_version(trained, planted.split.seen, tmp_path, k=k)


def test_seen_candidates_are_recommended_again_only_if_the_export_says_so(planted, loaded):
    """The whole catalogue is asked for: what was seen leaves empty slots, or stands in its place by score."""
    seen, (usual, again, refreshed) = planted.split.seen, loaded
    query = {seen.query_id: seen.queries[seen.query_id][:1].to_pylist()}
    watched = set(np.unique(seen.candidate_rows[seen.query_rows == 0]))
    names = seen.candidates[seen.candidate_id].to_pylist()
    assert again.manifest.recommend_seen
    everything = again.recommend(query, k=24).candidate_ids[0].tolist()
    assert sorted(everything) == sorted(names)
    left = [name for name in everything if names.index(name) not in watched]
    assert usual.recommend(query, k=24).candidate_ids[0].tolist() == left + [""] * len(watched)
    # What a request excludes is left out all the same, and a refreshed catalogue keeps the choice.
    without = again.recommend(query, k=24, exclude=[[everything[0]]]).candidate_ids[0].tolist()
    assert without == [*everything[1:], ""]
    assert refreshed.manifest.recommend_seen


def test_a_bundle_that_predicts_differently_is_not_published(built, tmp_path, monkeypatch):
    """The written bundle has other names for the candidates; the check in a fresh process finds it."""
    save = Bundle.save

    def save_another(self, path):
        ids = self.module.catalogue.ids
        right = ids.numpy()
        ids.assign([b"wrong"] * len(right))
        save(self, path)
        ids.assign(right)

    monkeypatch.setattr(Bundle, "save", save_another)
    differs = pytest.raises(RuntimeError, match="`recommend` gives other candidate_ids than the model in memory")
    with differs, FreshCheck() as check:
        publish_bundle(tmp_path, built, None, check)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_load_is_not_published(built, first_version, tmp_path, monkeypatch):
    def save_damaged(self, path):
        shutil.copytree(first_version, path, dirs_exist_ok=True)
        (path / "saved_model.pb").write_bytes(b"damaged")

    monkeypatch.setattr(Bundle, "save", save_damaged)
    with pytest.raises(RuntimeError, match="does not load and predict in a fresh process"), FreshCheck() as check:
        publish_bundle(tmp_path / "damaged", built, None, check)
    assert versions(tmp_path / "damaged") == []


@pytest.mark.scann
def test_ids_and_features_may_be_any_text(of_any_text):
    ids, path, _ = of_any_text
    recommended = tt.load_bundle(path).recommend({"user_id": "ü3"}, k=4).candidate_ids
    assert set(recommended[0]) <= set(ids)


@pytest.mark.scann
def test_a_model_that_was_never_trained_is_published_with_a_warning(of_any_text):
    _, path, warned = of_any_text
    assert path.name == "1"
    assert sum("seems never to have been trained" in message for message in warned) == 1


def test_weights_that_are_not_finite_are_refused_with_their_rows(planted, tmp_path):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    table = model.candidate_tower.encoders["movie_id"].table.embeddings
    row = 2 + model.candidate_tower.vocabularies.values_of("movie_id").index("m5")
    table.scatter_nd_update([[row]], [[float("nan")] * 8])
    with pytest.raises(ValueError, match=rf"NaN or infinity in: \S+ \(row {row}\) of the candidate"):
        export_version(model, planted.split.seen, tmp_path)
    assert versions(tmp_path) == []


def test_a_bundle_below_its_gate_is_not_published(planted, trained, first_version):
    gate, directory = tt.publishing.QualityGate(metrics={"auc": 0.01}), first_version.parent
    with pytest.raises(
        tt.publishing.QualityError, match="auc is 0.8800, worse than version 1's 0.9000 by more than 0.01"
    ):
        export_version(trained, planted.split.seen, directory, metrics={"auc": 0.88}, gate=gate, **EXACT)
    assert [path.name for path in directory.iterdir()] == ["1"]


@pytest.mark.scann
def test_a_bundle_and_its_portable_twin_are_published_and_refreshed_as_one(planted, trained, tmp_path, unchecked):
    """After a refresh from 24 to 12 candidates no removed one is recommended, by whichever of the two."""
    directory, candidates = tmp_path / "shop", planted.split.seen.candidates
    index = {"build_index": tt.index.build_scann_index, "with_portable": True}
    path = export_version(trained, planted.split.seen, directory, k=10, **index)
    scann, portable = tt.load_bundle(path), tt.load_bundle(tmp_path / "shop-portable")
    assert (scann.manifest.index.kind, portable.manifest.index.kind) == ("scann", "exact")
    assert scann.manifest.export_id == portable.manifest.export_id
    assert set(scann.module.signatures) == set(portable.module.signatures)
    for ours, theirs in zip(scann.recommend({"user_id": ["u0"]}), portable.recommend({"user_id": ["u0"]}), strict=True):
        assert (ours == theirs).all()
    with pytest.raises(ValueError, match="shop-portable holds the portable twins of .*/shop, and changes only with it"):
        tt.refresh_bundle(tmp_path / "shop-portable", candidates)
    with pytest.raises(ValueError, match="shop-portable holds the portable twins"):
        export_version(trained, planted.split.seen, tmp_path / "shop-portable")
    # Whatever index the new catalogue gets, the twin comes along.
    refreshed = tt.refresh_bundle(directory, candidates.slice(0, 12), build_index=tt.index.build_exact_index)
    left = set(candidates["movie_id"][:12].to_pylist())
    pair = [tt.load_bundle(refreshed), tt.load_bundle(tmp_path / "shop-portable")]
    assert pair[0].manifest.export_id == pair[1].manifest.export_id != scann.manifest.export_id
    for bundle in pair:
        assert (bundle.path.name, bundle.manifest.index.requested == "portable") == ("2", bundle.manifest.is_twin)
        assert bundle.candidates.equals(candidates.slice(0, 12))
        assert set(bundle.recommend({"user_id": ["u0", "stranger"]}).candidate_ids.ravel()) - {""} <= left


def test_columns_of_categories_are_filtered_by_if_nobody_says_otherwise(loaded, bundle_path):
    _, by_default, _ = loaded
    assert by_default.manifest.filter_by == ("genres",)
    found = by_default.recommend({"user_id": ["stranger"]}, only={"genres": "Rare"}).candidate_ids[0]
    assert {int(name[1:]) % 2 for name in found if name} == {1}
    assert tt.load_bundle(bundle_path).manifest.filter_by == ()


def test_the_warmup_file_has_a_request_of_every_signature_at_every_size(loaded):
    bundle, asked = loaded[0], set()
    signatures = bundle.module.signatures
    for record in tf.data.TFRecordDataset(str(bundle.path / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
        outputs = signatures[request.model_spec.signature_name](**inputs)
        (size,) = {len(values) for values in (*inputs.values(), *outputs.values())}
        assert request.model_spec.name == "shop"
        asked.add((request.model_spec.signature_name, size))
    assert asked == {(name, size) for name in signatures for size in (1, 40)}


def test_the_warmup_files_hold_no_value_of_a_query(planted, loaded):
    """Neither the exported bundle's nor the refreshed one's; ids and features of candidates are public."""
    for bundle in loaded:
        given = [request.inputs for request in read_warmup(bundle.path) if "user_id" in request.inputs]
        assert len(given) == 2 * 6  # sizes and signatures
        for inputs in given:
            assert set(inputs["user_id"].numpy().tolist()) == {b""}
            assert np.isnan(inputs["age"]).all()
        written = (bundle.path / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
        assert not any(f"u{row}".encode() in written for row in range(10, planted.split.seen.num_queries))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0,), "must be whole numbers >= 1"),
        ((1.5,), "must be whole numbers >= 1"),
        (32, "must be whole numbers >= 1"),
        (range(1, 102), "must be at most 100 sizes. Received: 101"),
    ],
)
def test_batch_sizes_out_of_range_are_named(planted, trained, tmp_path, sizes, message):
    with pytest.raises(ValueError, match=f"`warmup_batch_sizes` {message}"):
        export_version(trained, planted.split.seen, tmp_path, warmup_batch_sizes=sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": {"auc": float("nan")}}, "`metrics` must be finite numbers. Received for 'auc'"),
        ({"metrics": {"auc": np.float32(0.8)}}, "`metrics` must be finite numbers. Received for 'auc'"),
        ({"keep": 0}, "`keep` must be at least 1"),
    ],
)
def test_mistakes_are_named_before_the_index_is_built(planted, trained, tmp_path, options, message):
    def build(*_):
        raise AssertionError("too late")

    with pytest.raises(ValueError, match=message):
        export_version(trained, planted.split.seen, tmp_path, build_index=build, **options)


def test_a_rating_embedding_that_is_not_finite_is_named(planted, trained):
    sides = build_sides(trained, planted.split.seen)
    embeddings = sides.embed(planted.split.seen.candidates)
    rating = embeddings["rating"].copy()
    rating[5] = np.nan
    with pytest.raises(ValueError, match="Received 1 with NaN or infinity, of candidates 'm5'"):
        build_bundle(
            sides, planted.split.seen.candidates, {**embeddings, "rating": rating}, tt.index.build_exact_index, k=1
        )
