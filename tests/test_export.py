import dataclasses

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tfrs_twotower.serving import bundle as bundle_module
from tfrs_twotower.serving.publish import versions


def test_each_export_is_the_next_version(planted, trained, tmp_path):
    for version in ("1", "2"):
        path = tt.export_bundle(trained, planted.split.seen, tmp_path, build_index=tt.build_exact_index)
        assert path.name == version
    assert tt.load_bundle(path).manifest["k"] == 24  # all there are, being fewer than 100


def test_a_bundle_that_answers_otherwise_is_not_published(planted, trained, tmp_path, monkeypatch):
    """What is written has other names for the candidates; the fresh process notices."""
    save = bundle_module.Bundle.save

    def save_another(self, path):
        ids = self.module.catalogue.ids
        right = ids.numpy()
        ids.assign([b"wrong"] * len(right))
        save(self, path)
        ids.assign(right)

    monkeypatch.setattr(bundle_module.Bundle, "save", save_another)
    with pytest.raises(RuntimeError, match="`recommend` gives other candidate_ids than the model in memory"):
        tt.export_bundle(trained, planted.split.seen, tmp_path, build_index=tt.build_exact_index)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_load_is_not_published(planted, trained, tmp_path, monkeypatch):
    save = bundle_module.Bundle.save

    def save_damaged(self, path):
        save(self, path)
        (path / "saved_model.pb").write_bytes(b"damaged")

    monkeypatch.setattr(bundle_module.Bundle, "save", save_damaged)
    with pytest.raises(RuntimeError, match="does not load and answer in a fresh process"):
        tt.export_bundle(trained, planted.split.seen, tmp_path, build_index=tt.build_exact_index)
    assert versions(tmp_path) == []


@pytest.mark.parametrize(
    "build_index", [tt.build_exact_index, pytest.param(tt.build_scann_index, marks=pytest.mark.scann)]
)
def test_ids_and_features_may_be_any_text(planted, tmp_path, build_index):
    from tests.conftest import CANDIDATE, QUERY

    seen = planted.split.seen
    ids = pa.array([f"фильм-{row} é\U0001f3ac" for row in range(seen.num_candidates)])
    users = pa.array([f"ü{row}" for row in range(seen.num_queries)])
    genres = pa.array([["Comédie"]] * seen.num_candidates)
    candidates = seen.candidates.set_column(0, "movie_id", ids).set_column(2, "genres", genres)
    known = dataclasses.replace(seen, candidates=candidates, queries=seen.queries.set_column(0, "user_id", users))
    model = tt.build_two_tower(known, query=QUERY, candidate=CANDIDATE)
    path = tt.export_bundle(model, known, tmp_path, k=5, build_index=build_index)
    recommended = tt.load_bundle(path).recommend({"user_id": "ü3"}, k=4)["candidate_ids"]
    assert set(recommended[0]) <= set(ids.to_pylist())


def test_embeddings_that_are_not_finite_are_refused_with_their_ids(planted, tmp_path):
    from tests.conftest import CANDIDATE, QUERY

    # Without a hidden layer, whose ReLU would turn NaN into 0.
    candidate = dataclasses.replace(CANDIDATE, features=CANDIDATE.features[:1], hidden_units=())
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=candidate)
    table = model.candidate_tower.encoders["movie_id"].table.embeddings
    row = 2 + model.candidate_tower.vocabularies.values_of("movie_id").index("m5")
    table.scatter_nd_update([[row]], [[float("nan")] * 8])
    with pytest.raises(ValueError, match="Received 1 with NaN or infinity, of candidates 'm5'"):
        tt.export_bundle(model, planted.split.seen, tmp_path)
    assert versions(tmp_path) == []
