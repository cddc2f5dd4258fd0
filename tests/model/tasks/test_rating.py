import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

import tfrs_twotower as tt

RATINGS = np.array([1, 2, 3, 4, 5, 2], np.float32)
LOGITS = np.array([-2, 0.5, 1, 3, -1, 40], np.float32)


@pytest.mark.parametrize(("threshold", "labels"), [(3.0, [0, 0, 1, 1, 1, 0]), (4.0, [0, 0, 0, 1, 1, 0])])
def test_loss_is_mean_binary_cross_entropy_of_logits(threshold, labels):
    # -log(p) for a positive, -log(1 - p) for a negative, with p = 1 / (1 + exp(-logit)).
    logits = LOGITS.astype(np.float64)
    expected = np.mean(np.where(labels, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))))
    loss = tt.RatingTask(threshold=threshold)(tf.constant(RATINGS), tf.constant(LOGITS))
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_metrics_are_those_of_scikit_learn_over_all_batches():
    task = tt.RatingTask()
    rng = np.random.default_rng(0)
    ratings = rng.integers(1, 6, 5000).astype(np.float32)
    logits = (ratings - 3 + rng.normal(0, 2, 5000)).astype(np.float32)
    for part in np.split(np.arange(5000), [4096]):  # a full and a partial batch
        task(tf.constant(ratings[part]), tf.constant(logits[part]))
    values = {metric.name: metric.result().numpy() for metric in task.metrics}
    labels, probabilities = ratings >= 3, 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert values["accuracy"] == pytest.approx(np.mean((logits > 0) == labels), abs=1e-6)
    assert values["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities), rel=1e-4)
    # Keras sums the curve over 200 thresholds.
    assert values["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, logits), abs=2e-3)


def test_weights_count_in_loss_and_metrics():
    """A weight of 2 is the pair twice, a weight of 0 is no pair; the scale of all weights says nothing."""
    weights = np.array([2, 0, 1, 1, 0, 1], np.float32)
    rows = np.repeat(np.arange(6), weights.astype(int))
    weighted, repeated = tt.RatingTask(), tt.RatingTask()
    loss = weighted(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.constant(weights))
    expected = repeated(tf.constant(RATINGS[rows]), tf.constant(LOGITS[rows]))
    assert loss.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    for ours, theirs in zip(weighted.metrics, repeated.metrics, strict=True):
        assert ours.result().numpy() == pytest.approx(theirs.result().numpy(), rel=1e-5), ours.name
    ten_times = tt.RatingTask()(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.constant(10 * weights))
    assert ten_times.numpy() == pytest.approx(expected.numpy(), rel=1e-5)
    assert tt.RatingTask()(tf.constant(RATINGS), tf.constant(LOGITS), weights=tf.zeros(6)).numpy() == 0


@pytest.mark.parametrize("ratings", [[3, 5], [1, 2.9]])
def test_one_class_is_refused(ratings):
    with pytest.raises(ValueError, match="one class only. Choose another threshold, or sample negatives"):
        tt.RatingTask().require_two_classes(np.array(ratings, np.float32))
    tt.RatingTask(threshold=4).require_two_classes(np.array([1, 4], np.float32))


def test_an_ordinal_loss_is_half_the_binary_one_and_half_those_of_the_other_cuts():
    task = tt.RatingTask(other_cuts=(2.0, 5.0))
    ratings, logits = np.array([1.0, 3.0, 5.0]), np.array([-1.0, 0.5, 2.0])
    gap = np.log(2)  # softplus(0), from each cut to the next

    def binary(cut: float, offset: float) -> float:
        signs = np.where(ratings >= cut, 1, -1)
        return float(np.logaddexp(0, -signs * (logits + offset)).mean())

    expected = (binary(3, 0) + (binary(2, gap) + binary(5, -gap)) / 2) / 2
    found = task(tf.constant(ratings, tf.float32), tf.constant(logits, tf.float32), training=True)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cuts", [(3.0,), (4.0, 2.0), (2.0, 2.0), (float("nan"),)])
def test_cuts_that_are_not_ascending_or_the_threshold_are_refused(cuts):
    with pytest.raises(ValueError, match="`other_cuts` must be finite and ascending, without the threshold"):
        tt.RatingTask(other_cuts=cuts)


def test_impossible_settings_are_refused():
    with pytest.raises(TypeError, match="`other_cuts` must be a sequence of ratings. Received: 2.0"):
        tt.RatingTask(other_cuts=2.0)
    with pytest.raises(ValueError, match="`threshold` must be finite. Received: nan"):
        tt.RatingTask(threshold=float("nan"))
