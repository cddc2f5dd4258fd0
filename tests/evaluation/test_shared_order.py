import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_twotower.evaluation import shared_order
from tfrs_twotower.evaluation.shared_order import rank_by_value

NO_PAIRS = np.zeros((0, 2), np.int64)


@settings(deadline=None)
@given(data=st.data())
def test_ranking_agrees_with_sorting_in_python(data):
    num_queries, num_candidates = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([1, 5, 200]))
    k = data.draw(st.integers(1, min(num_candidates, 12)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    values = rng.integers(0, data.draw(st.sampled_from([1, 2, 50])), num_candidates)
    pairs = data.draw(st.lists(st.tuples(st.integers(0, num_queries - 1), st.integers(0, num_candidates - 1))))
    seen = np.array(pairs, np.int64).reshape(-1, 2)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, num_queries - 1)))), np.int64)
    ranked = rank_by_value(values, seen, k=k, num_queries=num_queries, query_rows=rows)
    for query in range(num_queries):
        left = [row for row in range(num_candidates) if (query, row) not in pairs] if query in rows else []
        found = [row for row in ranked[query].tolist() if row != -1]
        # Ties are broken at random, so only the order of the values can be compared.
        assert [values[row] for row in found] == sorted((values[row] for row in left), reverse=True)[:k]
        assert len(set(found)) == len(found)
        assert set(found) <= set(left)
        assert ranked[query].tolist()[len(found) :] == [-1] * (k - len(found))


@pytest.mark.parametrize("num_candidates", [10, 50, 500])
@pytest.mark.parametrize("num_best", [0, 2])
def test_ties_are_broken_at_random(num_candidates, num_best):
    """In 3 slots, each tied candidate occurs as often as any other, and each better one always occurs."""
    values = np.zeros(num_candidates)
    values[:num_best] = 1
    ranked = rank_by_value(values, NO_PAIRS, k=3, num_queries=20_000)
    assert (np.sort(ranked[:, :num_best], axis=1) == np.arange(num_best)).all()
    counts = np.bincount(ranked[:, num_best:].ravel(), minlength=num_candidates)[num_best:]
    expected = 20_000 * (3 - num_best) / (num_candidates - num_best)
    # A chi-squared statistic of n classes has the mean n and the standard deviation sqrt(2 n).
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - len(counts)) < 5 * np.sqrt(2 * len(counts))
    np.testing.assert_array_equal(rank_by_value(values, NO_PAIRS, k=3, num_queries=20_000), ranked)


def test_too_few_draws_are_made_up_for(monkeypatch):
    """Query 0 has seen all candidates but the last three, and draws of a single place cannot find these."""
    monkeypatch.setattr(
        shared_order, "random_keys", lambda rows, columns: np.zeros(np.broadcast(rows, columns).shape, np.int64)
    )
    monkeypatch.setattr(shared_order, "_MAX_DRAWN_SHARE", 1)
    seen = np.stack([np.zeros(97, np.int64), np.arange(97)], axis=1)
    ranked = rank_by_value(np.zeros(100), seen, k=3, num_queries=1)
    assert sorted(ranked[0].tolist()) == [97, 98, 99]


def test_the_block_size_does_not_change_the_ranking(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, 300)
    seen = np.stack([rng.integers(0, 50, 2000), rng.integers(0, 300, 2000)], axis=1)
    whole = rank_by_value(values, seen, k=5, num_queries=50)
    monkeypatch.setattr(shared_order, "_BLOCK_NUMBERS", 1)
    np.testing.assert_array_equal(rank_by_value(values, seen, k=5, num_queries=50), whole)


def test_progress_counts_the_queries():
    told = []
    rank_by_value(
        np.arange(3),
        NO_PAIRS,
        k=1,
        num_queries=4,
        query_rows=np.array([0, 2]),
        task="x",
        progress=lambda *a: told.append(a),
    )
    assert told == [("x", 0, 2), ("x", 2, 2)]
