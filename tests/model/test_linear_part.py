"""The linear part against EASE, computed here in full, and against the model that it is added to."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.model.linear_part import LinearPart
from tfrs_twotower.model.recipe_models import build_rating_model, build_retrieval_model

NUM_QUERIES, NUM_CANDIDATES, L2 = 30, 12, 2.0


def ratings(*, scale: bool = False, num_candidates: int = NUM_CANDIDATES) -> tt.Interactions:
    """Events at random; the last query has none, nor has the last candidate."""
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((NUM_QUERIES - 1, NUM_CANDIDATES - 1)) < 0.3)
    stars = rng.integers(1, 6, len(pairs)).astype(float) if scale else np.ones(len(pairs))
    return make_interactions(*pairs.T, stars, num_queries=NUM_QUERIES, num_candidates=num_candidates)


def built(data: tt.Interactions, **columns) -> tt.model.TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    recipe = tt.choose_recipe(data, threshold=None if data.ratings.max() == 1 else 3)
    return build_retrieval_model(recipe.with_settings(output_dim=4), data)


def matrix(data: tt.Interactions, weights: np.ndarray) -> np.ndarray:
    events = np.zeros((data.num_queries, data.num_candidates))
    events[data.query_rows, data.candidate_rows] = weights
    return events


def ease_scores(events: np.ndarray, l2: float) -> np.ndarray:
    """Scores of EASE as its paper has them, but with an l2 that grows with a candidate's events."""
    products = events.T @ events
    inverse = np.linalg.inv(products + l2 * np.diag(1 + np.diag(products) / 100))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return events @ weights


def linear_scores(model: tt.model.TwoTowerModel, longer: tt.model.TwoTowerModel, data: tt.Interactions) -> np.ndarray:
    before, after = (
        np.matmul(queries, candidates.T)
        for queries, candidates in (each.embed(data, known=data) for each in (model, longer))
    )
    return after - before


@pytest.mark.parametrize("scale", [False, True])
def test_with_all_directions_the_scores_are_those_of_ease_for_what_was_not_seen(scale):
    data = ratings(scale=scale)
    model = built(data)
    part = LinearPart(model, data, rank=NUM_CANDIDATES)
    found = linear_scores(model, part.finish(l2=L2, weight=1.0), data)
    weights = np.ones(data.num_events)
    if scale:  # a history counts an event by its rating
        weights += 0.3 * (data.ratings - data.ratings.mean()) / data.ratings.std()
    expected = ease_scores(matrix(data, weights), L2)
    lengths = np.sqrt(np.maximum(np.bincount(data.query_rows, minlength=NUM_QUERIES), 1))  # "sqrtn" pooling
    unseen = matrix(data, np.ones(data.num_events)) == 0
    expected = (expected / lengths[:, np.newaxis])[unseen]
    factor = np.linalg.norm(found[unseen]) / np.linalg.norm(expected)
    np.testing.assert_allclose(found[unseen], factor * expected, atol=2e-3 * np.abs(found).max())


def test_fewer_directions_come_close_and_leverages_count_the_others():
    data = ratings()
    model = built(data)
    scores = [
        linear_scores(model, LinearPart(model, data, rank=rank).finish(l2=L2, weight=1.0), data)
        for rank in (NUM_CANDIDATES, NUM_CANDIDATES - 3)
    ]
    unseen = matrix(data, np.ones(data.num_events)) == 0
    assert np.corrcoef(*(each[unseen] for each in scores))[0, 1] > 0.9


def test_the_weight_is_the_spread_beside_that_of_the_models_own_scores():
    data = ratings()
    model = built(data)
    own = np.matmul(*[side if place == 0 else side.T for place, side in enumerate(model.embed(data, known=data))])
    active = np.unique(data.query_rows)
    for weight in (0.25, 1.0):
        longer = LinearPart(model, data, rank=6).finish(l2=L2, weight=weight)
        added = linear_scores(model, longer, data)[active]
        assert added.std() / own[active].std() == pytest.approx(weight, rel=1e-3)


def test_the_embeddings_that_are_tried_are_those_of_the_finished_model():
    data = ratings(scale=True)
    part = LinearPart(built(data), data, rank=5)
    tried = part.embed_queries(data, data), part.embed_candidates(l2=L2, weight=0.5)
    finished = part.finish(l2=L2, weight=0.5).embed(data, known=data)
    for ours, theirs in zip(tried, finished, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_model_that_it_is_added_to_stays_as_it_is_and_a_weight_of_0_adds_nothing():
    data = ratings()
    model = built(data)
    before = [weight.copy() for weight in model.get_weights()]
    longer = LinearPart(model, data, rank=5).finish(l2=L2, weight=0.0)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(before, model.get_weights(), strict=True))
    np.testing.assert_allclose(linear_scores(model, longer, data), 0.0, atol=1e-5)


def test_queries_without_events_and_candidates_without_any_get_nothing_from_it():
    data = ratings()
    model = built(data)
    added = linear_scores(model, LinearPart(model, data, rank=5).finish(l2=L2, weight=1.0), data)
    np.testing.assert_allclose(added[-1], 0.0, atol=1e-5)
    np.testing.assert_allclose(added[:, -1], 0.0, atol=1e-5)


def test_an_event_that_occurs_twice_counts_once():
    data = ratings()
    twice = data.with_events(np.concatenate([np.arange(data.num_events), np.arange(data.num_events)]))
    model = built(data)
    once, again = (
        np.linalg.norm(LinearPart(model, each, rank=5).embed_candidates(l2=L2, weight=1.0)[:-1, 4:9], axis=1)
        for each in (data, twice)
    )
    # The spread of all scores is another one, because a history is twice as long; the directions are the same.
    np.testing.assert_allclose(once / once[0], again / again[0], rtol=1e-3)


def test_a_model_with_a_linear_part_is_saved_expanded_and_exported_as_any_other(tmp_path):
    data = ratings(scale=True)
    longer = LinearPart(built(data), data, rank=5).finish(l2=L2, weight=1.0)
    longer.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    newer = ratings(scale=True, num_candidates=NUM_CANDIDATES + 2)
    expanded = tt.model.expand_vocabulary(longer, newer)
    embedded = longer.embed(data, known=data)
    for other in (loaded, expanded):
        for ours, theirs in zip(embedded, other.embed(data, known=data), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def other_models():
    data = ratings(scale=True)
    sku, past = tt.Categorical(name=data.candidate_id), tt.History(of=tt.Categorical(name=data.candidate_id))
    towers = {
        "without a history": (tt.SumTowerConfig(features=(tt.Categorical(name=data.query_id),)), (sku,)),
        "MLP towers": (tt.MLPTowerConfig(features=(past,)), (sku,)),
        "a shared table": (tt.SumTowerConfig(features=(dataclasses.replace(past, shares_embedding=True),)), (sku,)),
    }
    messages = {
        "without a history": "`model` must have one history in its query tower: a linear part predicts candidates "
        "from it. Received: 0.",
        "MLP towers": "`model` must have two SumTowers: only a sum of vectors has room for a linear part.",
        "a shared table": "`history` must have vectors of its own, and one for each candidate. Received: History(",
    }
    for name, (query, candidate) in towers.items():
        model = tt.build_two_tower(data, query=query, candidate=tt.SumTowerConfig(features=candidate))
        yield name, model, data, messages[name]
    recipe = tt.choose_recipe(data, threshold=3)
    yield (
        "rating vectors",
        build_rating_model(recipe, data),
        data,
        "`history` must have vectors of its own, and one for each candidate. Received: History(",
    )
    hashed = tt.Hashed(name=data.candidate_id, num_buckets=4)
    recipe = tt.choose_recipe(data, threshold=3, candidate_features={data.candidate_id: hashed})
    yield (
        "hashed ids",
        build_retrieval_model(recipe, data),
        data,
        f"`model` must have a Categorical of {data.candidate_id!r} in its candidate tower: each candidate needs a "
        "vector of its own.",
    )


def test_models_of_another_form_are_refused():
    for name, model, data, message in other_models():
        with pytest.raises(TypeError) as raised:
            LinearPart(model, data, rank=2)
        assert str(raised.value).startswith(message), name


def test_without_events_there_are_no_directions():
    data = ratings()
    with pytest.raises(ValueError, match="^`train` must have an event"):
        LinearPart(built(data), data.with_events(np.zeros(0, np.int64)), rank=2)
