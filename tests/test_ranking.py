import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.evaluation import ranking
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates, ranking_metrics

NO_PAIRS = np.zeros((0, 2), np.int64)


@settings(deadline=None)
@given(data=st.data())
def test_ranking_agrees_with_sorting_each_query_in_python(data):
    num_queries, num_candidates = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    k = data.draw(st.integers(1, num_candidates))
    # Few distinct values, so that ties occur.
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    queries = rng.integers(-2, 3, (num_queries, 2)).astype(np.float32)
    candidates = rng.integers(-2, 3, (num_candidates, 2)).astype(np.float32)
    seen = data.draw(st.sets(st.tuples(st.integers(0, num_queries - 1), st.integers(0, num_candidates - 1))))
    pairs = np.array(sorted(seen)[::-1], np.int64).reshape(-1, 2)
    ranked = rank_candidates(queries, candidates, pairs, k=k)
    for query in range(num_queries):
        scores = {row: float(queries[query] @ candidates[row]) for row in range(num_candidates)}
        left = [row for row in scores if (query, row) not in seen]
        expected = sorted(left, key=lambda row: (-scores[row], row))[:k]
        assert ranked[query].tolist() == expected + [-1] * (k - len(expected))


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    seen = np.stack([rng.integers(0, 50, 200), rng.integers(0, 30, 200)], axis=1)
    whole = rank_candidates(queries, candidates, seen, k=5)
    monkeypatch.setattr(ranking, "_BLOCK_SCORES", 7 * 30)
    np.testing.assert_array_equal(rank_candidates(queries, candidates, seen, k=5), whole)


@pytest.mark.parametrize("k", [0, 3])
def test_k_must_fit_the_catalogue(k):
    with pytest.raises(ValueError, match=f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates=2"):
        rank_candidates(np.ones((1, 1)), np.ones((2, 1)), NO_PAIRS, k=k)


def test_queries_without_a_relevant_candidate_are_left_out_and_counted():
    # Query 0 likes candidates 0 and 1, query 1 likes nothing, query 2 likes candidate 3.
    test = make_interactions([0, 0, 1, 2], [0, 1, 2, 3], [5, 3, 2, 4], num_queries=3, num_candidates=4)
    ranked = np.array([[0, 2], [2, 0], [1, -1]])
    values = ranking_metrics(ranked, test, NO_PAIRS, threshold=3)
    ideal = 1 + 1 / np.log2(3)
    assert values == pytest.approx(
        {"precision@2": 0.25, "recall@2": 0.25, "ndcg@2": 1 / ideal / 2, "hit_rate@2": 0.5, "num_queries": 2}
    )


def test_an_empty_slot_is_never_a_hit():
    # Slot -1 of query 1 must not read as the last candidate of query 0.
    test = make_interactions([0, 1], [3, 0], [5, 5], num_queries=2, num_candidates=4)
    assert ranking_metrics(np.array([[0], [-1]]), test, NO_PAIRS, threshold=3)["hit_rate@1"] == 0


def test_a_repeated_event_counts_once():
    test = make_interactions([0, 0], [1, 1], [5, 5], num_queries=1, num_candidates=2)
    assert ranking_metrics(np.array([[1]]), test, NO_PAIRS, threshold=3)["recall@1"] == 1


def test_what_was_seen_cannot_be_found_and_does_not_count():
    test = make_interactions([0, 0], [1, 2], [5, 5], num_queries=1, num_candidates=3)
    values = ranking_metrics(np.array([[2]]), test, np.array([[0, 1]]), threshold=3)
    assert values["recall@1"] == 1


def test_nothing_to_find_is_an_error():
    test = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="No unseen test event has a rating of at least 3"):
        ranking_metrics(np.array([[0]]), test, NO_PAIRS, threshold=3)


def test_pairs_of_events():
    data = make_interactions([1, 0], [2, 3], [1, 1], num_queries=2, num_candidates=4)
    assert event_pairs(data).tolist() == [[1, 2], [0, 3]]
