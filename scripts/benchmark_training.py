"""A training step by the size of the vocabularies: with sparse updates it takes as long for millions of ids.

Two towers of an id each, embedding dimension 64, batches of 1,024 events with ids by lot. The optimizer is LazyAdam;
Keras's Adam, which touches every row, is measured beside it where its step stays bearable.
"""

import argparse
import functools
import gc
import statistics
import time
from pathlib import Path

import numpy as np
from _benchmark import Row, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers

BATCH_SIZE = 1024
EMBEDDING_DIM = 64
#: Steps, and how many of them come before the clock counts: until then the system hands out memory page by page.
STEPS = {"LazyAdam": (600, 300), "Keras's Adam": (20, 5)}
#: Rows up to which Keras's Adam is measured.
LARGEST_OF_ADAM = 1_000_000


def main() -> None:
    """Measures and prints."""
    arguments = parse_arguments()
    rows: list[Row] = []
    rounds: dict[tuple[str, int], list[float]] = {}
    contenders = {"LazyAdam": tt.LazyAdam, "Keras's Adam": tf.keras.optimizers.Adam}
    # The models of all sizes would not fit into memory together, so the sizes take turns in rounds.
    for _ in range(arguments.repeats):
        for size in arguments.vocabulary:
            for name, optimizer in contenders.items():
                if name != "LazyAdam" and size > LARGEST_OF_ADAM:
                    continue
                seconds = time_step(size, optimizer(1e-3), *STEPS[name])
                rounds.setdefault((name, size), []).append(seconds)
    steps = {case: statistics.median(seconds) for case, seconds in rounds.items()}
    for (name, size), seconds in steps.items():
        case = f"{name}, {size:,} queries and candidates"
        rows.append(Row(case=case, metric="step", value=seconds * 1e3, unit="ms"))
        ratio = seconds / steps[name, min(arguments.vocabulary)]
        rows.append(Row(case=case, metric=f"step, of that at {min(arguments.vocabulary):,}", value=ratio, unit="x"))
    show("Training steps of 1,024 events, median of the rounds' medians", rows, arguments.json)


def parse_arguments() -> argparse.Namespace:
    """`--vocabulary`, `--repeats`, `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--vocabulary",
        type=lambda text: [int(part.replace("_", "")) for part in text.split(",")],
        default=[10_000, 100_000, 1_000_000, 5_000_000],
        metavar="N,N,...",
        help="ids of each tower (default 10_000,100_000,1_000_000,5_000_000; the last takes 12 GB of memory)",
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


def time_step(size: int, optimizer: tf.keras.optimizers.Optimizer, num_steps: int, num_warm_up: int) -> float:
    """Median seconds of a step, after the warm-up."""
    model = build_model(size)
    model.compile(optimizer=optimizer)
    timer = StepTimer()
    model.fit(make_batches(size, num_steps), epochs=1, verbose=0, callbacks=[timer])
    del model
    gc.collect()
    return float(np.median(timer.seconds[num_warm_up:]))


def build_model(size: int) -> TwoTowerModel:
    """Two towers of an id each."""
    user, item = tt.Categorical(name="user_id"), tt.Categorical(name="item_id")
    values = known_values(size)
    query, candidate = (
        tt.TowerConfig(features=(feature,), embedding_dim=EMBEDDING_DIM, output_dim=EMBEDDING_DIM)
        for feature in (user, item)
    )
    return join_towers(
        query=query,
        candidate=candidate,
        query_vocabularies=tt.Vocabularies({"user_id": values}),
        candidate_vocabularies=tt.Vocabularies({"item_id": values}),
        task=RatingTask(),
    )


@functools.lru_cache(maxsize=1)
def known_values(size: int) -> tt.Vocabulary:
    """Ids of equal length."""
    return tt.Vocabulary(tuple(np.arange(10_000_000, 10_000_000 + size).astype(str).tolist()))


def make_batches(size: int, num_batches: int) -> tf.data.Dataset:
    """Batches of codes and ratings by lot, held in memory: the pipeline is not what is measured."""
    generator = np.random.default_rng(0)
    shape = (num_batches, BATCH_SIZE)
    codes = {name: generator.integers(2, size + 2, shape) for name in ("user_id", "item_id")}
    return tf.data.Dataset.from_tensor_slices(
        {
            "query": {"user_id": codes["user_id"]},
            "candidate": {"item_id": codes["item_id"]},
            "rating": generator.integers(1, 6, shape).astype(np.float32),
        }
    )


class StepTimer(tf.keras.callbacks.Callback):
    """Seconds of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the watch."""
        del batch, logs
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops it; Keras has fetched the losses, so that the step is over."""
        del batch, logs
        self.seconds.append(time.perf_counter() - self._start)


if __name__ == "__main__":
    main()
