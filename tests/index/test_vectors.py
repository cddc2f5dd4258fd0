import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.index.vectors import NO_ROW, NO_SCORE, CandidateVectors, ascending, top_k


@pytest.mark.parametrize("num", [1, 100, 4096, 5003, 6000, 60_000])
@pytest.mark.parametrize("kind", ["random", "many equal", "all equal", "all masked but three"])
def test_the_best_by_blocks_are_those_of_tensorflow(num, kind):
    """The same places too: of equal scores the first."""
    rng = np.random.default_rng(0)
    scores = {
        "random": rng.normal(size=(3, num)),
        "many equal": rng.integers(0, 5, (3, num)),
        "all equal": np.ones((3, num)),
        "all masked but three": np.where(np.arange(num) < num - 3, NO_SCORE, rng.normal(size=(3, num))),
    }[kind].astype(np.float32)
    for k in {1, min(10, num), min(30, num), num}:
        best, places = top_k(tf.constant(scores), k, num)
        wanted, wanted_places = tf.math.top_k(scores, k)
        np.testing.assert_array_equal(best, wanted)
        is_real = wanted.numpy() > NO_SCORE  # which of the masked come is of no account
        np.testing.assert_array_equal(places.numpy()[is_real], wanted_places.numpy()[is_real])
        assert places.numpy().max() < num


def test_vectors_may_lie_in_any_order_with_gaps():
    rows = np.array([2, NO_ROW, 0, 1, NO_ROW], np.int32)
    matrix = np.array([[3.0, 0], [9, 9], [1, 0], [2, 0], [9, 9]], np.float32)
    vectors = CandidateVectors(tf.Variable(matrix), rows)
    assert vectors.num_candidates == 3
    assert vectors.take(tf.constant([[0, 1], [2, 2]])).numpy()[..., 0].tolist() == [[1, 2], [3, 3]]
    query = tf.constant([[1.0, 0.0]])
    assert vectors.scan(query, 3).numpy().tolist() == [[2, 1, 0]]
    assert vectors.scan(query, 3, tf.constant([[1, -1, 7]])).numpy().tolist() == [[2, 0, NO_ROW]]


def test_any_integers_are_sorted():
    values = tf.constant([[3, -(2**31), 2**31 - 1, 0, -1]], tf.int32)
    assert ascending(values).numpy().tolist() == [[-(2**31), -1, 0, 3, 2**31 - 1]]
