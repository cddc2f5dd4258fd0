import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import make_interactions
from tfrs_twotower.batches.encoded import EncodedHistory, EncodedTables
from tfrs_twotower.data.rows import NO_ROW

# Three candidates, with codes 5, 6 and 7 as past ones; padding has code 0.
BY_RATING = EncodedHistory(
    name="history", codes=np.array([5, 6, 7, 0]), rating_name="history_rating", code_ratings=lambda ratings: ratings - 3
)
ROWS, RATINGS = np.array([[2, 0], [1, NO_ROW]], np.int32), np.array([[5, 1], [4, 3]], np.float32)
TABLES = EncodedTables(
    queries={"user_id": np.array([10, 11])},
    candidates={"movie_id": np.array([20, 21, 22]), "genres": np.array([[1, 0], [1, 2], [0, 0]])},
    histories=[BY_RATING, EncodedHistory(name="also", codes=np.array([1, 2, 3, 9]))],
)


def test_padding_has_the_last_code():
    found = BY_RATING.look_up(ROWS, RATINGS, np.take)
    assert {name: codes.tolist() for name, codes in found.items()} == {
        "history": [[7, 5], [6, 0]],
        "history_rating": [[2, -2], [1, 0]],
    }


def test_a_history_without_ratings_gives_none():
    found = EncodedHistory(name="history", codes=np.array([5, 6, 7, 0])).look_up(ROWS, RATINGS, np.take)
    assert {name: codes.tolist() for name, codes in found.items()} == {"history": [[7, 5], [6, 0]]}


def test_the_graph_gathers_the_codes_of_queries_and_of_every_history():
    codes = TABLES.in_graph().queries(tf.constant([1, 0]), tf.constant(ROWS), tf.constant(RATINGS))
    assert {name: values.numpy().tolist() for name, values in codes.items()} == {
        "user_id": [11, 10],
        "history": [[7, 5], [6, 0]],
        "history_rating": [[2, -2], [1, 0]],
        "also": [[3, 1], [2, 9]],
    }


def test_the_graph_gathers_no_history_where_there_is_none():
    codes = TABLES.in_graph().queries(tf.constant([1]), None, None)
    assert {name: values.numpy().tolist() for name, values in codes.items()} == {"user_id": [11]}


def test_the_graph_gathers_the_codes_of_candidates():
    codes = TABLES.in_graph().candidates(tf.constant([2, 2, 1]))
    assert {name: values.numpy().tolist() for name, values in codes.items()} == {
        "movie_id": [22, 22, 21],
        "genres": [[0, 0], [0, 0], [1, 2]],
    }


def test_a_table_of_another_length_is_named():
    TABLES.require_rows_of(make_interactions([], [], [], num_queries=2, num_candidates=3))
    with pytest.raises(ValueError, match=r"`queries\['user_id'\]` must have 4 rows. Received: 2"):
        TABLES.require_rows_of(make_interactions([], [], [], num_queries=4, num_candidates=3))
    with pytest.raises(ValueError, match=r"`candidates\['movie_id'\]` must have 5 rows. Received: 3"):
        TABLES.require_rows_of(make_interactions([], [], [], num_queries=2, num_candidates=5))
