import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.evaluation import ranking
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates

NO_PAIRS = np.zeros((0, 2), np.int64)


@settings(deadline=None)
@given(data=st.data())
def test_ranking_agrees_with_sorting_each_query_in_python(data):
    num_queries, num_candidates = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([1, 5, 8, 200, 700]))
    k = data.draw(st.integers(1, min(num_candidates, 12)))
    # With a width of 2 there are few distinct values, so that ties occur.
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    width = data.draw(st.sampled_from([2, 1000]))
    queries = rng.integers(-width, width + 1, (num_queries, 2)).astype(np.float32)
    candidates = rng.integers(-width, width + 1, (num_candidates, 2)).astype(np.float32)
    seen = data.draw(st.sets(st.tuples(st.integers(0, num_queries - 1), st.integers(0, num_candidates - 1))))
    pairs = np.array(sorted(seen)[::-1], np.int64).reshape(-1, 2)
    ranked = rank_candidates(queries, candidates, pairs, k=k)
    for query in range(num_queries):
        scores = {row: float(queries[query] @ candidates[row]) for row in range(num_candidates)}
        left = [row for row in scores if (query, row) not in seen]
        found = [row for row in ranked[query].tolist() if row != -1]
        # Ties are broken at random, so only the order of the scores can be compared.
        assert [scores[row] for row in found] == sorted((scores[row] for row in left), reverse=True)[:k]
        assert len(set(found)) == len(found)
        assert set(found) <= set(left)
        assert ranked[query].tolist()[len(found) :] == [-1] * (k - len(found))


@pytest.mark.parametrize("num_candidates", [50, 5000])
@pytest.mark.parametrize("num_best", [0, 2])
def test_ties_are_broken_at_random(num_candidates, num_best):
    """In 3 slots, each tied candidate occurs as often as any other, and each better one always occurs."""
    candidates = np.zeros((num_candidates, 1), np.float32)
    candidates[:num_best] = 1
    ranked = rank_candidates(np.ones((6000, 1), np.float32), candidates, NO_PAIRS, k=3)
    assert (np.sort(ranked[:, :num_best], axis=1) == np.arange(num_best)).all()
    counts = np.bincount(ranked[:, num_best:].ravel(), minlength=num_candidates)[num_best:]
    expected = 6000 * (3 - num_best) / (num_candidates - num_best)
    # A chi-squared statistic of n classes has the mean n and the standard deviation sqrt(2 n).
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - len(counts)) < 5 * np.sqrt(2 * len(counts))
    again = rank_candidates(np.ones((6000, 1), np.float32), candidates, NO_PAIRS, k=3)
    np.testing.assert_array_equal(again, ranked)


def test_a_constant_model_finds_no_more_than_chance():
    """One of 500 candidates is relevant to each of 5,000 queries: ten hits are expected, whichever candidate it is."""
    relevant = np.zeros(5000, np.int64)  # a stable sort would always find the first row
    ranked = rank_candidates(np.ones((5000, 4), np.float32), np.ones((500, 4), np.float32), NO_PAIRS, k=1)
    hits = int((ranked[:, 0] == relevant).sum())
    assert abs(hits - 10) < 4 * np.sqrt(10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    vectors, broken = np.ones((4, 2)), np.ones((4, 2))
    broken[2, 1] = value
    with pytest.raises(ValueError, match="`queries` must be finite. Row 2 is not"):
        rank_candidates(broken, vectors, NO_PAIRS, k=1)
    with pytest.raises(ValueError, match="`candidates` must be finite. Row 2 is not"):
        rank_candidates(vectors, broken, NO_PAIRS, k=1)
    with pytest.raises(ValueError, match="must have the same embedding length. Received: 2 and 3"):
        rank_candidates(vectors, np.ones((4, 3)), NO_PAIRS, k=1)


def test_the_block_size_does_not_change_the_ranking(monkeypatch):
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    seen = np.stack([rng.integers(0, 50, 200), rng.integers(0, 30, 200)], axis=1)
    whole = rank_candidates(queries, candidates, seen, k=5)
    monkeypatch.setattr(ranking, "_MAX_BLOCK", 7)
    np.testing.assert_array_equal(rank_candidates(queries, candidates, seen, k=5), whole)


@pytest.mark.parametrize("k", [0, 3])
def test_k_must_fit_the_catalogue(k):
    with pytest.raises(ValueError, match=f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates=2"):
        rank_candidates(np.ones((1, 1)), np.ones((2, 1)), NO_PAIRS, k=k)


def test_event_pairs_are_a_query_row_and_a_candidate_row():
    data = make_interactions([1, 0], [2, 3], [1, 1], num_queries=2, num_candidates=4)
    assert event_pairs(data).tolist() == [[1, 2], [0, 3]]
