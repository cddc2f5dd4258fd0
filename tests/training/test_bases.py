"""Biases follow popularity and the logistic regression at once when a training goes on with newer events."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.model.expansion import expand_vocabulary
from tfrs_twotower.model.recipe_models import build_rating_model, build_retrieval_model
from tfrs_twotower.training.bases import Bases, follow_biases, follow_popularity, learn_bases
from tfrs_twotower.training.initial_biases import start_from_biases


def ratings(*, num_queries: int, num_candidates: int) -> tt.Interactions:
    """Each query rates candidates 0, 1, ... up to its own number, the even ones 5 and the others 1."""
    pairs = [(query, row) for query in range(num_queries) for row in range(min(query + 2, num_candidates))]
    stars = np.array([5.0 - 4 * (row % 2) for _, row in pairs])
    return make_interactions(*np.array(pairs).T, stars, num_queries=num_queries, num_candidates=num_candidates)


@pytest.fixture
def older() -> tt.Interactions:
    return ratings(num_queries=6, num_candidates=4)


@pytest.fixture
def newer() -> tt.Interactions:
    return ratings(num_queries=9, num_candidates=7)


def biases_of(tower, table: pa.Table, name: str) -> np.ndarray:
    return tower.encoders[name].table.embeddings.numpy()[tower.encode_table(table)[name], -1]


def test_biases_of_candidates_move_by_the_logarithm_of_popularity(older, newer):
    recipe = tt.choose_recipe(older)
    expanded = expand_vocabulary(build_retrieval_model(recipe, older), newer)
    tower, name = expanded.candidate_tower, newer.candidate_id
    before, vectors = biases_of(tower, newer.candidates, name), tower.encoders[name].table.embeddings.numpy()
    follow_popularity(expanded, learn_bases(recipe, older).of_rows(older, newer), learn_bases(recipe, newer), newer)
    # Candidate 0 has an event of each query, 2 of all but the first, 4 and 6 of the last ones; odd ones are disliked.
    was, now = np.array([6, 0, 5, 0, 0, 0, 0]), np.array([9, 0, 8, 0, 6, 0, 4])
    moved = biases_of(tower, newer.candidates, name) - before
    np.testing.assert_allclose(moved, np.log1p(now) - np.log1p(was), atol=1e-6)
    np.testing.assert_array_equal(tower.encoders[name].table.embeddings.numpy()[:, :-1], vectors[:, :-1])
    np.testing.assert_array_equal(tower.encoders[name].table.embeddings.numpy()[:2], vectors[:2])  # missing, unknown


def test_an_untrained_rating_model_ends_where_it_would_have_started(older, newer):
    recipe = dataclasses.replace(tt.choose_recipe(older), starts_from_biases=True)
    model, anew = build_rating_model(recipe, older), build_rating_model(recipe, newer)
    start_from_biases(model, older)
    start_from_biases(anew, newer)
    expanded = expand_vocabulary(model, newer)
    follow_biases(expanded, learn_bases(recipe, older).of_rows(older, newer), learn_bases(recipe, newer), newer)
    np.testing.assert_allclose(
        biases_of(expanded.query_tower, newer.queries, newer.query_id),
        biases_of(anew.query_tower, newer.queries, newer.query_id),
        atol=1e-5,
    )
    candidates = biases_of(expanded.candidate_tower, newer.candidates, newer.candidate_id)
    unknown = expanded.candidate_tower.encoders[newer.candidate_id].table.embeddings.numpy()[1, -1]
    expected = biases_of(anew.candidate_tower, newer.candidates, newer.candidate_id)
    expected[older.num_candidates :] += unknown
    np.testing.assert_allclose(candidates, expected, atol=1e-5)


@pytest.mark.parametrize("starts", [True, False])
def test_bases_are_saved_and_loaded(older, tmp_path, starts):
    bases = learn_bases(dataclasses.replace(tt.choose_recipe(older), starts_from_biases=starts), older)
    bases.save(tmp_path / "bases.npz")
    loaded = Bases.load(tmp_path / "bases.npz")
    np.testing.assert_array_equal(loaded.popularity, bases.popularity)
    assert (loaded.biases is None) == (not starts)
    if loaded.biases is not None:
        for field in dataclasses.fields(loaded.biases):
            np.testing.assert_array_equal(getattr(loaded.biases, field.name), getattr(bases.biases, field.name))
