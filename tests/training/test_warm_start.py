"""A trained model goes on with newer events: known ids keep what they know, and a few epochs are enough."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_planted
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.expansion import carry_vectors
from tfrs_twotower.training.recency import choose_half_life
from tfrs_twotower.training.recipe import fit_recipe
from tfrs_twotower.training.state import TrainingState
from tfrs_twotower.training.warm_start import warm_start

QUICK = {"epochs": 20, "batch_size": 16, "learning_rate": 3e-2, "decay": 0.8, "output_dim": 8}


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    return make_planted().split


@pytest.fixture(scope="module")
def older(split):
    """Trained on the first two thirds of the queries' events."""
    known = split.train.with_events(np.arange(0, split.train.num_events, 2))
    recipe = tt.choose_recipe(split.train).with_settings(**QUICK).with_ids_alone()
    nothing = split.train.with_events(np.zeros(0, np.int64))
    return fit_recipe(recipe, dataclasses.replace(split, train=known, validation=nothing), seed=0)


@pytest.fixture(scope="module")
def warm(split, older):
    """The same, gone on with all of the events."""
    return warm_start(older.state, split, seed=0)


def ranking_alone(state: TrainingState) -> TrainingState:
    """Leaves out the rating model, which goes on in the same way."""
    return dataclasses.replace(state, recipe=dataclasses.replace(state.recipe, rating=None), rating=None)


def test_a_third_of_the_epochs_finds_all_that_was_planted(split, older, warm):
    assert {name: len(logs["loss"]) for name, logs in warm.history.items()} == {"retrieval": 6, "rating": 6}
    assert warm.recipe == older.recipe
    metrics = tt.evaluate(warm.model, split, k=1).metrics
    # A training from nothing cannot find more.
    assert metrics["ndcg@1"] >= 0.98
    assert metrics["auc"] >= 0.99


def test_a_state_that_is_saved_goes_on_like_the_one_in_memory(split, older, tmp_path):
    older.state.save(tmp_path / "state")
    loaded = TrainingState.load(tmp_path / "state")
    assert loaded.recipe == older.state.recipe
    assert loaded.retrieval.optimizer is None  # which would be two thirds of the file
    assert loaded.known.fingerprint() == older.state.known.fingerprint()
    first, second = (warm_start(state, split, seed=0, share=0.05).model for state in (older.state, loaded))
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)  # rounding


@pytest.mark.parametrize("name", ["retrieval", "rating"])
def test_known_values_keep_their_vectors_and_everything_else_is_that_of_a_new_model(split, older, name):
    earlier, fewer = getattr(older.state, name), without(split.train, 7, 5)
    known = build(earlier, fewer)
    model = build(earlier, split.train)
    new_vectors = [encoder_vectors(model, side, column) for side, column, _ in TABLES]
    carry_vectors(known, model)
    for (side, column, gone), before in zip(TABLES, new_vectors, strict=True):
        ours, theirs = encoder_vectors(model, side, column), encoder_vectors(known, side, column)
        values, known_values = (getattr(one, side).vocabularies.values_of(column) for one in (model, known))
        assert gone not in known_values
        width = ours.shape[1] - getattr(model, side).config.has_bias
        for row, value in enumerate(values):
            place = len(ours) - len(values) + row
            if value == gone:
                np.testing.assert_array_equal(ours[place], before[place])
                continue
            expected = theirs[len(theirs) - len(known_values) + known_values.index(value)]
            np.testing.assert_array_equal(ours[place, :width], expected[:width])
            np.testing.assert_array_equal(ours[place, width:], before[place, width:])


TABLES = [
    ("query_tower", "user_id", "u7"),
    ("query_tower", "history", "m5"),
    ("candidate_tower", "movie_id", "m5"),
]


def build(like, train: tt.Interactions) -> tt.model.TwoTowerModel:
    """Builds an untrained model with the features of another."""
    configs = {"query": like.query_tower.config, "candidate": like.candidate_tower.config}
    return tt.build_two_tower(train, **configs, task=like.task)


def encoder_vectors(model, side: str, column: str) -> np.ndarray:
    return getattr(model, side).encoders[column].vectors().copy()


def without(data: tt.Interactions, query: int, candidate: int) -> tt.Interactions:
    """Takes a query and a candidate away, with their events."""
    keeps = (data.query_rows != query) & (data.candidate_rows != candidate)
    events = data.events.filter(pa.array(keeps))
    for name, gone in (("query_row", query), ("candidate_row", candidate)):
        rows = events[name].to_numpy()
        rows = pa.array(rows - (rows > gone), events[name].type)
        events = events.set_column(events.column_names.index(name), name, rows)
    queries, candidates = (
        table.filter(pa.array(np.arange(table.num_rows) != row))
        for table, row in ((data.queries, query), (data.candidates, candidate))
    )
    return dataclasses.replace(data, queries=queries, candidates=candidates, events=events)


def test_ids_that_the_split_does_not_have_are_dropped_and_counted(split, older):
    parts = {name: without(getattr(split, name), 7, 5) for name in ("train", "validation", "test", "history")}
    warm = warm_start(ranking_alone(older.state), tt.splits.Split(**parts), seed=0, share=0.05)
    assert warm.notes[0] == "1 queries and 1 candidates of the earlier training were dropped."
    model = warm.state.retrieval
    assert "u7" not in model.query_tower.vocabularies.values_of("user_id")
    assert "m5" not in model.candidate_tower.vocabularies.values_of("movie_id")
    assert "m5" not in model.query_tower.vocabularies.values_of("history")


def test_later_events_weigh_more_once_popularity_changes_with_time(split, older):
    """The earlier training has no times; now, each candidate's events all lie on one day."""

    def timed(part: tt.Interactions, days: np.ndarray) -> tt.Interactions:
        times = pa.array(days * 86_400, pa.int64())
        return dataclasses.replace(part, events=part.events.append_column("timestamp", times))

    train = split.train
    is_latest = (train.candidate_rows >= train.num_candidates - 4) & (train.query_rows % 4 < 2)
    earlier, latest = (train.with_events(np.flatnonzero(part)) for part in (~is_latest, is_latest))
    newer = Split(
        train=timed(earlier, earlier.candidate_rows.astype(np.int64)),
        validation=timed(latest, latest.candidate_rows.astype(np.int64)),
        test=timed(split.test, np.full(split.test.num_events, 31)),
        history=timed(split.history, np.zeros(0, np.int64)),
    )
    assert older.recipe.half_life_days is None
    warm = warm_start(ranking_alone(older.state), newer, seed=0, share=0.05)
    assert warm.recipe.half_life_days == pytest.approx(choose_half_life(newer, threshold=3.0))
    assert any("has begun to change with time" in note for note in warm.notes)
    again = warm_start(warm.state, newer, seed=0, share=0.05)
    assert again.recipe == warm.recipe
    assert not any("has begun" in note for note in again.notes)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_impossible_shares_are_refused(split, older, share):
    with pytest.raises(ValueError, match=r"`share` must be in \(0, 1\]"):
        warm_start(older.state, split, seed=0, share=share)


def test_a_folder_without_a_state_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not hold the state of a training: recipe.json is missing"):
        TrainingState.load(tmp_path)


def test_the_context_is_carried_on(choices, contextual, tmp_path):
    contextual.state.save(tmp_path / "state")
    state = TrainingState.load(tmp_path / "state")
    assert state.recipe == contextual.recipe
    assert state.recipe.context == ("hour", "device")
    train = choices.split.train
    newer = choices.split.test.with_events(np.arange(0, choices.split.test.num_events, 2))
    merged, rows = tt.data.merge_interactions(train, newer)
    assert 0 < len(rows) <= newer.num_events
    nothing = merged.with_events(np.zeros(0, np.int64))
    split = Split(train=merged, validation=nothing, test=choices.split.test, history=nothing)
    warm = warm_start(ranking_alone(state), split, seed=0, share=1 / 6)
    # What is evaluated has been seen in half: only that the context is still known is of interest.
    assert (
        tt.evaluate(warm.model, split, recommend_seen=True).metrics["ndcg@10"]
        > 0.95 * choices.best_metrics()["ndcg@10"]
    )
    hours = (one.query_tower.vocabularies.values_of("hour") for one in (state.retrieval, warm.state.retrieval))
    assert {frozenset(values) for values in hours} == {frozenset(str(hour) for hour in range(24))}
