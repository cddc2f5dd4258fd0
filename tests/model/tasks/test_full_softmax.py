import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_interactions
from tfrs_twotower.batches.batch import ExplicitNegatives, QueryBatch
from tfrs_twotower.model.history_parts import HistoryParts, HistoryTerm
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask

RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, 3)).astype(np.float32)
CANDIDATES = RNG.normal(size=(6, 3)).astype(np.float32)


def loss(task: FullSoftmaxTask, gains, **options) -> float:
    places = tf.constant([[0, 1], [0, 2], [1, 0]], tf.int64)
    return float(task(tf.constant(QUERIES[:2] @ CANDIDATES.T), places, tf.constant(gains), **options))


def test_the_positives_of_a_query_are_one_multinomial():
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    wanted = -(2.0 * logs[0, 1] + 1.0 * logs[0, 2] + 0.5 * logs[1, 0]) / 3.5
    assert loss(FullSoftmaxTask(), [2.0, 1.0, 0.5]) == pytest.approx(wanted, rel=1e-5)
    assert loss(FullSoftmaxTask(), [0.0, 0.0, 0.0]) == 0


def test_a_targets_own_part_is_subtracted_from_its_own_score_only():
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    scores[[0, 0, 1], [1, 2, 0]] -= [0.5, -1.0, 2.0]
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    found = loss(FullSoftmaxTask(), [1.0, 1.0, 1.0], own_scores=tf.constant([0.5, -1.0, 2.0]))
    assert found == pytest.approx(-logs[[0, 0, 1], [1, 2, 0]].mean(), rel=1e-5)


def test_a_targets_own_score_is_not_corrected():
    """A query's own candidates are always in its batch: the rarer of two equal ones must not be pushed down."""
    scores, gains = tf.Variable(tf.zeros([1, 6])), tf.constant([1.0, 1.0])
    logs = tf.constant(np.log([0.9, 0.01, 0.5, 0.5, 0.2, 0.1]), tf.float32)
    with tf.GradientTape() as tape:
        value = FullSoftmaxTask()(
            scores, tf.constant([[0, 0], [0, 1]], tf.int64), gains, log_sampling_probabilities=logs
        )
    popular, rare = tape.gradient(value, scores).numpy()[0, :2]
    assert popular == pytest.approx(rare, rel=1e-6)
    # The sum over the catalogue has both targets once, and every other one 1 / probability times.
    assert float(value) == pytest.approx(np.log(2 + 1 / 0.5 + 1 / 0.5 + 1 / 0.2 + 1 / 0.1), rel=1e-5)


def test_the_part_of_a_pair_that_occurs_twice_is_subtracted_once():
    scores = (QUERIES[:1] @ CANDIDATES.T).astype(np.float64)
    scores[0, 1] -= 0.5
    wanted = np.log(np.exp(scores).sum()) - scores[0, 1]
    places, gains = tf.constant([[0, 1], [0, 1]], tf.int64), tf.constant([1.0, 3.0])
    found = FullSoftmaxTask()(
        tf.constant(QUERIES[:1] @ CANDIDATES.T), places, gains, own_scores=tf.constant([0.5, 0.5])
    )
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_each_event_is_also_compared_with_what_was_shown_with_it(sampled):
    """The first event has two explicit negatives, of which one counts 3; the second has none, and the last one."""
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    logs = np.log([0.9, 0.01, 0.5, 0.5, 0.2, 0.1])
    counts = np.tile(np.exp(-logs), (2, 1)) if sampled else np.ones((2, 6))
    # Targets and explicit negatives are always there.
    counts[[0, 0, 1, 0, 0, 1], [1, 2, 0, 5, 3, 3]] = 1
    rows, columns = [0, 0, 1], [1, 2, 0]
    over_catalogue = np.log((counts * np.exp(scores)).sum(axis=1))[rows] - scores[rows, columns]
    shown = np.array([3 * np.exp(scores[0, 5]) + np.exp(scores[0, 3]), 0, 0.5 * np.exp(scores[1, 3])])
    over_shown = np.log(np.exp(scores[rows, columns]) + shown) - scores[rows, columns]
    task = FullSoftmaxTask()
    found = loss(
        task,
        [1.0, 2.0, 1.0],
        negatives=ExplicitNegatives(tf.constant([0, 0, 2]), tf.constant([5, 3, 3]), tf.constant([3.0, 1.0, 0.5])),
        log_sampling_probabilities=tf.constant(logs, tf.float32) if sampled else None,
    )
    assert found == pytest.approx(np.average(over_catalogue + over_shown, weights=[1, 2, 1]), rel=1e-5)
    # The metric is that of the catalogue, with explicit negatives or without.
    assert float(task.softmax_loss.result()) == pytest.approx(np.average(over_catalogue, weights=[1, 2, 1]), rel=1e-5)


def test_each_positive_is_also_compared_with_the_dislikes_of_its_query():
    """Scores are compared as they are without their own parts; what weighs nothing is of another context."""
    scores = (QUERIES[:2] @ CANDIDATES.T).astype(np.float64)
    places, own = ([0, 0, 0, 1], [1, 2, 5, 0]), np.array([0.5, 0.25, -1.0, 2.0])
    queries, candidates = tf.constant(QUERIES[:2]), tf.constant(CANDIDATES)
    batch = QueryBatch(
        query={},
        candidate={},
        candidate_rows=tf.range(6),
        log_sampling_probabilities=None,
        target_places=tf.constant([[0, 0], [0, 1], [0, 2], [1, 0]], tf.int64),
        target_candidates=tf.constant(places[1]),
        ratings=tf.constant([5.0, 1.0, 2.0, 4.0]),
        weights=tf.constant([1.0, 1.0, 0.0, 1.0]),
    )

    class Parts:
        terms = (None,)

        def scores(self, _):
            return tf.constant(own, tf.float32)

    scores[places] -= own
    targets = scores[places]
    over_catalogue = np.log(np.exp(scores).sum(axis=1))[[0, 1]] - targets[[0, 3]]
    over_dislikes = np.array([np.log(np.exp(targets[0]) + 4 * np.exp(targets[1])) - targets[0], 0.0])
    found = FullSoftmaxTask(dislike_weight=4.0).query_loss(queries, Parts(), candidates, batch, True)
    assert float(found) == pytest.approx((over_catalogue + over_dislikes).mean(), rel=1e-5)


def test_only_positives_have_gains_and_the_gain_rises_to_the_highest_rating_if_there_is_one():
    ratings = tf.constant([2.0, 3.0, 5.0])
    assert FullSoftmaxTask().gains(ratings, None).numpy().tolist() == [0, 1, 1]
    weights = tf.constant([1.0, 2.0, 1.0])
    by_height = FullSoftmaxTask(highest_rating=5.0).gains(tf.constant([2.0, 3.0, 4.0, 5.0, 6.0]), None).numpy()
    assert by_height == pytest.approx([0, 0.6, 0.8, 1, 1])
    assert FullSoftmaxTask(highest_rating=5.0).gains(ratings, weights).numpy() == pytest.approx([0, 1.2, 1])
    # Twice the scale, the same gains; and a scale that ends at the threshold has one gain.
    assert FullSoftmaxTask(threshold=6.0, highest_rating=10.0).gains(2 * ratings, None).numpy() == pytest.approx(
        [0, 0.6, 1]
    )
    assert FullSoftmaxTask(threshold=1.0, highest_rating=1.0).gains(tf.constant([0.0, 1.0]), None).numpy().tolist() == [
        0,
        1,
    ]


def test_weights_of_explicit_negatives_are_kept_and_say_what_batches_need():
    task = FullSoftmaxTask(impression_weight=3, dislike_weight=0.5)
    assert FullSoftmaxTask.from_config(task.get_config()).negative_weights == (3.0, 0.5)
    assert FullSoftmaxTask().negative_weights is None
    with pytest.raises(ValueError, match="`impression_weight` must be 0, because `train` has no impressions"):
        task.check_queries(make_interactions([0, 0], [0, 1], [5.0, 1.0], num_queries=1, num_candidates=2))


@pytest.mark.parametrize("name", ["impression_weight", "dislike_weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_impossible_weight_of_explicit_negatives_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be finite and at least 0. Received: {value}"):
        FullSoftmaxTask(**{name: value})


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="`max_candidates` must be at least 1. Received: 0"):
        FullSoftmaxTask(max_candidates=0)
    with pytest.raises(ValueError, match="`num_sampled` must be at least 0. Received: -1"):
        FullSoftmaxTask(num_sampled=-1)
    with pytest.raises(TypeError, match="`num_sampled` must be a whole number. Received: None"):
        FullSoftmaxTask(num_sampled=None)
    with pytest.raises(ValueError, match="`temperature` must be positive and finite. Received: 0.0"):
        FullSoftmaxTask(temperature=0.0)
    with pytest.raises(
        ValueError, match="`highest_rating` must be finite and at least the threshold 3, or None. Received: 2"
    ):
        FullSoftmaxTask(highest_rating=2.0)


DATA = make_interactions([0, 1], [0, 1], [5, 1], num_queries=2, num_candidates=6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"max_candidates": 6, "num_sampled": 2}, None),
        ({"max_candidates": 5, "num_sampled": 2}, 2),
        ({"max_candidates": 5, "num_sampled": 0}, 0),
        ({"max_candidates": 5}, 8192),
    ],
)
def test_the_whole_catalogue_is_taken_up_to_max_candidates(settings, expected):
    assert FullSoftmaxTask(**settings).num_sampled_for(DATA) == expected


def test_a_catalogue_of_any_size_can_be_taken_whole():
    data = make_interactions([0], [0], [5], num_queries=1, num_candidates=50_001)
    assert FullSoftmaxTask().num_sampled_for(data) == 8192
    assert FullSoftmaxTask(max_candidates=50_001).num_sampled_for(data) is None


def test_queries_that_teach_nothing_are_refused():
    FullSoftmaxTask().check_queries(DATA)
    with pytest.raises(ValueError, match="`rating` must reach the threshold 6 in some event; the highest is 5"):
        FullSoftmaxTask(threshold=6).check_queries(DATA)
    single = make_interactions([0], [0], [5], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`train` must have at least two candidates"):
        FullSoftmaxTask().check_queries(single)


def test_the_loss_of_a_batch_scores_each_target_without_its_own_part():
    """By hand: what a part adds to the mean of all scores stays in the target's score."""
    queries, candidates = QUERIES[:2].astype(np.float64), CANDIDATES[:4].astype(np.float64)
    parts = np.array([[0.5, 0.0, -1.0], [0.2, 0.3, 0.1], [1.0, -0.5, 0.0]])
    places, columns, ratings = np.array([[0, 0], [0, 1], [1, 0]]), np.array([1, 3, 0]), np.array([5.0, 1.0, 3.0])
    log_q = np.log([1.0, 0.5, 0.25, 0.5])
    scores = queries @ candidates.T - log_q
    rows = places[:, 0]
    own = np.einsum("nd,nd->n", parts, candidates[columns] - candidates.mean(axis=0))
    scores[rows, columns] = (queries @ candidates.T)[rows, columns] - own
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    # The second event is not positive; weights are 2, 1 and 1.
    expected = -(2 * logs[0, 1] + logs[1, 0]) / 3
    batch = QueryBatch(
        query={},
        candidate={},
        candidate_rows=tf.range(4),
        log_sampling_probabilities=tf.constant(log_q, tf.float32),
        target_places=tf.constant(places),
        target_candidates=tf.constant(columns, tf.int32),
        ratings=tf.constant(ratings, tf.float32),
        weights=tf.constant([2.0, 1.0, 1.0]),
    )
    queries, parts, candidates = (tf.constant(values, tf.float32) for values in (queries, parts, candidates))
    # A column for each event.
    term = HistoryTerm(weights=tf.ones([2, 3]), vectors=parts)
    pairs = tf.constant(np.stack([rows, np.arange(3)], axis=1))
    of_events = HistoryParts(terms=[term], kept=None, columns=tf.constant(columns), pairs=pairs)
    loss = FullSoftmaxTask().query_loss(queries, of_events, candidates, batch, True)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_metric_is_the_mean_loss_of_all_batches_weighted_by_gain():
    task = FullSoftmaxTask()
    losses = [loss(task, gains) for gains in ([1.0, 1.0, 1.0], [0.0, 1.0, 0.0])]
    assert task.softmax_loss.name == "softmax_loss"
    assert float(task.softmax_loss.result()) == pytest.approx((3 * losses[0] + losses[1]) / 4, rel=1e-5)


def test_a_pair_that_occurs_twice_is_one_entry_of_the_gradient():
    """A softmax does not change if all scores rise alike, so that its gradient has the sum 0."""
    scores, places = tf.Variable(QUERIES[:1] @ CANDIDATES.T), tf.constant([[0, 1], [0, 1], [0, 3]], tf.int64)
    gains = tf.constant([1.0, 0.0, 2.0])
    with tf.GradientTape() as tape:
        value = FullSoftmaxTask()(scores, places, gains)
    shares = np.exp(scores.numpy()[0]) / np.exp(scores.numpy()[0]).sum()
    wanted = shares - np.array([0.0, 1 / 3, 0.0, 2 / 3, 0.0, 0.0])
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(value, scores))[0], wanted, atol=1e-6)
