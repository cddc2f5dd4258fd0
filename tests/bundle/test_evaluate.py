import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked
from tfrs_twotower.bundle.evaluate import evaluate_bundle
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.model.two_tower import TwoTowerModel


def test_a_bundle_is_judged_as_the_model_that_it_was_made_of(planted, trained, bundle_path):
    """By its own signatures, to six digits."""
    ours = tt.evaluate(trained, planted.split, k=3).to_dict()
    theirs = evaluate_bundle(tt.load_bundle(bundle_path), planted.split, k=3).to_dict()
    for case, figures in ours["cases"].items():
        assert theirs["cases"][case] == pytest.approx(figures, abs=1e-6), case
    assert theirs["confusion"] == ours["confusion"]
    assert theirs["by_popularity"] == ours["by_popularity"]


def test_the_index_stands_beside_exact_search(planted, trained, tmp_path):
    exact = predict(trained, planted.split, k=3)

    class Blind(tt.index.ExactIndex):
        """Never finds what the first query finds best."""

        def search_aligned(self, queries, k, exclude=None, only=None):
            scores, rows = super().search_aligned(queries, k, exclude, only)
            lost = rows == int(exact.ranked[0, 0])
            return tf.where(lost, tf.float32.min, scores), tf.where(lost, -1, rows)

    def build_blind(embeddings, ids, queries):
        outcome = tt.index.build_exact_index(embeddings, ids, queries).outcome
        return tt.index.BuiltIndex(index=Blind(embeddings, ids), outcome=outcome)

    for build_index, is_whole in ((tt.index.build_exact_index, True), (build_blind, False)):
        path = export_unchecked(trained, planted.split.seen, tmp_path / str(is_whole), k=10, build_index=build_index)
        report = evaluate_bundle(tt.load_bundle(path), planted.split, k=3, exact=exact)
        recall = report.cases["model"]["index_recall@3"]
        assert recall == 1 if is_whole else 0 < recall < 1
    with pytest.raises(ValueError, match="`exact` must have 3 slots for each query"):
        evaluate_bundle(tt.load_bundle(path), planted.split, k=3, exact=predict(trained, planted.split, k=2))


def test_a_bundle_of_other_columns_is_refused(planted, bundle_path):
    others = {
        name: dataclasses.replace(
            part, candidates=part.candidates.rename_columns(["sku", "title", "genres"]), candidate_id="sku"
        )
        for name, part in vars(planted.split).items()
    }
    with pytest.raises(ValueError, match="The bundle's candidate id is 'movie_id', the split's 'sku'"):
        evaluate_bundle(tt.load_bundle(bundle_path), Split(**others))


def test_users_that_the_bundle_does_not_remember_are_asked_about_by_all_that_is_known(planted, trained, tmp_path):
    """The bundle knows half of the users; the other half is not lost with their features."""
    seen = planted.split.seen
    order = np.arange(20)
    rows = np.flatnonzero(seen.query_rows < 20)
    half = dataclasses.replace(seen.with_events(rows), queries=seen.queries.take(order))
    path = export_unchecked(trained, half, tmp_path / "half", k=10, build_index=tt.index.build_exact_index)
    split = planted.split
    parts = {name: part.with_events(np.flatnonzero(part.query_rows >= 20)) for name, part in vars(split).items()}
    nothing = parts["train"].with_events(np.zeros(0, np.int64))
    strangers = Split(
        train=split.train.with_events(np.flatnonzero(split.train.query_rows < 20)),
        validation=nothing,
        test=parts["test"],
        history=nothing,
    )
    ours = tt.evaluate(trained, strangers, k=3).cases["model"]
    theirs = evaluate_bundle(tt.load_bundle(path), strangers, k=3).cases["model"]
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_a_saturated_head_costs_the_same_asked_either_way(planted, trained, tmp_path):
    """Scores so high that a float32 probability is 1 sharp."""
    sure = TwoTowerModel.from_config(trained.get_config())
    sure.set_weights([weight * 3 for weight in trained.get_weights()])
    path = export_unchecked(sure, planted.split.seen, tmp_path / "sure", k=10, build_index=tt.index.build_exact_index)
    answers = predict(sure, planted.split, k=3)
    assert (answers.probabilities.astype(np.float32) == 1).any()
    ours = tt.evaluate(sure, planted.split, k=3)
    theirs = evaluate_bundle(tt.load_bundle(path), planted.split, k=3)
    for name in ("log_loss", "brier", "accuracy"):
        assert theirs.cases["model"][name] == pytest.approx(ours.cases["model"][name], abs=1e-6)
        assert theirs.intervals[name].mean == pytest.approx(theirs.cases["model"][name])
