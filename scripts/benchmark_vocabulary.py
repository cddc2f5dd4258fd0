"""Duration of a training step by the size of the vocabularies: with sparse updates it does not grow with them.

The model has two towers with one id each, embedding dimension 64, and batches of 1,024 events with random ids. The
optimizer is LazyAdam. Keras's Adam, which updates every row, is measured for comparison up to a million ids.
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

from tfrs_twotower.batches import EventBatch
from tfrs_twotower.features import Vocabularies, Vocabulary
from tfrs_twotower.model import TwoTowerModel
from tfrs_twotower.model.tasks import RatingTask
from tfrs_twotower.model.two_tower import join_towers
from tfrs_twotower.training import LazyAdam

BATCH_SIZE = 1024
EMBEDDING_DIM = 64
#: Number of steps, and how many of them are warm-up, in which the system still hands out memory page by page.
STEPS = {"LazyAdam": (600, 300), "Keras's Adam": (20, 5)}
#: Maximum number of rows for which Keras's Adam is measured.
MAX_ROWS_OF_ADAM = 1_000_000


def main() -> None:
    """Measures each optimizer at each size, and prints the figures."""
    arguments = parse_arguments()
    rows: list[Row] = []
    rounds: dict[tuple[str, int], list[float]] = {}
    contenders = {"LazyAdam": LazyAdam, "Keras's Adam": tf.keras.optimizers.Adam}
    # The models of all sizes would not fit into memory together, so each round goes through the sizes in turn.
    for _ in range(arguments.repeats):
        for size in arguments.vocabulary:
            for name, optimizer in contenders.items():
                if name != "LazyAdam" and size > MAX_ROWS_OF_ADAM:
                    continue
                seconds = time_step(size, optimizer(1e-3), *STEPS[name])
                rounds.setdefault((name, size), []).append(seconds)
    steps = {case: statistics.median(seconds) for case, seconds in rounds.items()}
    for (name, size), seconds in steps.items():
        case = f"{name}, {size:,} queries and candidates"
        rows.append(Row(case=case, metric="step", value=seconds * 1e3, unit="ms"))
        ratio = seconds / steps[name, min(arguments.vocabulary)]
        rows.append(Row(case=case, metric=f"step / step at {min(arguments.vocabulary):,}", value=ratio, unit="x"))
    show("Training steps of 1,024 events, median of the rounds' medians", rows, arguments.json)


def parse_arguments() -> argparse.Namespace:
    """Parses `--vocabulary`, `--repeats` and `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--vocabulary",
        type=lambda text: [int(part.replace("_", "")) for part in text.split(",")],
        default=[10_000, 100_000, 1_000_000, 5_000_000],
        metavar="N,N,...",
        help="ids of each tower (default 10_000,100_000,1_000_000,5_000_000; the last takes 12 GB of memory)",
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser.parse_args()


def time_step(size: int, optimizer: tf.keras.optimizers.Optimizer, num_steps: int, num_warm_up: int) -> float:
    """Returns the median seconds of a step after the warm-up."""
    model = build_model(size)
    model.compile(optimizer=optimizer)
    timer = StepTimer()
    model.fit(make_batches(size, num_steps), epochs=1, verbose=0, callbacks=[timer])
    del model
    gc.collect()
    return float(np.median(timer.seconds[num_warm_up:]))


def build_model(size: int) -> TwoTowerModel:
    """Builds a model of two towers with one id each."""
    user, item = tt.Categorical(name="user_id"), tt.Categorical(name="item_id")
    values = known_values(size)
    query, candidate = (
        tt.MLPTowerConfig(features=(feature,), embedding_dim=EMBEDDING_DIM, output_dim=EMBEDDING_DIM)
        for feature in (user, item)
    )
    return join_towers(
        query=query,
        candidate=candidate,
        query_vocabularies=Vocabularies({"user_id": values}),
        candidate_vocabularies=Vocabularies({"item_id": values}),
        task=RatingTask(),
    )


@functools.lru_cache(maxsize=1)
def known_values(size: int) -> Vocabulary:
    """Returns a vocabulary of ids of equal length."""
    return Vocabulary(tuple(np.arange(10_000_000, 10_000_000 + size).astype(str).tolist()))


def make_batches(size: int, num_batches: int) -> tf.data.Dataset:
    """Makes batches of random codes and ratings in memory, since the input pipeline is not measured."""
    generator = np.random.default_rng(0)
    shape = (num_batches, BATCH_SIZE)
    codes = {name: generator.integers(2, size + 2, shape) for name in ("user_id", "item_id")}
    return tf.data.Dataset.from_tensor_slices(
        EventBatch(
            query={"user_id": codes["user_id"]},
            candidate={"item_id": codes["item_id"]},
            candidate_rows=codes["item_id"] - 2,
            ratings=generator.integers(1, 6, shape).astype(np.float32),
        )
    )


class StepTimer(tf.keras.callbacks.Callback):
    """Records the seconds of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the watch."""
        del batch, logs
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops the watch; the step is over, since Keras has fetched the losses."""
        del batch, logs
        self.seconds.append(time.perf_counter() - self._start)


if __name__ == "__main__":
    main()
