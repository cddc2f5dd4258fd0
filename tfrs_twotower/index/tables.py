"""Lookup tables from ids to row numbers."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def build_table(ids: list[str], rows: np.ndarray, *, default: int) -> tf.lookup.StaticHashTable:
    """Builds a table that maps string ids to row numbers in the graph.

    Args:
        ids: Ids, all different and not empty.
        rows: int [num_ids], the row of each id.
        default: Value for every other id, the empty one included.

    Returns:
        A table string -> int32.

    Example:
        >>> table = build_table(["a", "b"], np.array([0, 1]), default=-1)
        >>> table.lookup(tf.constant(["b", "", "c"])).numpy().tolist()
        [1, -1, -1]
    """
    # TensorFlow refuses an empty table, so the empty id is always in it.
    keys, values = [*ids, ""], np.append(rows, default)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, tf.int32))
    return tf.lookup.StaticHashTable(initializer, default)
