import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler


def test_all_candidates_that_a_query_has_no_event_with_are_drawn_and_no_others():
    rated = {(0, 0), (0, 1), (1, 4)}
    data = make_interactions(*np.array(sorted(rated)).T, [5, 5, 1], num_queries=2, num_candidates=6)
    sampler = NegativeSampler(data, per_positive=500, threshold=3)
    events, drawn = sampler.sample(np.array([0, 1]), np.array([5.0, 4.0]), np.random.default_rng(0))
    for query, allowed in ((0, {2, 3, 4, 5}), (1, {0, 1, 2, 3, 5})):
        mine = drawn[events == query]
        assert set(mine.tolist()) == allowed
        assert len(mine) == 500
        # Each of n candidates is drawn 500 / n times on average, with a standard deviation below sqrt(500 / n).
        counts = np.bincount(mine, minlength=6)[sorted(allowed)]
        assert np.abs(counts - 500 / len(allowed)).max() < 5 * np.sqrt(500 / len(allowed))


def test_only_positive_events_get_negatives():
    data = make_interactions([0], [0], [1], num_queries=3, num_candidates=50)
    sampler = NegativeSampler(data, per_positive=2, threshold=3)
    events, _ = sampler.sample(np.array([0, 1, 2]), np.array([5.0, 2.9, 3.0]), np.random.default_rng(0))
    assert events.tolist() == [0, 0, 2, 2]


def test_a_query_with_events_of_every_candidate_gets_no_negatives():
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
def test_numbers_out_of_range_are_refused(arguments, message):
    data = make_interactions([0], [0], [1], num_queries=1, num_candidates=1)
    with pytest.raises(ValueError, match=message):
        NegativeSampler(data, **arguments)


def test_in_batch_negatives_describe_other_positives_and_log_sampling_probabilities():
    train = make_interactions([0, 0, 1, 1], [0, 1, 2, 1], [5.0, 4.0, 5.0, 2.0], num_queries=2, num_candidates=5)
    negatives = InBatchNegatives(train, threshold=3, num_uniform=4)
    queries, candidates = np.array([0, 1, 0], np.int32), np.array([0, 2, 1], np.int32)
    rows, is_positive, logs = negatives.describe(queries, candidates, np.random.default_rng(0))
    assert rows[:3].tolist() == [0, 2, 1]
    assert len(rows) == 7
    likes = {0: {0, 1}, 1: {2}}
    assert is_positive.tolist() == [[row in likes[query] for row in rows] for query in queries]
    # Each of the batch's three events is one of the four events at random, and each of the four draws one of the five
    # candidates.
    expected = 3 * np.array([1, 2, 1, 0, 0]) / 4 + 4 / 5
    np.testing.assert_allclose(np.exp(logs), expected[rows], rtol=1e-5)


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(-1, ValueError, "`num_uniform` must be at least 0. Received: -1"), (2.5, TypeError, "must be a whole number")],
)
def test_an_impossible_number_of_uniform_candidates_is_refused(number, error, message):
    train = make_interactions([0], [0], [5.0], num_queries=1, num_candidates=1)
    with pytest.raises(error, match=message):
        InBatchNegatives(train, threshold=3, num_uniform=number)
