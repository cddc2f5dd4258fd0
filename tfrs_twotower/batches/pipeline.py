"""Builds `tf.data` pipelines: NumPy computes the rows of a batch, and the graph gathers their codes.

Python takes as long to be called for a small batch as for a large one, so the rows of many small batches are computed
at once where batches have the same shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written, is_written_for_graphs
from tfrs_twotower._cores import num_cores
from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.batch_rows import Rows, from_flat, to_flat, with_leading_dimension
from tfrs_twotower.batches.encoded import EncodedTables

#: Batches that are ready before they are asked for.
_NUM_PREFETCHED = 8


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


@runtime_checkable
class StackedRowSource(RowSource, Protocol):
    """Computes the rows of several batches at once, which takes little longer than those of one.

    Attributes:
        num_stacks: Stacks of batches of an epoch.
        batches_per_stack: Batches of each stack but the last ones, which may have fewer.
    """

    num_stacks: int
    batches_per_stack: int

    def stacked_rows(self, epoch: int, number: int) -> Any:
        """Returns the rows of stack `number` of an epoch: batches of equal size, one after the other."""


def gather_batches(source: RowSource, tables: EncodedTables, *, initial_epoch: int | None = None) -> tf.data.Dataset:
    """Returns the batches of an epoch.

    Args:
        source: Computes the rows.
        tables: The codes of the rows' queries and candidates.
        initial_epoch: Number of the first epoch; each iteration is the next one. None: each iteration is epoch 0.

    Returns:
        `EventBatch` or `QueryBatch`, as the rows assemble; of known cardinality.
    """
    # The rows of a stack are computed at once, so one stack at a time will do.
    compute, specs, count, num_parallel = source.rows, source.specs, source.num_batches, num_cores()
    batches_per_stack = 1
    if isinstance(source, StackedRowSource):
        compute, specs, count, num_parallel = source.stacked_rows, with_leading_dimension(specs), source.num_stacks, 1
        batches_per_stack = source.batches_per_stack
    in_graph = tables.in_graph()
    dtypes = [spec.dtype for spec in to_flat(specs)]

    def columns_of(epoch: np.ndarray, number: np.ndarray) -> list[np.ndarray]:
        return to_flat(compute(int(epoch), int(number)))

    def gather(epoch: tf.Tensor, number: tf.Tensor) -> EventBatch | QueryBatch:
        rows: Rows = from_flat(specs, tf.numpy_function(columns_of, [epoch, number], dtypes, stateful=False))
        query = in_graph.queries(rows.queries, rows.history, rows.history_ratings, rows.contexts, rows.history_times)
        return rows.assemble(query, in_graph.candidates(rows.candidates))

    def batches_of(numbers: tf.data.Dataset) -> tf.data.Dataset:
        batches = numbers.map(traced, num_parallel_calls=num_parallel)
        return batches.unbatch() if isinstance(source, StackedRowSource) else batches

    lookups = [history.code_ratings for history in tables.histories]
    traced = tf.function(as_written(gather, unless=not all(map(is_written_for_graphs, lookups))))
    counter = None if initial_epoch is None else EpochCounter(initial_epoch)
    numbers = number_epoch_0(count) if counter is None else counter.number_epoch(count)
    batches = batches_of(numbers).apply(tf.data.experimental.assert_cardinality(source.num_batches))
    batches = batches.prefetch(_NUM_PREFETCHED).with_options(_untuned())
    if counter is not None:

        @functools.cache  # TensorFlow takes as long to make the data set as to run many small steps
        def endless() -> tf.data.Dataset:
            batches = counter.from_start(
                lambda epoch, batch: batches_of(number_epochs(epoch, batch // batches_per_stack, count)).skip(
                    batch % batches_per_stack
                )
            )
            return batches.prefetch(_NUM_PREFETCHED).with_options(_untuned())

        _EPOCHS[batches] = Epochs(endless=endless, counters=(counter,), num_batches=source.num_batches)
    return batches


def _untuned() -> tf.data.Options:
    """Returns options without autotuning.

    Its thread, which sleeps for 10 ms, 20 ms, 40 ms and so on, may miss that an iteration has ended. Then `fit` waits
    until the thread wakes up again, and may take twice as long as the training.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def number_epoch_0(count: int) -> tf.data.Dataset:
    """Returns a data set of (epoch, number), int64, with the numbers below a count, always of epoch 0."""
    return tf.data.Dataset.range(count).map(as_written(lambda number: (tf.zeros([], tf.int64), number)))


class EpochCounter:
    """Numbers the epochs of a data set: each iteration over it begins the next one.

    Args:
        initial_epoch: Number of the first epoch.

    Example:
        >>> counter = EpochCounter(3)
        >>> [[int(epoch) for epoch, _ in counter.number_epoch(2)] for _ in range(2)]
        [[3, 3], [4, 4]]
        >>> counter.next_epoch
        5
    """

    def __init__(self, initial_epoch: int) -> None:
        # No tf.Variable: in the scope of a distribution strategy it would be distributed, which `tf.data` cannot read.
        self._latest = initial_epoch - 1
        self._start = (initial_epoch, 0)

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that begins next."""
        return self._latest + 1

    def number_epoch(self, count: int) -> tf.data.Dataset:
        """Returns a data set of (epoch, number), int64, with the numbers below a count."""

        def begin() -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(self._begin, [], tf.int64), [])

        def with_epoch(epoch: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
            # Iterations may overlap: each remembers the epoch that it began with.
            epoch = tf.cond(number == 0, begin, lambda: epoch)
            return epoch, (epoch, number)

        return tf.data.Dataset.range(count).scan(tf.zeros([], tf.int64), as_written(with_epoch))

    def start_at(self, epoch: int, batch: int) -> None:
        """Sets where the next iteration over an endless data set starts.

        Args:
            epoch: The epoch that begins next.
            batch: Batches of it that have been seen already.
        """
        self._latest, self._start = epoch - 1, (epoch, batch)

    def from_start(self, make: Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]) -> tf.data.Dataset:
        """Returns a data set that looks only when it is iterated over where it starts.

        Args:
            make: From the epoch and the number of the batch that it starts at, int64 scalars, to the data set.
        """

        def start() -> np.ndarray:
            return np.array(self._start, np.int64)

        def from_there(_: tf.Tensor) -> tf.data.Dataset:
            place = tf.ensure_shape(tf.numpy_function(start, [], tf.int64), [2])
            return make(place[0], place[1])

        return tf.data.Dataset.from_tensors(0).flat_map(as_written(from_there))

    def begin_epoch(self) -> None:
        """Counts an epoch that is read from an endless data set."""
        self._begin()

    def _begin(self) -> np.int64:
        self._latest += 1
        return np.int64(self._latest)


def number_epochs(epoch: tf.Tensor, number: tf.Tensor, count: int) -> tf.data.Dataset:
    """Returns an endless data set of (epoch, number), int64, with the numbers below a count.

    Args:
        epoch: int64 scalar, the first epoch.
        number: int64 scalar, the first number in it.
        count: Numbers of an epoch.

    Example:
        >>> numbers = number_epochs(tf.constant(5, tf.int64), tf.constant(1, tf.int64), 2)
        >>> [(int(epoch), int(number)) for epoch, number in numbers.take(3)]
        [(5, 1), (6, 0), (6, 1)]
    """
    return tf.data.Dataset.counter().map(lambda place: (epoch + (number + place) // count, (number + place) % count))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epochs:
    """The epochs of a data set one after the other: TensorFlow takes longer to begin an iteration than a small step.

    Attributes:
        endless: Makes a data set of the batches of all epochs.
        counters: Number the epochs; more than one if batches are put together from several data sets.
        num_batches: Batches of an epoch.
    """

    endless: Callable[[], tf.data.Dataset]
    counters: tuple[EpochCounter, ...]
    num_batches: int

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that begins next."""
        return self.counters[0].next_epoch

    def start_at(self, epoch: int, batch: int) -> None:
        """Sets where the next iteration over the endless data set starts; see `EpochCounter.start_at`."""
        for counter in self.counters:
            counter.start_at(epoch, batch)

    def begin_epoch(self) -> None:
        """Counts an epoch that is read from the endless data set."""
        for counter in self.counters:
            counter.begin_epoch()


_EPOCHS: weakref.WeakKeyDictionary[tf.data.Dataset, Epochs] = weakref.WeakKeyDictionary()


def epochs_of(batches: Any) -> Epochs | None:
    """Returns the epochs of batches that this module made, None for any other data.

    Args:
        batches: Whatever was given to `fit`.
    """
    return _EPOCHS.get(batches) if isinstance(batches, tf.data.Dataset) else None


def map_batches(batches: tf.data.Dataset, function: Callable[[Any], Any]) -> tf.data.Dataset:
    """Maps batches, and remains able to give their epochs.

    Args:
        batches: Made by this module.
        function: From a batch to a batch.
    """
    epochs, mapped = epochs_of(batches), batches.map(function)
    if epochs is not None:
        endless = epochs.endless
        _EPOCHS[mapped] = dataclasses.replace(epochs, endless=functools.cache(lambda: endless().map(function)))
    return mapped


def zip_batches(
    first: tf.data.Dataset, second: tf.data.Dataset, function: Callable[[Any, Any], Any]
) -> tf.data.Dataset:
    """Puts together the batches of two data sets that have equally many, and remains able to give their epochs.

    Args:
        first: Made by this module.
        second: Made by this module.
        function: From a batch of each to a batch.
    """
    both, zipped = (epochs_of(first), epochs_of(second)), tf.data.Dataset.zip(first, second).map(function)
    if both[0] is not None and both[1] is not None:
        of_first, of_second = both[0], both[1]
        _EPOCHS[zipped] = Epochs(
            endless=functools.cache(lambda: tf.data.Dataset.zip(of_first.endless(), of_second.endless()).map(function)),
            counters=(*of_first.counters, *of_second.counters),
            num_batches=of_first.num_batches,
        )
    return zipped
