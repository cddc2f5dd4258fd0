"""What is traced as it is written, and what AutoGraph rewrites, because a user may have written it."""

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY
from tfrs_twotower._autograph import as_written, is_written_for_graphs
from tfrs_twotower.bundle.build import build_sides


class Clipped(tf.keras.layers.Layer):
    def call(self, values):
        return values if tf.reduce_max(values) < 1 else tf.ones_like(values)


class HalvedAboveOne(tt.tasks.RatingTask):
    """Halves a loss above one."""

    def call(self, *arguments, **options):
        loss = super().call(*arguments, **options)
        if loss > 1:
            return loss / 2
        return loss


def user_function(values):
    return values


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (None, True),
        (tf.keras.layers.Dense(1), True),
        (tf.keras.Sequential([tf.keras.layers.Dense(1)]), True),
        (tt.Categorical(name="user_id"), True),
        (tt.tasks.RatingTask(), True),
        (tt.training.LazyAdam(), True),
        (tt.training.LazyAdam().apply_gradients, True),
        (user_function, False),
        (lambda values: values, False),
        (Clipped(), False),
        (tf.keras.Sequential([tf.keras.layers.Dense(1), Clipped()]), False),
        (HalvedAboveOne(), False),
    ],
)
def test_what_a_user_has_written_is_found_however_deep(part, expected):
    assert is_written_for_graphs(part) is expected


def test_a_condition_in_a_function_that_is_traced_as_written_is_an_error():
    traced = tf.function(as_written(lambda values: values if tf.reduce_max(values) < 1 else tf.ones_like(values)))
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        traced(tf.constant([2.0]))


def test_a_layer_of_a_users_own_may_depend_on_tensors_in_python(planted):
    fits = {}
    for task in (tt.tasks.RatingTask(), HalvedAboveOne()):
        tf.keras.utils.set_random_seed(0)
        model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE, task=task)
        assert model.uses_autograph is isinstance(task, HalvedAboveOne)
        for variable in model.candidate_tower.trainable_variables:
            variable.assign(variable * 20)  # for a loss above one
        model.compile(optimizer=tt.training.LazyAdam(0.0))
        batches = model.training_batches(planted.split.train, batch_size=10_000, seed=0)
        fits[type(task)] = model.fit(batches, epochs=1, verbose=0).history["loss"][0]
    assert fits[tt.tasks.RatingTask] > 1
    assert fits[HalvedAboveOne] == pytest.approx(fits[tt.tasks.RatingTask] / 2, rel=1e-5)


class ClippedEncoder(tf.keras.layers.Layer):
    """Halves the codes' vectors where any of them is long."""

    def __init__(self, encoder, **options):
        super().__init__(**options)
        self.encoder = encoder

    def call(self, codes):
        vectors = self.encoder(codes)
        if tf.reduce_max(tf.abs(vectors)) > 1:
            vectors = vectors / 2
        return vectors


def test_a_layer_of_a_users_own_is_embedded_and_exported_as_it_is_called(planted):
    model = tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE)
    tower = model.query_tower
    assert not tower.uses_autograph
    tower.encoders["age"] = ClippedEncoder(tower.encoders["age"])
    for weights in tower.encoders["age"].trainable_variables:
        weights.assign(100 * weights)
    assert tower.uses_autograph
    queries = planted.split.seen.queries
    called = tower(tower.raw_features(queries))
    np.testing.assert_allclose(tower.embed_codes(tower.encode_table(queries)), called, rtol=1e-4)
    exported = build_sides(model, planted.split.seen).queries.embed(**tower.raw_features(queries))
    np.testing.assert_allclose(exported["retrieval"], called, rtol=1e-4)
