import numpy as np
import tensorflow as tf

from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.vectors import CandidateVectors


def test_vectors_may_be_stored_in_any_order_with_unused_slots():
    rows = np.array([2, NO_ROW, 0, 1, NO_ROW], np.int32)
    matrix = np.array([[3.0, 0], [9, 9], [1, 0], [2, 0], [9, 9]], np.float32)
    vectors = CandidateVectors(tf.Variable(matrix), rows)
    assert vectors.num_candidates == 3
    assert vectors.take(tf.constant([[0, 1], [2, 2]])).numpy()[..., 0].tolist() == [[1, 2], [3, 3]]
    query = tf.constant([[1.0, 0.0]])
    assert vectors.scan(query, 3).numpy().tolist() == [[2, 1, 0]]
    assert vectors.scan(query, 3, tf.constant([[1, -1, 7]])).numpy().tolist() == [[2, 0, NO_ROW]]
