import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt

RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, 3)).astype(np.float32)
CANDIDATES = RNG.normal(size=(6, 3)).astype(np.float32)
CODES = tf.constant([7, 8, 7, 9, 5, 6])


def loss(task: tt.RetrievalTask, queries=QUERIES, candidates=CANDIDATES, codes=CODES, **options) -> float:
    return float(task(tf.constant(queries), tf.constant(candidates), codes, **options))


def expected(is_left_out: np.ndarray, scores: np.ndarray, weights=None) -> float:
    """Cross-entropy in NumPy, float64."""
    scores = scores.astype(np.float64)
    losses = []
    for query in range(4):
        kept = [column for column in range(6) if column == query or not is_left_out[query, column]]
        losses.append(np.log(np.exp(scores[query, kept]).sum()) - scores[query, query])
    return float(np.average(losses, weights=weights))


# Candidates 0 and 2 are the same one.
SAME = np.zeros((4, 6), bool)
SAME[0, 2] = SAME[2, 0] = True


def test_the_loss_is_the_mean_cross_entropy_of_the_positive():
    assert loss(tt.RetrievalTask()) == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T), rel=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 3.0], np.float32)
    weighted = loss(tt.RetrievalTask(), weights=tf.constant(weights))
    assert weighted == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T, weights), rel=1e-5)


def test_normalisation_and_temperature_make_cosines():
    task = tt.RetrievalTask(temperature=0.1, normalizes=True)
    cosines = QUERIES @ CANDIDATES.T / np.linalg.norm(QUERIES, axis=1)[:, None] / np.linalg.norm(CANDIDATES, axis=1)
    queries, candidates = task.scale_queries(tf.constant(QUERIES)), task.scale_candidates(tf.constant(CANDIDATES))
    assert loss(task, queries, candidates) == pytest.approx(expected(SAME, cosines / 0.1), rel=1e-4)


def test_the_correction_is_taken_off_every_score():
    frequencies = np.log([5.0, 1.0, 5.0, 0.1, 2.0, 0.5]).astype(np.float32)
    found = loss(tt.RetrievalTask(), log_frequencies=tf.constant(frequencies))
    assert found == pytest.approx(expected(SAME, QUERIES @ CANDIDATES.T - frequencies), rel=1e-5)
    shifted = loss(tt.RetrievalTask(), log_frequencies=tf.constant(frequencies + 3))
    assert shifted == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("masked", ["same candidate", "other positive"])
def test_what_is_left_out_has_no_influence_at_all(masked):
    """Not on the loss, whatever it is, and no gradient reaches it from that query."""
    candidates = tf.Variable(CANDIDATES[:2])
    is_other = tf.constant([[False, masked == "other positive"], [False, False]])
    codes = tf.constant([1, 1] if masked == "same candidate" else [1, 2])
    with tf.GradientTape() as tape:
        value = tt.RetrievalTask()(
            tf.constant(QUERIES[:2]), candidates, codes, is_other_positive=is_other, weights=tf.constant([1.0, 0.0])
        )
    assert float(value) == 0  # nothing is left but the positive
    np.testing.assert_array_equal(tape.gradient(value, candidates), np.zeros((2, 3)))


def test_only_the_hardest_negatives_count():
    scores = QUERIES @ CANDIDATES.T
    is_left_out = np.ones((4, 6), bool)
    for query in range(4):
        negatives = [column for column in range(6) if column != query and not SAME[query, column]]
        hardest = sorted(negatives, key=lambda column: -scores[query, column])[:2]
        is_left_out[query, hardest] = False
    assert loss(tt.RetrievalTask(num_hard_negatives=2)) == pytest.approx(expected(is_left_out, scores), rel=1e-5)
    everything = loss(tt.RetrievalTask(num_hard_negatives=100))
    assert everything == pytest.approx(loss(tt.RetrievalTask()), rel=1e-6)


def test_the_loss_does_not_grow_with_the_batch():
    """Every query twice, each with the same negatives left: the mean stays."""
    task = tt.RetrievalTask(num_hard_negatives=1)
    once = loss(task, QUERIES[:2], CANDIDATES[:2], CODES[:2])
    twice = loss(task, np.tile(QUERIES[:2], (2, 1)), np.tile(CANDIDATES[:2], (2, 1)), tf.tile(CODES[:2], [2]))
    assert twice == pytest.approx(once, rel=1e-6)


def test_an_empty_batch_costs_nothing():
    assert loss(tt.RetrievalTask(), QUERIES[:0], CANDIDATES[:0], CODES[:0]) == 0


def test_a_learnt_temperature_learns_and_stays_positive():
    task = tt.RetrievalTask(temperature=0.5, learns_temperature=True)
    optimizer = tf.keras.optimizers.Adam(0.5)
    losses = []
    for _ in range(20):
        with tf.GradientTape() as tape:
            value = task(task.scale_queries(tf.eye(3)), tf.eye(3), tf.constant([1, 2, 3]))
        optimizer.apply_gradients([(tape.gradient(value, task.log_scale), task.log_scale)])
        losses.append(float(value))
    assert losses[-1] < losses[0] / 10  # three orthogonal pairs: the larger the scale, the better
    assert np.exp(task.log_scale) > 2
    assert tt.RetrievalTask().trainable_weights == []


def advantage_of_popular(corrects: bool) -> float:
    """By how much ten candidates of 5 % each outscore ninety of 5/9 % each, after training on what comes up."""
    rng = np.random.default_rng(0)
    shares = np.repeat([0.05, 0.05 / 9], [10, 90])
    table = tf.Variable(tf.zeros([100, 1]))
    task, optimizer = tt.RetrievalTask(), tf.keras.optimizers.SGD(2.0)

    @tf.function
    def step(codes: tf.Tensor) -> None:
        frequencies = tf.gather(tf.constant(np.log(shares), tf.float32), codes) if corrects else None
        with tf.GradientTape() as tape:
            value = task(tf.ones([16, 1]), tf.gather(table, codes), codes, log_frequencies=frequencies)
        optimizer.apply_gradients([(tape.gradient(value, table), table)])

    for _ in range(3000):
        step(tf.constant(rng.choice(100, 16, p=shares)))
    scores = table.numpy()[:, 0]
    return float(scores[:10].mean() - scores[10:].mean())


def test_the_correction_gives_popular_candidates_their_due():
    """Likes come up by their shares: the softmax over the catalogue is the logarithm of them, log 9 = 2.2 apart.

    Uncorrected, popular candidates are negatives as often as positives, and lose all of that.
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
        tt.RetrievalTask(**settings)


def catalogue_scores(task: tt.CatalogueTask, gains, **options) -> float:
    places = tf.constant([[0, 1], [0, 2], [1, 0]], tf.int64)
    return float(task(tf.constant(QUERIES[:2] @ CANDIDATES.T), places, tf.constant(gains), **options))


def test_all_positives_of_a_query_are_one_multinomial():
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    wanted = -(2.0 * logs[0, 1] + 1.0 * logs[0, 2] + 0.5 * logs[1, 0]) / 3.5
    assert catalogue_scores(tt.CatalogueTask(), [2.0, 1.0, 0.5]) == pytest.approx(wanted, rel=1e-5)
    assert catalogue_scores(tt.CatalogueTask(), [0.0, 0.0, 0.0]) == 0


def test_a_targets_own_part_is_taken_off_its_own_score_alone():
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    scores[[0, 0, 1], [1, 2, 0]] -= [0.5, -1.0, 2.0]
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    found = catalogue_scores(tt.CatalogueTask(), [1.0, 1.0, 1.0], own_scores=tf.constant([0.5, -1.0, 2.0]))
    assert found == pytest.approx(-logs[[0, 0, 1], [1, 2, 0]].mean(), rel=1e-5)


def test_a_targets_score_is_as_it_is_whatever_the_frequencies_are():
    """A query's own candidates are always in its batch: of two alike, the rarer one must not be pushed down."""
    scores, gains = tf.Variable(tf.zeros([1, 6])), tf.constant([1.0, 1.0])
    logs = tf.constant(np.log([0.9, 0.01, 0.5, 0.5, 0.2, 0.1]), tf.float32)
    with tf.GradientTape() as tape:
        value = tt.CatalogueTask()(scores, tf.constant([[0, 0], [0, 1]], tf.int64), gains, log_frequencies=logs)
    popular, rare = tape.gradient(value, scores).numpy()[0, :2]
    assert popular == pytest.approx(rare, rel=1e-6)
    # The sum over the catalogue: both targets, and each of the others for as many as it stands for.
    assert float(value) == pytest.approx(np.log(2 + 1 / 0.5 + 1 / 0.5 + 1 / 0.2 + 1 / 0.1), rel=1e-5)


def test_a_pair_that_occurs_twice_loses_its_part_once():
    scores = (QUERIES[:1] @ CANDIDATES.T).astype(np.float64)
    scores[0, 1] -= 0.5
    wanted = np.log(np.exp(scores).sum()) - scores[0, 1]
    places, gains = tf.constant([[0, 1], [0, 1]], tf.int64), tf.constant([1.0, 3.0])
    found = tt.CatalogueTask()(
        tf.constant(QUERIES[:1] @ CANDIDATES.T), places, gains, own_scores=tf.constant([0.5, 0.5])
    )
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_only_positives_count_and_by_their_rating_if_wanted():
    ratings = tf.constant([2.0, 3.0, 5.0])
    assert tt.CatalogueTask().gains(ratings, None).numpy().tolist() == [0, 1, 1]
    weights = tf.constant([1.0, 2.0, 1.0])
    assert tt.CatalogueTask(by_rating=True).gains(ratings, weights).numpy().tolist() == [0, 6, 5]


def test_the_correction_needs_frequencies_from_somewhere():
    inputs = {"candidate_row": tf.constant([0, 1]), "rating": tf.constant([5.0, 5.0])}
    with pytest.raises(ValueError, match="must tell how often its candidates occur"):
        tt.RetrievalTask().event_loss(tf.eye(2), tf.eye(2), inputs, True)
    estimated = tt.RetrievalTask(frequencies=tt.FrequencyEstimator(num_slots=10))
    assert np.isfinite(estimated.event_loss(tf.eye(2), tf.eye(2), inputs, True))
