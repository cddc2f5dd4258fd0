import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator


def run(estimator: FrequencyEstimator, batches: np.ndarray) -> None:
    learn = tf.function(lambda codes: estimator(codes, training=True))
    for batch in batches:
        learn(tf.constant(batch))


def test_estimates_converge_to_the_true_frequencies():
    """300 candidates follow Zipf's law: some are in each batch many times, others in one of thirty."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 301)
    shares /= shares.sum()
    estimator = FrequencyEstimator(num_slots=10_000, learning_rate=0.01)
    run(estimator, rng.choice(300, (2000, 200), p=shares))
    found = estimator(tf.range(300)).numpy()
    expected = np.log(shares * 200)
    # A moving average of about 200 occurrences has a standard error of 1 / sqrt(200) = 0.07, and 300 errors cancel out.
    assert np.abs(found - expected).mean() < 0.12
    assert abs((found - expected).mean()) < 0.03
    assert abs((found - expected)[:10].mean()) < 0.1


def test_estimates_follow_a_change():
    estimator = FrequencyEstimator(num_slots=50, learning_rate=0.1)
    run(estimator, np.array([[0] + [1] * 9] * 60))
    assert np.exp(estimator(tf.constant([0, 1]))).round(1).tolist() == [1.0, 9.0]
    run(estimator, np.array([[1] + [0] * 9] * 60))
    assert np.exp(estimator(tf.constant([0, 1]))).round(1).tolist() == [9.0, 1.0]


def test_more_hashes_help_if_candidates_share_slots():
    rng = np.random.default_rng(1)
    batches = rng.integers(0, 200, (600, 100))
    errors = []
    for num_hashes in (1, 4):
        estimator = FrequencyEstimator(num_slots=400, num_hashes=num_hashes, learning_rate=0.02)
        run(estimator, batches)
        errors.append(np.abs(estimator(tf.range(200)).numpy() - np.log(0.5)).mean())
    assert errors[1] < errors[0] / 1.5


def test_estimating_outside_training_changes_nothing():
    estimator = FrequencyEstimator(num_slots=50)
    run(estimator, np.array([[1, 2]] * 5))
    before = [weight.numpy() for weight in estimator.weights]
    estimator(tf.constant([1, 7]))
    for weight, old in zip(estimator.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_candidate_never_seen_is_rarer_than_any_that_was_seen():
    estimator = FrequencyEstimator(num_slots=5000)
    run(estimator, np.array([[1, 2]] * 20))
    seen, unseen = estimator(tf.constant([1, 99])).numpy()
    assert seen == pytest.approx(0)
    assert unseen == pytest.approx(np.log(1 / 20))
    assert np.isfinite(FrequencyEstimator(num_slots=5)(tf.constant([3]))).all()


def test_a_single_empty_slot_shows_that_a_candidate_was_never_seen():
    """Of a thousand others, a fifth share one of two slots with the candidate seen, and a hundredth share both."""
    estimator = FrequencyEstimator(num_slots=10, num_hashes=2)
    run(estimator, np.array([[1]] * 20))
    others = np.exp(estimator(tf.range(2, 1002)).numpy())
    assert np.mean(others > 0.5) < 0.03
    assert np.isclose(others, 1 / 20).mean() > 0.97


def test_any_integer_is_a_code():
    estimator = FrequencyEstimator(num_slots=1000)
    codes = tf.constant([2**62 - 1, -5, 2**31], tf.int64)
    assert np.isfinite(estimator(codes, training=True)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_slots": 0}, "`num_slots` must be at least 1"),
        ({"num_slots": 5, "num_hashes": 7}, "`num_hashes` must be in 1..6"),
        ({"num_slots": 5, "learning_rate": 1.0}, r"`learning_rate` must be in \(0, 1\)"),
    ],
)
def test_an_impossible_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FrequencyEstimator(**settings)
