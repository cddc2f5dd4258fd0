"""Lookup tables of ids."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower.serving.vectors import NO_ROW


def build_table(ids: list[str], rows: np.ndarray, *, default: int) -> tf.lookup.StaticHashTable:
    """Id -> row, or else `default`; int32 where that is `NO_ROW`, and int64 elsewhere."""
    dtype = tf.int32 if default == NO_ROW else tf.int64
    # TensorFlow refuses an empty table; "" is no id, and finds what is not found.
    keys, values = [*ids, ""], np.append(rows, default)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, dtype))
    return tf.lookup.StaticHashTable(initializer, default)
