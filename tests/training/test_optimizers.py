import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.features.vocabularies import Vocabularies, Vocabulary
from tfrs_twotower.training.optimizers import LazyAdam

SETTINGS = {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-5}


def adam(rows: list[list[int]], gradients: np.ndarray) -> np.ndarray:
    """Kingma & Ba 2015, algorithm 1, in float64; a row's moments only change in steps that look it up."""
    table, first, second = (np.zeros((4, 2)) for _ in range(3))
    for step, (met, gradient) in enumerate(zip(rows, gradients, strict=True), start=1):
        for row in sorted(set(met)):
            total = sum(gradient[place] for place, other in enumerate(met) if other == row)
            first[row] = 0.8 * first[row] + 0.2 * total
            second[row] = 0.95 * second[row] + 0.05 * total**2
            rate = 0.05 * np.sqrt(1 - 0.95**step) / (1 - 0.8**step)
            table[row] -= rate * first[row] / (np.sqrt(second[row]) + 1e-5)
    return table


def apply(optimizer, rows, gradients) -> np.ndarray:
    table = tf.Variable(tf.zeros([4, 2]))
    for met, gradient in zip(rows, gradients, strict=True):
        slices = tf.IndexedSlices(tf.constant(gradient, tf.float32), tf.constant(met), tf.constant([4, 2]))
        optimizer.apply_gradients([(slices, table)])
    return table.numpy()


def test_rows_move_as_by_adam_and_only_in_steps_that_look_them_up():
    rows = [[0, 1], [1, 1], [0, 3], [3, 1]]
    gradients = np.random.default_rng(0).normal(size=(4, 2, 2))
    table = apply(LazyAdam(**SETTINGS), rows, gradients)
    np.testing.assert_allclose(table, adam(rows, gradients), rtol=1e-4, atol=1e-6)
    assert not table[2].any()


def test_it_equals_keras_adam_if_every_step_looks_up_every_row():
    rows = [[0, 1, 2, 3]] * 5
    gradients = np.random.default_rng(1).normal(size=(5, 4, 2))
    ours = apply(LazyAdam(**SETTINGS), rows, gradients)
    theirs = apply(tf.keras.optimizers.Adam(**SETTINGS), rows, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_dense_variables_are_trained_as_by_keras_adam():
    results = []
    for kind in (LazyAdam, tf.keras.optimizers.Adam):
        variable, optimizer = tf.Variable([1.0, -2.0]), kind(0.1)
        for _ in range(3):
            optimizer.apply_gradients([(2 * variable, variable)])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("setting", [{"amsgrad": True}, {"weight_decay": 0.1}, {"use_ema": True}])
def test_settings_that_would_touch_all_rows_are_refused(setting):
    with pytest.raises(ValueError, match=f"LazyAdam has no {next(iter(setting))}: they would touch all rows"):
        LazyAdam(**setting)


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="LazyAdam has no argument momentum"):
        LazyAdam(momentum=0.9)


def test_the_gradients_of_a_towers_tables_are_sparse():
    """The optimizer skips rows only if no layer in between makes the gradient dense."""
    known = Vocabulary(tuple("abc"))
    movie_id = tt.Categorical(name="movie_id", id_dropout=0.5)
    config = tt.MLPTowerConfig(
        features=(
            movie_id,
            tt.MultiCategorical(name="genres"),
            tt.Text(name="title"),
            tt.Hashed(name="shop", num_buckets=9),
            tt.Bucketized(name="age", boundaries=(1,)),
            tt.History(of=movie_id, by_rating=True, half_life=3.0),
        )
    )
    vocabularies = Vocabularies(dict.fromkeys(("movie_id", "genres", "title", "history"), known))
    tower = config.build_tower(vocabularies, name="query")
    raw = {spec.name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in tower.raw_specs}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(raw, training=True))
    tables = [encoder.table.embeddings for encoder in tower.encoders.values()]
    assert len(tables) == 6
    assert all(isinstance(gradient, tf.IndexedSlices) for gradient in tape.gradient(loss, tables))
