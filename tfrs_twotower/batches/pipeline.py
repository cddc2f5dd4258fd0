"""Builds `tf.data` pipelines: NumPy computes the rows of a batch, and the graph gathers their codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, QueryBatch, Rows, from_flat, to_flat
from tfrs_twotower.batches.encoded import EncodedTables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One worker's part of every epoch: each `count`-th event, from the `index`-th on.

    Attributes:
        index: This worker, 0 <= index < count.
        count: Number of workers, >= 1.

    Example:
        >>> [Shard(index=index, count=3).size(10) for index in range(3)]
        [4, 3, 3]
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"`index` must be in 0..count - 1. Received: index={self.index}, count={self.count}.")

    def size(self, num_events: int) -> int:
        """Counts this worker's events in an epoch of `num_events` events of all workers."""
        return max(0, -(-(num_events - self.index) // self.count))


#: The shard of a single worker, which is the whole epoch.
WHOLE = Shard(index=0, count=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochOrder:
    """Determines the order of the events of an epoch, in the same way on every machine.

    Attributes:
        seed: Seed of the shuffle and of every other random draw, >= 0.
        initial_epoch: Number of the first epoch, to continue a training where it stopped.
        shard: This worker's part.
    """

    seed: int
    initial_epoch: int = 0
    shard: Shard = WHOLE


class RowSource(Protocol):
    """Computes the rows of batches.

    Attributes:
        num_batches: Batches of an epoch.
        specs: Shape and dtype of each column of the rows, None for a column that is absent.
    """

    num_batches: int
    specs: Any

    def rows(self, epoch: int, number: int) -> Any:
        """Returns the rows of batch `number` of an epoch, as NumPy arrays."""


def epoch_numbers(initial_epoch: int) -> tf.data.Dataset:
    """Returns a data set of one epoch's number, int64, which is the next one at each iteration.

    Args:
        initial_epoch: The first number.
    """
    epoch = initial_epoch

    def epochs() -> Iterator[int]:
        nonlocal epoch
        epoch += 1
        yield epoch - 1

    return tf.data.Dataset.from_generator(epochs, output_signature=tf.TensorSpec([], tf.int64))


def gather_batches(epochs: tf.data.Dataset, source: RowSource, tables: EncodedTables) -> tf.data.Dataset:
    """Returns the batches of epochs.

    Args:
        epochs: Numbers of the epochs that one iteration goes through.
        source: Computes the rows.
        tables: The codes of the rows' queries and candidates.

    Returns:
        `EventBatch` or `QueryBatch`, as the rows assemble; of known cardinality.
    """
    in_graph = tables.in_graph()
    dtypes = [spec.dtype for spec in to_flat(source.specs)]

    def compute(epoch: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        return to_flat(source.rows(int(epoch), int(number)))

    def batch(epoch: tf.Tensor, number: tf.Tensor) -> EventBatch | QueryBatch:
        columns = tf.numpy_function(compute, [epoch, number], dtypes, stateful=False)
        rows: Rows = from_flat(source.specs, columns)
        return rows.assemble(
            in_graph.queries(rows.queries, rows.history, rows.history_ratings), in_graph.candidates(rows.candidates)
        )

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(source.num_batches)
        return numbers.map(lambda number: batch(epoch, number), num_parallel_calls=tf.data.AUTOTUNE)

    batches = epochs.flat_map(epoch_batches).apply(tf.data.experimental.assert_cardinality(source.num_batches))
    return batches.prefetch(tf.data.AUTOTUNE)
