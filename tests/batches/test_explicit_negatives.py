"""Batches have the candidates that their queries are known not to want, at the right places and with their weights."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.batches.test_query_batches import make_tables
from tests.conftest import make_interactions
from tfrs_twotower.batches.event_batches import build_training_batches
from tfrs_twotower.batches.explicit_negatives import NegativeLists, NegativeWeights
from tfrs_twotower.batches.negatives import InBatchNegatives
from tfrs_twotower.batches.pipeline import EpochOrder
from tfrs_twotower.batches.query_batches import build_query_batches
from tfrs_twotower.batches.sequence_batches import build_sequence_batches

WEIGHTS = NegativeWeights(impression=2.0, dislike=8.0)
ORDER = EpochOrder(seed=0)
# Query 2 has no event. Query 0 chose candidate 1 later, so that it is no negative; it was shown 5 twice.
TRAIN = make_interactions(
    [0, 1, 0, 3, 1, 0], [4, 0, 1, 1, 4, 3], [5.0, 4.0, 5.0, 3.0, 2.0, 4.0], num_queries=4, num_candidates=6
)
SHOWN = [[5, 1], [], [5, 2], [0], [3], []]
TRAIN = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("impressions", pa.array(SHOWN)))
TRAIN = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("timestamp", pa.array(np.arange(6))))
TABLES = make_tables(4, 6)
# (query, candidate) -> weight, by hand: query 1 rated candidate 4 below 3, and was shown 3 with it.
WANTED = {(0, 5): 4.0, (0, 2): 2.0, (1, 4): 8.0, (1, 3): 2.0, (3, 0): 2.0}
# (query, candidate of the event, candidate) of what was shown.
SHOWN_WANTED = [(0, 1, 2), (0, 1, 5), (0, 4, 5), (1, 4, 3), (3, 1, 0)]
# The same by hour: query 0 has the first of its events at one hour, and the others at another one.
HOURS = [9, 9, 20, 20, 20, 20]
WANTED_BY_HOUR = {
    (0, 9, 5): 2.0, (0, 20, 5): 2.0, (0, 20, 2): 2.0, (1, 20, 4): 8.0, (1, 20, 3): 2.0, (3, 20, 0): 2.0
}  # fmt: skip
CONTEXTS = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("hour", pa.array(HOURS)))
CONTEXT_TABLES = dataclasses.replace(TABLES, contexts={"hour": CONTEXTS.contexts.table["hour"].to_numpy()})


def lists(groups=None, num_groups=4, train=TRAIN, weights=WEIGHTS) -> NegativeLists:
    groups = train.query_rows if groups is None else groups
    return NegativeLists(train, threshold=3.0, weights=weights, groups=groups, num_groups=num_groups)


def test_the_negatives_of_a_query_are_what_it_disliked_and_what_it_was_shown_and_never_chose():
    places, candidates, weights = lists().of(np.arange(4))
    assert dict(zip(zip(places, candidates, strict=True), weights, strict=True)) == WANTED
    places, candidates, _ = lists().of(np.array([3, 1]))
    assert (places.tolist(), candidates.tolist()) == ([0, 1, 1], [0, 3, 4])


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        (WEIGHTS._replace(dislike=0.0), {pair for pair in WANTED if pair != (1, 4)}),
        (WEIGHTS._replace(impression=0.0), {(1, 4)}),
    ],
)
def test_a_kind_of_negatives_without_a_weight_is_left_out(weights, wanted):
    places, candidates, _ = lists(weights=weights).of(np.arange(4))
    assert set(zip(places, candidates, strict=True)) == wanted


def test_data_without_impressions_have_dislikes():
    plain = dataclasses.replace(TRAIN, events=TRAIN.events.drop_columns("impressions"))
    assert [found.tolist() for found in lists(train=plain).of(np.arange(4))] == [[1], [4], [8.0]]


def test_drawn_negatives_stand_for_all_of_their_query():
    """On average over many draws each candidate has its own weight."""
    rng = np.random.default_rng(0)
    totals = np.zeros((4, 6))
    for _ in range(2000):
        places, candidates, weights = lists().draw(np.array([0, 1, 2, 3]), 1, rng)
        assert np.bincount(places, minlength=4).tolist() == [1, 1, 0, 1]
        totals[places, candidates] += weights
    wanted = np.zeros((4, 6))
    wanted[tuple(zip(*WANTED, strict=True))] = list(WANTED.values())
    # A weight is drawn with probability 1/2 and doubled: a standard error of 8 / sqrt(2000) = 0.18 at most.
    np.testing.assert_allclose(totals / 2000, wanted, atol=0.8)
    places, candidates, weights = lists().draw(np.array([1, 0]), 2, rng)
    assert list(zip(places, candidates, weights, strict=True)) == [(0, 3, 2.0), (0, 4, 8.0), (1, 2, 2.0), (1, 5, 4.0)]


def shown_in(batches) -> list[tuple[int, int, int]]:
    """(Query, candidate of its event, candidate) of each explicit negative of batches of queries or sequences."""
    found = []
    for batch in batches.as_numpy_iterator():
        events, places, weights = batch.explicit_negatives
        assert (np.diff(events) >= 0).all()
        assert set(weights) <= {2.0}
        users = batch.query["user"][batch.target_places[events, 0]]
        found += zip(users, batch.candidate_rows[batch.target_candidates][events], batch.candidate_rows[places],
                     strict=True)  # fmt: skip
    return sorted(found)


@pytest.mark.parametrize("num_sampled", [None, 0, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_of_queries_have_what_was_shown_with_each_event(num_sampled, batch_size):
    options = {"batch_size": batch_size, "order": ORDER, "num_sampled": num_sampled, "threshold": 3.0}
    assert shown_in(build_query_batches(TRAIN, TABLES, negative_weights=WEIGHTS, **options)) == SHOWN_WANTED
    for weights in (None, WEIGHTS._replace(impression=0.0)):
        plain = next(build_query_batches(TRAIN, TABLES, negative_weights=weights, **options).as_numpy_iterator())
        assert plain.explicit_negatives is None


def test_with_a_context_the_rows_of_a_query_have_what_was_shown_with_all_its_events():
    """Events of other contexts weigh nothing, and so does what was shown with them."""
    options = {"batch_size": 3, "order": ORDER, "threshold": 3.0, "negative_weights": WEIGHTS}
    found = shown_in(build_query_batches(CONTEXTS, CONTEXT_TABLES, **options))
    # Query 0 and query 1 have two contexts.
    assert found == sorted([*SHOWN_WANTED, *(row for row in SHOWN_WANTED if row[0] != 3)])


@pytest.mark.parametrize("with_context", [False, True])
def test_a_sampling_probability_is_the_rate_at_which_other_rows_find_the_candidate_in_their_batch(with_context):
    """Counted over 150 epochs, independently of the formula: a batch also holds the negatives of its rows."""
    rng = np.random.default_rng(1)
    rows = np.argwhere(rng.random((12, 30)) < 0.08)
    data = make_interactions(*rows.T, np.ones(len(rows)), num_queries=12, num_candidates=30)
    shown = pa.array([[int(row)] for row in rng.integers(0, 30, len(rows))])
    data = dataclasses.replace(data, events=data.events.append_column("impressions", shown))
    tables = make_tables(12, 30)
    if with_context:
        hours = pa.array(rng.integers(0, 3, len(rows)))
        data = dataclasses.replace(data, events=data.events.append_column("hour", hours))
        tables = dataclasses.replace(tables, contexts={"hour": data.contexts.table["hour"].to_numpy()})
    options = {"batch_size": 4, "order": ORDER, "num_sampled": 5, "threshold": 0.0}
    batches = build_query_batches(data, tables, negative_weights=WEIGHTS, **options)
    found, counted, expected = np.zeros(30), np.zeros(30), np.full(30, np.nan)
    for batch in batches.repeat(150).as_numpy_iterator():
        if len(batch.query["user"]) < 4:  # the last batch of an epoch
            continue
        is_own = np.zeros((4, 30), bool)
        is_own[batch.target_places[:, 0], batch.candidate_rows[batch.target_candidates]] = True
        of_negatives = batch.target_places[batch.explicit_negatives.events, 0]
        is_own[of_negatives, batch.candidate_rows[batch.explicit_negatives.candidates]] = True
        is_here = np.zeros(30, bool)
        is_here[batch.candidate_rows] = True
        expected[batch.candidate_rows] = np.exp(batch.log_sampling_probabilities)
        counted += (~is_own).sum(axis=0)
        found += (~is_own & is_here).sum(axis=0)
    # Two full batches an epoch at least: a standard error of at most sqrt(0.25 / 300) = 0.03.
    np.testing.assert_allclose(found / counted, expected, atol=0.09)


@pytest.mark.parametrize("num_sampled", [None, 0])
def test_in_a_sequence_each_event_has_what_was_shown_with_it(num_sampled):
    options = {"length": 2, "batch_size": 3, "order": ORDER, "num_sampled": num_sampled, "threshold": 3.0}
    assert shown_in(build_sequence_batches(TRAIN, TABLES, negative_weights=WEIGHTS, **options)) == SHOWN_WANTED


@pytest.mark.parametrize(("data", "tables"), [(TRAIN, TABLES), (CONTEXTS, CONTEXT_TABLES)])
def test_batches_of_events_have_the_negatives_of_their_queries_after_all_others(data, tables):
    negatives = InBatchNegatives(data, threshold=3.0, num_uniform=2, negative_weights=WEIGHTS)
    for batch in build_training_batches(
        data, tables, batch_size=4, order=ORDER, negatives=negatives
    ).as_numpy_iterator():
        num_shared = len(batch.ratings) + 2
        assert batch.negatives.is_other_positive.shape == (len(batch.ratings), num_shared)
        assert int(batch.num_shared) == len(batch.negatives.log_sampling_probabilities) == num_shared
        explicit, candidates = batch.explicit_negatives, batch.candidate_rows
        assert (explicit.candidates >= num_shared).all()
        assert len(set(candidates[num_shared:])) == len(candidates[num_shared:])
        assert (batch.candidate["movie"] == 10 * candidates).all()
        for event, user in enumerate(batch.query["user"]):
            is_own = explicit.events == event
            found = dict(zip(candidates[explicit.candidates[is_own]], explicit.weights[is_own], strict=True))
            key = (user,) if data is TRAIN else (user, batch.query["hour"][event])
            wanted = WANTED if data is TRAIN else WANTED_BY_HOUR
            assert found == {pair[-1]: weight for pair, weight in wanted.items() if pair[:-1] == key}


def test_the_number_of_explicit_negatives_of_an_event_is_limited():
    negatives = InBatchNegatives(TRAIN, threshold=3.0, negative_weights=WEIGHTS, max_explicit=1)
    batch = next(
        build_training_batches(TRAIN, TABLES, batch_size=6, order=ORDER, negatives=negatives).as_numpy_iterator()
    )
    assert np.bincount(batch.explicit_negatives.events, minlength=6).max() == 1
    with pytest.raises(ValueError, match="`max_explicit` must be at least 1. Received: 0"):
        InBatchNegatives(TRAIN, threshold=3.0, negative_weights=WEIGHTS, max_explicit=0)
