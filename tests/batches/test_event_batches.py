import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_interactions
from tfrs_twotower.batches.batch import EventBatch
from tfrs_twotower.batches.encoded import EncodedHistory, EncodedTables
from tfrs_twotower.batches.event_batches import build_evaluation_batches, build_training_batches
from tfrs_twotower.batches.histories import CausalHistory, FixedHistory, LeaveOneOutHistory, Timeline
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.batches.pipeline import EpochOrder, Shard, epochs_of, map_batches, zip_batches
from tfrs_twotower.batches.shuffle import shuffled_positions
from tfrs_twotower.data.rows import NO_ROW

NUM_EVENTS = 10
# An event's number determines its query row and candidate row, and is also its rating.
DATA = make_interactions(
    np.arange(NUM_EVENTS) % 3, np.arange(NUM_EVENTS) % 4, np.arange(NUM_EVENTS), num_queries=3, num_candidates=4
)
USER_CODES = np.array([10, 11, 12])
MOVIE_CODES = np.array([20, 21, 22, 23])
GENRE_CODES = np.array([[1, 0], [1, 2], [0, 0], [3, 0]])
# A past candidate's code is its row, and the padding's is NO_ROW, so that batches show the rows themselves.
TABLES = EncodedTables(
    queries={"user_id": USER_CODES},
    candidates={"movie_id": MOVIE_CODES, "genres": GENRE_CODES},
    histories=[
        EncodedHistory(
            name="history",
            codes=np.append(np.arange(4), NO_ROW),
            rating_name="history_rating",
            code_ratings=lambda ratings: ratings,
        )
    ],
)


def training_batches(data=DATA, *, batch_size=4, seed=5, initial_epoch=0, shard=None, **options):
    order = EpochOrder(seed=seed, initial_epoch=initial_epoch)
    order = order if shard is None else dataclasses.replace(order, shard=shard)
    return build_training_batches(data, TABLES, batch_size=batch_size, order=order, **options)


def evaluation_batches(data=DATA, **options):
    return build_evaluation_batches(data, TABLES, **options)


def arrays(batches) -> list[EventBatch]:
    """The batches of one iteration, as NumPy arrays."""
    return list(batches.as_numpy_iterator())


def events(batches) -> list[int]:
    return [int(event) for batch in arrays(batches) for event in batch.ratings]


def expected_order(epoch: int, seed: int = 5) -> list[int]:
    return shuffled_positions(np.arange(NUM_EVENTS), NUM_EVENTS, seed=seed, epoch=epoch).tolist()


def test_each_iteration_is_the_next_epoch():
    batches = training_batches()
    for epoch in range(3):
        assert events(batches) == expected_order(epoch)


def test_the_endless_data_set_is_made_once_and_looks_where_it_starts():
    """`fit` iterates over it anew each time, from wherever training goes on."""
    batches = build_training_batches(DATA, TABLES, batch_size=4, order=EpochOrder(seed=1))
    doubled = map_batches(batches, lambda batch: batch.ratings * 2)
    both = zip_batches(batches, batches, lambda first, second: (first.ratings, second.ratings))
    for made in (batches, doubled, both):
        epochs = epochs_of(made)
        assert epochs.endless() is epochs.endless()
    epochs = epochs_of(doubled)
    for epoch, batch in [(0, 0), (2, 1), (1, 2)]:
        epochs.start_at(epoch, batch)
        expected = shuffled_positions(np.arange(NUM_EVENTS), NUM_EVENTS, seed=1, epoch=epoch)[4 * batch :][:4]
        np.testing.assert_array_equal(next(iter(epochs.endless())), 2 * expected)


def test_no_iteration_waits_for_autotuning_to_end():
    batches = training_batches()
    mapped = map_batches(batches, lambda batch: batch)
    for data_set in (
        batches,
        mapped,
        epochs_of(batches).endless(),
        epochs_of(mapped).endless(),
        evaluation_batches(batch_size=4),
    ):
        assert data_set.options().autotune.enabled is False


def test_training_resumes_in_the_epoch_where_it_stopped():
    assert events(training_batches(initial_epoch=2)) == expected_order(2)


def test_every_event_has_the_codes_of_its_query_and_candidate():
    batches = arrays(training_batches())
    assert [len(batch.ratings) for batch in batches] == [4, 4, 2]
    for batch in batches:
        assert isinstance(batch, EventBatch)
        event = batch.ratings.astype(int)
        np.testing.assert_array_equal(batch.query["user_id"], USER_CODES[event % 3])
        np.testing.assert_array_equal(batch.candidate["movie_id"], MOVIE_CODES[event % 4])
        np.testing.assert_array_equal(batch.candidate["genres"], GENRE_CODES[event % 4])
        np.testing.assert_array_equal(batch.candidate_rows, event % 4)


def test_plain_batches_have_no_optional_field():
    for batch in [*arrays(training_batches()), *arrays(evaluation_batches(batch_size=4))]:
        assert batch.weights is batch.query_places is batch.negatives is batch.candidate_keys is None
        assert set(batch.query) == {"user_id"}


def test_cardinality_is_known():
    assert training_batches().cardinality() == 3
    assert evaluation_batches(batch_size=5).cardinality() == 2


def test_evaluation_keeps_the_order_of_the_events():
    batches = evaluation_batches(batch_size=4)
    assert events(batches) == events(batches) == list(range(NUM_EVENTS))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_1_is_refused(batch_size):
    for build in (training_batches, evaluation_batches):
        with pytest.raises(ValueError, match=f"`batch_size` must be at least 1. Received: {batch_size}"):
            build(batch_size=batch_size)


@settings(deadline=None, max_examples=10)
@given(count=st.integers(1, 12), batch_size=st.integers(1, 12), epoch=st.integers(0, 5))
def test_the_workers_shards_partition_every_epoch(count, batch_size, epoch):
    shards = [
        training_batches(batch_size=batch_size, initial_epoch=epoch, shard=Shard(index=index, count=count))
        for index in range(count)
    ]
    parts = [events(shard) for shard in shards]
    assert sorted(event for part in parts for event in part) == list(range(NUM_EVENTS))
    # Taken in turns, the workers' events are the epoch of a single worker.
    in_turns = [part[place] for place in range(NUM_EVENTS) for part in parts if place < len(part)]
    assert in_turns == expected_order(epoch)
    assert [shard.cardinality().numpy() for shard in shards] == [-(-len(part) // batch_size) for part in parts]


def test_weights_stay_with_their_events():
    weighted = dataclasses.replace(DATA, events=DATA.events.append_column("weight", [np.arange(NUM_EVENTS) / 2]))
    for batch in arrays(training_batches(weighted)):
        np.testing.assert_array_equal(batch.weights, batch.ratings / 2)
        assert batch.weights.dtype == np.float32


def test_negatives_come_after_the_events_and_are_of_other_candidates():
    sampler = NegativeSampler(DATA, per_positive=2, threshold=5)
    rated = set(zip(DATA.query_rows.tolist(), DATA.candidate_rows.tolist(), strict=True))
    batches = training_batches(negatives=sampler, batch_size=NUM_EVENTS)
    for _ in range(5):
        (batch,) = arrays(batches)
        assert sorted(batch.ratings[:NUM_EVENTS].tolist()) == list(range(NUM_EVENTS))
        negatives = slice(NUM_EVENTS, None)
        # Five events are rated 5 or more. The queries have rated 4, 3 and 3 of the 4 candidates, so that the first
        # has no negative.
        assert set(batch.ratings[negatives].tolist()) == {0.0}
        assert batch.query_places[:NUM_EVENTS].tolist() == list(range(NUM_EVENTS))
        queries = batch.query["user_id"][batch.query_places] - 10
        candidates = batch.candidate["movie_id"] - 20
        np.testing.assert_array_equal(candidates, batch.candidate_rows)
        pairs = set(zip(queries[negatives].tolist(), candidates[negatives].tolist(), strict=True))
        assert pairs
        assert not pairs & rated


def test_negatives_depend_on_seed_and_epoch_only():
    sampler = NegativeSampler(DATA, per_positive=3, threshold=1)

    def drawn(**changes) -> list[list[int]]:
        return [
            batch.candidate["movie_id"].tolist() for batch in arrays(training_batches(negatives=sampler, **changes))
        ]

    assert drawn() == drawn()
    assert drawn() != drawn(initial_epoch=1)
    assert drawn() != drawn(seed=6)


def test_in_batch_negatives_describe_every_candidate_of_the_batch():
    positives = set(zip((DATA.query_rows[5:]).tolist(), DATA.candidate_rows[5:].tolist(), strict=True))  # rated 5 to 9
    batches = training_batches(negatives=InBatchNegatives(DATA, threshold=5, num_uniform=3))
    # Candidates 0 and 1 have 3 of the 10 events, 2 and 3 have 2; three of four candidates are drawn besides.
    counts = np.array([3, 3, 2, 2])
    for batch in arrays(batches):
        num_events = len(batch.ratings)
        assert len(batch.candidate_rows) == num_events + 3
        np.testing.assert_array_equal(batch.candidate["movie_id"], MOVIE_CODES[batch.candidate_rows])
        queries = (batch.query["user_id"] - 10).tolist()
        assert batch.negatives.is_other_positive.tolist() == [
            [(query, row) in positives for row in batch.candidate_rows.tolist()] for query in queries
        ]
        expected = num_events * counts[batch.candidate_rows] / 10 + 3 / 4
        np.testing.assert_allclose(np.exp(batch.negatives.log_sampling_probabilities), expected, rtol=1e-5)


def test_a_history_belongs_to_its_event():
    timeline = Timeline(DATA)
    batches = training_batches(history=CausalHistory(timeline=timeline, length=2))
    for batch in arrays(batches):
        histories, history_ratings = batch.query["history"], batch.query["history_rating"]
        for event, rows, ratings in zip(batch.ratings.astype(int), histories, history_ratings, strict=True):
            # Query e % 3 rated candidates e % 4 in the events e, e - 3, e - 6, ...; the rating is the event's number.
            before = [past for past in (event - 6, event - 3) if past >= 0]
            expected = [(past % 4, float(past)) for past in before if past % 4 != event % 4]
            used = rows != NO_ROW
            assert list(zip(rows[used].tolist(), ratings[used].tolist(), strict=True)) == expected
            assert (ratings[~used] == 0).all()


def test_evaluation_takes_the_history_of_the_training_events():
    train = DATA.with_events(np.arange(6))
    rest = DATA.with_events(np.arange(6, NUM_EVENTS))
    history = FixedHistory(timeline=Timeline(train), length=5)
    (batch,) = arrays(evaluation_batches(rest, batch_size=99, history=history))
    # Events 6 to 9 are of queries 0, 1, 2, 0 and candidates 2, 3, 0, 1; the training part has events 0 to 5.
    found = [[row for row in rows if row != NO_ROW] for rows in batch.query["history"].tolist()]
    assert found == [[0, 3], [1, 0], [2, 1], [0, 3]]


@pytest.mark.parametrize("kind", [CausalHistory, LeaveOneOutHistory])
def test_a_timeline_of_other_events_is_refused(kind):
    message = "`history` must have the timeline of the very events .* For other events use FixedHistory"
    for other in (DATA.with_events(np.arange(4)), DATA.with_events(np.arange(NUM_EVENTS)[::-1])):
        history = kind(timeline=Timeline(other), length=2)
        with pytest.raises(ValueError, match=message):
            training_batches(history=history)
        with pytest.raises(ValueError, match=message):
            evaluation_batches(batch_size=4, history=history)
    same = DATA.with_events(np.arange(NUM_EVENTS))
    training_batches(history=kind(timeline=Timeline(same), length=2))


def test_an_encoded_table_of_another_length_is_named():
    tables = dataclasses.replace(TABLES, queries={"user_id": np.array([1, 2])})
    with pytest.raises(ValueError, match=r"`queries\['user_id'\]` must have 3 rows. Received: 2"):
        build_training_batches(DATA, tables, batch_size=4, order=EpochOrder(seed=0))
    tables = dataclasses.replace(TABLES, candidates={"movie_id": np.arange(5)})
    with pytest.raises(ValueError, match=r"`candidates\['movie_id'\]` must have 4 rows. Received: 5"):
        build_evaluation_batches(DATA, tables, batch_size=4)


def test_a_history_and_negatives_go_together():
    sampler = NegativeSampler(DATA, per_positive=1, threshold=1)
    history = LeaveOneOutHistory(timeline=Timeline(DATA), length=3)
    for batch in arrays(training_batches(negatives=sampler, history=history)):
        histories = batch.query["history"]
        assert histories.shape == (len(batch.query["user_id"]), 3)
        candidates = batch.candidate["movie_id"] - 20
        assert len(candidates) > len(histories)
        assert not (histories[batch.query_places] == candidates[:, np.newaxis]).any()


def test_each_event_has_its_own_context():
    hours = np.arange(NUM_EVENTS) // 2 * 3  # shared by two events each
    data = dataclasses.replace(DATA, events=DATA.events.append_column("hour", pa.array(hours)))
    tables = dataclasses.replace(TABLES, contexts={"hour": data.contexts.table["hour"].to_numpy()})
    history = LeaveOneOutHistory(timeline=Timeline(data), length=3)
    options = {"batch_size": 4, "history": history}
    negatives = InBatchNegatives(data, threshold=0.0, num_uniform=2)
    for batches in (
        build_training_batches(data, tables, order=EpochOrder(seed=5), **options),
        build_training_batches(data, tables, order=EpochOrder(seed=5), negatives=negatives, **options),
        build_evaluation_batches(data, tables, **options),
    ):
        seen = []
        for batch in arrays(batches):
            numbers = batch.ratings.astype(int)
            assert batch.query["hour"].tolist() == hours[numbers].tolist()
            seen += numbers.tolist()
        assert sorted(seen) == list(range(NUM_EVENTS))


def test_only_what_a_query_chose_in_the_same_context_is_another_positive():
    data = make_interactions([0, 0, 0, 1], [0, 1, 2, 3], [1.0] * 4, num_queries=2, num_candidates=4)
    negatives = InBatchNegatives(
        dataclasses.replace(data, events=data.events.append_column("hour", pa.array([9, 9, 20, 9]))), threshold=1.0
    )
    rows, generator = (np.array([0, 0, 1]), np.array([0, 2, 3])), np.random.default_rng(0)
    _, of_queries, _ = negatives.describe(*rows, generator)
    assert of_queries.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    contexts = negatives.interactions.contexts.rows[[0, 2, 3]]
    _, of_requests, _ = negatives.describe(*rows, generator, context_rows=contexts)
    assert of_requests.tolist() == [[True, False, False], [False, True, False], [False, False, True]]
