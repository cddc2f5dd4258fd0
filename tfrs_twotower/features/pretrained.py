"""A given vector per row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.columns import as_float32, is_any_list, is_number, list_rows, require_not
from tfrs_twotower.features.feature import NumberFeature
from tfrs_twotower.features.vocabularies import Learnt

# Greatest number of a vector, which the tower's matrices multiply.
_MAX_NUMBER = 1e6


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainedEmbedding(NumberFeature):
    """A given vector per row, such as an image encoder's; it goes into the tower as it is.

    Raw input: float32 [batch, dim]. A vector with a number that is not finite is missing: all is zero, and one more
    input of the tower marks it. Numbers in a request are clipped to -1,000,000..1,000,000; those in a column must
    lie in that range.

    Attributes:
        name: Name of the column, which holds lists of `dim` numbers or null, and of the raw input.
        dim: Length of the vector, >= 1.

    Example:
        >>> PretrainedEmbedding(name="photo", dim=512).raw_specs[0].shape
        TensorShape([None, 512])
    """

    dim: int

    minimums: ClassVar[Mapping[str, int]] = {"dim": 1}
    wanted_values: ClassVar[str] = "lists of numbers"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """float32 [batch, dim]."""
        return (tf.TensorSpec([None, self.dim], tf.float32, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts lists of numbers."""
        return is_any_list(kind) and (is_number(kind.value_type) or bool(pa.types.is_null(kind.value_type)))

    def require_possible_values(self, column: pa.Array) -> None:
        """Raises an error for vectors that are not finite, or with numbers out of range; see `ColumnFeature`."""
        numbers, rows = as_float32(column.flatten()), list_rows(column)
        for is_bad_number, rule in (
            (~np.isfinite(numbers), "hold finite vectors; a missing one is null"),
            (np.abs(numbers) > _MAX_NUMBER, f"hold vectors of numbers in ±{_MAX_NUMBER:,.0f}; scale them down"),
        ):
            is_bad = np.zeros(len(column), bool)
            is_bad[rows[is_bad_number]] = True
            require_not(is_bad, column, self.name, rule)

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds a `VectorLookup`; see `ColumnFeature`."""
        del learnt
        return VectorLookup(name=name)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class VectorLookup(tf.keras.layers.Layer):
    """Appends to a vector whether it is missing, replaces a missing vector by zeros, and clips numbers to ±1,000,000.

    Example:
        >>> VectorLookup()(tf.constant([[0.5, -1.0], [float("nan"), 2.0]])).numpy().tolist()
        [[0.5, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch, dim] as float32 [batch, dim + 1]."""
        is_given = tf.reduce_all(tf.math.is_finite(vectors), axis=1, keepdims=True)
        clipped = tf.clip_by_value(tf.where(is_given, vectors, 0.0), -_MAX_NUMBER, _MAX_NUMBER)
        return tf.concat([clipped, tf.cast(~is_given, tf.float32)], axis=1)
