import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.features.learning import learn_candidate_vocabularies
from tfrs_twotower.training.recency import choose_half_life, weigh_by_recency

DAY = 86_400


def with_times(interactions: tt.Interactions, days) -> tt.Interactions:
    times = pa.array((np.asarray(days) * DAY).astype(np.int64))
    return dataclasses.replace(interactions, events=interactions.events.append_column("timestamp", times))


def drifting_split(*, drifts: bool) -> tt.splits.Split:
    """A hundred queries, one event a day; if popularity drifts, each candidate is popular for fifteen days.

    The validation part is that of the days 80 to 89, whose candidate has five training events, and each of the older
    candidates has fifteen.
    """
    days = np.arange(100)
    candidates = days // 15 if drifts else days * days % 3
    ratings = with_times(
        make_interactions(days, candidates, np.full(100, 5.0), num_queries=100, num_candidates=20), days
    )
    return tt.temporal_split(ratings, test=0.1, validation=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_half_life_is_chosen_only_where_popularity_changes_with_time():
    split = drifting_split(drifts=True)
    assert choose_half_life(split, threshold=3.0) is not None
    same = drifting_split(drifts=False)
    shuffled = with_times(
        dataclasses.replace(same.train, events=same.train.events.drop_columns(["timestamp"])),
        np.random.default_rng(0).permutation(same.train.num_events),
    )
    assert choose_half_life(dataclasses.replace(same, train=shuffled), threshold=3.0) is None


def test_without_times_or_a_validation_part_there_is_nothing_to_choose():
    split = drifting_split(drifts=True)
    nothing = split.validation.with_events(np.zeros(0, np.int64))
    assert choose_half_life(dataclasses.replace(split, validation=nothing), threshold=3.0) is None
    timeless = {
        name: dataclasses.replace(part, events=part.events.drop_columns(["timestamp"]))
        for name, part in (("train", split.train), ("validation", split.validation))
    }
    assert choose_half_life(dataclasses.replace(split, **timeless), threshold=3.0) is None


def test_weights_halve_with_every_half_life_and_multiply_given_ones():
    rows = np.zeros(3, np.int64)
    ratings = with_times(make_interactions(rows, rows, [5.0] * 3, num_queries=1, num_candidates=1), [0, 10, 20])
    assert weigh_by_recency(ratings, 10.0).weights.tolist() == [0.25, 0.5, 1.0]
    given = dataclasses.replace(
        ratings, events=ratings.events.append_column("weight", pa.array([4.0, 2.0, 3.0], pa.float32()))
    )
    assert weigh_by_recency(given, 10.0).weights.tolist() == [1.0, 1.0, 3.0]
    with pytest.raises(ValueError, match="`half_life_days` must be positive. Received: 0."):
        weigh_by_recency(ratings, 0.0)


def test_popularity_counts_weights_so_that_a_softmax_starts_from_recent_popularity():
    candidates = np.array([0, 0, 0, 0, 1, 1])
    ratings = with_times(
        make_interactions(np.zeros(6, np.int64), candidates, [5.0] * 6, num_queries=1, num_candidates=3),
        [0, 0, 0, 0, 20, 20],
    )
    feature = tt.Categorical(name="movie_id")
    learnt = learn_candidate_vocabularies([feature], weigh_by_recency(ratings, 10.0)).get("movie_id")
    # Four events of weight 1/4 count 1, two of weight 1 count 2; a candidate without events stays unknown.
    assert (learnt.values, learnt.counts) == (("m1", "m0"), (2, 1))
