import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.evaluation import relevance
from tfrs_twotower.evaluation.relevance import has_relevant, query_metrics, ranking_metrics

NO_PAIRS = np.zeros((0, 2), np.int64)


def test_queries_without_a_relevant_candidate_are_left_out_and_counted():
    # Query 0 likes candidates 0 and 1, query 1 likes nothing, query 2 likes candidate 3.
    test = make_interactions([0, 0, 1, 2], [0, 1, 2, 3], [5, 3, 2, 4], num_queries=3, num_candidates=4)
    ranked = np.array([[0, 2], [2, 0], [1, -1]])
    values = ranking_metrics(ranked, test, NO_PAIRS, threshold=3)
    ideal = 1 + 1 / np.log2(3)
    expected = {"precision@2": 0.25, "recall@2": 0.25, "ndcg@2": 1 / ideal / 2, "hit_rate@2": 0.5, "num_queries": 2}
    assert {name: values[name] for name in expected} == pytest.approx(expected)


def test_an_empty_slot_is_never_a_hit():
    # The empty slot of query 1 must not be read as the last candidate of query 0.
    test = make_interactions([0, 1], [3, 0], [5, 5], num_queries=2, num_candidates=4)
    assert ranking_metrics(np.array([[0], [-1]]), test, NO_PAIRS, threshold=3)["hit_rate@1"] == 0


def test_a_repeated_event_counts_once():
    test = make_interactions([0, 0], [1, 1], [5, 5], num_queries=1, num_candidates=2)
    assert ranking_metrics(np.array([[1]]), test, NO_PAIRS, threshold=3)["recall@1"] == 1


def test_a_candidate_that_was_seen_before_does_not_count_as_relevant():
    test = make_interactions([0, 0], [1, 2], [5, 5], num_queries=1, num_candidates=3)
    values = ranking_metrics(np.array([[2]]), test, np.array([[0, 1]]), threshold=3)
    assert values["recall@1"] == 1


@pytest.mark.parametrize("withheld", [None, 0, 5, 11])
@pytest.mark.parametrize("block_size", [1, 5, 100])
def test_one_positive_event_that_was_not_seen_is_enough(withheld, block_size, monkeypatch):
    """Each of twelve events was seen before but that of query `withheld`."""
    monkeypatch.setattr(relevance, "_BLOCK_SIZE", block_size)
    rows = np.arange(12)
    part = make_interactions(rows, rows % 5, np.full(12, 5), num_queries=12, num_candidates=5)
    # That query has seen another candidate, and another query has seen its candidate.
    seen = np.where(rows == withheld, (rows + 1) % 5, rows % 5)
    known = make_interactions(rows, seen, np.full(12, 1), num_queries=12, num_candidates=5)
    assert has_relevant(part, known, 3) == (withheld is not None)
    assert has_relevant(part, None, 3)
    assert not has_relevant(part, known, 5.5)
    assert not has_relevant(part, None, 5.5)


def test_a_test_part_without_a_relevant_candidate_is_refused():
    test = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match="`test` must have an unseen event with a rating of at least 3"):
        ranking_metrics(np.array([[0]]), test, NO_PAIRS, threshold=3)


def test_all_metrics_are_measured_at_each_number_of_slots():
    """Query 0 likes 1 (5 stars) and 2 (3 stars) and finds 2, then 1. Query 1 likes what it has seen; 2 nothing."""
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
    # The gains are 1 and 3 in slots 1 and 3, and at best 3 and 1 in slots 1 and 2.
    assert values["graded_ndcg@3"] == pytest.approx([(1 + 3 / 2) / (3 + 1 / np.log2(3))])
    assert values["ndcg@3"] == pytest.approx([(1 + 1 / 2) / (1 + 1 / np.log2(3))])


@pytest.mark.parametrize("ks", [(), (0,), (4,)])
def test_more_slots_than_the_ranking_has_are_refused(ks):
    test = make_interactions([0], [1], [5], num_queries=1, num_candidates=5)
    with pytest.raises(ValueError, match="`ks` must be in 1..3, the slots of the ranking"):
        query_metrics(np.array([[2, 4, 1]]), test, NO_PAIRS, threshold=3, ks=ks)


def test_a_candidate_that_is_ranked_twice_for_a_query_is_refused():
    test = make_interactions([0, 1], [1, 1], [5, 5], num_queries=2, num_candidates=5)
    with pytest.raises(ValueError, match="`ranked` must not hold a candidate twice for a query. Received for query 1"):
        ranking_metrics(np.array([[1, -1, -1], [1, 0, 1]]), test, NO_PAIRS, threshold=3)


def test_only_the_queries_that_were_ranked_are_measured():
    """Queries 0 and 2 find what they like, query 1 would not; query 3 likes nothing."""
    test = make_interactions([0, 1, 2, 3], [0, 1, 2, 3], [5, 5, 5, 1], num_queries=4, num_candidates=4)
    ranked = np.array([[0], [-1], [2], [0]])
    found = query_metrics(ranked, test, NO_PAIRS, threshold=3, query_rows=np.array([0, 2, 3]))
    assert found.query_rows.tolist() == [0, 2]
    assert found.values["recall@1"].tolist() == [1.0, 1.0]
    assert found.values["graded_ndcg@1"].tolist() == [1.0, 1.0]
    assert found.num_left_out == 1


@pytest.mark.parametrize(
    ("seen", "ranked", "recall", "precision"),
    [
        # The repeat of candidate 1 is neither a hit nor a miss: candidate 2 is all there is to find.
        ([[0, 1]], [2, 3], 1.0, 0.5),
        ([[0, 1]], [3, 0], 0.0, 0.0),
        # Where seen candidates are recommended again, candidates 1 and 2 are both to be found.
        ([], [1, 3], 0.5, 0.5),
        ([], [1, 2], 1.0, 1.0),
        ([], [3, 0], 0.0, 0.0),
    ],
)
def test_a_repeated_candidate_counts_only_if_it_can_be_recommended_again(seen, ranked, recall, precision):
    """The query chose candidate 1 in training and, twice, in the test part, and candidate 2 in the test part."""
    test = make_interactions([0, 0, 0], [1, 1, 2], [5, 5, 5], num_queries=1, num_candidates=4)
    pairs = np.array(seen, np.int64).reshape(-1, 2)
    values = ranking_metrics(np.array([ranked]), test, pairs, threshold=3)
    assert (values["recall@2"], values["precision@2"]) == (recall, precision)
