import numpy as np
import pytest

from tests.conftest import make_interactions
from tests.evaluation.times import with_times
from tfrs_twotower.evaluation.baselines import all_positive, biases, popularity, recent_popularity
from tfrs_twotower.evaluation.rating import pair_probabilities


@pytest.mark.parametrize(("ratings", "base_rate"), [([5, 4, 3, 2], 0.75), ([5, 2, 2, 2], 0.25)])
def test_all_positive_predicts_every_pair_to_be_positive(ratings, base_rate):
    train = make_interactions([0] * 4, [0] * 4, ratings, num_queries=1, num_candidates=1)
    values = all_positive(train, np.array([True, False, False]), threshold=3)
    # One of three labels is positive: precision 1/3, recall 1, F1 = 2 * (1/3) / (4/3).
    expected = {"accuracy": 1 / 3, "auc": 0.5, "f1": 0.5}
    expected["log_loss"] = -(np.log(base_rate) + 2 * np.log(1 - base_rate)) / 3
    expected["brier"] = ((1 - base_rate) ** 2 + 2 * base_rate**2) / 3
    expected["calibration_error"] = abs(base_rate - 1 / 3)
    assert values == pytest.approx(expected)


def test_popularity_counts_positive_events():
    train = make_interactions([0, 1, 0, 1], [2, 2, 1, 0], [5, 3, 4, 1], num_queries=2, num_candidates=4)
    queries, candidates = popularity(train, threshold=3)
    assert (queries @ candidates.T).tolist() == [[0, 1, 2, 0]] * 2


@pytest.mark.parametrize(
    ("ages_in_days", "counted"),
    [
        ([0, 0.5, 2, 60], [2, 0]),  # half of the events are of the last day
        ([0, *[200] * 24], [1, 0]),  # 4 % are too few, but no longer window holds more
        ([0, *[200] * 18, 5], [1, 0]),  # one of 20 events is just enough, so that the one of five days ago is too old
        ([0, *[60] * 30], [1, 30]),  # the window of 90 days is the first to hold 5 %
    ],
)
def test_recent_popularity_counts_the_last_days(ages_in_days, counted):
    """The newest event is of candidate 0, as is any of the last day; older ones are of candidate 1."""
    timestamps = (1_700_000_000 - np.array(ages_in_days) * 86_400).astype(np.int64)
    columns = np.array(ages_in_days) >= 1
    rows = np.zeros(len(columns), np.int64)
    train = make_interactions(rows, columns, np.full(len(rows), 5), num_queries=1, num_candidates=2)
    assert recent_popularity(with_times(train, timestamps), threshold=3)[1].ravel().tolist() == counted


def test_recent_popularity_needs_times():
    train = make_interactions([0], [0], [5], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`train` must have timestamps.*Use `popularity`"):
        recent_popularity(train, threshold=3)


def test_biases_are_the_optimum_of_the_penalised_likelihood():
    """At the optimum the gradient is zero: each bias is the sum of the residuals of its events."""
    rng = np.random.default_rng(0)
    rows, columns, ratings = rng.integers(0, 6, 80), rng.integers(0, 5, 80), rng.integers(1, 6, 80)
    train = make_interactions(rows, columns, ratings, num_queries=7, num_candidates=6)
    queries, candidates = biases(train, threshold=3)
    residuals = (ratings >= 3) - pair_probabilities(queries, candidates, train)
    assert residuals.sum() == pytest.approx(0, abs=1e-2)
    global_bias = queries[6, 0]  # a query without events has the global bias only
    np.testing.assert_allclose(queries[:, 0] - global_bias, np.bincount(rows, residuals, 7), atol=1e-2)
    np.testing.assert_allclose(candidates[:, 1], np.bincount(columns, residuals, 6), atol=1e-2)


def test_biases_need_both_classes():
    train = make_interactions([0, 1], [0, 1], [5, 4], num_queries=2, num_candidates=2)
    with pytest.raises(ValueError, match="`train` must have ratings on both sides.*none of them below 3"):
        biases(train, threshold=3)
