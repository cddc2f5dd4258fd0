import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.batches.test_query_batches import make_tables
from tests.conftest import make_interactions
from tfrs_twotower.batches.batch import QueryBatch
from tfrs_twotower.batches.pipeline import EpochOrder
from tfrs_twotower.batches.sequence_batches import build_sequence_batches
from tfrs_twotower.data.rows import NO_ROW

# Query 0 has seven events, query 1 one and query 3 two; query 2 has none. A rating tells the place of its event.
QUERIES, PLACES = [0] * 7 + [1] + [3] * 2, [0, 1, 2, 3, 4, 5, 6, 0, 0, 1]
CANDIDATES = [5, 1, 4, 0, 2, 3, 1, 2, 0, 4]
SHUFFLED = np.random.default_rng(0).permutation(10)
TRAIN = make_interactions(
    *(np.array(values)[SHUFFLED] for values in (QUERIES, CANDIDATES, PLACES)), num_queries=4, num_candidates=6
)
TRAIN = dataclasses.replace(
    TRAIN, events=TRAIN.events.append_column("timestamp", pa.array(np.array(PLACES)[SHUFFLED] * 100))
)
TIMED = dataclasses.replace(
    make_tables(4, 6), histories=[dataclasses.replace(make_tables(4, 6).histories[0], time_name="history_time")]
)


def batches(
    train=TRAIN, *, length=3, batch_size=2, seed=0, initial_epoch=0, tables=TIMED, **options
) -> list[QueryBatch]:
    """The batches of one iteration, as NumPy arrays."""
    order = EpochOrder(seed=seed, initial_epoch=initial_epoch)
    data = build_sequence_batches(train, tables, length=length, batch_size=batch_size, order=order, **options)
    return list(data.as_numpy_iterator())


@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("num_sampled", [None, 0, 3])
def test_every_event_is_a_target_once_and_what_comes_before_it_lies_before_it(length, num_sampled):
    found = []
    for batch in batches(length=length, num_sampled=num_sampled):
        users, history, times = batch.query["user"], batch.query["history"], batch.query["history_time"]
        for (row, slot), column, place in zip(
            batch.target_places, batch.target_candidates, batch.ratings.astype(int), strict=True
        ):
            own = [candidate for user, candidate in zip(QUERIES, CANDIDATES, strict=True) if user == users[row]]
            assert history[row, slot] == batch.candidate_rows[column] == own[place]
            # All that is in the slots before, after padding, are the events right before it.
            before = history[row, :slot][history[row, :slot] != NO_ROW].tolist()
            assert before == own[max(0, place - len(before)) : place]
            assert len(before) <= length
            assert len(before) == place or len(before) >= 1
            assert times[row, slot] == 100 * place
            found.append((users[row], place))
    assert sorted(found) == sorted(zip(QUERIES, PLACES, strict=True))


def test_parts_are_cut_from_the_latest_event_on():
    (batch,) = batches(batch_size=9)
    parts = {
        (int(user), tuple(ratings[history != NO_ROW].astype(int)))
        for user, history, ratings in zip(
            batch.query["user"], batch.query["history"], batch.query["history_rating"], strict=True
        )
    }
    # The later parts of query 0 have one event more, the one before their first target.
    assert parts == {(0, (0,)), (0, (0, 1, 2, 3)), (0, (3, 4, 5, 6)), (1, (0,)), (3, (0, 1))}


def test_the_order_depends_on_seed_and_epoch_only():
    def users(**options) -> list[int]:
        return [user for batch in batches(batch_size=1, **options) for user in batch.query["user"]]

    assert users(seed=1) == users(seed=1)
    assert sorted(users(seed=1)) == [0, 0, 0, 1, 3]
    assert len({tuple(users(seed=1, initial_epoch=epoch)) for epoch in range(8)}) > 1


def test_the_whole_catalogue_needs_no_sampling_probabilities():
    assert all(batch.log_sampling_probabilities is None for batch in batches())
    assert all(batch.candidate_rows.tolist() == list(range(6)) for batch in batches())


def test_a_sampling_probability_is_the_rate_at_which_other_parts_find_the_candidate_in_their_batch():
    """Counted over 300 epochs, independently of the formula."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((8, 30)) < 0.15)
    train = make_interactions(*rows.T, np.ones(len(rows)), num_queries=8, num_candidates=30)
    data = build_sequence_batches(
        train, make_tables(8, 30), length=3, batch_size=4, order=EpochOrder(seed=0), num_sampled=5
    )
    found, counted, expected = np.zeros(30), np.zeros(30), np.full(30, np.nan)
    for batch in data.repeat(300).as_numpy_iterator():
        num_parts = len(batch.query["user"])
        is_own = np.zeros((num_parts, 30), bool)
        is_own[batch.target_places[:, 0], batch.candidate_rows[batch.target_candidates]] = True
        is_here = np.zeros(30, bool)
        is_here[batch.candidate_rows] = True
        expected[batch.candidate_rows] = np.exp(batch.log_sampling_probabilities)
        if num_parts == 4:  # not the last batch of an epoch
            counted += (~is_own).sum(axis=0)
            found += (~is_own & is_here).sum(axis=0)
    # Two full batches an epoch at least: a standard error of at most sqrt(0.25 / 600) = 0.02.
    np.testing.assert_allclose(found / counted, expected, atol=0.06)


def test_weights_stay_with_their_events():
    weights = pa.array(np.array(PLACES, np.float32)[SHUFFLED] + 10)
    weighted = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("weight", weights))
    for batch in batches(weighted):
        np.testing.assert_array_equal(batch.weights, batch.ratings + 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1. Received: 0"),
        ({"length": 0}, "`length` must be at least 1. Received: 0"),
        ({"num_sampled": -1}, "`num_sampled` must be at least 0. Received: -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)
