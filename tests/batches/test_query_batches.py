import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import make_interactions
from tfrs_twotower.batches.query_batches import build_query_batches

# Query 2 has no event.
TRAIN = make_interactions(
    [0, 1, 0, 3, 1, 0], [4, 0, 2, 1, 4, 3], [5.0, 4.0, 1.0, 3.0, 2.0, 4.0], num_queries=4, num_candidates=6
)
QUERIES, CANDIDATES = {"user": np.arange(4)}, {"movie": np.arange(6) * 10}


def batches(**options) -> list[dict]:
    options = {"batch_size": 2, "seed": 0, **options}
    return list(build_query_batches(TRAIN, QUERIES, CANDIDATES, **options).as_numpy_iterator())


@pytest.mark.parametrize("num_sampled", [None, 0, 3])
def test_every_event_is_a_target_once_and_stands_in_its_querys_history(num_sampled):
    found = []
    for batch in batches(num_sampled=num_sampled):
        users = batch["query"]["user"]
        for (row, slot), column, rating in zip(
            batch["target_place"], batch["target_candidate"], batch["rating"], strict=True
        ):
            candidate = batch["candidate_row"][column]
            assert batch["history"][row, slot] == candidate
            assert batch["history_rating"][row, slot] == rating
            assert batch["candidate"]["movie"][column] == 10 * candidate
            found.append((users[row], candidate, rating))
        assert (batch["history"] >= 0).sum() == len(batch["rating"])
    assert sorted(found) == sorted(zip(TRAIN.query_rows, TRAIN.candidate_rows, TRAIN.ratings, strict=True))


def test_the_whole_catalogue_is_in_every_batch_unless_it_is_sampled():
    assert all(batch["candidate_row"].tolist() == list(range(6)) for batch in batches())
    assert not any(batch["log_frequency"].any() for batch in batches())
    for batch in batches(num_sampled=1):
        rows = batch["candidate_row"]
        assert len(set(rows)) == len(rows) <= len(set(batch["history"].ravel()) - {-1}) + 1


def test_a_sampled_candidates_frequency_is_how_often_a_query_finds_it_beside_its_own():
    """Counted over a thousand epochs, so that the formula is not its own witness."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((12, 30)) < 0.1)
    train = make_interactions(*rows.T, np.ones(len(rows)), num_queries=12, num_candidates=30)
    tables = {"user": np.arange(12)}, {"movie": np.arange(30)}
    data = build_query_batches(train, *tables, batch_size=4, seed=0, num_sampled=5)
    own = np.zeros((12, 30), bool)
    own[rows[:, 0], rows[:, 1]] = True
    found, met, expected = np.zeros(30), np.zeros(30), np.full(30, np.nan)
    for batch in data.repeat(1000).as_numpy_iterator():
        is_here = np.zeros(30, bool)
        is_here[batch["candidate_row"]] = True
        expected[batch["candidate_row"]] = np.exp(batch["log_frequency"])
        if len(batch["query"]["user"]) == 4:  # not the last batch of an epoch
            others = ~own[batch["query"]["user"]]
            met += others.sum(axis=0)
            found += (others & is_here).sum(axis=0)
    np.testing.assert_allclose(found / met, expected, atol=0.03)


def test_the_order_follows_from_seed_and_epoch():
    def users(**options) -> list[int]:
        return [user for batch in batches(batch_size=1, **options) for user in batch["query"]["user"]]

    assert users(seed=1) == users(seed=1)
    assert sorted(users(seed=1)) == [0, 1, 3]
    assert len({tuple(users(seed=1, initial_epoch=epoch)) for epoch in range(8)}) > 1


def test_weights_stay_with_their_events():
    weights = pa.array(np.arange(6, dtype=np.float32) + 1)
    weighted = dataclasses.replace(TRAIN, events=TRAIN.events.append_column("weight", weights))
    expected = {(q, c): w for q, c, w in zip(TRAIN.query_rows, TRAIN.candidate_rows, np.arange(6) + 1, strict=True)}
    for batch in build_query_batches(weighted, QUERIES, CANDIDATES, batch_size=2, seed=0).as_numpy_iterator():
        users = batch["query"]["user"][batch["target_place"][:, 0]]
        for user, candidate, weight in zip(users, batch["target_candidate"], batch["weight"], strict=True):
            assert expected[user, candidate] == weight


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "`batch_size` must be at least 1"), ({"num_sampled": -1}, "`num_sampled` must be at least 0")],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)
