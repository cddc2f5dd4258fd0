"""One number per row, divided into buckets with a vector each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.codes import MISSING_CODE
from tfrs_twotower.features.columns import as_float64, is_number, require_no_nan
from tfrs_twotower.features.embeddings import CodeEmbedding, ruled_dim
from tfrs_twotower.features.feature import ColumnFeature, Encoder
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies, learnt_of


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bucketized(ColumnFeature):
    """One number per row, such as an age, divided into buckets: each bucket has its own vector.

    Raw input: float32 [batch]; NaN is missing and has a vector of its own. A value equal to a boundary belongs to the
    bucket above it.

    Attributes:
        name: Name of the column and of the raw input.
        boundaries: Ascending, finite, at least one.
        num_buckets: Number of buckets, >= 2, with the quantiles of the training events as boundaries; there are fewer
            if events share a value. It is given instead of `boundaries`.
        embedding_dim: Length of the vector; None takes the tower's.

    Example:
        >>> Bucketized(name="age", boundaries=(18, 25, 35)).boundaries
        (18.0, 25.0, 35.0)
    """

    boundaries: tuple[float, ...] | None = None
    num_buckets: int | None = None
    embedding_dim: int | None = None

    minimums: ClassVar[Mapping[str, int]] = {"num_buckets": 2, "embedding_dim": 1}
    wanted_values: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.boundaries is None) == (self.num_buckets is None):
            raise ValueError(
                f"{self.name!r} needs either `boundaries` or `num_buckets`. "
                f"Received: {self.boundaries} and {self.num_buckets}."
            )
        if self.boundaries is None:
            return
        if isinstance(self.boundaries, str):
            raise TypeError(f"`boundaries` of {self.name!r} must be numbers. Received: {self.boundaries!r}.")
        object.__setattr__(self, "boundaries", tuple(float(boundary) for boundary in self.boundaries))
        ascending = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not self.boundaries or not ascending or not all(map(math.isfinite, self.boundaries)):
            raise ValueError(
                f"`boundaries` of {self.name!r} must be finite, ascending, at least one. Received: {self.boundaries}."
            )

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """float32 [batch]; NaN is missing."""
        return (tf.TensorSpec([None], tf.float32, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts integers and floats."""
        return is_number(kind)

    def require_possible_values(self, column: pa.Array) -> None:
        """Raises an error for NaN; see `ColumnFeature`."""
        require_no_nan(column, self.name)

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns boundaries, unless they are given; see `ColumnFeature`."""
        if self.num_buckets is None:
            return None
        return Boundaries(quantile_boundaries(as_float64(column), counts, self.num_buckets))

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds a `Buckets`; see `ColumnFeature`."""
        return Buckets(boundaries=self._boundaries(learnt), name=name)

    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
    ) -> Encoder:
        """Builds the table of vectors; see `Feature`."""
        num_codes = len(self._boundaries(vocabularies.get(self.name))) + 2
        return CodeEmbedding(
            num_codes=num_codes,
            embedding_dim=self.embedding_dim or embedding_dim or ruled_dim(num_codes),
            regularizer=regularizer,
            name=f"{self.name}_embedding",
        )

    def with_embedding_dim(self, embedding_dim: int) -> Bucketized:
        """Returns the same feature with a fixed length of its vector."""
        return dataclasses.replace(self, embedding_dim=embedding_dim)

    def _boundaries(self, learnt: Learnt | None) -> tuple[float, ...]:
        """Returns the given boundaries, or else those that were learnt."""
        if self.boundaries is not None:
            return self.boundaries
        return learnt_of(learnt, Boundaries(()), self.name).boundaries


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True)
class Boundaries(Learnt):
    """Boundaries between buckets, which are quantiles of the training events.

    Attributes:
        boundaries: Ascending; () if all numbers are equal.

    Example:
        >>> print(Boundaries((18.0, 35.0)))
        3 buckets: 18, 35
    """

    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))

    def __str__(self) -> str:
        """Shows the boundaries."""
        return f"{len(self.boundaries) + 1} buckets: {', '.join(f'{value:g}' for value in self.boundaries)}"


def quantile_boundaries(numbers: np.ndarray, counts: np.ndarray, num_buckets: int) -> tuple[float, ...]:
    """Returns the smallest numbers that at least 1/n, 2/n, ... of the events are below, each once.

    Args:
        numbers: float64 [n]; NaN is missing.
        counts: int [n], the events of each number.
        num_buckets: Number of buckets, >= 2.

    Example:
        >>> quantile_boundaries(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4, int), 2)
        (3.0,)
    """
    used = ~np.isnan(numbers) & (counts > 0)
    order = np.argsort(numbers[used], kind="stable")
    numbers, cumulative = numbers[used][order], np.cumsum(counts[used][order])
    if not numbers.size:
        return ()
    wanted = np.arange(1, num_buckets) / num_buckets * cumulative[-1]
    places = np.minimum(np.searchsorted(cumulative, wanted, side="right"), numbers.size - 1)
    # float32, as the raw inputs are: a number must not lie below itself. The lowest number bounds an empty bucket.
    boundaries = np.unique(numbers[places].astype(np.float32))
    boundaries = boundaries[np.isfinite(boundaries) & (boundaries > np.float32(numbers[0]))]
    return tuple(boundaries.tolist())


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Buckets(tf.keras.layers.Layer):
    """Codes a number by the bucket that it falls into: 0 for NaN, then 1, 2, ... from the lowest bucket up.

    Args:
        boundaries: Ascending, finite.

    Example:
        >>> Buckets(boundaries=(18.0, 25.0))(tf.constant([17.0, 18.0, 30.0, float("nan")])).numpy().tolist()
        [1, 2, 3, 0]
    """

    def __init__(self, *, boundaries: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boundaries = tuple(float(boundary) for boundary in boundaries)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch] as int64 [batch]."""
        boundaries = tf.constant(self.boundaries, tf.float32)
        buckets = tf.searchsorted(boundaries, numbers, side="right", out_type=tf.int64) + 1
        return tf.where(tf.math.is_nan(numbers), tf.constant(MISSING_CODE, tf.int64), buckets)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "boundaries": list(self.boundaries)}
