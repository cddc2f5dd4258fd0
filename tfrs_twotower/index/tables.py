"""Lookup tables of ids."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def build_table(ids: list[str], rows: np.ndarray, *, default: int) -> tf.lookup.StaticHashTable:
    """Id -> int32 row, or else `default`."""
    # TensorFlow refuses an empty table; "" is no id, and finds what is not found.
    keys, values = [*ids, ""], np.append(rows, default)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, tf.int32))
    return tf.lookup.StaticHashTable(initializer, default)
