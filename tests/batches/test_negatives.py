import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler


def test_only_what_a_query_never_met_is_drawn_and_all_of_it():
    met = {(0, 0), (0, 1), (1, 4)}
    data = make_interactions(*np.array(sorted(met)).T, [5, 5, 1], num_queries=2, num_candidates=6)
    sampler = NegativeSampler(data, per_positive=500, threshold=3)
    events, drawn = sampler.sample(np.array([0, 1]), np.array([5.0, 4.0]), np.random.default_rng(0))
    for query, allowed in ((0, {2, 3, 4, 5}), (1, {0, 1, 2, 3, 5})):
        mine = drawn[events == query]
        assert set(mine.tolist()) == allowed
        assert len(mine) == 500
        # Uniform: each of n candidates about 500 / n times, with a standard deviation below sqrt(500 / n).
        counts = np.bincount(mine, minlength=6)[sorted(allowed)]
        assert np.abs(counts - 500 / len(allowed)).max() < 5 * np.sqrt(500 / len(allowed))


def test_only_positive_events_get_negatives():
    data = make_interactions([0], [0], [1], num_queries=3, num_candidates=50)
    sampler = NegativeSampler(data, per_positive=2, threshold=3)
    events, _ = sampler.sample(np.array([0, 1, 2]), np.array([5.0, 2.9, 3.0]), np.random.default_rng(0))
    assert events.tolist() == [0, 0, 2, 2]


def test_a_query_that_met_everything_gets_none():
    data = make_interactions([0, 0], [0, 1], [5, 5], num_queries=1, num_candidates=2)
    events, drawn = NegativeSampler(data, per_positive=3, threshold=3).sample(
        np.array([0]), np.array([5.0]), np.random.default_rng(0)
    )
    assert events.size == drawn.size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_positive": 0, "threshold": 3}, "`per_positive` must be at least 1"),
        ({"per_positive": 1, "threshold": 0}, "`threshold` must be above 0.0, a negative's rating"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    data = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match=message):
        NegativeSampler(data, **arguments)


def test_in_batch_negatives_know_other_positives_and_frequencies():
    train = make_interactions([0, 0, 1, 1], [0, 1, 2, 1], [5.0, 4.0, 5.0, 2.0], num_queries=2, num_candidates=5)
    negatives = InBatchNegatives(train, threshold=3, num_uniform=4)
    queries, candidates = np.array([0, 1, 0], np.int32), np.array([0, 2, 1], np.int32)
    rows, is_positive, logs = negatives.describe(queries, candidates, np.random.default_rng(0))
    assert rows[:3].tolist() == [0, 2, 1]
    assert len(rows) == 7
    likes = {0: {0, 1}, 1: {2}}
    assert is_positive.tolist() == [[row in likes[query] for row in rows] for query in queries]
    # Three events of a batch by their share of four, and four draws of five candidates.
    expected = 3 * np.array([1, 2, 1, 0, 0]) / 4 + 4 / 5
    np.testing.assert_allclose(np.exp(logs), expected[rows], rtol=1e-5)


def test_in_batch_negatives_of_a_number_below_zero_are_refused():
    train = make_interactions([0], [0], [5.0], num_queries=1, num_candidates=1)
    for number in (-1, 2.5):
        with pytest.raises(ValueError, match=f"`num_uniform` must be a whole number of at least 0. Received: {number}"):
            InBatchNegatives(train, threshold=3, num_uniform=number)
