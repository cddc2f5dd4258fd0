"""From a feature's declaration to its layers: a lookup (raw value -> integer code) and an encoder (code -> vector).

Code 0 is a missing value, 1 an unknown one; from 2 on come the vocabulary's values. Buckets start at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.model.features import Bucketized, Categorical, Feature, MultiCategorical

MISSING_CODE = 0


def raw_spec(feature: Feature) -> tf.TensorSpec:
    """Shape and dtype of a feature's raw input, with its name."""
    match feature:
        case Categorical():
            return tf.TensorSpec([None], tf.string, name=feature.name)
        case MultiCategorical():
            return tf.TensorSpec([None, None], tf.string, name=feature.name)
        case Bucketized():
            return tf.TensorSpec([None], tf.float32, name=feature.name)


def build_lookup(feature: Feature, vocabulary: Sequence[str]) -> tf.keras.layers.Layer:
    """The layer from raw values to int64 codes of the same shape.

    Args:
        feature: Any kind.
        vocabulary: The feature's known values; unused by kinds without a vocabulary.
    """
    if isinstance(feature, Bucketized):
        return Buckets(boundaries=feature.boundaries, name=f"{feature.name}_lookup")
    return tf.keras.layers.StringLookup(
        # Keras refuses an empty vocabulary: a feature without known values knows one that no column holds.
        vocabulary=list(vocabulary) or ["\x1b"],
        mask_token="",
        # A control character: no value of a real column can be mistaken for it.
        oov_token="\x1a",
        num_oov_indices=1,
        name=f"{feature.name}_lookup",
    )


def build_encoder(feature: Feature, vocabulary: Sequence[str], embedding_dim: int) -> tf.keras.layers.Layer:
    """The layer from codes to float32 [batch, embedding_dim].

    Args:
        feature: Any kind.
        vocabulary: As in `build_lookup`.
        embedding_dim: The tower's; the feature's own goes before it.
    """
    num_codes = len(feature.boundaries) + 2 if isinstance(feature, Bucketized) else len(vocabulary) + 2
    dim = feature.embedding_dim or embedding_dim
    name = f"{feature.name}_embedding"
    if isinstance(feature, MultiCategorical):
        return MeanEmbedding(num_codes=num_codes, embedding_dim=dim, name=name)
    num_neutral = 1 if isinstance(feature, Bucketized) else 2
    return tf.keras.layers.Embedding(num_codes, dim, embeddings_initializer=NeutralRows(num_neutral), name=name)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NeutralRows(tf.keras.initializers.Initializer):
    """Keras's uniform start for embeddings, but zero for the first rows: what is not learnt must not be noise.

    Args:
        num_rows: Rows of codes that training may never meet: missing, and unknown.

    Example:
        >>> NeutralRows(2)([3, 4])[:2].numpy().tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._uniform = tf.keras.initializers.RandomUniform()

    def __call__(self, shape: Sequence[int], dtype: tf.DType = tf.float32, **kwargs: Any) -> tf.Tensor:
        """float32 [rows, embedding_dim]."""
        values = self._uniform(shape, dtype, **kwargs)
        return tf.where(tf.range(shape[0])[:, tf.newaxis] < self.num_rows, tf.zeros_like(values), values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"num_rows": self.num_rows}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Buckets(tf.keras.layers.Layer):
    """Codes a number by the bucket that it falls into: 0 for NaN, then 1, 2, ... from the lowest bucket up.

    Example:
        >>> Buckets(boundaries=(18.0, 25.0))(tf.constant([17.0, 18.0, 30.0, float("nan")])).numpy().tolist()
        [1, 2, 3, 0]
    """

    def __init__(self, *, boundaries: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.boundaries = tuple(float(boundary) for boundary in boundaries)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Codes float32 [batch] as int64 [batch]."""
        buckets = tf.searchsorted(tf.constant(self.boundaries, tf.float32), values, side="right", out_type=tf.int64) + 1
        return tf.where(tf.math.is_nan(values), tf.constant(MISSING_CODE, tf.int64), buckets)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "boundaries": self.boundaries}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class MeanEmbedding(tf.keras.layers.Layer):
    """The mean of the vectors of a list's codes; padding (code 0) never counts, an empty list gives zeros."""

    def __init__(self, *, num_codes: int, embedding_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.embedding_dim = embedding_dim
        self.embedding = tf.keras.layers.Embedding(
            num_codes, embedding_dim, embeddings_initializer=NeutralRows(2), name="embedding"
        )

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        """Encodes int64 [batch, any] as float32 [batch, embedding_dim]."""
        counts = tf.cast(codes != MISSING_CODE, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(self.embedding(codes) * counts, axis=1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(counts, axis=1))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_codes": self.num_codes, "embedding_dim": self.embedding_dim}
