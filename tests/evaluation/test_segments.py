import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.evaluation import segments
from tfrs_twotower.evaluation.ranking import event_pairs
from tfrs_twotower.evaluation.relevance import QueryMetrics, relevant_pairs


def test_metrics_are_averaged_within_groups_of_queries():
    of_queries = QueryMetrics(
        query_rows=np.array([0, 2, 3, 4]), values={"ndcg@3": np.array([1.0, 0.5, 0.0, 0.25])}, num_left_out=1
    )
    found = segments.by_query(of_queries, ["F", "M", "F", None, "M"])
    assert [(segment.name, segment.num, segment.values["ndcg@3"]) for segment in found] == [
        ("F", 2, 0.75),
        ("(missing)", 1, 0.0),
        ("M", 1, 0.25),
    ]
    ordered = segments.by_query(of_queries, ["F", "M", "F", None, "M"], order=["M", "F"])
    assert [segment.name for segment in ordered] == ["M", "F", "(missing)"]


def test_queries_are_cold_or_warm_by_their_number_of_past_events():
    counts = [0, 1, 9, 10, 49, 50, 100, 300]
    rows = np.repeat(np.arange(8), counts)
    seen = make_interactions(rows, np.zeros(len(rows)), np.ones(len(rows)), num_queries=8, num_candidates=1)
    groups, from_cold_to_warm = segments.history_groups(seen)
    assert from_cold_to_warm == [
        "no events",
        "1 to 9 events",
        "10 to 49 events",
        "50 to 99 events",
        "100 or more events",
    ]
    assert groups == [
        "no events",
        "1 to 9 events",
        "1 to 9 events",
        "10 to 49 events",
        "10 to 49 events",
        "50 to 99 events",
        "100 or more events",
        "100 or more events",
    ]


def test_recall_by_popularity():
    """Candidates 0 and 1 are the popular half. Query 0 likes 0 and 3 and gets 0; query 1 likes 1 and gets 2."""
    seen = make_interactions([2, 2, 2, 3], [0, 1, 0, 1], [5] * 4, num_queries=4, num_candidates=4)
    test = make_interactions([0, 0, 1, 1, 2], [0, 3, 1, 2, 0], [5, 4, 3, 1, 5], num_queries=4, num_candidates=4)
    ranked = np.array([[0, 1], [2, 3], [-1, -1], [-1, -1]])
    popular, rare = segments.by_popularity(ranked, relevant_pairs(test, event_pairs(seen), 3), seen, num_groups=2)
    # Query 2 likes what it has seen before, which no ranking may contain.
    assert (popular.name, popular.num) == ("0 to 50 %", 2)
    assert popular.values == {"recall@2": 0.5, "share": 0.5, "liked": 2 / 3}
    assert (rare.name, rare.num) == ("50 to 100 %", 1)
    assert rare.values == {"recall@2": 0.0, "share": 0.5, "liked": 1 / 3}


def test_a_group_without_likes_keeps_its_share_of_the_recommendations():
    seen = make_interactions([2, 2], [0, 1], [5, 5], num_queries=3, num_candidates=3)
    test = make_interactions([0, 1], [0, 0], [5, 5], num_queries=3, num_candidates=3)
    ranked = np.array([[2], [2], [-1]])
    found = segments.by_popularity(ranked, relevant_pairs(test, event_pairs(seen), 3), seen)
    # Three candidates give at most three groups.
    assert [segment.name for segment in found] == ["0 to 33.3 %", "33.3 to 66.7 %", "66.7 to 100 %"]
    assert [segment.values["share"] for segment in found] == [0, 0, 1]
    assert [segment.values.get("recall@1") for segment in found] == [0, None, None]


def test_many_distinct_numbers_become_five_groups_and_few_stay():
    rows = np.arange(100)
    of_queries = QueryMetrics(query_rows=rows, values={"ndcg@3": rows / 100.0}, num_left_out=0)
    ages = [None, *range(20, 119)]
    found = segments.by_query(of_queries, ages)
    assert sum(segment.num for segment in found) == 100
    assert [segment.num for segment in found if segment.name == "(missing)"] == [1]
    sizes = [segment.num for segment in found if segment.name != "(missing)"]
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) <= 2
    assert len(segments.by_query(of_queries, [1.5, 2.5] * 50)) == 2


@pytest.mark.parametrize("num_groups", [1, 3, 10])
def test_groups_by_popularity_have_equal_sizes(num_groups):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 30, 500)
    seen = make_interactions(np.zeros(500), rows, np.ones(500), num_queries=2, num_candidates=30)
    test = make_interactions(np.ones(30), np.arange(30), np.full(30, 5), num_queries=2, num_candidates=30)
    everything = np.stack([np.full(30, -1), np.arange(30)])
    found = segments.by_popularity(everything, relevant_pairs(test, event_pairs(seen), 3), seen, num_groups=num_groups)
    assert [segment.num for segment in found] == [30 // num_groups] * num_groups
    assert all(segment.values["recall@30"] == 1 for segment in found)
    assert sum(segment.values["share"] for segment in found) == pytest.approx(1)
