import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_interactions
from tfrs_twotower.batches.batch import EventBatch, ExplicitNegatives, SoftmaxNegatives
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
from tfrs_twotower.model.tasks.sampled_softmax import SampledSoftmaxTask

RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, 3)).astype(np.float32)
CANDIDATES = RNG.normal(size=(6, 3)).astype(np.float32)
CODES = tf.constant([7, 8, 7, 9, 5, 6])


def loss(task: SampledSoftmaxTask, queries=QUERIES, candidates=CANDIDATES, codes=CODES, **options) -> float:
    return float(task(tf.constant(queries), tf.constant(candidates), codes, **options))


def expected(is_left_out: np.ndarray, scores: np.ndarray, weights=None) -> float:
    """Cross-entropy in NumPy, float64."""
    scores = scores.astype(np.float64)
    losses = []
    for query in range(4):
        kept = [column for column in range(6) if column == query or not is_left_out[query, column]]
        losses.append(np.log(np.exp(scores[query, kept]).sum()) - scores[query, query])
    return float(np.average(losses, weights=weights))


# Columns 0 and 2 hold the same candidate.
SAME = np.zeros((4, 6), bool)
SAME[0, 2] = SAME[2, 0] = True


def test_the_loss_is_the_mean_cross_entropy_of_the_positive():
    assert loss(SampledSoftmaxTask()) == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T), rel=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 3.0], np.float32)
    weighted = loss(SampledSoftmaxTask(), weights=tf.constant(weights))
    assert weighted == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T, weights), rel=1e-5)


def test_normalisation_and_temperature_make_cosines():
    task = SampledSoftmaxTask(temperature=0.1, normalizes=True)
    cosines = QUERIES @ CANDIDATES.T / np.linalg.norm(QUERIES, axis=1)[:, None] / np.linalg.norm(CANDIDATES, axis=1)
    queries, candidates = task.scale_queries(tf.constant(QUERIES)), task.scale_candidates(tf.constant(CANDIDATES))
    assert loss(task, queries, candidates) == pytest.approx(expected(SAME, cosines / 0.1), rel=1e-4)


def test_log_q_is_subtracted_from_every_score():
    log_q = np.log([5.0, 1.0, 5.0, 0.1, 2.0, 0.5]).astype(np.float32)
    found = loss(SampledSoftmaxTask(), log_sampling_probabilities=tf.constant(log_q))
    assert found == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T - log_q), rel=1e-5)
    shifted = loss(SampledSoftmaxTask(), log_sampling_probabilities=tf.constant(log_q + 3))
    assert shifted == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("masked", ["same candidate", "other positive"])
def test_candidates_left_out_have_no_influence(masked):
    """The loss does not depend on them, and no gradient reaches them from that query."""
    candidates = tf.Variable(CANDIDATES[:2])
    is_other = tf.constant([[False, masked == "other positive"], [False, False]])
    codes = tf.constant([1, 1] if masked == "same candidate" else [1, 2])
    with tf.GradientTape() as tape:
        value = SampledSoftmaxTask()(
            tf.constant(QUERIES[:2]), candidates, codes, is_other_positive=is_other, weights=tf.constant([1.0, 0.0])
        )
    assert float(value) == 0  # nothing is left but the positive
    np.testing.assert_array_equal(tape.gradient(value, candidates), np.zeros((2, 3)))


def test_only_the_hardest_negatives_are_counted():
    scores = QUERIES @ CANDIDATES.T
    is_left_out = np.ones((4, 6), bool)
    for query in range(4):
        negatives = [column for column in range(6) if column != query and not SAME[query, column]]
        hardest = sorted(negatives, key=lambda column: -scores[query, column])[:2]
        is_left_out[query, hardest] = False
    assert loss(SampledSoftmaxTask(num_hard_negatives=2)) == pytest.approx(expected(is_left_out, scores), rel=1e-5)
    everything = loss(SampledSoftmaxTask(num_hard_negatives=100))
    assert everything == pytest.approx(loss(SampledSoftmaxTask()), rel=1e-6)


def test_the_loss_does_not_grow_with_the_batch_size():
    """With every query twice and one hard negative each, the mean stays the same."""
    task = SampledSoftmaxTask(num_hard_negatives=1)
    once = loss(task, QUERIES[:2], CANDIDATES[:2], CODES[:2])
    twice = loss(task, np.tile(QUERIES[:2], (2, 1)), np.tile(CANDIDATES[:2], (2, 1)), tf.tile(CODES[:2], [2]))
    assert twice == pytest.approx(once, rel=1e-6)


def test_an_empty_batch_has_a_loss_of_0():
    assert loss(SampledSoftmaxTask(), QUERIES[:0], CANDIDATES[:0], CODES[:0]) == 0


def test_a_learnt_temperature_learns_and_stays_positive():
    task = SampledSoftmaxTask(temperature=0.5, learns_temperature=True)
    optimizer = tf.keras.optimizers.Adam(0.5)
    losses = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            value = task(task.scale_queries(tf.eye(3)), tf.eye(3), tf.constant([1, 2, 3]))
        optimizer.apply_gradients([(tape.gradient(value, task.log_scale), task.log_scale)])
        losses.append(float(value))
    assert losses[-1] < losses[0] / 10  # of three orthogonal pairs, a larger scale is always better
    assert np.exp(task.log_scale) > 2
    assert SampledSoftmaxTask().trainable_weights == []


def advantage_of_popular(corrects: bool) -> float:
    """By how much ten candidates of 5 % each outscore ninety of 5/9 % each after training on random batches."""
    rng = np.random.default_rng(0)
    shares = np.repeat([0.05, 0.05 / 9], [10, 90])
    table = tf.Variable(tf.zeros([100, 1]))
    task, optimizer = SampledSoftmaxTask(), tf.keras.optimizers.SGD(2.0)

    @tf.function
    def step(codes: tf.Tensor) -> None:
        log_q = tf.gather(tf.constant(np.log(shares), tf.float32), codes) if corrects else None
        with tf.GradientTape() as tape:
            value = task(tf.ones([16, 1]), tf.gather(table, codes), codes, log_sampling_probabilities=log_q)
        optimizer.apply_gradients([(tape.gradient(value, table), table)])

    for _ in range(3000):
        step(tf.constant(rng.choice(100, 16, p=shares)))
    scores = table.numpy()[:, 0]
    return float(scores[:10].mean() - scores[10:].mean())


def test_the_log_q_correction_keeps_popular_candidates_from_being_pushed_down():
    """The scores of a softmax over the catalogue are the logarithms of the shares, which are log 9 = 2.2 apart.

    Without the correction popular candidates are negatives as often as positives, and lose that advantage.
    """
    assert advantage_of_popular(corrects=True) == pytest.approx(np.log(9), abs=0.5)
    assert advantage_of_popular(corrects=False) < 0.7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be positive and finite"),
        ({"num_hard_negatives": 0}, "`num_hard_negatives` must be at least 1"),
        ({"num_hard_negatives": 2.5}, "`num_hard_negatives` must be a whole number"),
        ({"frequencies": {1: 2}}, "`frequencies` must be a FrequencyEstimator or None"),
    ],
)
def test_a_bad_setting_is_refused(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SampledSoftmaxTask(**settings)


def event_batch(**fields) -> EventBatch:
    """Two positives of two candidates, without the towers' codes, which a task does not use."""
    return EventBatch(
        query={}, candidate={}, candidate_rows=tf.constant([0, 1]), ratings=tf.constant([5.0, 5.0]), **fields
    )


def test_the_correction_needs_sampling_probabilities():
    with pytest.raises(ValueError, match="must tell how often its candidates occur"):
        SampledSoftmaxTask().event_loss(tf.eye(2), tf.eye(2), event_batch(), True)
    estimated = SampledSoftmaxTask(frequencies=FrequencyEstimator(num_slots=10))
    assert np.isfinite(estimated.event_loss(tf.eye(2), tf.eye(2), event_batch(), True))
    # Without the correction the scores are 1 and 0 for both queries.
    uncorrected = SampledSoftmaxTask(corrects_log_q=False)
    loss = uncorrected.event_loss(tf.eye(2), tf.eye(2), event_batch(), True)
    assert float(loss) == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-5)


def test_the_loss_of_a_batch_uses_its_negatives_ratings_and_weights():
    log_q, scores = np.log([0.5, 0.25]), np.eye(2)
    batch = event_batch(
        weights=tf.constant([3.0, 1.0]),
        negatives=SoftmaxNegatives(
            is_other_positive=tf.constant([[True, False], [True, True]]),
            log_sampling_probabilities=tf.constant(log_q, tf.float32),
        ),
    )
    corrected = scores - log_q
    # The second query has the first candidate as another positive, so that nothing is left beside its own.
    losses = np.array([np.log(np.exp(corrected[0]).sum()) - corrected[0, 0], 0.0])
    found = SampledSoftmaxTask().event_loss(tf.eye(2), tf.eye(2), batch, True)
    assert float(found) == pytest.approx(np.average(losses, weights=[3, 1]), rel=1e-5)
    unrated = batch._replace(ratings=tf.constant([1.0, 5.0]))  # only the second is positive
    assert float(SampledSoftmaxTask().event_loss(tf.eye(2), tf.eye(2), unrated, True)) == pytest.approx(0, abs=1e-6)


def test_a_positive_is_also_compared_with_the_explicit_negatives_of_its_query():
    """The first query has two, of which one counts 3, and the second has none; nothing is corrected there."""
    candidates = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.5, -2.0], [-1.0, 0.0]])
    log_q = np.log([0.5, 0.25])
    batch = EventBatch(
        query={},
        candidate={},
        candidate_rows=tf.constant([0, 1, 5, 6]),
        ratings=tf.constant([5.0, 5.0]),
        negatives=SoftmaxNegatives(
            is_other_positive=tf.constant([[True, False], [False, True]]),
            log_sampling_probabilities=tf.constant(log_q, tf.float32),
        ),
        explicit_negatives=ExplicitNegatives(tf.constant([0, 0]), tf.constant([3, 2]), tf.constant([3.0, 1.0])),
    )
    corrected = np.eye(2) - log_q
    over_batch = np.log(np.exp(corrected).sum(axis=1)) - np.diag(corrected)
    over_explicit = np.log(np.exp(1.0) + np.array([3 * np.exp(-1.0) + np.exp(0.5), 0.0])) - 1.0
    wanted = np.mean(over_batch + over_explicit)
    task = SampledSoftmaxTask(dislike_weight=1.0, num_hard_negatives=1)
    assert float(task.event_loss(tf.eye(2), candidates, batch, True)) == pytest.approx(wanted, rel=1e-5)
    # An estimator learns from the sample alone.
    estimator = FrequencyEstimator(num_slots=100)
    SampledSoftmaxTask(dislike_weight=1.0, frequencies=estimator).event_loss(tf.eye(2), candidates, batch, True)
    assert np.count_nonzero(estimator.gap) == 2 * estimator.num_hashes


def test_evaluation_batches_have_no_loss():
    with pytest.raises(TypeError, match="no loss on evaluation batches.*ValidationMetrics"):
        SampledSoftmaxTask().event_loss(tf.eye(2), tf.eye(2), event_batch(), False)


def test_candidates_are_told_apart_by_their_keys_if_they_have_any():
    """Both rows are the same candidate, so that neither query has a negative."""
    batch = event_batch(candidate_keys=tf.constant([7, 7], tf.int64))
    assert float(SampledSoftmaxTask(corrects_log_q=False).event_loss(tf.eye(2), tf.eye(2), batch, True)) == 0
    assert not SampledSoftmaxTask().needs_candidate_keys
    assert SampledSoftmaxTask(frequencies=FrequencyEstimator(num_slots=10)).needs_candidate_keys


DATA = make_interactions([0, 1], [0, 1], [5, 1], num_queries=2, num_candidates=3)


def test_events_that_teach_nothing_are_refused():
    task = SampledSoftmaxTask()
    task.check_events(DATA, None, 2)
    task.check_events(DATA, InBatchNegatives(DATA, threshold=3, num_uniform=1), 1)
    with pytest.raises(ValueError, match="`rating` must reach the threshold 6 in some event; the highest is 5"):
        SampledSoftmaxTask(threshold=6).check_events(DATA, None, 2)
    single = make_interactions([0], [0], [5], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`train` must have at least two candidates"):
        task.check_events(single, None, 2)
    with pytest.raises(ValueError, match="`batch_size` must be at least 2.*Received: 1"):
        task.check_events(DATA, None, 1)


def test_negatives_for_another_task_or_threshold_are_refused():
    task = SampledSoftmaxTask()
    with pytest.raises(TypeError, match="`negatives` of a SampledSoftmaxTask must be InBatchNegatives"):
        task.check_events(DATA, NegativeSampler(DATA, per_positive=1, threshold=3), 2)
    with pytest.raises(ValueError, match="`negatives` must have the task's threshold, 3.* Received: 1"):
        task.check_events(DATA, InBatchNegatives(DATA, threshold=1), 2)
    disliking = SampledSoftmaxTask(dislike_weight=4)
    with pytest.raises(ValueError, match="`negatives` must have the task's `negative_weights`.* Received: None"):
        disliking.check_events(DATA, InBatchNegatives(DATA, threshold=3), 2)
    disliking.check_events(DATA, disliking.default_negatives(DATA), 2)
    with pytest.raises(ValueError, match="`impression_weight` must be 0, because `train` has no impressions"):
        SampledSoftmaxTask(impression_weight=4).check_events(DATA, None, 2)


def test_the_default_negatives_are_the_other_candidates_of_the_batch():
    negatives = SampledSoftmaxTask(threshold=4).default_negatives(DATA)
    assert isinstance(negatives, InBatchNegatives)
    assert (negatives.threshold, negatives.num_uniform) == (4.0, 0)
