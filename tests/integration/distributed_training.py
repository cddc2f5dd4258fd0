"""Trains small models under a distribution strategy; `test_distribution` runs it in processes of their own.

    python -m tests.integration.distributed_training STRATEGY FOLDER CASE...

It writes what came of each case to FOLDER/CASE-STRATEGY-TASK.json.
"""

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import pyarrow as pa

import tfrs_twotower as tt
from tests.conftest import export_unchecked, export_version, make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.joint import JointModel

import tensorflow as tf  # isort: skip (the library decides which Keras TensorFlow takes)

NUM_QUERIES, NUM_CANDIDATES = 40, 24
MOVIE, USER = tt.Categorical(name="movie_id"), tt.Categorical(name="user_id")
PAST = tt.History(of=MOVIE, length=12, by_rating=True)
MLP = {"embedding_dim": 8, "hidden_units": (8,), "output_dim": 8, "dropout": 0.0}
SUM_QUERY = tt.SumTowerConfig(features=(USER, PAST), output_dim=8, has_bias=True)
SUM_CANDIDATE = tt.SumTowerConfig(features=(MOVIE,), output_dim=8, has_bias=True, l2=1e-4)
STEPS = {"by_event": 0.01, "by_query": 0.05}


def make_split() -> Split:
    """Each half of the queries likes one half of the candidates; events have weights."""
    rng = np.random.default_rng(0)
    queries, candidates = np.indices((NUM_QUERIES, NUM_CANDIDATES)).reshape(2, -1)
    liked = (queries < NUM_QUERIES // 2) == (candidates < NUM_CANDIDATES // 2)
    draws = rng.random(len(queries))

    def part(is_in: np.ndarray) -> tt.Interactions:
        events = make_interactions(
            queries[is_in],
            candidates[is_in],
            np.where(liked, 5.0, 1.0)[is_in],
            num_queries=NUM_QUERIES,
            num_candidates=NUM_CANDIDATES,
        )
        weights = pa.array(rng.uniform(0.5, 2, events.num_events).astype(np.float32))
        return dataclasses.replace(events, events=events.events.append_column("weight", weights))

    nothing = part(np.zeros(len(queries), bool))
    # The last batch of an epoch holds fewer events than the others.
    return Split(train=part(draws < 0.6), validation=part(draws >= 0.6), test=nothing, history=nothing)


def by_event(train: tt.Interactions) -> tuple[JointModel, tf.data.Dataset]:
    """A sampled softmax with estimated frequencies and uniform negatives; ratings with negatives and normalisation."""
    frequencies = tt.tasks.FrequencyEstimator(num_slots=240)
    retrieval = tt.build_two_tower(
        train,
        query=tt.SumTowerConfig(features=(USER,), output_dim=8, has_bias=True),
        candidate=SUM_CANDIDATE,
        task=tt.tasks.SampledSoftmaxTask(frequencies=frequencies, learns_temperature=True),
    )
    rating = tt.build_two_tower(
        train,
        query=tt.MLPTowerConfig(features=(USER, PAST), **MLP),
        candidate=tt.MLPTowerConfig(features=(MOVIE,), **MLP),
    )
    uniform = tt.batches.InBatchNegatives(train, threshold=3, num_uniform=9)
    sampler = tt.batches.NegativeSampler(train, per_positive=1, threshold=3)
    options = {"batch_size": 65, "seed": 0}
    batches = tf.data.Dataset.zip(
        tt.batches.JointBatch(
            retrieval.training_batches(train, negatives=uniform, **options),
            rating.training_batches(train, negatives=sampler, **options),
        )
    )
    return JointModel(retrieval_model=retrieval, rating_model=rating, rating_weight=0.5), batches


def by_query(train: tt.Interactions) -> tuple[JointModel, tf.data.Dataset]:
    """The full softmax and ordinal ratings, by query."""
    towers = {"query": SUM_QUERY, "candidate": SUM_CANDIDATE}
    model = JointModel(
        retrieval_model=tt.build_two_tower(train, **towers, task=tt.tasks.FullSoftmaxTask()),
        rating_model=tt.build_two_tower(train, **towers, task=tt.tasks.RatingTask(other_thresholds=(2.0, 5.0))),
    )
    return model, model.query_batches(train, batch_size=15, seed=0)


def by_event_simple(train: tt.Interactions, strategy: tf.distribute.Strategy, step: float) -> tt.model.TwoTowerModel:
    """Ratings from ids alone."""
    tf.keras.utils.set_random_seed(0)
    with strategy.scope():
        model = tt.build_two_tower(
            train,
            query=tt.SumTowerConfig(features=(USER,), output_dim=4),
            candidate=tt.SumTowerConfig(features=(MOVIE,), output_dim=4),
        )
        model.compile(optimizer=tt.training.LazyAdam(step))
    return model


class Losses(tf.keras.callbacks.Callback):
    """Remembers the mean losses after each step."""

    def on_train_begin(self, logs=None) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.losses.append(logs["loss"])


def uses_servers(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether parameter servers keep the weights."""
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def train(case: str, strategy: tf.distribute.Strategy | None) -> dict:
    """Trains the model of a case, and returns its losses and metrics."""
    split, losses = make_split(), Losses()
    tf.keras.utils.set_random_seed(0)
    build: Callable = globals()[case]
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        model, batches = build(split.train)
        model.compile(optimizer=tt.training.LazyAdam(STEPS[case]))
    validation = tt.training.ValidationMetrics(split, k=10)
    average = tt.training.AveragedWeights(decay=0.9)
    # The coordinator of parameter servers does not see single steps, but the means over epochs.
    callbacks = [average, validation, *([] if uses_servers(strategy) else [losses])]
    logs = model.fit(batches, epochs=3, callbacks=callbacks, verbose=0).history
    result = {"epoch_losses": logs["loss"], "metrics": {name: values[-1] for name, values in logs.items()}}
    if not uses_servers(strategy):
        result["losses"] = losses.losses
    return result


def export(model: tt.model.TwoTowerModel, train: tt.Interactions, folder: Path, publish: Callable[..., Path]) -> dict:
    """Publishes a model, and returns the path and what the model itself recommends to two queries."""
    queries, candidates = model.embed(train)
    scores = queries @ candidates.T
    scores[train.query_rows, train.candidate_rows] = -np.inf
    version = publish(model, train, folder, build_index=tt.index.build_exact_index)
    ranked = [[f"m{row}" for row in np.argsort(-scores[query])[:3]] for query in (0, 39)]
    return {"bundle": str(version), "ranked": ranked}


def restart(strategy: tf.distribute.Strategy, folder: Path) -> dict:
    """Trains with backups until the second worker stops after four epochs; the first time, it dies before the third."""
    task, split = strategy.cluster_resolver.task_id, make_split()
    died = folder / "died"

    class End(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None) -> None:
            if epoch == 2 and not died.exists() and task == 1:
                died.touch()
                os._exit(9)

        def on_epoch_end(self, epoch, logs=None) -> None:
            if epoch == 3 and task == 1:
                self.model.stop_training = True

    model = by_event_simple(split.train, strategy, 0.01)
    batches = model.training_batches(split.train, batch_size=100, seed=0)
    backup = tf.keras.callbacks.BackupAndRestore(str(folder / "backup"))
    history = model.fit(batches, epochs=9, callbacks=[backup, End()], verbose=0)
    exported = export(model, split.train, folder / "restarted", export_version)
    return {
        **exported,
        "epochs": history.epoch,
        "steps": int(model.optimizer.iterations.numpy()),
        "per_epoch": len(batches),
    }


def lose_worker(strategy: tf.distribute.Strategy, folder: Path) -> dict:
    """Trains while a worker is killed after the second epoch, and evaluates on the way."""
    split = make_split()

    class Ask(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None) -> None:
            if epoch == 1:
                (folder / "kill").touch()
                while (folder / "kill").exists():
                    time.sleep(0.1)

    model = by_event_simple(split.train, strategy, 0.05)
    batches = model.training_batches(split.train, batch_size=30, seed=0)
    validation = model.evaluation_batches(split.validation)
    logs = model.fit(batches, epochs=8, validation_data=validation, callbacks=[Ask()], verbose=0).history
    found = model.evaluate(validation, verbose=0, return_dict=True)
    scores = model.predict(validation, verbose=0)
    with strategy.scope(), contextlib.suppress(NotImplementedError):
        tt.fit_recipe(tt.choose_recipe(split.train), split, seed=0)
        raise AssertionError("A recipe needs whole tables.")
    return {
        **export(model, split.train, folder / "worker_lost", export_unchecked),
        "losses": logs["val_loss"],
        "evaluated": found["loss"],
        "scores": len(scores),
        "pairs": split.validation.num_events,
        "parts": sum("part_" in variable.name for variable in model.trainable_variables),
    }


def serve(tasks: list[str]) -> None:
    """Runs TensorFlow's servers of workers and parameter servers, such as `ps-0`, until it is killed."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    kinds = (task.rsplit("-", 1) for task in tasks)
    servers = [tf.distribute.Server(cluster, job_name=kind, task_index=int(index)) for kind, index in kinds]
    servers[0].join()


def make_servers() -> tf.distribute.Strategy:
    """Makes a strategy whose tables, but no smaller weights, are split between two parameter servers."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    partitioner = tf.distribute.experimental.partitioners.MinSizePartitioner(min_shard_bytes=600, max_shards=2)
    return tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=partitioner)


def main() -> None:
    """Trains what the command line says."""
    kind, folder, *cases = sys.argv[1:]
    if kind == "serve":
        serve(cases)
    strategies: dict[str, tf.distribute.Strategy | None] = {}
    task = 0
    if kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategies = {"single": None, "mirrored": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])}
    elif kind == "servers":
        strategies = {"servers": make_servers()}
    else:
        strategies = {"workers": tf.distribute.MultiWorkerMirroredStrategy()}
        task = strategies["workers"].cluster_resolver.task_id
    for case in cases:
        for name, strategy in strategies.items():
            if case == "restart":
                result = restart(strategy, Path(folder))
            elif case == "lose_worker":
                result = lose_worker(strategy, Path(folder))
            else:
                result = train(case, strategy)
            Path(folder, f"{case}-{name}-{task}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
