import numpy as np
import pytest

from tfrs_twotower.evaluation import sampling
from tfrs_twotower.evaluation.sampling import choose_queries


def test_the_sample_is_random_distinct_and_always_the_same():
    rows = np.repeat(np.arange(1000, 3000), 2)
    sizes = {"num_candidates": 10, "embedding_dim": 4}
    chosen = choose_queries(rows, **sizes, max_queries=400)
    assert len(set(chosen.tolist())) == 400
    assert (np.diff(chosen) > 0).all()
    # The mean of 400 of the rows 1000 to 2999 has a standard deviation of 577 * sqrt(0.8 / 400), about 26.
    assert abs(chosen.mean() - 1999.5) < 5 * 26
    np.testing.assert_array_equal(choose_queries(rows, **sizes, max_queries=400), chosen)


@pytest.mark.parametrize(("max_queries", "num_chosen"), [(None, 2000), (1999, 1999), (2000, 2000), (10**9, 2000)])
def test_all_queries_are_chosen_where_the_limit_allows(max_queries, num_chosen):
    chosen = choose_queries(np.arange(2000), num_candidates=10, embedding_dim=4, max_queries=max_queries)
    assert len(chosen) == num_chosen


def test_the_limit_follows_from_the_work(monkeypatch):
    """Each query costs 2 * 50 = 100 products, so that 250,000 products are enough for 2,500 queries."""
    monkeypatch.setattr(sampling, "MAX_PRODUCTS", 250_000)
    rows = np.arange(5000)
    assert len(choose_queries(rows, num_candidates=50, embedding_dim=2, max_queries=None)) == 2500
    # A catalogue a hundred times as large would leave 25 queries, which say too little.
    assert len(choose_queries(rows, num_candidates=5000, embedding_dim=2, max_queries=None)) == 1000


@pytest.mark.parametrize(
    ("max_queries", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_an_impossible_limit_is_refused(max_queries, error):
    with pytest.raises(error, match="`max_queries` must be"):
        choose_queries(np.arange(3), num_candidates=10, embedding_dim=4, max_queries=max_queries)
