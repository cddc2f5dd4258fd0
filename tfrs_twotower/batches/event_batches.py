"""Events and encoded features in, `tf.data` batches out: a place in the epoch is an event, an event is three gathers.

The events' columns are read where they lie, in memory or in a mapped file; nothing of their length is copied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.histories import HistorySource
from tfrs_twotower.batches.negatives import NEGATIVE_RATING, InBatchNegatives, NegativeSampler
from tfrs_twotower.batches.shuffle import shuffled_positions
from tfrs_twotower.data.interactions import Interactions

#: Feature name -> what a tower's lookup made of it, one row per query (or candidate).
EncodedTable = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One worker's part of every epoch: each `count`-th event, from the `index`-th on.

    Attributes:
        index: This worker, 0 <= index < count.
        count: Number of workers, >= 1.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"`index` must be in 0..count - 1. Received: index={self.index}, count={self.count}.")

    def size(self, num_events: int) -> int:
        """Events of this worker in an epoch of all workers' `num_events`."""
        return max(0, -(-(num_events - self.index) // self.count))


WHOLE = Shard(index=0, count=1)


def build_training_batches(
    interactions: Interactions,
    queries: EncodedTable,
    candidates: EncodedTable,
    *,
    batch_size: int,
    seed: int,
    initial_epoch: int = 0,
    shard: Shard = WHOLE,
    negatives: NegativeSampler | InBatchNegatives | None = None,
    history: HistorySource | None = None,
) -> tf.data.Dataset:
    """Shuffled batches for `model.fit`. The n-th iteration over the data set is epoch `initial_epoch + n`.

    Any iteration counts, a look at the first batch too: look at a data set of its own.

    Args:
        interactions: The training part.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].
        batch_size: Events per batch, >= 1. The last batch of an epoch may be smaller, negatives come on top.
        seed: Of the shuffle and of the negatives, >= 0.
        initial_epoch: Epoch of the first iteration; for a training that goes on where it stopped, the same as `fit`'s.
        shard: This worker's part.
        negatives: A `NegativeSampler` adds candidates that the query never met, with a rating of 0, after the events.
            The queries' features, and histories, stay one row per event, and "query_place" int32 [pairs] says whose
            each pair is. `InBatchNegatives` add their uniform candidates after the events', and for a softmax
            "candidate_row" int32 [num_rows], "is_other_positive" bool [batch, num_rows] and "log_frequency" float32
            [num_rows].
        history: Adds what the query did besides.

    Returns:
        Batches as in `build_evaluation_batches`, in the order of `shuffled_positions`; cardinality is known.

    Raises:
        ValueError: If `batch_size` is below 1, an encoded table has another length, or the history's timeline is of
            other events.
    """

    def order(places: np.ndarray, number: int) -> np.ndarray:
        return shuffled_positions(places, interactions.num_events, seed=seed, epoch=number)

    columns = _EventColumns(interactions, order, shard, batch_size, seed, negatives, history)
    return gather_batches(epoch_numbers(initial_epoch), columns, queries, candidates)


def build_evaluation_batches(
    interactions: Interactions,
    queries: EncodedTable,
    candidates: EncodedTable,
    *,
    batch_size: int,
    history: HistorySource | None = None,
) -> tf.data.Dataset:
    """Batches in the order of the events, the same each time.

    Args:
        interactions: Any part.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].
        batch_size: Events per batch, >= 1.
        history: Adds what the query is known to have done, usually a `HistoryKnown`.

    Returns:
        Batches `{"query": {name: [batch, ...]}, "candidate": {name: [batch, ...]}, "candidate_row": int32 [batch],
        "rating": float32 [batch]}`; with
        weights, "weight" float32 [batch]; with a history, "history" int32 [batch, length], rows of candidates or -1,
        and "history_rating" float32 [batch, length], 0 beside a -1.

    Raises:
        ValueError: If `batch_size` is below 1, an encoded table has another length, or the history's timeline is of
            other events.
    """
    columns = _EventColumns(interactions, lambda places, _: places, WHOLE, batch_size, 0, None, history)
    return gather_batches(tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)), columns, queries, candidates)


class Columns(Protocol):
    """The columns of batches, in NumPy: what the gathers of features are made from.

    Attributes:
        num_queries: Rows of the queries' features.
        num_candidates: Rows of the candidates' features.
        num_batches: Batches of an epoch.
        specs: Name, shape and dtype of each column, with "query_row" and "candidate_row" among them.
    """

    num_queries: int
    num_candidates: int
    num_batches: int
    specs: dict[str, tf.TensorSpec]

    def batch(self, epoch: int, number: int) -> list[np.ndarray]:
        """Batch `number` of an epoch, one array per entry of `specs`."""


def epoch_numbers(initial_epoch: int) -> tf.data.Dataset:
    """One epoch's number, int64, the next one at each iteration."""
    epoch = initial_epoch

    def epochs() -> Iterator[int]:
        nonlocal epoch
        epoch += 1
        yield epoch - 1

    return tf.data.Dataset.from_generator(epochs, output_signature=tf.TensorSpec([], tf.int64))


def gather_batches(
    epochs: tf.data.Dataset, columns: Columns, queries: EncodedTable, candidates: EncodedTable
) -> tf.data.Dataset:
    """Batches in which rows have become features: "query" and "candidate", beside the other columns.

    Args:
        epochs: Numbers of the epochs that one iteration goes through.
        columns: What the batches hold.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].

    Raises:
        ValueError: If an encoded table has another length.
    """
    for name, tables, num_rows in (
        ("queries", queries, columns.num_queries),
        ("candidates", candidates, columns.num_candidates),
    ):
        for feature, values in tables.items():
            if len(values) != num_rows:
                raise ValueError(f"`{name}[{feature!r}]` must have {num_rows} rows. Received: {len(values)}.")
    query_tables = {name: tf.constant(values) for name, values in queries.items()}
    candidate_tables = {name: tf.constant(values) for name, values in candidates.items()}
    dtypes = [spec.dtype for spec in columns.specs.values()]

    def batch(epoch: tf.Tensor, number: tf.Tensor) -> dict[str, Any]:
        arrays = tf.numpy_function(columns.batch, [epoch, number], dtypes, stateful=False)
        named = {
            name: tf.ensure_shape(array, spec.shape)
            for (name, spec), array in zip(columns.specs.items(), arrays, strict=True)
        }
        query, candidate = named.pop("query_row"), named["candidate_row"]
        return {
            "query": {name: tf.gather(table, query) for name, table in query_tables.items()},
            "candidate": {name: tf.gather(table, candidate) for name, table in candidate_tables.items()},
            **named,
        }

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(columns.num_batches)
        return numbers.map(lambda number: batch(epoch, number), num_parallel_calls=tf.data.AUTOTUNE)

    batches = epochs.flat_map(epoch_batches).apply(tf.data.experimental.assert_cardinality(columns.num_batches))
    return batches.prefetch(tf.data.AUTOTUNE)


class _EventColumns:
    """Batches of events."""

    def __init__(
        self,
        interactions: Interactions,
        order: Callable[[np.ndarray, int], np.ndarray],
        shard: Shard,
        batch_size: int,
        seed: int,
        negatives: NegativeSampler | InBatchNegatives | None,
        history: HistorySource | None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}.")
        if history is not None and history.is_of_own_events and not history.timeline.is_of(interactions):
            raise ValueError(
                f"`history` must have the timeline of the very events that the batches are made of, in their order: a "
                f"{type(history).__name__} looks an event up by its row. For other events there is HistoryKnown."
            )
        self._query_rows, self._candidate_rows = interactions.query_rows, interactions.candidate_rows
        self._ratings, self._weights = interactions.ratings, interactions.weights
        self._order, self._shard, self._batch_size, self._seed = order, shard, batch_size, seed
        self._negatives, self._history = negatives, history
        self.num_queries, self.num_candidates = interactions.num_queries, interactions.num_candidates
        self._num_places = shard.size(interactions.num_events)
        self.num_batches = -(-self._num_places // batch_size)
        self.specs = {
            "query_row": tf.TensorSpec([None], tf.int32),
            "candidate_row": tf.TensorSpec([None], tf.int32),
            "rating": tf.TensorSpec([None], tf.float32),
        }
        if self._weights is not None:
            self.specs["weight"] = tf.TensorSpec([None], tf.float32)
        if isinstance(negatives, NegativeSampler):
            self.specs["query_place"] = tf.TensorSpec([None], tf.int32)
        if isinstance(negatives, InBatchNegatives):
            self.specs["is_other_positive"] = tf.TensorSpec([None, None], tf.bool)
            self.specs["log_frequency"] = tf.TensorSpec([None], tf.float32)
        if history is not None:
            self.specs["history"] = tf.TensorSpec([None, history.length], tf.int32)
            self.specs["history_rating"] = tf.TensorSpec([None, history.length], tf.float32)

    def batch(self, epoch: int, number: int) -> list[np.ndarray]:
        """Batch `number` of an epoch, one array per entry of `specs`."""
        first, last = number * self._batch_size, min((number + 1) * self._batch_size, self._num_places)
        events = self._order(self._shard.index + self._shard.count * np.arange(first, last), int(epoch))
        columns = {
            "query_row": self._query_rows[events],
            "candidate_row": self._candidate_rows[events],
            "rating": self._ratings[events],
        }
        if self._weights is not None:
            columns["weight"] = self._weights[events]
        if self._history is not None:
            slots = self._history.slots(events, columns["query_row"], columns["candidate_row"])
            columns["history"], columns["history_rating"] = self._history.timeline.candidates_at(slots)
        generator = np.random.default_rng([self._seed, int(epoch), int(number), self._shard.index])
        if isinstance(self._negatives, InBatchNegatives):
            described = self._negatives.describe(columns["query_row"], columns["candidate_row"], generator)
            columns["candidate_row"], columns["is_other_positive"], columns["log_frequency"] = described
        if isinstance(self._negatives, NegativeSampler):
            beside, drawn = self._negatives.sample(columns["query_row"], columns["rating"], generator)
            columns["candidate_row"] = np.concatenate([columns["candidate_row"], drawn])
            columns["rating"] = np.concatenate([columns["rating"], np.full(len(drawn), NEGATIVE_RATING, np.float32)])
            if self._weights is not None:
                columns["weight"] = np.concatenate([columns["weight"], columns["weight"][beside]])
            columns["query_place"] = np.concatenate([np.arange(len(events)), beside]).astype(np.int32)
        return [columns[name] for name in self.specs]
