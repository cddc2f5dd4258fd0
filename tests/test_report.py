import dataclasses
import json

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity
from tfrs_twotower.evaluation.rating import pair_probabilities


@pytest.mark.parametrize(("ratings", "base_rate"), [([5, 4, 3, 2], 0.75), ([5, 2, 2, 2], 0.25)])
def test_all_positive_takes_every_pair_for_positive(ratings, base_rate):
    train = make_interactions([0] * 4, [0] * 4, ratings, num_queries=1, num_candidates=1)
    values = all_positive(train, np.array([True, False, False]), threshold=3)
    # One of three is positive: precision 1/3, recall 1, F1 = 2 * (1/3) / (4/3).
    expected = {"accuracy": 1 / 3, "auc": 0.5, "f1": 0.5}
    expected["log_loss"] = -(np.log(base_rate) + 2 * np.log(1 - base_rate)) / 3
    assert values == pytest.approx(expected)


def test_popularity_counts_positive_events():
    train = make_interactions([0, 1, 0, 1], [2, 2, 1, 0], [5, 3, 4, 1], num_queries=2, num_candidates=4)
    queries, candidates = popularity(train, threshold=3)
    assert (queries @ candidates.T).tolist() == [[0, 1, 2, 0]] * 2


def test_biases_are_the_optimum_of_the_penalised_likelihood():
    """At the optimum the gradient is zero: each bias is the sum of what its events lack."""
    rng = np.random.default_rng(0)
    rows, columns, ratings = rng.integers(0, 6, 80), rng.integers(0, 5, 80), rng.integers(1, 6, 80)
    train = make_interactions(rows, columns, ratings, num_queries=7, num_candidates=6)
    queries, candidates = biases(train, threshold=3)
    missing = (ratings >= 3) - pair_probabilities(queries, candidates, train)
    assert missing.sum() == pytest.approx(0, abs=1e-2)
    overall = queries[6, 0]  # nobody's events: the bias of all alone
    np.testing.assert_allclose(queries[:, 0] - overall, np.bincount(rows, missing, 7), atol=1e-2)
    np.testing.assert_allclose(candidates[:, 1], np.bincount(columns, missing, 6), atol=1e-2)


def test_biases_need_both_classes(planted, trained):
    train = make_interactions([0, 1], [0, 1], [5, 4], num_queries=2, num_candidates=2)
    with pytest.raises(ValueError, match="`train` must have ratings on both sides of 3, for biases to be learnt"):
        biases(train, threshold=3)
    parts = {name: getattr(planted.split, name) for name in ("train", "validation")}
    liked = {name: part.with_events(np.flatnonzero(part.ratings >= 3)) for name, part in parts.items()}
    report = tt.evaluate(trained, dataclasses.replace(planted.split, **liked), k=3)
    assert set(report.cases) == {"model", "all-positive", "popularity"}


def test_planted_preferences_are_reported_as_found(planted, trained):
    report = tt.evaluate(trained, planted.split, k=3)
    model = report.cases["model"]
    # One liked and three disliked candidates per query are unseen: the liked one comes first.
    assert model["auc"] > 0.99
    assert model["hit_rate@3"] > 0.95
    assert model["precision@3"] == pytest.approx(model["hit_rate@3"] / 3)
    assert model["ndcg@3"] > report.cases["popularity"]["ndcg@3"]
    # A quarter of the test events is positive, of the training events about a half.
    assert report.cases["all-positive"]["auc"] == 0.5
    confusion = report.confusion
    assert confusion.true_positives + confusion.false_negatives == planted.split.test.num_queries
    assert report.num_events == planted.split.test.num_events


def test_what_was_seen_is_left_out_of_the_ranking(planted, trained):
    """With every slot of the unseen candidates, recall is whole: none was taken by a seen one."""
    report = tt.evaluate(trained, planted.split, k=4)
    assert report.cases["model"]["recall@4"] == 1
    assert report.cases["popularity"]["recall@4"] == 1


def test_a_report_survives_json(planted, trained):
    report = tt.evaluate(trained, planted.split, k=2).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert np.isfinite(list(report["cases"]["model"].values())).all()
