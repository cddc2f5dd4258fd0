import numpy as np
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.evaluation import biases
from tfrs_twotower.model.recipe_models import build_rating_model
from tfrs_twotower.training.initial_biases import start_from_biases


def ratings() -> tt.Interactions:
    """Forty queries with twenty events each; the last query and the last candidate have none."""
    rng = np.random.default_rng(0)
    pairs = np.concatenate([np.stack([np.full(20, row), rng.permutation(30)[:20]], 1) for row in range(40)])
    stars = np.clip(3 + rng.normal(size=41)[pairs[:, 0]] + rng.normal(size=len(pairs)), 1, 5).round()
    return make_interactions(*pairs.T, stars, num_queries=41, num_candidates=31)


def model_of(data: tt.Interactions, **features) -> tt.model.TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    return build_rating_model(tt.choose_recipe(data, threshold=3, **features), data)


def test_biases_of_many_events_are_taken_over_and_others_are_drawn_to_0():
    data = ratings()
    model = model_of(data)
    start_from_biases(model, data)
    queries, candidates = biases(data, threshold=3)
    table = model.query_tower.encoders[data.query_id].table.embeddings.numpy()
    codes = model.query_tower.encode_table(data.queries)[data.query_id]
    intercept = np.median(queries[:, 0])
    np.testing.assert_allclose(table[codes[:40], -1], intercept + 20 / 30 * (queries[:40, 0] - intercept), rtol=1e-5)
    assert table[codes[40], -1] == np.float32(intercept)  # without events
    assert table[1, -1] == np.float32(intercept)  # an unknown query
    counts = np.bincount(data.candidate_rows, minlength=31)
    table = model.candidate_tower.encoders[data.candidate_id].table.embeddings.numpy()
    codes = model.candidate_tower.encode_table(data.candidates)[data.candidate_id]
    np.testing.assert_allclose(table[codes, -1], candidates[:, 1] * counts / (counts + 10), rtol=1e-5)
    assert table[1, -1] == 0


def test_vectors_stay_as_they_were():
    data = ratings()
    before, after = model_of(data), model_of(data)
    start_from_biases(after, data)
    for ours, theirs in zip(before.get_weights(), after.get_weights(), strict=True):
        if ours.ndim:
            np.testing.assert_array_equal(ours[..., :-1], theirs[..., :-1])


def test_an_id_without_a_vector_of_its_own_is_left_as_it_is():
    data = ratings()
    hashed = {data.candidate_id: tt.Hashed(name=data.candidate_id, num_buckets=8)}
    before, after = (model_of(data, candidate_features=hashed) for _ in range(2))
    start_from_biases(after, data)
    for ours, theirs in zip(before.candidate_tower.get_weights(), after.candidate_tower.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
