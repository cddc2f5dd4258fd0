"""A training that is interrupted anywhere and goes on ends as if it had never been interrupted, bit by bit."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

import tfrs_twotower as tt
from tests.conftest import make_planted
from tfrs_twotower.training.callbacks import AveragedWeights, BestWeights, ValidationMetrics
from tfrs_twotower.training.checkpoints import TrainingCheckpoints
from tfrs_twotower.training.optimizers import LazyAdam


class Killed(BaseException):
    """Stands for a process that ends: nothing that comes after a training is run."""


class KilledAfter(tf.keras.callbacks.Callback):
    """Ends a training after a number of executions of steps, each of which has a checkpoint."""

    takes_many_steps = True

    def __init__(self, num_executions: int) -> None:
        super().__init__()
        self._left = num_executions

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left <= 0:
            raise Killed


@pytest.fixture(scope="module", autouse=True)
def deterministic() -> Iterator[None]:
    """Operations whose threads add up numbers in the same order each time; without it, last bits differ."""
    tf.keras.utils.set_random_seed(0)  # determinism needs a seed; each model is built with its own
    tf.config.experimental.enable_op_determinism()
    yield
    disable_op_determinism()


@pytest.fixture(scope="module")
def split() -> tt.splits.Split:
    return make_planted().split


def build_small(split):
    tf.keras.utils.set_random_seed(3)
    towers = {
        side: tt.SumTowerConfig(features=[tt.features.Categorical(name=name, id_dropout=0.3)], output_dim=4)
        for side, name in (("query", "user_id"), ("candidate", "movie_id"))
    }
    model = tt.build_two_tower(split.train, **towers, task=tt.tasks.RatingTask())
    model.compile(optimizer=LazyAdam(1e-2), steps_per_execution=1)
    return model


def build(split, *, by_query: bool):
    """A model with dropout of units and of ids, and a history."""
    tf.keras.utils.set_random_seed(3)
    user = tt.features.Categorical(name="user_id", id_dropout=0.3)
    movie = tt.features.Categorical(name="movie_id")
    query = [user, tt.features.History(of=movie, length=10)]
    if by_query:
        configs = (
            tt.SumTowerConfig(features=query, output_dim=8, dropout=0.3),
            tt.SumTowerConfig(features=[movie], output_dim=8),
        )
    else:
        configs = (
            tt.MLPTowerConfig(features=query, hidden_units=(8,), output_dim=8, dropout=0.3),
            tt.MLPTowerConfig(features=[movie], hidden_units=(8,), output_dim=8, dropout=0.3),
        )
    task = tt.tasks.FullSoftmaxTask() if by_query else tt.tasks.RatingTask()
    model = tt.build_two_tower(split.train, query=configs[0], candidate=configs[1], task=task)
    # Steps that run one by one are compiled to other operations, which round otherwise.
    model.compile(optimizer=LazyAdam(1e-2), steps_per_execution=3)
    return model


def train(split, folder, *, by_query: bool, killed_after: int | None = None, epochs: int = 4):
    model = build(split, by_query=by_query)
    if by_query:
        batches = model.query_batches(split.train, batch_size=8, seed=5)
    else:
        batches = model.training_batches(split.train, batch_size=128, seed=5)
    monitor = "val_ndcg@3" if by_query else "val_log_loss"
    callbacks = [
        TrainingCheckpoints(folder, every_s=0),
        AveragedWeights(decay=0.9),
        ValidationMetrics(split, k=3, every=2),
        BestWeights(monitor, mode="max" if by_query else "min", patience=3),
    ]
    if killed_after is not None:
        callbacks.append(KilledAfter(killed_after))
    history = model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)
    return model.get_weights(), [value.numpy() for value in model.optimizer.variables], history.history


def assert_equal(first, second):
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert first[2] == second[2]


@dataclasses.dataclass(frozen=True)
class Whole:
    """A training that was not interrupted: its folder, and what it ended with."""

    folder: Path
    result: tuple


@pytest.fixture(scope="module")
def by_query(split, deterministic, tmp_path_factory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    return Whole(folder, train(split, folder, by_query=True))


def test_an_interrupted_training_by_query_ends_as_one_that_was_not(split, by_query, tmp_path):
    killed, damaged = tmp_path / "killed", tmp_path / "damaged"
    with pytest.raises(Killed):
        train(split, killed, by_query=True, killed_after=6)  # amid an epoch
    shutil.copytree(killed, damaged)
    assert_equal(train(split, killed, by_query=True), by_query.result)
    assert_equal(train(split, killed, by_query=True), by_query.result)  # nothing is left to do

    # A damaged checkpoint is passed over for the one before.
    before, latest = checkpoints_of(damaged)
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1  # a single bit
    latest.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{latest.name} is damaged: .* The checkpoint before it is taken"):
        assert_equal(train(split, damaged, by_query=True), by_query.result)
    latest, _ = checkpoints_of(damaged)[::-1]
    assert before != latest


def test_an_interrupted_training_by_event_ends_as_one_that_was_not(split, tmp_path):
    whole = train(split, tmp_path / "whole", by_query=False)
    with pytest.raises(Killed):
        train(split, tmp_path / "killed", by_query=False, killed_after=6)
    assert_equal(train(split, tmp_path / "killed", by_query=False), whole)


def checkpoints_of(folder):
    return sorted(folder.glob("checkpoint-*"))


def test_checkpoints_of_another_model_are_refused(split, by_query):
    with pytest.raises(
        ValueError, match="must hold checkpoints of the same model: the weights in .* have other shapes"
    ):
        train(split, by_query.folder, by_query=False, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"every_s": -1.0}, "`every_s` must be finite and at least 0"), ({"keep": 0}, "`keep` must be at least 1")],
)
def test_impossible_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingCheckpoints(tmp_path, **arguments)


def test_keras_backup_goes_on_in_the_order_of_events_and_keeps_what_callbacks_know(split, tmp_path):
    """Keras keeps the weights alone: the order is checked by them, and the best epoch by the callback."""

    def run(folder, save_freq, *extra):
        model = build_small(split)
        stopping = tf.keras.callbacks.EarlyStopping("loss", mode="max", patience=100)  # the first epoch is the best
        backup = tf.keras.callbacks.BackupAndRestore(folder, save_freq=save_freq, delete_checkpoint=False)
        batches = model.training_batches(split.train, batch_size=64, seed=5)
        model.fit(batches, epochs=3, callbacks=[backup, stopping, *extra], verbose=0)
        return model.get_weights(), stopping

    whole, stopping = run(tmp_path / "whole", "epoch")
    assert (stopping.best_epoch, stopping.wait) == (0, 2)
    steps = -(-split.train.num_events // 64)
    for save_freq in ("epoch", 1):
        folder = tmp_path / f"killed {save_freq}"
        with pytest.raises(Killed):
            run(folder, save_freq, KilledAfter(2 * steps + 3))
        weights, stopping = run(folder, save_freq)
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(weights, whole, strict=True)), save_freq
        assert (stopping.best_epoch, stopping.wait) == (0, 2)


def test_a_model_that_keras_loads_goes_on_in_the_order_of_events_and_its_best_is_not_overwritten(split, tmp_path):
    """The script that `ModelCheckpoint` is meant for knows no number of an epoch."""
    path = tmp_path / "best.keras"

    def checkpoint():
        return tf.keras.callbacks.ModelCheckpoint(str(path), monitor="loss", mode="max", save_best_only=True)

    model = build_small(split)
    batches = model.training_batches(split.train, batch_size=64, seed=5)
    model.fit(batches, epochs=1, callbacks=[checkpoint()], verbose=0)
    saved = path.read_bytes()
    model.fit(batches, epochs=1, verbose=0)

    loaded = tf.keras.models.load_model(path)
    batches = loaded.training_batches(split.train, batch_size=64, seed=5)
    loaded.fit(batches, epochs=1, callbacks=[checkpoint()], verbose=0)
    assert all(
        np.array_equal(ours, theirs) for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True)
    )
    assert path.read_bytes() == saved  # the loss was higher in the first epoch

    new = build_small(split)  # a new training begins anew
    new.compile(optimizer=LazyAdam(1e-4))
    new.fit(new.training_batches(split.train, batch_size=64, seed=5), epochs=1, callbacks=[checkpoint()], verbose=0)
    assert path.read_bytes() != saved
