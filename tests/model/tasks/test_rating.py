import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from tests.conftest import make_interactions
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.model.tasks.rating import RatingTask

RATINGS = np.array([1, 2, 3, 4, 5, 2], np.float32)
LOGITS = np.array([-2, 0.5, 1, 3, -1, 40], np.float32)


@pytest.mark.parametrize(("threshold", "labels"), [(3.0, [0, 0, 1, 1, 1, 0]), (4.0, [0, 0, 0, 1, 1, 0])])
def test_loss_is_mean_binary_cross_entropy_of_logits(threshold, labels):
    # -log(p) for a positive, -log(1 - p) for a negative, with p = 1 / (1 + exp(-logit)).
    logits = LOGITS.astype(np.float64)
    expected = np.mean(np.where(labels, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))))
    loss = RatingTask(threshold=threshold)(tf.constant(RATINGS), tf.constant(LOGITS))
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_metrics_are_those_of_scikit_learn_over_all_batches():
    task = RatingTask()
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, 5000).astype(np.float32)
    logits = (ratings - 3 + rng.normal(0, 2, 5000)).astype(np.float32)
    for part in np.split(np.arange(5000), [4096]):  # a full and a partial batch
        task(tf.constant(ratings[part]), tf.constant(logits[part]))
    values = {metric.name: metric.result().numpy() for metric in task.metrics}
    labels, probabilities = ratings >= 3, 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert values["accuracy"] == pytest.approx(np.mean((logits > 0) == labels), abs=1e-6)
    assert values["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities), rel=1e-4)
    # Keras approximates the curve by 200 thresholds.
    assert values["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, logits), abs=2e-3)


def test_weights_apply_to_loss_and_metrics():
    """A weight of 2 equals the pair twice, a weight of 0 no pair; a common factor of all weights has no effect."""
    weights = np.array([2, 0, 1, 1, 0, 1], np.float32)
    rows = np.repeat(np.arange(6), weights.astype(int))
    weighted, repeated = RatingTask(), RatingTask()
    loss = weighted(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.constant(weights))
    expected = repeated(tf.constant(RATINGS[rows]), tf.constant(LOGITS[rows]))
    assert loss.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    for ours, theirs in zip(weighted.metrics, repeated.metrics, strict=True):
        assert ours.result().numpy() == pytest.approx(theirs.result().numpy(), rel=1e-5), ours.name
    ten_times = RatingTask()(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.constant(10 * weights))
    assert ten_times.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    assert RatingTask()(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.zeros(6)).numpy() == 0


@pytest.mark.parametrize("ratings", [[3, 5], [1, 2.9]])
def test_ratings_of_one_class_are_refused(ratings):
    with pytest.raises(ValueError, match="one class only. Choose another threshold, or sample negatives"):
        RatingTask().require_two_classes(np.array(ratings, np.float32))
    RatingTask(threshold=4).require_two_classes(np.array([1, 4], np.float32))


def test_the_ordinal_loss_is_half_the_binary_loss_and_half_the_mean_at_the_other_thresholds():
    task = RatingTask(other_thresholds=(2.0, 5.0))
    ratings, logits = np.array([1.0, 3.0, 5.0]), np.array([-1.0, 0.5, 2.0])
    gap = np.log(2)  # softplus(0) is the distance from each threshold to the next

    def binary(threshold: float, offset: float) -> float:
        signs = np.where(ratings >= threshold, 1, -1)
        return float(np.logaddexp(0, -signs * (logits + offset)).mean())

    expected = (binary(3, 0) + (binary(2, gap) + binary(5, -gap)) / 2) / 2
    found = task(tf.constant(ratings, tf.float32), tf.constant(logits, tf.float32), training=True)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "thresholds", [(3.0,), (4.0, 2.0), (2.0, 2.0), (float("nan"),), (float("inf"),), (2.0, float("nan"))]
)
def test_impossible_other_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match="`other_thresholds` must be finite and ascending, without `threshold`"):
        RatingTask(other_thresholds=thresholds)


def test_impossible_settings_are_refused():
    with pytest.raises(TypeError, match="`other_thresholds` must be a sequence of ratings. Received: 2.0"):
        RatingTask(other_thresholds=2.0)
    with pytest.raises(ValueError, match="`threshold` must be finite. Received: nan"):
        RatingTask(threshold=float("nan"))


def test_ratings_of_one_class_need_sampled_negatives():
    likes = make_interactions([0, 1], [0, 1], [5, 4], num_queries=2, num_candidates=3)
    task = RatingTask()
    for check in (lambda: task.check_events(likes, None, 2), lambda: task.check_queries(likes)):
        with pytest.raises(ValueError, match="both sides of the threshold 3. Received: 2 ratings from 4 to 5"):
            check()
    task.check_events(likes, NegativeSampler(likes, per_positive=1, threshold=3), 2)
    with pytest.raises(TypeError, match="`negatives` of a RatingTask must be a NegativeSampler"):
        task.check_events(likes, InBatchNegatives(likes, threshold=3), 2)


def test_a_batch_of_queries_needs_no_other_candidates():
    assert RatingTask().num_sampled_for(make_interactions([0], [0], [5], num_queries=1, num_candidates=3)) == 0
