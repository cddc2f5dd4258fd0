"""How fast `fit` trains on MovieLens 100K, beside the way of the TFRS tutorials, PyTorch, and a bare loop.

All train the notebook's towers: ids, 32 dimensions, one hidden layer of 64 units with batch normalisation, ReLU and
half of its units dropped, 32 outputs; the score of a pair is the dot product, the loss binary cross-entropy.

- This library: plain `compile` and `fit` on `training_batches`, with `LazyAdam`, log loss, accuracy and AUC.
- As in the TFRS tutorials: a data set of dictionaries is mapped, cached, shuffled and batched, the towers look the ids
  up, and Keras's Adam updates; accuracy and AUC.
- PyTorch: the notebook's loop, without any metric (extra `bench`). "PyTorch, tensors" indexes tensors of all events by
  a permutation; "PyTorch, DataLoader" reads a shuffled `DataLoader` of a `TensorDataset`, as PyTorch's tutorials do.
- A bare loop: the arithmetic of a step in one TensorFlow function, codes as constants, one row of a matrix of shuffled
  places after the other, the updates of `LazyAdam`; no metric, no data set, no Keras.

Then the time of a step of this library is taken apart: what is left of it without metrics, without updates, without the
data set. The rate at which this machine multiplies matrices says how long the products of a step must take.

    python scripts/benchmark_training.py [--batch-size N,N] [--archive PATH] [--json FILE] [--repeats ROUNDS]
"""

import argparse
import functools
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from _benchmark import Row, add_arguments, show, time_in_turns
from _notebook import DIM, DROPOUT, HIDDEN, LEARNING_RATE, Notebook

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.model import TwoTowerModel
from tfrs_twotower.training import LazyAdam

#: Multiplications and additions of a step for each event: forward, and twice that for the gradients.
PRODUCTS_PER_EVENT = 3 * 2 * (2 * DIM * HIDDEN)
MATRIX = 512
#: Epochs of one measurement.
EPOCHS = 2


def main() -> None:
    """Measures everything at each batch size, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--archive", help="a GroupLens archive of MovieLens 100K")
    parser.add_argument("--batch-size", default="128,1024", help="events per step (default 128,1024)")
    arguments = parser.parse_args()
    data = tt.load_movielens("movielens/100k-ratings", archive=arguments.archive)
    train = tt.random_split(data, test=0.2, validation=0.1, seed=0).train
    rows = [Row(case="matrix products of 512 rows", metric="rate", value=product_rate() / 1e9, unit="GFlop/s")]
    for batch_size in map(int, arguments.batch_size.split(",")):
        rows += measure(train, batch_size, arguments.repeats)
    show("Training the notebook's towers on MovieLens 100K", rows, arguments.json)


def measure(train: tt.Interactions, batch_size: int, repeats: int) -> list[Row]:
    """Measures all contenders, and the parts of a step."""
    num_steps = -(-train.num_events // batch_size)
    contenders = {
        "this library": fit_ours(train, batch_size),
        "as in the TFRS tutorials": fit_tutorial(train, batch_size),
        "bare loop": run_bare_loop(train, batch_size),
    }
    if importlib.util.find_spec("torch") is not None:
        contenders["PyTorch, tensors"] = run_notebook(train, batch_size)
        contenders["PyTorch, DataLoader"] = run_notebook(train, batch_size, is_loaded=True)
    parts = {
        "without a data set": fit_ours(train, batch_size, is_cached=True),
        "and without metrics": fit_ours(train, batch_size, is_cached=True, has_metrics=False),
        "and without updates": fit_ours(train, batch_size, is_cached=True, has_metrics=False, updates=False),
    }
    seconds = time_in_turns({**contenders, **parts}, repeats=repeats)
    case = f"batch {batch_size:,}"
    rows = [
        Row(case=f"{case}, {name}", metric="rate", value=EPOCHS * train.num_events / seconds[name], unit="events/s")
        for name in contenders
    ]
    rows += [
        Row(
            case=f"{case}, this library",
            metric=f"rate / {name}",
            value=seconds[name] / seconds["this library"],
            unit="x",
        )
        for name in contenders
        if name != "this library"
    ]
    rows += [
        Row(case=f"{case}, {name}", metric="step", value=seconds[name] / EPOCHS / num_steps * 1e3, unit="ms")
        for name in ("this library", *parts)
    ]
    products_ms = batch_size * PRODUCTS_PER_EVENT * 2 / product_rate() * 1e3
    rows.append(Row(case=f"{case}, products of both towers alone", metric="step", value=products_ms, unit="ms"))
    return rows


@functools.cache
def product_rate() -> float:
    """Returns the operations a second of products of square matrices."""
    left, right = (tf.random.normal([MATRIX, MATRIX]) for _ in range(2))

    @tf.function
    def multiply(times: tf.Tensor) -> tf.Tensor:
        product = left
        for _ in tf.range(times):
            product = tf.matmul(product, right) / MATRIX
        return product

    multiply(tf.constant(1))
    times = 200
    measured = []
    for _ in range(3):
        start = time.perf_counter()
        multiply(tf.constant(times)).numpy()
        measured.append(time.perf_counter() - start)
    return 2 * MATRIX**3 * times / statistics.median(measured)


def fit_ours(
    train: tt.Interactions, batch_size: int, *, is_cached: bool = False, has_metrics: bool = True, updates: bool = True
) -> Callable[[], object]:
    """Returns a function that trains a compiled model of this library, whose first epoch is over."""
    user, movie = (
        tt.MLPTowerConfig(
            features=(tt.Categorical(name=name),),
            embedding_dim=DIM,
            hidden_units=(HIDDEN,),
            output_dim=DIM,
            dropout=DROPOUT,
            l2=0.0,  # the others have no regularisation
        )
        for name in ("user_id", "movie_id")
    )
    model: TwoTowerModel = tt.build_two_tower(train, query=user, candidate=movie)
    if not has_metrics:
        model.task.ranking = tfrs.tasks.Ranking(loss=tf.keras.losses.BinaryCrossentropy(from_logits=True))
    model.compile(optimizer=LazyAdam(LEARNING_RATE) if updates else NoUpdates(0.0))
    batches = model.training_batches(train, batch_size=batch_size, seed=0)
    if is_cached:
        batches = batches.cache().apply(tf.data.experimental.assert_cardinality(int(batches.cardinality())))
    model.fit(batches, verbose=0)
    return lambda: model.fit(batches, epochs=EPOCHS, verbose=0)


class NoUpdates(tf.keras.optimizers.SGD):
    """Leaves variables as they are, once their gradients are there."""

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Makes a variable that something of each gradient is added to."""
        super().build(variables)
        if not hasattr(self, "_seen"):
            self._seen = tf.Variable(0.0, trainable=False)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Reads a gradient; TensorFlow does not compute one that nobody reads."""
        del variable
        values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
        self._seen.assign_add(tf.reshape(values, [-1])[0], read_value=False)


class TutorialModel(tfrs.Model):
    """Towers with their lookups, and a ranking task, as the TFRS tutorials write them."""

    def __init__(self, train: tt.Interactions) -> None:
        super().__init__()
        self.user, self.movie = (
            tf.keras.Sequential(
                [
                    tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None),
                    tf.keras.layers.Embedding(len(ids) + 1, DIM),
                    tf.keras.layers.Dense(HIDDEN),
                    tf.keras.layers.BatchNormalization(),
                    tf.keras.layers.ReLU(),
                    tf.keras.layers.Dropout(DROPOUT),
                    tf.keras.layers.Dense(DIM),
                ]
            )
            for ids in (train.queries["user_id"].to_pylist(), train.candidates["movie_id"].to_pylist())
        )
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[tf.keras.metrics.BinaryAccuracy(threshold=0.0), tf.keras.metrics.AUC(from_logits=True)],
        )

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Computes the loss of a batch of raw features."""
        queries = self.user(features["user_id"], training=training)
        candidates = self.movie(features["movie_id"], training=training)
        logits = tf.reduce_sum(queries * candidates, axis=1, keepdims=True)
        return self.task(labels=features["label"][:, tf.newaxis], predictions=logits)


def fit_tutorial(train: tt.Interactions, batch_size: int) -> Callable[[], object]:
    """Returns a function that trains as the TFRS tutorials do; the first epoch, which fills the cache, is over."""
    users, movies = (
        np.array(table[name].to_pylist())
        for table, name in ((train.queries, "user_id"), (train.candidates, "movie_id"))
    )
    events = tf.data.Dataset.from_tensor_slices(
        {"user_id": users[train.query_rows], "movie_id": movies[train.candidate_rows], "user_rating": train.ratings}
    )

    def prepare(event: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        label = tf.cast(event["user_rating"] >= 3, tf.float32)
        return {"user_id": event["user_id"], "movie_id": event["movie_id"], "label": label}

    batches = events.map(prepare).cache().shuffle(100_000, seed=0, reshuffle_each_iteration=True).batch(batch_size)
    model = TutorialModel(train)
    model.compile(optimizer=tf.keras.optimizers.Adam(LEARNING_RATE))
    model.fit(batches, verbose=0)
    return lambda: model.fit(batches, epochs=EPOCHS, verbose=0)


def run_notebook(train: tt.Interactions, batch_size: int, *, is_loaded: bool = False) -> Callable[[], object]:
    """Returns a function that trains as the PyTorch notebook does."""
    model = Notebook(train, threshold=3.0, seed=0)
    run_epoch = model.run_loaded_epoch if is_loaded else model.run_epoch

    def run() -> None:
        for _ in range(EPOCHS):
            run_epoch(batch_size)

    run()
    return run


def run_bare_loop(train: tt.Interactions, batch_size: int) -> Callable[[], object]:
    """Returns a function that trains in one TensorFlow function, with nothing in it but the arithmetic."""
    codes = [tf.constant(part, tf.int32) for part in (train.query_rows, train.candidate_rows)]
    labels = tf.constant(train.ratings >= 3, tf.float32)
    towers = [BareTower(num_rows) for num_rows in (train.num_queries, train.num_candidates)]
    weights = [weight for tower in towers for weight in tower.weights]
    optimizer = LazyAdam(LEARNING_RATE)
    optimizer.build([*(tower.table for tower in towers), *weights])

    def step(events: tf.Tensor) -> None:
        rows = [tf.gather(part, events) for part in codes]
        with tf.GradientTape() as tape:
            queries, candidates = (tower(part) for tower, part in zip(towers, rows, strict=True))
            logits = tf.reduce_sum(queries * candidates, axis=1)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.gather(labels, events), logits)
            loss = tf.reduce_mean(losses)
        variables = [*(tower.table for tower in towers), *weights]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    @tf.function
    def run_steps(places: tf.Tensor) -> None:
        for number in tf.range(tf.shape(places)[0]):
            step(places[number])

    def run() -> None:
        for epoch in range(EPOCHS):
            order = np.random.default_rng(epoch).permutation(train.num_events).astype(np.int32)
            whole = len(order) // batch_size * batch_size
            run_steps(tf.constant(order[:whole].reshape(-1, batch_size)))
            run_steps(tf.constant(order[np.newaxis, whole:]))

    run()
    return run


class BareTower(tf.Module):
    """A tower of the notebook by TensorFlow's operations."""

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.table = tf.Variable(tf.random.uniform([num_rows, DIM], -0.05, 0.05))
        self.first, self.second = (
            tf.Variable(tf.random.normal(shape, stddev=0.1)) for shape in ([DIM, HIDDEN], [HIDDEN, DIM])
        )
        self.first_bias, self.second_bias = (tf.Variable(tf.zeros([units])) for units in (HIDDEN, DIM))
        self.scale, self.shift = tf.Variable(tf.ones([HIDDEN])), tf.Variable(tf.zeros([HIDDEN]))
        self.weights = [self.first, self.first_bias, self.scale, self.shift, self.second, self.second_bias]
        self.mean = tf.Variable(tf.zeros([HIDDEN]), trainable=False)
        self.variance = tf.Variable(tf.ones([HIDDEN]), trainable=False)

    def __call__(self, codes: tf.Tensor) -> tf.Tensor:
        """Embeds int32 [batch] as float32 [batch, DIM], in training."""
        hidden = tf.nn.bias_add(tf.matmul(tf.gather(self.table, codes), self.first), self.first_bias)
        mean, variance = tf.nn.moments(hidden, axes=[0])
        self.mean.assign_sub((self.mean - mean) * 0.1)
        self.variance.assign_sub((self.variance - variance) * 0.1)
        hidden = tf.nn.relu(tf.nn.batch_normalization(hidden, mean, variance, self.shift, self.scale, 1e-3))
        hidden = tf.nn.dropout(hidden, DROPOUT)
        return tf.nn.bias_add(tf.matmul(hidden, self.second), self.second_bias)


if __name__ == "__main__":
    main()
