import numpy as np
import pytest
import sklearn.metrics

from tfrs_twotower.evaluation.intervals import (
    Bootstrap,
    Interval,
    bootstrap_intervals,
    compare,
    mean_intervals,
    rating_intervals,
)
from tfrs_twotower.evaluation.rating import rating_metrics
from tfrs_twotower.evaluation.relevance import QueryMetrics


def of(values, rows=None) -> QueryMetrics:
    rows = np.arange(len(values)) if rows is None else np.array(rows)
    return QueryMetrics(query_rows=rows, values={"ndcg@10": np.asarray(values, float)}, num_left_out=0)


def mean_interval(values: np.ndarray, **settings) -> Interval:
    return mean_intervals({"metric": values}, bootstrap=Bootstrap(**settings))["metric"]


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, 4000)
    interval = mean_interval(values, num_samples=4000)
    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


def test_the_interval_contains_the_true_mean_about_as_often_as_its_level_says():
    rng = np.random.default_rng(1)
    num_covered = 0
    for number in range(300):
        interval = mean_interval(rng.exponential(1.0, 80), num_samples=300, level=0.9, seed=number)
        num_covered += interval.low <= 1.0 <= interval.high
    assert 0.83 <= num_covered / 300 <= 0.95  # 0.9, or a little less for a skewed distribution


def test_the_block_size_does_not_change_the_interval(monkeypatch):
    values = np.random.default_rng(2).random(50)
    whole = mean_interval(values)
    monkeypatch.setattr("tfrs_twotower.evaluation.intervals._BLOCK_NUMBERS", 350)
    parts = mean_interval(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_rating_intervals_agree_with_scikit_learns_metrics_of_resampled_queries():
    rng = np.random.default_rng(4)
    rows = np.sort(rng.integers(0, 40, 600)) * 2
    difficulty = rng.normal(0, 1, 100)[rows]
    probabilities = np.round(1 / (1 + np.exp(-(1 + difficulty))), 2)
    labels = rng.random(600) < probabilities
    found = rating_intervals(labels, probabilities, rows, bootstrap=Bootstrap(num_samples=400))
    expected = rating_metrics(labels, probabilities, rows)
    assert {name: interval.mean for name, interval in found.items()} == pytest.approx(
        {name: expected[name] for name in found}
    )
    resampled = {name: [] for name in found}
    queries = np.unique(rows)
    for _ in range(400):
        chosen = rng.choice(queries, len(queries))
        drawn = np.concatenate([np.flatnonzero(rows == query) for query in chosen])
        # A query that is drawn twice counts as two queries.
        unit_of = np.repeat(np.arange(len(queries)), [np.sum(rows == query) for query in chosen])
        for name, value in rating_metrics(labels[drawn], probabilities[drawn], unit_of).items():
            resampled.get(name, []).append(value)
    for name, interval in found.items():
        low, high = np.quantile(resampled[name], [0.025, 0.975])
        width = high - low
        assert interval.low == pytest.approx(low, abs=0.2 * width), name
        assert interval.high == pytest.approx(high, abs=0.2 * width), name


def test_the_auc_of_many_distinct_probabilities_is_computed_from_groups_of_them():
    rng = np.random.default_rng(5)
    probabilities = rng.uniform(size=20_000)
    labels, rows = rng.random(20_000) < probabilities, rng.integers(0, 50, 20_000)
    found = rating_intervals(labels, probabilities, rows, bootstrap=Bootstrap(num_samples=20))["auc"]
    assert found.mean == pytest.approx(sklearn.metrics.roc_auc_score(labels, probabilities), abs=1e-5)


def test_a_paired_comparison_is_not_blurred_by_the_difficulty_of_the_queries():
    rng = np.random.default_rng(3)
    difficulty = rng.random(500)
    better, worse = of(difficulty + 0.02 + rng.normal(0, 0.01, 500)), of(difficulty)
    difference = compare(better, worse)["ndcg@10"]
    assert difference.low > 0.015
    assert difference.mean == pytest.approx(0.02, abs=0.002)
    alone = [mean_interval(model.values["ndcg@10"]) for model in (better, worse)]
    assert alone[0].low < alone[1].high
    reverse = compare(worse, better)["ndcg@10"]
    assert (reverse.low, reverse.high) == pytest.approx((-difference.high, -difference.low))


def test_metrics_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="must be metrics of the same queries"):
        compare(of([1.0, 2.0]), of([1.0, 2.0], rows=[0, 2]))
    other = QueryMetrics(query_rows=np.arange(2), values={"mrr@10": np.zeros(2)}, num_left_out=0)
    with pytest.raises(ValueError, match="must have a metric in common. Received: ndcg@10 and mrr@10"):
        compare(of([1.0, 2.0]), other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "`num_samples` must be at least 1"),
        ({"level": 1.0}, r"`level` must be in \(0, 1\)"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_settings_of_the_bootstrap_are_checked_when_they_are_made(settings, message):
    with pytest.raises(ValueError, match=message):
        Bootstrap(**settings)


def test_a_bootstrap_without_queries_is_refused():
    with pytest.raises(ValueError, match="`num_queries` must be at least 1"):
        bootstrap_intervals(lambda counts: counts.sum(axis=1), 0)
