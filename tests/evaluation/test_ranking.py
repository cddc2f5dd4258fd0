import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.evaluation import ranking
from tfrs_twotower.evaluation.ranking import event_pairs, query_metrics, rank_candidates, ranking_metrics

NO_PAIRS = np.zeros((0, 2), np.int64)


@settings(deadline=None)
@given(data=st.data())
def test_ranking_agrees_with_sorting_each_query_in_python(data):
    num_queries, num_candidates = data.draw(st.integers(1, 6)), data.draw(st.sampled_from([1, 5, 8, 200, 700]))
    k = data.draw(st.integers(1, min(num_candidates, 12)))
    # Few distinct values, so that ties occur.
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
        # Equal scores come by lot: the scores are what is known of the order.
        assert [scores[row] for row in found] == sorted((scores[row] for row in left), reverse=True)[:k]
        assert len(set(found)) == len(found)
        assert set(found) <= set(left)
        assert ranked[query].tolist()[len(found) :] == [-1] * (k - len(found))


@pytest.mark.parametrize("num_candidates", [50, 5000])
@pytest.mark.parametrize("num_best", [0, 2])
def test_equal_scores_come_by_lot(num_candidates, num_best):
    """With 3 slots each of the equal ones comes as often as any other, and what is better always."""
    candidates = np.zeros((num_candidates, 1), np.float32)
    candidates[:num_best] = 1
    ranked = rank_candidates(np.ones((6000, 1), np.float32), candidates, NO_PAIRS, k=3)
    assert (np.sort(ranked[:, :num_best], axis=1) == np.arange(num_best)).all()
    counts = np.bincount(ranked[:, num_best:].ravel(), minlength=num_candidates)[num_best:]
    expected = 6000 * (3 - num_best) / (num_candidates - num_best)
    # Chi-squared of that many classes: the mean is their number, the standard deviation the root of twice that.
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - len(counts)) < 5 * np.sqrt(2 * len(counts))
    again = rank_candidates(np.ones((6000, 1), np.float32), candidates, NO_PAIRS, k=3)
    np.testing.assert_array_equal(again, ranked)


def test_a_constant_model_finds_no_more_than_chance():
    """Of 500 candidates one is relevant to each of 5,000 queries: ten hits are expected, whichever candidate it is."""
    relevant = np.zeros(5000, np.int64)  # the first row, which a stable sort would always find
    ranked = rank_candidates(np.ones((5000, 4), np.float32), np.ones((500, 4), np.float32), NO_PAIRS, k=1)
    hits = int((ranked[:, 0] == relevant).sum())
    assert abs(hits - 10) < 4 * np.sqrt(10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value):
    vectors, broken = np.ones((4, 2)), np.ones((4, 2))
    broken[2, 1] = value
    with pytest.raises(ValueError, match="`queries` must be finite. Row 2 is not"):
        rank_candidates(broken, vectors, NO_PAIRS, k=1)
    with pytest.raises(ValueError, match="`candidates` must be finite. Row 2 is not"):
        rank_candidates(vectors, broken, NO_PAIRS, k=1)
    with pytest.raises(ValueError, match="must be of one length. Received: 2 and 3"):
        rank_candidates(vectors, np.ones((4, 3)), NO_PAIRS, k=1)


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
    expected = {"precision@2": 0.25, "recall@2": 0.25, "ndcg@2": 1 / ideal / 2, "hit_rate@2": 0.5, "num_queries": 2}
    assert {name: values[name] for name in expected} == pytest.approx(expected)


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


def test_several_metrics_at_several_slots_of_each_query():
    """Query 0 likes 1 (5 stars) and 2 (3 stars), and finds 2, then 1; query 1 likes what it has seen, 2 nothing."""
    test = make_interactions([0, 0, 0, 1, 2], [1, 2, 2, 0, 3], [5, 2, 3, 5, 1], num_queries=4, num_candidates=5)
    ranked = np.array([[2, 4, 1], [3, 2, 1], [0, 1, 2], [0, 1, 2]])
    found = query_metrics(ranked, test, np.array([[1, 0]]), threshold=3, ks=(1, 3))
    assert found.query_rows.tolist() == [0]
    assert found.num_left_out == 2
    values = {name: column.tolist() for name, column in found.values.items()}
    assert values["precision@1"] == [1.0]
    assert values["recall@1"] == [0.5]
    assert values["map@3"] == pytest.approx([(1 + 2 / 3) / 2])
    assert values["mrr@3"] == [1.0]
    # Gains 1 and 3 in slots 1 and 3, at best 3 and 1 in slots 1 and 2.
    assert values["graded_ndcg@3"] == pytest.approx([(1 + 3 / 2) / (3 + 1 / np.log2(3))])
    assert values["ndcg@3"] == pytest.approx([(1 + 1 / 2) / (1 + 1 / np.log2(3))])


@pytest.mark.parametrize("ks", [(), (0,), (4,)])
def test_slots_that_the_ranking_does_not_have_are_refused(ks):
    test = make_interactions([0], [1], [5], num_queries=1, num_candidates=5)
    with pytest.raises(ValueError, match="`ks` must be in 1..3, the slots of the ranking"):
        query_metrics(np.array([[2, 4, 1]]), test, NO_PAIRS, threshold=3, ks=ks)


def test_a_candidate_that_comes_twice_is_refused_before_it_counts_twice():
    test = make_interactions([0, 1], [1, 1], [5, 5], num_queries=2, num_candidates=5)
    with pytest.raises(ValueError, match="`ranked` must have no candidate twice for a query. Query 1 has"):
        ranking_metrics(np.array([[1, -1, -1], [1, 0, 1]]), test, NO_PAIRS, threshold=3)
