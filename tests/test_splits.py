import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_twotower as tt
from tests.conftest import make_interactions


def interactions(num_events: int) -> tt.Interactions:
    # Every event has a rating of its own, by which it is recognised.
    rows = np.zeros(num_events, np.int32)
    return make_interactions(rows, rows, np.arange(num_events), num_queries=1, num_candidates=1)


def parts(split: tt.Split) -> list[list[float]]:
    return [part.ratings.tolist() for part in (split.train, split.validation, split.test)]


@settings(deadline=None, max_examples=50)
@given(
    num_events=st.integers(30, 400),
    seed=st.integers(0, 2**32),
    test=st.floats(0.1, 0.8),
    validation=st.floats(0.1, 0.8),
)
def test_a_split_is_a_seeded_partition(num_events, seed, test, validation):
    data = interactions(num_events)
    split = tt.random_split(data, test=test, validation=validation, seed=seed)
    everything = [event for part in parts(split) for event in part]
    assert sorted(everything) == list(range(num_events))
    assert split.test.num_events == round(num_events * test)
    assert parts(tt.random_split(data, test=test, validation=validation, seed=seed)) == parts(split)


def test_another_seed_gives_another_split():
    data = interactions(200)
    assert parts(tt.random_split(data, seed=0)) != parts(tt.random_split(data, seed=1))


def test_parts_keep_the_order_of_the_data():
    split = tt.random_split(interactions(100), seed=0)
    for part in parts(split):
        assert part == sorted(part)


def test_seen_is_training_and_validation():
    split = tt.random_split(interactions(100), seed=0)
    train, validation, _ = parts(split)
    assert split.seen.ratings.tolist() == train + validation


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match=r"`test` must be a share in \(0, 1\)"):
        tt.random_split(interactions(10), test=share, seed=0)
    with pytest.raises(ValueError, match=r"`validation` must be a share in \(0, 1\)"):
        tt.random_split(interactions(10), validation=share, seed=0)


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="Every part needs an event. Received 3 events"):
        tt.random_split(interactions(3), seed=0)
