"""A list of strings per row, with a vector for each known value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.codes import build_string_lookup, expanded_source_codes, num_value_codes
from tfrs_twotower.features.columns import list_rows
from tfrs_twotower.features.embeddings import PooledEmbedding, ruled_dim
from tfrs_twotower.features.feature import ColumnFeature, Encoder, Pooling, require_pooling
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies, Vocabulary, frequent_values, learnt_of

_Kind = TypeVar("_Kind", bound="PooledFeature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledFeature(ColumnFeature):
    """A feature with several values per row, whose vectors are pooled.

    Attributes:
        name: Name of the column and of the raw input.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events that a value needs to get a vector of its own, >= 1.
        max_size: Maximum number of values with a vector of their own, the most frequent ones; None for all.
        num_oov_buckets: Number of vectors that unknown values share by their hash, >= 1.
        pooling: "sum", "mean" or "sqrtn".

    Example:
        >>> from tfrs_twotower.features.text import Text
        >>> feature: PooledFeature = Text(name="title", pooling="sqrtn", min_count=5)
        >>> feature.pooling, feature.min_count
        ('sqrtn', 5)
    """

    embedding_dim: int | None = None
    min_count: int = 1
    max_size: int | None = None
    num_oov_buckets: int = 1
    pooling: Pooling = "mean"

    minimums: ClassVar[Mapping[str, int]] = {"embedding_dim": 1, "min_count": 1, "max_size": 1, "num_oov_buckets": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pooling(self.pooling, self.name)

    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
    ) -> Encoder:
        """Builds the table of vectors and their pooling; see `Feature`."""
        num_codes = num_value_codes(len(vocabularies.values_of(self.name)), self.num_oov_buckets)
        return PooledEmbedding(
            num_codes=num_codes,
            embedding_dim=self.embedding_dim or embedding_dim or ruled_dim(num_codes),
            num_unknown=self.num_oov_buckets,
            pooling=self.pooling,
            regularizer=regularizer,
            name=f"{self.name}_embedding",
        )

    def with_embedding_dim(self: _Kind, embedding_dim: int) -> _Kind:
        """Returns the same feature with a fixed length of its vector."""
        return dataclasses.replace(self, embedding_dim=embedding_dim)

    def source_codes(self, lookups: Mapping[str, Any], vocabularies: Vocabularies) -> np.ndarray | None:
        """New values start with the vector of unknown ones; see `Feature`."""
        values = vocabularies.values_of(self.name)
        find = self._value_lookup(lookups[self.name])
        return expanded_source_codes(find, values, self.num_oov_buckets) if values else None

    def _value_lookup(self, lookup: Any) -> Any:
        """Returns the part of the lookup that gives a single value its code."""
        return lookup


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiCategorical(PooledFeature):
    """A list of strings per row, such as genres: the vectors of the values pooled, zero for an empty list.

    Raw input: string [batch, any], padded with "", which never counts. A missing list is an empty one.

    Attributes:
        name: Name of the column and of the raw input.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events that a value needs to get a vector of its own, >= 1.
        max_size: Maximum number of values with a vector of their own, the most frequent ones; None for all.
        num_oov_buckets: Number of vectors that unknown values share by their hash, >= 1.
        pooling: "sum", "mean" or "sqrtn".

    Example:
        >>> MultiCategorical(name="genres").pooling
        'mean'
    """

    wanted_values: ClassVar[str] = "lists of strings or integers"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """String [batch, any], padded with ""."""
        return (tf.TensorSpec([None, None], tf.string, name=self.name),)

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts lists of strings, integers, or nothing but nulls."""
        types = pa.types
        return bool(
            types.is_list(kind)
            and (
                types.is_string(kind.value_type) or types.is_integer(kind.value_type) or types.is_null(kind.value_type)
            )
        )

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns which values are frequent enough; see `ColumnFeature`."""
        lists = column.cast(pa.list_(pa.string())) if pa.types.is_null(column.type) else column
        values, value_counts = lists.flatten(), counts[list_rows(lists)]
        return frequent_values(values, value_counts, min_count=self.min_count, max_size=self.max_size)

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds Keras's `StringLookup`; see `ColumnFeature`."""
        vocabulary = learnt_of(learnt, Vocabulary(()), self.name)
        return build_string_lookup(vocabulary.values, self.num_oov_buckets, name)
