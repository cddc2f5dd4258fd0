"""Exporting a trained model: what is checked before, written, compared in a fresh process, and published."""

import dataclasses
import warnings

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, export_unchecked, export_version
from tfrs_twotower.bundle.build import Bundle, build_bundle, build_sides
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.bundle.warmup import read_warmup


def test_each_export_is_the_next_version(planted, trained, tmp_path, unchecked):
    for version in ("1", "2"):
        path = export_version(trained, planted.split.seen, tmp_path, build_index=tt.index.build_exact_index)
        assert path.name == version
    assert tt.load_bundle(path).manifest.k == 24  # all candidates, since there are fewer than 100


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


def test_seen_candidates_are_recommended_again_only_if_the_export_says_so(planted, trained, tmp_path, unchecked):
    """The whole catalogue is asked for: what was seen leaves empty slots, or stands in its place by score."""
    seen, options = planted.split.seen, {"build_index": tt.index.build_exact_index}
    query = {seen.query_id: seen.queries[seen.query_id][:1].to_pylist()}
    watched = set(np.unique(seen.candidate_rows[seen.query_rows == 0]))
    names = seen.candidates[seen.candidate_id].to_pylist()
    usual = tt.load_bundle(export_version(trained, seen, tmp_path / "usual", **options)).recommend(query, k=24)
    path = export_version(trained, seen, tmp_path / "again", recommend_seen=True, **options)
    again = tt.load_bundle(path)
    assert again.manifest.recommend_seen
    everything = again.recommend(query, k=24).candidate_ids[0].tolist()
    assert sorted(everything) == sorted(names)
    left = [name for name in everything if names.index(name) not in watched]
    assert usual.candidate_ids[0].tolist() == left + [""] * len(watched)
    # What a request excludes is left out all the same, and a refreshed catalogue keeps the choice.
    without = again.recommend(query, k=24, exclude=[[everything[0]]]).candidate_ids[0].tolist()
    assert without == [*everything[1:], ""]
    refreshed = tt.refresh_bundle(path, seen.candidates.slice(0, 20))
    assert tt.load_bundle(refreshed).manifest.recommend_seen


def test_a_bundle_that_predicts_differently_is_not_published(planted, trained, tmp_path, monkeypatch):
    """The written bundle has other names for the candidates; the check in a fresh process finds it."""
    save = Bundle.save

    def save_another(self, path):
        ids = self.module.catalogue.ids
        right = ids.numpy()
        ids.assign([b"wrong"] * len(right))
        save(self, path)
        ids.assign(right)

    monkeypatch.setattr(Bundle, "save", save_another)
    with pytest.raises(RuntimeError, match="`recommend` gives other candidate_ids than the model in memory"):
        export_version(trained, planted.split.seen, tmp_path, build_index=tt.index.build_exact_index)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_load_is_not_published(planted, trained, tmp_path, monkeypatch):
    save = Bundle.save

    def save_damaged(self, path):
        save(self, path)
        (path / "saved_model.pb").write_bytes(b"damaged")

    monkeypatch.setattr(Bundle, "save", save_damaged)
    with pytest.raises(RuntimeError, match="does not load and predict in a fresh process"):
        export_version(trained, planted.split.seen, tmp_path, build_index=tt.index.build_exact_index)
    assert versions(tmp_path) == []


@pytest.mark.parametrize(
    "build_index", [tt.index.build_exact_index, pytest.param(tt.index.build_scann_index, marks=pytest.mark.scann)]
)
def test_ids_and_features_may_be_any_text(planted, tmp_path, build_index):
    seen = planted.split.seen
    ids = pa.array([f"фильм-{row} é\U0001f3ac" for row in range(seen.num_candidates)])
    users = pa.array([f"ü{row}" for row in range(seen.num_queries)])
    genres = pa.array([["Comédie"]] * seen.num_candidates)
    candidates = seen.candidates.set_column(0, "movie_id", ids).set_column(2, "genres", genres)
    known = dataclasses.replace(seen, candidates=candidates, queries=seen.queries.set_column(0, "user_id", users))
    model = tt.build_two_tower(known, query=QUERY, candidate=CANDIDATE)
    path = export_version(model, known, tmp_path, k=5, build_index=build_index)
    recommended = tt.load_bundle(path).recommend({"user_id": "ü3"}, k=4).candidate_ids
    assert set(recommended[0]) <= set(ids.to_pylist())


def test_weights_that_are_not_finite_are_refused_with_their_rows(planted, tmp_path):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    table = model.candidate_tower.encoders["movie_id"].table.embeddings
    row = 2 + model.candidate_tower.vocabularies.values_of("movie_id").index("m5")
    table.scatter_nd_update([[row]], [[float("nan")] * 8])
    with pytest.raises(ValueError, match=rf"NaN or infinity in: \S+ \(row {row}\) of the candidate"):
        export_version(model, planted.split.seen, tmp_path)
    assert versions(tmp_path) == []


def test_a_bundle_below_its_gate_is_not_published(planted, trained, tmp_path, unchecked):
    gate = tt.publishing.QualityGate(metrics={"auc": 0.01})
    options = {"build_index": tt.index.build_exact_index, "gate": gate}
    export_version(trained, planted.split.seen, tmp_path, metrics={"auc": 0.9}, **options)
    with pytest.raises(
        tt.publishing.QualityError, match="auc is 0.8800, worse than version 1's 0.9000 by more than 0.01"
    ):
        export_version(trained, planted.split.seen, tmp_path, metrics={"auc": 0.88}, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


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


def test_columns_of_categories_are_filtered_by_if_nobody_says_otherwise(planted, trained, tmp_path, unchecked):
    index = {"build_index": tt.index.build_exact_index}
    bundle = tt.load_bundle(export_version(trained, planted.split.seen, tmp_path / "default", filter_by=None, **index))
    assert bundle.manifest.filter_by == ("genres",)
    found = bundle.recommend({"user_id": ["stranger"]}, only={"genres": "Rare"}).candidate_ids[0]
    assert {int(name[1:]) % 2 for name in found if name} == {1}
    none = export_version(trained, planted.split.seen, tmp_path / "none", **index)
    assert tt.load_bundle(none).manifest.filter_by == ()


def test_the_warmup_file_has_a_request_of_every_signature_at_every_size(planted, trained, tmp_path, unchecked):
    path = export_version(
        trained,
        planted.split.seen,
        tmp_path / "shop",
        build_index=tt.index.build_exact_index,
        filter_by=["genres"],
        warmup_batch_sizes=(1, 40),
    )
    signatures, asked = tt.load_bundle(path).module.signatures, set()
    for record in tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
        outputs = signatures[request.model_spec.signature_name](**inputs)
        (size,) = {len(values) for values in (*inputs.values(), *outputs.values())}
        assert request.model_spec.name == "shop"
        asked.add((request.model_spec.signature_name, size))
    assert asked == {(name, size) for name in signatures for size in (1, 40)}


def test_the_warmup_files_hold_no_value_of_a_query(planted, trained, tmp_path, unchecked):
    """Neither the exported bundle's nor the refreshed one's; ids and features of candidates are public."""
    seen = planted.split.seen
    exported = export_version(trained, seen, tmp_path / "shop", build_index=tt.index.build_exact_index)
    for path in (exported, tt.refresh_bundle(exported, seen.candidates)):
        requests = read_warmup(path)
        given = [request.inputs for request in requests if "user_id" in request.inputs]
        assert len(given) == 2 * 5
        for inputs in given:
            assert set(inputs["user_id"].numpy().tolist()) == {b""}
            assert np.isnan(inputs["age"]).all()
        written = (path / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
        assert not any(f"u{row}".encode() in written for row in range(10, seen.num_queries))


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


def test_a_model_that_was_never_trained_is_published_with_a_warning(planted, trained, tmp_path):
    seen, options = planted.split.seen, {"build_index": tt.index.build_exact_index}
    untrained = tt.build_two_tower(seen, query=QUERY, candidate=CANDIDATE)
    with pytest.warns(UserWarning, match="seems never to have been trained") as warned:
        export_unchecked(untrained, seen, tmp_path, **options)
    assert sum("never to have been trained" in str(warning.message) for warning in warned) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The model seems")
        export_unchecked(trained, seen, tmp_path, **options)
