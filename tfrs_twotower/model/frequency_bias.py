"""A bias that starts from popularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class FrequencyBias(tf.keras.layers.Layer):
    """The logarithm of how often a value occurs, times a learnt factor that starts at 1.

    A softmax over all candidates without anything personal has its optimum there.

    Args:
        num_codes: Codes of the value's lookup, of which the last have been counted.

    Example:
        >>> layer = FrequencyBias(num_codes=4)
        >>> layer.learn([7, 0])
        >>> print(layer(tf.constant([0, 1, 2, 3])).numpy().round(2))  # log(1 + count) minus its mean over known values
        [-1.04 -1.04  1.04 -1.04]
    """

    def __init__(self, *, num_codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.log_counts = self.add_weight(name="log_counts", shape=(num_codes,), initializer="zeros", trainable=False)

    def learn(self, counts: Sequence[int]) -> None:
        """Takes over the counts of the last `len(counts)` codes; the other codes have never been seen.

        Args:
            counts: Number of training events of each known value.
        """
        if not len(counts):
            return
        logs = np.log1p(np.concatenate([np.zeros(self.num_codes - len(counts)), counts]))
        self.log_counts.assign(logs - logs[-len(counts) :].mean())

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        """Encodes int64 [batch] as float32 [batch]."""
        return self.factor * tf.nn.embedding_lookup(self.log_counts, codes)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_codes": self.num_codes}
