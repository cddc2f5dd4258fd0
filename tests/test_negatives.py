import numpy as np
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.data.negatives import NegativeSampler


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
