import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.batches.batch import QueryBatch
from tfrs_twotower.batches.encoded import EncodedHistory, EncodedTables
from tfrs_twotower.batches.pipeline import EpochOrder
from tfrs_twotower.batches.query_batches import build_query_batches
from tfrs_twotower.data.rows import NO_ROW

# Query 2 has no event.
TRAIN = make_interactions(
    [0, 1, 0, 3, 1, 0], [4, 0, 2, 1, 4, 3], [5.0, 4.0, 1.0, 3.0, 2.0, 4.0], num_queries=4, num_candidates=6
)


def make_tables(num_queries: int, num_candidates: int) -> EncodedTables:
    """A query's code is its row, a candidate's ten times its row; a past candidate's is its row, a padding's NO_ROW."""
    history = EncodedHistory(
        name="history",
        codes=np.append(np.arange(num_candidates), NO_ROW),
        rating_name="history_rating",
        code_ratings=lambda ratings: ratings,
    )
    return EncodedTables(
        queries={"user": np.arange(num_queries)},
        candidates={"movie": np.arange(num_candidates) * 10},
        histories=[history],
    )


TABLES = make_tables(4, 6)


def batches(train=TRAIN, *, batch_size=2, seed=0, initial_epoch=0, **options) -> list[QueryBatch]:
    """The batches of one iteration, as NumPy arrays."""
    order = EpochOrder(seed=seed, initial_epoch=initial_epoch)
    data = build_query_batches(train, TABLES, batch_size=batch_size, order=order, **options)
    return list(data.as_numpy_iterator())


@pytest.mark.parametrize("num_sampled", [None, 0, 3])
def test_every_event_is_a_target_once_and_is_in_its_querys_history(num_sampled):
    found = []
    for batch in batches(num_sampled=num_sampled):
        assert isinstance(batch, QueryBatch)
        users, history = batch.query["user"], batch.query["history"]
        for (row, slot), column, rating in zip(
            batch.target_places, batch.target_candidates, batch.ratings, strict=True
        ):
            candidate = batch.candidate_rows[column]
            assert history[row, slot] == candidate
            assert batch.query["history_rating"][row, slot] == rating
            assert batch.candidate["movie"][column] == 10 * candidate
            found.append((users[row], candidate, rating))
        assert (history != NO_ROW).sum() == len(batch.ratings)
        assert batch.weights is None
    assert sorted(found) == sorted(zip(TRAIN.query_rows, TRAIN.candidate_rows, TRAIN.ratings, strict=True))


def test_the_whole_catalogue_is_in_every_batch_unless_it_is_sampled():
    assert all(batch.candidate_rows.tolist() == list(range(6)) for batch in batches())
    assert not any(batch.log_sampling_probabilities.any() for batch in batches())
    for batch in batches(num_sampled=1):
        rows = batch.candidate_rows
        assert len(set(rows)) == len(rows) <= len(set(batch.query["history"].ravel()) - {NO_ROW}) + 1


def test_a_sampling_probability_is_the_rate_at_which_other_queries_find_the_candidate_in_their_batch():
    """Counted over a hundred epochs of 23 full batches, independently of the formula."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((96, 30)) < 0.1)
    train = make_interactions(*rows.T, np.ones(len(rows)), num_queries=96, num_candidates=30)
    order = EpochOrder(seed=0)
    data = build_query_batches(train, make_tables(96, 30), batch_size=4, order=order, num_sampled=5)
    own = np.zeros((96, 30), bool)
    own[rows[:, 0], rows[:, 1]] = True
    found, counted, expected = np.zeros(30), np.zeros(30), np.full(30, np.nan)
    for batch in data.repeat(100).as_numpy_iterator():
        is_here = np.zeros(30, bool)
        is_here[batch.candidate_rows] = True
        expected[batch.candidate_rows] = np.exp(batch.log_sampling_probabilities)
        if len(batch.query["user"]) == 4:  # not the last batch of an epoch
            others = ~own[batch.query["user"]]
            counted += others.sum(axis=0)
            found += (others & is_here).sum(axis=0)
    # A standard error of at most sqrt(0.25 / 2300) = 0.011.
    np.testing.assert_allclose(found / counted, expected, atol=0.03)


def test_the_order_depends_on_seed_and_epoch_only():
    def users(**options) -> list[int]:
        return [user for batch in batches(batch_size=1, **options) for user in batch.query["user"]]

    assert users(seed=1) == users(seed=1)
    assert sorted(users(seed=1)) == [0, 1, 3]
    assert len({tuple(users(seed=1, initial_epoch=epoch)) for epoch in range(8)}) > 1


def test_each_iteration_is_the_next_epoch():
    data = build_query_batches(TRAIN, TABLES, batch_size=1, order=EpochOrder(seed=3), num_sampled=2)

    def visible(iteration) -> list[tuple[int, tuple[int, ...]]]:
        return [(int(batch.query["user"][0]), tuple(batch.candidate_rows)) for batch in iteration]

    for epoch in range(4):
        expected = visible(batches(batch_size=1, seed=3, initial_epoch=epoch, num_sampled=2))
        assert visible(data.as_numpy_iterator()) == expected


def test_weights_stay_with_their_events():
    weights = pa.array(np.arange(6, dtype=np.float32) + 1)
    weighted = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("weight", weights))
    expected = {(q, c): w for q, c, w in zip(TRAIN.query_rows, TRAIN.candidate_rows, np.arange(6) + 1, strict=True)}
    num_events = 0
    for batch in batches(weighted):
        users = batch.query["user"][batch.target_places[:, 0]]
        for user, candidate, weight in zip(users, batch.target_candidates, batch.weights, strict=True):
            assert expected[user, candidate] == weight
            num_events += 1
    assert num_events == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1. Received: 0"),
        ({"num_sampled": -1}, "`num_sampled` must be at least 0. Received: -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_interactions_without_events_are_refused():
    with pytest.raises(ValueError, match="`interactions` must have an event"):
        batches(TRAIN.with_events(np.zeros(0, np.int64)))


def test_an_encoded_table_of_another_length_is_named():
    with pytest.raises(ValueError, match=r"`queries\['user'\]` must have 4 rows. Received: 5"):
        build_query_batches(TRAIN, make_tables(5, 6), batch_size=2, order=EpochOrder(seed=0))


HOURS = [9, 9, 20, 9, 20, 20]  # of the events of TRAIN
IN_CONTEXT = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("hour", pa.array(HOURS)))
# A context's code is its hour.
CONTEXT_TABLES = dataclasses.replace(TABLES, contexts={"hour": IN_CONTEXT.contexts.table["hour"].to_numpy()})


@pytest.mark.parametrize("num_sampled", [None, 2])
def test_with_a_context_each_row_is_a_request_with_the_whole_history_of_its_query(num_sampled):
    data = build_query_batches(
        IN_CONTEXT, CONTEXT_TABLES, batch_size=2, order=EpochOrder(seed=0), num_sampled=num_sampled
    )
    history_of = {user: TRAIN.candidate_rows[TRAIN.query_rows == user] for user in range(4)}
    requests, targets = [], []
    for batch in data.as_numpy_iterator():
        users, hours = batch.query["user"], batch.query["hour"]
        requests += zip(users.tolist(), hours.tolist(), strict=True)
        for row, user in enumerate(users):
            found = batch.query["history"][row]
            assert sorted(found[found != NO_ROW]) == sorted(history_of[user])
        for (row, slot), column, rating, weight in zip(
            batch.target_places, batch.target_candidates, batch.ratings, batch.weights, strict=True
        ):
            candidate = batch.candidate_rows[column]
            assert batch.query["history"][row, slot] == candidate
            assert weight in (0, 1)
            targets += [(users[row], hours[row], candidate, rating)] * int(weight)
    assert sorted(requests) == sorted(set(zip(TRAIN.query_rows.tolist(), HOURS, strict=True)))
    events = zip(TRAIN.query_rows, HOURS, TRAIN.candidate_rows, TRAIN.ratings, strict=True)
    assert sorted(targets) == sorted(events)


def test_weights_of_events_count_in_their_own_context_alone():
    weights = np.arange(6, dtype=np.float32) + 1
    weighted = dataclasses.replace(IN_CONTEXT, events=IN_CONTEXT.events.append_column("weight", pa.array(weights)))
    data = build_query_batches(weighted, CONTEXT_TABLES, batch_size=9, order=EpochOrder(seed=0))
    (batch,) = data.as_numpy_iterator()
    assert sorted(batch.weights[batch.weights > 0]) == weights.tolist()


def test_an_encoded_table_of_other_contexts_is_refused():
    wrong = dataclasses.replace(CONTEXT_TABLES, contexts={"hour": np.arange(3)})
    with pytest.raises(ValueError, match=r"`contexts\['hour'\]` must have 2 rows. Received: 3"):
        build_query_batches(IN_CONTEXT, wrong, batch_size=2, order=EpochOrder(seed=0))
