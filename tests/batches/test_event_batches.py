import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.batches.event_batches import Shard, build_evaluation_batches, build_training_batches
from tfrs_twotower.batches.histories import HistoryApart, HistoryBefore, HistoryKnown, Timeline
from tfrs_twotower.batches.negatives import NegativeSampler
from tfrs_twotower.batches.shuffle import shuffled_positions

NUM_EVENTS = 10
# Query row and candidate row follow from the event's number, which is also its rating.
DATA = make_interactions(
    np.arange(NUM_EVENTS) % 3, np.arange(NUM_EVENTS) % 4, np.arange(NUM_EVENTS), num_queries=3, num_candidates=4
)
QUERIES = {"user_id": np.array([10, 11, 12])}
CANDIDATES = {"movie_id": np.array([20, 21, 22, 23]), "genres": np.array([[1, 0], [1, 2], [0, 0], [3, 0]])}


def training_batches(**changes):
    arguments = {"batch_size": 4, "seed": 5, **changes}
    return build_training_batches(DATA, QUERIES, CANDIDATES, **arguments)


def events(batches) -> list[int]:
    return [int(event) for batch in batches.as_numpy_iterator() for event in batch["rating"]]


def order(epoch: int, seed: int = 5) -> list[int]:
    return shuffled_positions(np.arange(NUM_EVENTS), NUM_EVENTS, seed=seed, epoch=epoch).tolist()


def test_each_iteration_is_the_next_epoch():
    batches = training_batches()
    for epoch in range(3):
        assert events(batches) == order(epoch)


def test_training_goes_on_in_the_epoch_where_it_stopped():
    assert events(training_batches(initial_epoch=2)) == order(2)


def test_every_event_has_its_own_features():
    batches = list(training_batches().as_numpy_iterator())
    assert [len(batch["rating"]) for batch in batches] == [4, 4, 2]
    for batch in batches:
        event = batch["rating"].astype(int)
        np.testing.assert_array_equal(batch["query"]["user_id"], QUERIES["user_id"][event % 3])
        np.testing.assert_array_equal(batch["candidate"]["movie_id"], CANDIDATES["movie_id"][event % 4])
        np.testing.assert_array_equal(batch["candidate"]["genres"], CANDIDATES["genres"][event % 4])


def test_cardinality_is_known():
    assert training_batches().cardinality() == 3
    assert build_evaluation_batches(DATA, QUERIES, CANDIDATES, batch_size=5).cardinality() == 2


def test_evaluation_keeps_the_order_of_the_events():
    batches = build_evaluation_batches(DATA, QUERIES, CANDIDATES, batch_size=4)
    assert events(batches) == events(batches) == list(range(NUM_EVENTS))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_needs_an_event(batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        training_batches(batch_size=batch_size)


@settings(deadline=None, max_examples=10)
@given(count=st.integers(1, 12), batch_size=st.integers(1, 12), epoch=st.integers(0, 5))
def test_workers_shards_partition_every_epoch(count, batch_size, epoch):
    shards = [
        training_batches(batch_size=batch_size, initial_epoch=epoch, shard=Shard(index=index, count=count))
        for index in range(count)
    ]
    parts = [events(shard) for shard in shards]
    assert sorted(event for part in parts for event in part) == list(range(NUM_EVENTS))
    # Together, in turns, they are the epoch of a single worker.
    assert [part[place] for place in range(NUM_EVENTS) for part in parts if place < len(part)] == order(epoch)
    assert [shard.cardinality().numpy() for shard in shards] == [-(-len(part) // batch_size) for part in parts]


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_must_be_one_of_its_number(index, count):
    with pytest.raises(ValueError, match=r"`index` must be in 0\.\.count - 1"):
        Shard(index=index, count=count)


def test_weights_pass_through():
    weighted = dataclasses.replace(DATA, events=DATA.events.append_column("weight", [np.arange(NUM_EVENTS) / 2]))
    for batch in build_training_batches(weighted, QUERIES, CANDIDATES, batch_size=4, seed=0).as_numpy_iterator():
        np.testing.assert_array_equal(batch["weight"], batch["rating"] / 2)
        assert batch["weight"].dtype == np.float32
    assert "weight" not in next(training_batches().as_numpy_iterator())


def test_negatives_come_after_the_events_and_were_never_met():
    sampler = NegativeSampler(DATA, per_positive=2, threshold=5)
    met = set(zip(DATA.query_rows.tolist(), DATA.candidate_rows.tolist(), strict=True))
    batches = training_batches(negatives=sampler, batch_size=NUM_EVENTS)
    for _ in range(5):
        (batch,) = batches.as_numpy_iterator()
        assert sorted(batch["rating"][:NUM_EVENTS].tolist()) == list(range(NUM_EVENTS))
        negatives = slice(NUM_EVENTS, None)
        # Five events are rated 5 or more; the queries know 4, 3 and 3 of 4 candidates, so that one knows them all.
        assert set(batch["rating"][negatives].tolist()) == {0.0}
        assert batch["query_place"][:NUM_EVENTS].tolist() == list(range(NUM_EVENTS))
        queries = batch["query"]["user_id"][batch["query_place"]] - 10
        pairs = set(
            zip(
                queries[negatives].tolist(),
                (batch["candidate"]["movie_id"][negatives] - 20).tolist(),
                strict=True,
            )
        )
        assert pairs
        assert not pairs & met


def test_negatives_follow_from_seed_and_epoch():
    sampler = NegativeSampler(DATA, per_positive=3, threshold=1)

    def drawn(**changes) -> list[list[int]]:
        batches = training_batches(negatives=sampler, **changes)
        return [batch["candidate"]["movie_id"].tolist() for batch in batches.as_numpy_iterator()]

    assert drawn() == drawn()
    assert drawn() != drawn(initial_epoch=1)
    assert drawn() != drawn(seed=6)


def test_history_goes_with_its_event():
    timeline = Timeline(DATA)
    batches = training_batches(history=HistoryBefore(timeline=timeline, length=2))
    for batch in batches.as_numpy_iterator():
        for event, rows, ratings in zip(
            batch["rating"].astype(int), batch["history"], batch["history_rating"], strict=True
        ):
            # Query e % 3 met candidates e % 4 at e, e - 3, e - 6, ...; the rating is the event's number.
            before = [past for past in (event - 6, event - 3) if past >= 0]
            expected = [(past % 4, float(past)) for past in before if past % 4 != event % 4]
            used = rows >= 0
            assert list(zip(rows[used].tolist(), ratings[used].tolist(), strict=True)) == expected
            assert (ratings[~used] == 0).all()


def test_evaluation_knows_the_history_of_training():
    train = DATA.with_events(np.arange(6))
    rest = DATA.with_events(np.arange(6, NUM_EVENTS))
    history = HistoryKnown(timeline=Timeline(train), length=5)
    (batch,) = build_evaluation_batches(rest, QUERIES, CANDIDATES, batch_size=99, history=history).as_numpy_iterator()
    # Events 6 to 9 are of queries 0, 1, 2, 0 and candidates 2, 3, 0, 1; training has events 0 to 5.
    known = [[row for row in rows if row >= 0] for rows in batch["history"].tolist()]
    assert known == [[0, 3], [1, 0], [2, 1], [0, 3]]


@pytest.mark.parametrize("kind", [HistoryBefore, HistoryApart])
def test_a_timeline_of_other_events_is_refused(kind):
    message = "`history` must have the timeline of the very events .* For other events there is HistoryKnown"
    for other in (DATA.with_events(np.arange(4)), DATA.with_events(np.arange(NUM_EVENTS)[::-1])):
        history = kind(timeline=Timeline(other), length=2)
        with pytest.raises(ValueError, match=message):
            training_batches(history=history)
        with pytest.raises(ValueError, match=message):
            build_evaluation_batches(DATA, QUERIES, CANDIDATES, batch_size=4, history=history)
    same = DATA.with_events(np.arange(NUM_EVENTS))
    training_batches(history=kind(timeline=Timeline(same), length=2))


def test_an_encoded_table_of_another_length_is_named():
    with pytest.raises(ValueError, match=r"`queries\['user_id'\]` must have 3 rows. Received: 2"):
        build_training_batches(DATA, {"user_id": np.array([1, 2])}, CANDIDATES, batch_size=4, seed=0)


def test_a_history_and_negatives_go_together():
    sampler = NegativeSampler(DATA, per_positive=1, threshold=1)
    history = HistoryApart(timeline=Timeline(DATA), length=3)
    for batch in training_batches(negatives=sampler, history=history).as_numpy_iterator():
        assert batch["history"].shape == (len(batch["query"]["user_id"]), 3)
        candidates = batch["candidate"]["movie_id"] - 20
        assert len(candidates) > len(batch["history"])
        assert not (batch["history"][batch["query_place"]] == candidates[:, np.newaxis]).any()
