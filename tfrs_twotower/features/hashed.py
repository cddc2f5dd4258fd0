"""One string per row, with a vector for each hash of a value: no vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow as tf

from tfrs_twotower.features.categorical import IdFeature


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hashed(IdFeature):
    """One string per row, for values without end: values share `num_buckets` vectors by their hash.

    Nothing is learnt beforehand, and no value is unknown.

    Raw input: string [batch]; "" is missing and has a vector of its own.

    Attributes:
        name: Name of the column and of the raw input.
        num_buckets: Number of vectors, >= 2. A value shares its vector with another of n values with a probability of
            about n / num_buckets.
        embedding_dim: Length of the vector; None takes the tower's.

    Example:
        >>> Hashed(name="sku", num_buckets=100_000).num_unknown
        0
    """

    num_buckets: int

    minimums: ClassVar[Mapping[str, int]] = {"embedding_dim": 1, "num_buckets": 2}

    @property
    def num_unknown(self) -> int:
        """Returns 0: no value is unknown."""
        return 0

    def num_codes(self, values: Sequence[str]) -> int:
        """Counts the codes; see `IdFeature`."""
        del values
        return self.num_buckets + 1

    def build_value_lookup(self, values: Sequence[str], name: str) -> tf.keras.layers.Layer:
        """Builds Keras's `Hashing`; see `IdFeature`."""
        del values
        # Bin 0 belongs to the missing value.
        return tf.keras.layers.Hashing(self.num_buckets + 1, mask_value="", name=name)
