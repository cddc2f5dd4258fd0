import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_twotower as tt
from tfrs_twotower.serving.index import NO_SCORE, check_embeddings

KINDS = [tt.ExactIndex, pytest.param(tt.ScannIndex, marks=pytest.mark.scann)]


def ids(n: int) -> list[str]:
    return [f"m{row}" for row in range(n)]


def expected(queries, embeddings, k, exclude):
    """(scores, rows) by sorting in Python."""
    num_slots = min(k, len(embeddings))
    all_scores, all_rows = [], []
    for query, excluded in zip(queries, exclude, strict=True):
        scores = embeddings.astype(np.float64) @ query.astype(np.float64)
        left = [row for row in range(len(embeddings)) if row not in set(excluded)]
        best = sorted(left, key=lambda row: (-scores[row], row))[:num_slots]
        empty = num_slots - len(best)
        all_rows.append(best + [-1] * empty)
        all_scores.append([scores[row] for row in best] + [NO_SCORE] * empty)
    return np.array(all_scores).reshape(len(queries), -1), np.array(all_rows).reshape(len(queries), -1)


@pytest.mark.parametrize("build", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_search_agrees_with_sorting_in_python(build, data):
    num_candidates, batch = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    k, num_excluded = data.draw(st.integers(1, 14)), data.draw(st.integers(0, 15))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    # Small integers: every score is exact in float32, and ties occur.
    embeddings = rng.integers(-3, 4, (num_candidates, 3)).astype(np.float32)
    queries = rng.integers(-3, 4, (batch, 3)).astype(np.float32)
    exclude = rng.integers(-1, num_candidates, (batch, num_excluded)).astype(np.int32)
    scores, rows = build(embeddings, ids(num_candidates)).search(tf.constant(queries), k, tf.constant(exclude))
    expected_scores, expected_rows = expected(queries, embeddings, k, exclude)
    np.testing.assert_array_equal(scores, expected_scores.astype(np.float32))
    # Which of several equal candidates gets the last slot is the search's choice; the scores above bind.
    for row, (found, wanted) in enumerate(zip(rows.numpy(), expected_rows, strict=True)):
        assert len(set(found[found >= 0])) == np.sum(found >= 0) == np.sum(wanted >= 0)
        assert not set(found[found >= 0]) & set(exclude[row])


@pytest.mark.parametrize("build", KINDS)
def test_without_exclusions_all_columns_are_filled(build):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(200, 16)).astype(np.float32)
    queries = rng.normal(size=(7, 16)).astype(np.float32)
    scores, rows = build(embeddings, ids(200)).search(tf.constant(queries), 10)
    np.testing.assert_array_equal(rows, np.argsort(-(queries @ embeddings.T), axis=1)[:, :10])
    # float32 sums of 16 products
    np.testing.assert_allclose(scores, -np.sort(-(queries @ embeddings.T), axis=1)[:, :10], rtol=1e-5)


@pytest.mark.parametrize("build", KINDS)
@pytest.mark.parametrize(("k", "columns"), [(1, 1), (50, 50), (51, 50), (1000, 50)])
def test_there_are_always_min_k_and_catalogue_columns(build, k, columns):
    embeddings = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    scores, rows = build(embeddings, ids(50)).search(tf.constant(embeddings[:3]), k)
    assert scores.shape == rows.shape == [3, columns]


@pytest.mark.parametrize("build", KINDS)
def test_a_query_gets_the_same_alone_and_in_a_batch(build):
    rng = np.random.default_rng(0)
    index = build(rng.normal(size=(300, 50)).astype(np.float32), ids(300))
    queries = tf.constant(rng.normal(size=(33, 50)).astype(np.float32))
    exclude = tf.constant(rng.integers(-1, 300, (33, 40)).astype(np.int32))
    scores, rows = index.search(queries, 20, exclude)
    for row in range(33):
        alone_scores, alone_rows = index.search(queries[row : row + 1], 20, exclude[row : row + 1])
        np.testing.assert_array_equal(alone_scores[0], scores[row])
        np.testing.assert_array_equal(alone_rows[0], rows[row])


@pytest.mark.parametrize("build", KINDS)
def test_an_empty_batch_has_no_rows_but_all_columns(build):
    scores, rows = build(np.eye(3, dtype=np.float32), ids(3)).search(tf.zeros([0, 3]), 2, tf.zeros([0, 1], tf.int32))
    assert scores.shape == rows.shape == [0, 2]


@pytest.mark.parametrize("build", KINDS)
def test_everything_excluded_leaves_empty_slots(build):
    index = build(np.eye(3, dtype=np.float32), ids(3))
    scores, rows = index.search(tf.ones([1, 3]), 2, tf.constant([[2, 0, 1, 1, -1]]))
    assert rows.numpy().tolist() == [[-1, -1]]
    assert scores.numpy().tolist() == [[NO_SCORE, NO_SCORE]]


@pytest.mark.scann
def test_scann_equals_exact():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(5000, 64)).astype(np.float32)
    queries = tf.constant(rng.normal(size=(64, 64)).astype(np.float32))
    exclude = tf.constant(rng.integers(-1, 5000, (64, 300)).astype(np.int32))
    for k in (1, 10, 100):
        exact = tt.ExactIndex(embeddings, ids(5000)).search(queries, k, exclude)
        scann = tt.ScannIndex(embeddings, ids(5000)).search(queries, k, exclude)
        for ours, theirs in zip(scann, exact, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.zeros((2, 3)), r"must be float32 \[num_candidates, embedding_dim\].*Received: float64 \[2, 3\]"),
        (np.zeros((0, 3), np.float32), "at least one of each"),
        (np.zeros(2, np.float32), r"Received: float32 \[2\]"),
        (np.zeros((3, 1), np.float32), "Received: 2 ids, 3 embeddings"),
        (np.array([[0], [np.nan]], np.float32), "Received 1 with NaN or infinity, of candidates 'm1'"),
        (np.array([[np.inf], [0]], np.float32), "of candidates 'm0'"),
    ],
)
def test_what_no_index_can_be_right_about_is_refused(embeddings, message):
    with pytest.raises(ValueError, match=message):
        check_embeddings(embeddings, ids(2))


@pytest.mark.parametrize("build", KINDS)
def test_every_kind_checks_before_it_builds(build):
    with pytest.raises(ValueError, match="of candidates 'm1'"):
        build(np.array([[0], [np.nan]], np.float32), ids(2))
