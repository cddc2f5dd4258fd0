"""One string per row, with a vector for each known value."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.features.codes import build_string_lookup, expanded_source_codes, num_value_codes
from tfrs_twotower.features.embeddings import CodeEmbedding, ruled_dim
from tfrs_twotower.features.feature import ColumnFeature, Encoder
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies, Vocabulary, frequent_values, learnt_of

_Kind = TypeVar("_Kind", bound="IdFeature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdFeature(ColumnFeature):
    """A feature with one string per row and one vector per code, such as an id; a `History` can be of it.

    Attributes:
        name: Name of the column and of the raw input.
        embedding_dim: Length of the vector; None takes the tower's.

    Example:
        >>> feature: IdFeature = Categorical(name="movie_id")
        >>> feature.num_codes(("m1", "m2"))  # a missing value, unknown values, and two known ones
        4
    """

    embedding_dim: int | None = None

    minimums: ClassVar[Mapping[str, int]] = {"embedding_dim": 1}
    wanted_values: ClassVar[str] = "strings, integers or booleans"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """String [batch]; "" is missing."""
        return (tf.TensorSpec([None], tf.string, name=self.name),)

    @property
    @abc.abstractmethod
    def num_unknown(self) -> int:
        """Number of codes that unknown values share; 0 if no value is unknown."""

    @abc.abstractmethod
    def num_codes(self, values: Sequence[str]) -> int:
        """Counts the codes, with those of missing and unknown values.

        Args:
            values: The vocabulary.
        """

    @abc.abstractmethod
    def build_value_lookup(self, values: Sequence[str], name: str) -> tf.keras.layers.Layer:
        """Builds the layer from strings of any shape to int64 codes.

        Args:
            values: The vocabulary.
            name: Name of the layer.
        """

    def accepts(self, kind: pa.DataType) -> bool:
        """Accepts strings, integers and booleans."""
        return bool(pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))

    def build_lookup(self, learnt: Learnt | None, name: str) -> tf.keras.layers.Layer:
        """Builds the lookup of values; see `ColumnFeature`."""
        return self.build_value_lookup(learnt_of(learnt, Vocabulary(()), self.name).values, name)

    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
    ) -> Encoder:
        """Builds the table of vectors; see `Feature`."""
        num_codes = self.num_codes(vocabularies.values_of(self.name))
        return CodeEmbedding(
            num_codes=num_codes,
            embedding_dim=self.embedding_dim or embedding_dim or ruled_dim(num_codes),
            regularizer=regularizer,
            name=f"{self.name}_embedding",
            **self._encoder_settings(),
        )

    def with_embedding_dim(self: _Kind, embedding_dim: int) -> _Kind:
        """Returns the same feature with a fixed length of its vector."""
        return dataclasses.replace(self, embedding_dim=embedding_dim)

    def _encoder_settings(self) -> dict[str, Any]:
        """Returns what else `CodeEmbedding` is made with."""
        return {}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Categorical(IdFeature):
    """One string per row, such as an id: each value of the training split has its own vector, and others share one.

    The shared vector of unknown values is trained by the rare values, if `min_count` or `max_size` leaves any over,
    and by `id_dropout`; otherwise it stays zero.

    Raw input: string [batch]; "" is missing and has a vector of its own.

    Attributes:
        name: Name of the column and of the raw input.
        embedding_dim: Length of the vector; None takes the tower's.
        min_count: Training events that a value needs to get a vector of its own, >= 1.
        max_size: Maximum number of values with a vector of their own, the most frequent ones; None for all.
        num_oov_buckets: Number of vectors that unknown values share by their hash, >= 1.
        id_dropout: Share of training rows whose value is treated as unknown, in [0, 1): the tower learns to do without
            it (Volkovs et al. 2017, "DropoutNet").

    Example:
        >>> Categorical(name="user_id", id_dropout=0.1).min_count
        1
    """

    min_count: int = 1
    max_size: int | None = None
    num_oov_buckets: int = 1
    id_dropout: float = 0.0

    minimums: ClassVar[Mapping[str, int]] = {"embedding_dim": 1, "min_count": 1, "max_size": 1, "num_oov_buckets": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"`id_dropout` of {self.name!r} must be in [0, 1). Received: {self.id_dropout}.")

    @property
    def num_unknown(self) -> int:
        """Number of codes that unknown values share."""
        return self.num_oov_buckets

    def learn(self, column: pa.Array, counts: np.ndarray) -> Learnt | None:
        """Learns which values are frequent enough; see `ColumnFeature`."""
        return frequent_values(column, counts, min_count=self.min_count, max_size=self.max_size)

    def num_codes(self, values: Sequence[str]) -> int:
        """Counts the codes; see `IdFeature`."""
        return num_value_codes(len(values), self.num_oov_buckets)

    def build_value_lookup(self, values: Sequence[str], name: str) -> tf.keras.layers.Layer:
        """Builds Keras's `StringLookup`; see `IdFeature`."""
        return build_string_lookup(values, self.num_oov_buckets, name)

    def source_codes(self, lookups: Mapping[str, Any], vocabularies: Vocabularies) -> np.ndarray | None:
        """New values start with the vector of unknown ones; see `Feature`."""
        values = vocabularies.values_of(self.name)
        return expanded_source_codes(lookups[self.name], values, self.num_oov_buckets) if values else None

    def _encoder_settings(self) -> dict[str, Any]:
        return {"num_unknown": self.num_oov_buckets, "id_dropout": self.id_dropout}
