"""Recent popularity is added to a retrieval model's biases where that ranks the validation part better."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.model.recipe_models import build_retrieval_model
from tfrs_twotower.training.trend import add_trend, choose_trend_weight
from tfrs_twotower.training.validation import ValidationRanking

DAY = 86_400


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    """Candidate 0 was liked long ago, candidate 1 lately; candidate 2 lately, too, but not much; the last is new."""
    rows = np.arange(60)
    candidates = np.concatenate([np.zeros(30, int), np.ones(18, int), np.full(2, 2), np.ones(10, int)])
    ratings = make_interactions(rows, candidates, [5.0] * 60, num_queries=60, num_candidates=4)
    days = np.concatenate([np.zeros(30), np.full(20, 40), np.full(10, 41)]).astype(np.int64)
    timed = dataclasses.replace(ratings, events=ratings.events.append_column("timestamp", pa.array(days * DAY)))
    train, validation, nothing = (timed.with_events(np.array(part)) for part in (rows[:50], rows[50:], rows[:0]))
    return tt.splits.Split(train=train, validation=validation, test=nothing, history=nothing)


def test_the_scores_grow_by_the_logarithm_of_recent_popularity(split):
    recipe = tt.choose_recipe(split.train)
    model = build_retrieval_model(recipe, split.train)
    queries, before = model.embed(split.train, known=split.train)
    with_trend = add_trend(model, split.train, half_life_days=20.0, weight=0.5)
    _, after = with_trend.embed(split.train, known=split.train)
    np.testing.assert_array_equal(model.embed(split.train, known=split.train)[1], before)
    # Two half-lives before the latest event, 30 events count 30 / 4. An id without an event has no vector of its own.
    expected = 0.5 * np.log1p([30 / 4, 18, 2, 0])
    np.testing.assert_allclose(queries @ (after - before).T, np.tile(expected, (60, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("scores", "is_added"),
    [
        ([0.5, 0.0, 0.0, 0.0], True),  # of popularity in all: what is popular now moves to the front
        ([0.0, 9.0, 0.0, 0.0], False),  # the right candidate is first already
    ],
)
def test_the_weight_is_chosen_by_the_validation_part(split, scores, is_added):
    candidates = np.array(scores, np.float32)[:, np.newaxis]
    model = SimpleNamespace(threshold=3.0, embed=lambda part, known: (np.ones((60, 1), np.float32), candidates))
    weight = choose_trend_weight(model, split, ValidationRanking(split), half_life_days=5.0)
    assert (weight > 0) == is_added


def test_where_candidates_share_vectors_nothing_is_chosen_or_said(split):
    hashed = tt.Hashed(name="movie_id", num_buckets=2)
    recipe = tt.choose_recipe(split.train, candidate_features={"movie_id": hashed})
    recipe = dataclasses.replace(recipe, half_life_days=5.0, rating=None, linear=None)
    recipe = dataclasses.replace(recipe, retrieval=dataclasses.replace(recipe.retrieval, epochs=None, max_epochs=2))
    trained = tt.fit_recipe(recipe, split, seed=0, retrain=False)
    assert trained.recipe.trend_weight is None
    assert not any("What is popular now" in note for note in trained.notes)


def test_the_recipe_keeps_the_weight_that_was_chosen(split):
    recipe = dataclasses.replace(tt.choose_recipe(split.train), half_life_days=5.0, rating=None, linear=None)
    recipe = dataclasses.replace(recipe, retrieval=dataclasses.replace(recipe.retrieval, epochs=None, max_epochs=2))
    trained = tt.fit_recipe(recipe, split, seed=0, retrain=False)
    assert trained.recipe.trend_weight is not None
    assert tt.model.Recipe.from_dict(trained.recipe.to_dict()) == trained.recipe
    said = [note for note in trained.notes if note.startswith("What is popular now is added")]
    assert bool(said) == (trained.recipe.trend_weight > 0)
