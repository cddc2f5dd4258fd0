import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.ordering import NO_SCORE, drop_excluded, is_member, sort_ascending, top_k


@pytest.mark.parametrize("num", [1, 100, 4096, 5003, 6000, 60_000])
@pytest.mark.parametrize("kind", ["random", "many equal", "all equal", "all masked but three"])
def test_top_k_by_blocks_equals_that_of_tensorflow(num, kind):
    """The places are the same, too: of equal scores the first."""
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
        is_real = wanted.numpy() > NO_SCORE  # any of the masked scores may fill the rest
        np.testing.assert_array_equal(places.numpy()[is_real], wanted_places.numpy()[is_real])
        assert places.numpy().max() < num


def test_all_integers_are_sorted():
    values = tf.constant([[3, -(2**31), 2**31 - 1, 0, -1]], tf.int32)
    assert sort_ascending(values).numpy().tolist() == [[-(2**31), -1, 0, 3, 2**31 - 1]]


def test_members_are_found_in_the_same_row_only():
    values, members = tf.constant([[1, 5, -1], [1, 5, 9]]), tf.constant([[5, 5, 2], [9, -1, 1]])
    assert is_member(values, members).numpy().tolist() == [[False, True, False], [True, False, True]]


def test_dropping_excluded_rows_keeps_the_order():
    rows, exclude = tf.constant([[4, 7, 1, NO_ROW], [2, 3, 5, 8]]), tf.constant([[7, -1], [2, 8]])
    assert drop_excluded(rows, exclude, 3).numpy().tolist() == [[4, 1, NO_ROW], [3, 5, NO_ROW]]
