"""Events and encoded features in, `tf.data` batches out: an epoch is a permutation and three gathers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions

#: Feature name -> what a tower's lookup made of it, one row per query (or candidate).
EncodedTable = Mapping[str, np.ndarray]


def raw_features(table: pa.Table, names: Sequence[str]) -> dict[str, tf.Tensor]:
    """Turns Arrow columns into the raw tensors that a tower takes.

    Args:
        table: Queries or candidates.
        names: Columns wanted.

    Returns:
        Strings: string [num_rows], null as "". Lists of strings: string [num_rows, longest], padded with "".
        Numbers: float32 [num_rows], null as NaN.

    Raises:
        ValueError: If a column is missing.
        TypeError: If a column holds something else.

    Example:
        >>> raw_features(pa.table({"genres": [["War"], ["Drama", "War"]]}), ["genres"])["genres"].numpy().tolist()
        [[b'War', b''], [b'Drama', b'War']]
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"The table has no column {', '.join(missing)}. Its columns: {', '.join(table.column_names)}.")
    return {name: _raw_tensor(name, table[name].combine_chunks()) for name in names}


def _raw_tensor(name: str, column: pa.Array) -> tf.Tensor:
    if pa.types.is_string(column.type):
        return tf.constant(column.fill_null("").to_numpy(zero_copy_only=False), tf.string, shape=(len(column),))
    if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
        rows = tf.RaggedTensor.from_row_lengths(
            tf.constant(column.flatten().to_numpy(zero_copy_only=False), tf.string, shape=(len(column.flatten()),)),
            column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64),
        )
        return rows.to_tensor(default_value="")
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return tf.constant(column.cast(pa.float32()).to_numpy(zero_copy_only=False), tf.float32)
    raise TypeError(f"`{name}` must hold strings, lists of strings, or numbers. Received: {column.type}.")


def epoch_order(num_events: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits the events; follows from (seed, epoch) alone, on every machine.

    Args:
        num_events: Number of events.
        seed: Any integer >= 0.
        epoch: Number of the epoch, from 0.

    Returns:
        int64 [num_events], a permutation.

    Example:
        >>> epoch_order(5, seed=1, epoch=0).tolist() == epoch_order(5, seed=1, epoch=0).tolist()
        True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(num_events)


def build_training_batches(
    interactions: Interactions,
    queries: EncodedTable,
    candidates: EncodedTable,
    *,
    batch_size: int,
    seed: int,
    initial_epoch: int = 0,
) -> tf.data.Dataset:
    """Shuffled batches for `model.fit`. The n-th iteration over the data set is epoch `initial_epoch + n`.

    Any iteration counts, a look at the first batch too: look at a data set of its own.

    Args:
        interactions: The training part.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].
        batch_size: Events per batch, >= 1. The last batch of an epoch may be smaller.
        seed: Of the shuffle, >= 0.
        initial_epoch: Epoch of the first iteration; for a training that goes on where it stopped, the same as `fit`'s.

    Returns:
        Batches as in `build_evaluation_batches`, in the order of `epoch_order`; cardinality is known.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    epoch = initial_epoch

    def orders() -> Iterator[np.ndarray]:
        nonlocal epoch
        order = epoch_order(interactions.num_events, seed=seed, epoch=epoch)
        epoch += 1
        yield order

    order = tf.data.Dataset.from_generator(orders, output_signature=tf.TensorSpec([interactions.num_events], tf.int64))
    return _batches(order, interactions, queries, candidates, batch_size)


def build_evaluation_batches(
    interactions: Interactions, queries: EncodedTable, candidates: EncodedTable, *, batch_size: int
) -> tf.data.Dataset:
    """Batches in the order of the events, the same each time.

    Args:
        interactions: Any part.
        queries: Encoded features, arrays [num_queries, ...].
        candidates: Encoded features, arrays [num_candidates, ...].
        batch_size: Events per batch, >= 1.

    Returns:
        Batches `{"query": {name: [batch, ...]}, "candidate": {name: [batch, ...]}, "rating": float32 [batch]}`.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    order = tf.data.Dataset.from_tensors(tf.range(interactions.num_events, dtype=tf.int64))
    return _batches(order, interactions, queries, candidates, batch_size)


def _batches(
    orders: tf.data.Dataset,
    interactions: Interactions,
    queries: EncodedTable,
    candidates: EncodedTable,
    batch_size: int,
) -> tf.data.Dataset:
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}.")
    num_batches = -(-interactions.num_events // batch_size)
    query_rows, candidate_rows = (
        tf.constant(interactions.query_rows),
        tf.constant(interactions.candidate_rows),
    )
    ratings = tf.constant(interactions.ratings)
    query_tables = {name: tf.constant(values) for name, values in queries.items()}
    candidate_tables = {name: tf.constant(values) for name, values in candidates.items()}

    def batch(order: tf.Tensor, number: tf.Tensor) -> dict[str, Any]:
        events = order[number * batch_size : (number + 1) * batch_size]
        query, candidate = tf.gather(query_rows, events), tf.gather(candidate_rows, events)
        return {
            "query": {name: tf.gather(table, query) for name, table in query_tables.items()},
            "candidate": {name: tf.gather(table, candidate) for name, table in candidate_tables.items()},
            "rating": tf.gather(ratings, events),
        }

    def epoch(order: tf.Tensor) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(num_batches)
        return numbers.map(lambda number: batch(order, number), num_parallel_calls=tf.data.AUTOTUNE)

    batches = orders.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(num_batches))
    return batches.prefetch(tf.data.AUTOTUNE)
