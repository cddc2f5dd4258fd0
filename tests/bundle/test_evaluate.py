"""The metrics of a bundle, measured through its signatures, beside those of its model."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked
from tfrs_twotower.bundle.evaluate import evaluate_bundle
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.model.two_tower import TwoTowerModel


@pytest.fixture(scope="module")
def bundle(bundle_path) -> LoadedBundle:
    return tt.load_bundle(bundle_path)


def test_a_bundle_has_the_metrics_of_its_model(planted, trained, bundle):
    """The bundle predicts through its signatures; the metrics agree to six digits."""
    ours = tt.evaluate(trained, planted.split, k=3).to_dict()
    theirs = evaluate_bundle(bundle, planted.split, k=3).to_dict()
    for case, figures in ours["cases"].items():
        assert theirs["cases"][case] == pytest.approx(figures, abs=1e-6), case
    assert theirs["confusion"] == ours["confusion"]
    assert theirs["by_popularity"] == ours["by_popularity"]


def test_the_recall_of_the_index_is_measured_against_exact_search(planted, trained, bundle, tmp_path):
    exact = predict(trained, planted.split, k=3)

    class Blind(tt.index.ExactIndex):
        """Never finds the candidate that is best for the first query."""

        def search_aligned(self, queries, k, exclude=None, only=None):
            scores, rows = super().search_aligned(queries, k, exclude, only)
            lost = rows == int(exact.ranked[0, 0])
            return tf.where(lost, tf.float32.min, scores), tf.where(lost, -1, rows)

    def build_blind(embeddings, ids, queries):
        outcome = tt.index.build_exact_index(embeddings, ids, queries).outcome
        return tt.index.BuiltIndex(index=Blind(embeddings, ids), outcome=outcome)

    blind = tt.load_bundle(export_unchecked(trained, planted.split.seen, tmp_path, k=10, build_index=build_blind))
    assert evaluate_bundle(bundle, planted.split, k=3, exact=exact).index_recall == 1
    assert 0 < evaluate_bundle(blind, planted.split, k=3, exact=exact).index_recall < 1
    with pytest.raises(ValueError, match="`exact` must have 3 slots for each query"):
        evaluate_bundle(bundle, planted.split, k=3, exact=predict(trained, planted.split, k=2))


def test_a_bundle_of_other_id_columns_is_refused(planted, bundle):
    others = {
        name: dataclasses.replace(
            part, candidates=part.candidates.rename_columns(["sku", "title", "genres"]), candidate_id="sku"
        )
        for name, part in vars(planted.split).items()
    }
    with pytest.raises(ValueError, match="The bundle's candidate id is 'movie_id', the split's 'sku'"):
        evaluate_bundle(bundle, Split(**others))


def test_queries_that_the_bundle_does_not_remember_are_evaluated_by_their_features(planted, trained, tmp_path):
    """The bundle remembers half of the queries; the others are asked about with the features of the split."""
    seen = planted.split.seen
    order = np.arange(20)
    rows = np.flatnonzero(seen.query_rows < 20)
    half = dataclasses.replace(seen.with_events(rows), queries=seen.queries.take(order))
    path = export_unchecked(trained, half, tmp_path / "half", k=10, build_index=tt.index.build_exact_index)
    split = planted.split
    parts = {name: part.with_events(np.flatnonzero(part.query_rows >= 20)) for name, part in vars(split).items()}
    nothing = parts["train"].with_events(np.zeros(0, np.int64))
    unknown = Split(
        train=split.train.with_events(np.flatnonzero(split.train.query_rows < 20)),
        validation=nothing,
        test=parts["test"],
        history=nothing,
    )
    ours = tt.evaluate(trained, unknown, k=3).metrics
    theirs = evaluate_bundle(tt.load_bundle(path), unknown, k=3).metrics
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_saturated_probabilities_cost_the_same_by_model_and_bundle(planted, trained, tmp_path):
    """Some scores are so high that a float32 probability is exactly 1."""
    sure = TwoTowerModel.from_config(trained.get_config())
    sure.set_weights([weight * 3 for weight in trained.get_weights()])
    path = export_unchecked(sure, planted.split.seen, tmp_path / "sure", k=10, build_index=tt.index.build_exact_index)
    predictions = predict(sure, planted.split, k=3)
    assert (predictions.probabilities.astype(np.float32) == 1).any()
    ours = tt.evaluate(sure, planted.split, k=3)
    theirs = evaluate_bundle(tt.load_bundle(path), planted.split, k=3)
    for name in ("log_loss", "brier", "accuracy"):
        assert theirs.metrics[name] == pytest.approx(ours.metrics[name], abs=1e-6)
        assert theirs.intervals[name].mean == pytest.approx(theirs.metrics[name])


def test_a_bundle_is_asked_for_the_queries_of_the_exact_search(planted, trained, bundle):
    exact = predict(trained, planted.split, k=3, max_queries=5)
    told = []
    report = evaluate_bundle(bundle, planted.split, k=3, exact=exact, progress=lambda *step: told.append(step))
    num_events = planted.split.test.num_events
    assert report.num_ranked == report.metrics["num_queries"] == 5
    assert report.index_recall == 1
    assert told[:4] == [
        ("Asking for recommendations", 0, 5),
        ("Asking for recommendations", 5, 5),
        ("Asking for probabilities", 0, num_events),
        ("Asking for probabilities", num_events, num_events),
    ]
    assert evaluate_bundle(bundle, planted.split, k=3, max_queries=4).num_ranked == 4
