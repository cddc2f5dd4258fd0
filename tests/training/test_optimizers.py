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
    for step, (looked_up, gradient) in enumerate(zip(rows, gradients, strict=True), start=1):
        for row in sorted(set(looked_up)):
            total = sum(gradient[place] for place, other in enumerate(looked_up) if other == row)
            first[row] = 0.8 * first[row] + 0.2 * total
            second[row] = 0.95 * second[row] + 0.05 * total**2
            rate = 0.05 * np.sqrt(1 - 0.95**step) / (1 - 0.8**step)
            table[row] -= rate * first[row] / (np.sqrt(second[row]) + 1e-5)
    return table


def apply(optimizer, rows, gradients) -> np.ndarray:
    table = tf.Variable(tf.zeros([4, 2]))
    for looked_up, gradient in zip(rows, gradients, strict=True):
        slices = tf.IndexedSlices(tf.constant(gradient, tf.float32), tf.constant(looked_up), tf.constant([4, 2]))
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


SHAPES = [(), (3,), (3, 2), (200, 100)]


def train_dense(optimizer, *, num_steps: int = 4) -> list[np.ndarray]:
    """Trains variables of many sizes, and one without a gradient; returns them and the state."""
    rng = np.random.default_rng(2)
    # Keras has no common norm of gradients of two dtypes.
    dtypes = ["float32"] if optimizer.global_clipnorm else ["float32", "float64"]
    variables = [tf.Variable(rng.normal(size=shape), dtype=dtype) for dtype in dtypes for shape in SHAPES]
    unused = tf.Variable([1.0])
    for _ in range(num_steps):
        gradients = [tf.constant(rng.normal(size=variable.shape), variable.dtype) for variable in variables]
        optimizer.apply_gradients(zip([*gradients, None], [*variables, unused], strict=True))
    return [variable.numpy() for variable in [*variables, unused, *optimizer.variables]]


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        {"clipnorm": 0.5},
        {"clipvalue": 0.1},
        {"global_clipnorm": 0.5},
        {"learning_rate": tf.keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=2, decay_rate=0.5)},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_dense_variables_of_any_size_are_trained_as_by_keras_adam(settings):
    """The small ones are moved as one vector, which changes no number; the state has Keras's order, too."""
    ours, theirs = train_dense(LazyAdam(**settings)), train_dense(tf.keras.optimizers.Adam(**settings))
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(found, expected)


def train_under(strategy: tf.distribute.Strategy) -> list[np.ndarray]:
    """Trains a table and a vector in three steps, and returns them."""
    rows, rng = [[0, 1], [1, 1], [0, 3]], np.random.default_rng(3)
    with strategy.scope():
        table, vector, optimizer = tf.Variable(tf.ones([4, 2])), tf.Variable(tf.ones([5])), LazyAdam(**SETTINGS)
        optimizer.build([table, vector])

    @tf.function(autograph=False)
    def step(parts: tf.IndexedSlices, gradient: tf.Tensor) -> None:
        optimizer.apply_gradients([(parts, table), (gradient, vector)])

    for looked_up in rows:
        values, gradient = (tf.constant(rng.normal(size=size), tf.float32) for size in ((2, 2), (5,)))
        strategy.run(step, args=(tf.IndexedSlices(values, tf.constant(looked_up), tf.constant([4, 2])), gradient))
    return [table.numpy(), vector.numpy()]


def test_a_distribution_strategy_changes_no_number():
    alone = train_under(tf.distribute.get_strategy())
    mirrored = train_under(tf.distribute.MirroredStrategy(["CPU:0"]))
    for found, expected in zip(mirrored, alone, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rows_that_no_step_looks_up_keep_every_bit():
    rng = np.random.default_rng(4)
    before = rng.normal(size=(6, 3)).astype(np.float32)
    table, optimizer = tf.Variable(before), LazyAdam(**SETTINGS)
    optimizer.build([table])
    first, second = optimizer._momentums[0], optimizer._velocities[0]
    for variable in (first, second):
        variable.assign(np.abs(before))
    for looked_up in ([1, 4, 1], [4]):
        values = tf.constant(rng.normal(size=(len(looked_up), 3)), tf.float32)
        optimizer.apply_gradients([(tf.IndexedSlices(values, tf.constant(looked_up), tf.constant([6, 3])), table)])
    others = [0, 2, 3, 5]
    np.testing.assert_array_equal(table.numpy()[others], before[others])
    for variable in (first, second):
        np.testing.assert_array_equal(variable.numpy()[others], np.abs(before)[others])
        assert (variable.numpy()[[1, 4]] != np.abs(before)[[1, 4]]).all()


def test_the_rows_of_a_table_are_the_same_to_the_bit_as_with_scatter_sub():
    """Models trained from a seed stay what they were: the operations of the first version, on float32."""
    rng = np.random.default_rng(5)
    before = rng.normal(size=(6, 3)).astype(np.float32)
    table, expected, optimizer = tf.Variable(before), tf.Variable(before), LazyAdam(**SETTINGS)
    first, second = (tf.Variable(tf.zeros([6, 3])) for _ in range(2))
    beta_1, beta_2 = tf.constant(0.8), tf.constant(0.95)
    for step in range(1, 4):
        rows, values = tf.constant([step, 0]), tf.constant(rng.normal(size=(2, 3)), tf.float32)
        optimizer.apply_gradients([(tf.IndexedSlices(values, rows, tf.constant([6, 3])), table)])
        first.scatter_update(tf.IndexedSlices(beta_1 * tf.gather(first, rows) + (1 - beta_1) * values, rows))
        second.scatter_update(
            tf.IndexedSlices(beta_2 * tf.gather(second, rows) + (1 - beta_2) * tf.square(values), rows)
        )
        number = tf.constant(step, tf.float32)
        rate = tf.constant(0.05) * tf.sqrt(1 - beta_2**number) / (1 - beta_1**number)
        change = rate * tf.gather(first, rows) / (tf.sqrt(tf.gather(second, rows)) + 1e-5)
        expected.scatter_sub(tf.IndexedSlices(change, rows))
    np.testing.assert_array_equal(table.numpy(), expected.numpy())
