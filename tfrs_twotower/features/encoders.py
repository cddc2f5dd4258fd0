"""The second half of a tower begins here: layers from codes to vectors, whose tables training fills.

A lookup in a table gives sparse gradients: with an optimizer that keeps them so (`LazyAdam`), a step's time does not
grow with the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.features.features import (
    Bucketized,
    Categorical,
    Embedding,
    Feature,
    Hashed,
    History,
    MultiCategorical,
    Numeric,
    Pooling,
    Text,
    Timestamp,
)
from tfrs_twotower.features.lookups import FIRST_UNKNOWN_CODE, MISSING_CODE, num_codes
from tfrs_twotower.features.vocabularies import Vocabularies

_LARGEST_RULED_DIM = 256


def build_encoder(
    feature: Feature,
    vocabularies: Vocabularies,
    embedding_dim: int | None,
    *,
    shared_table: tf.keras.layers.Embedding | None = None,
    regularizer: tf.keras.regularizers.Regularizer | None = None,
) -> tf.keras.layers.Layer:
    """The layer from a feature's codes to float32 [batch, any].

    Args:
        feature: Any kind.
        vocabularies: As in `build_lookups`.
        embedding_dim: The tower's, None for `ruled_dim`; the feature's own goes before it.
        shared_table: Of a history that shares the candidate id's vectors.
        regularizer: Of the table of vectors.
    """
    name = f"{feature.name}_embedding"
    if isinstance(feature, Numeric | Timestamp | Embedding):
        return tf.keras.layers.Identity(name=name)
    size = num_codes(feature, vocabularies)
    described = feature.of if isinstance(feature, History) and feature.shares_embedding else feature
    dim = described.embedding_dim or embedding_dim or ruled_dim(size)
    match feature:
        case Bucketized() | Hashed():
            return CodeEmbedding(num_codes=size, embedding_dim=dim, regularizer=regularizer, name=name)
        case Categorical():
            return CodeEmbedding(
                num_codes=size,
                embedding_dim=dim,
                num_unknown=feature.num_oov_buckets,
                unknown_rate=feature.unknown_rate,
                regularizer=regularizer,
                name=name,
            )
        case MultiCategorical() | Text():
            return PooledEmbedding(
                num_codes=size,
                embedding_dim=dim,
                num_unknown=feature.num_oov_buckets,
                pooling=feature.pooling,
                regularizer=regularizer,
                name=name,
            )
        case History():
            return HistoryEmbedding(
                num_codes=size,
                embedding_dim=shared_table.output_dim if shared_table is not None else dim,
                num_unknown=feature.of.num_oov_buckets if isinstance(feature.of, Categorical) else 0,
                pooling=feature.pooling,
                length=feature.length,
                by_rating=feature.by_rating,
                rating_vectors=feature.rating_vectors,
                half_life=feature.half_life,
                table=shared_table,
                regularizer=regularizer,
                name=name,
            )
    raise TypeError(f"`feature` must be one of this library's. Received: {feature!r}.")


def ruled_dim(num_codes: int) -> int:
    """Length of a vector that grows with the number of values: 1.6 * n^0.56, at most 256.

    References:
        Howard & Gugger 2020, "fastai: A Layered API for Deep Learning" (the rule for tabular embeddings).

    Example:
        >>> ruled_dim(3), ruled_dim(1_700), ruled_dim(5_000_000)
        (3, 103, 256)
    """
    return min(_LARGEST_RULED_DIM, round(1.6 * num_codes**0.56))


def pool(vectors: tf.Tensor, weights: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Makes one vector of a list's.

    Args:
        vectors: float32 [batch, any, dim].
        weights: float32 [batch, any], >= 0, 0 for what does not count.
        pooling: "sum", "mean" (over the sum of the weights), or "sqrtn" (over the root of the sum of their squares).

    Returns:
        float32 [batch, dim], zero where all weights are.

    Example:
        >>> vectors, weights = tf.constant([[[1.0], [5.0], [9.0]]]), tf.constant([[3.0, 1.0, 0.0]])
        >>> [pool(vectors, weights, pooling).numpy().item() for pooling in ("sum", "mean")]
        [8.0, 2.0]
    """
    return tf.einsum("bld,bl->bd", vectors, _shares(weights, pooling))


def _shares(weights: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """float32 [batch, any], what each vector is multiplied by before all are added; zero where all weights are."""
    if pooling == "sum":
        return weights
    if pooling == "mean":
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    squares = tf.reduce_sum(tf.square(weights), axis=1, keepdims=True)
    # The root's slope at 0 is infinite, and would be NaN in the gradient.
    return weights / tf.sqrt(tf.where(squares > 0, squares, 1.0))


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
        return tf.where(tf.range(shape[0])[:, tf.newaxis] < self.num_rows, tf.zeros((), dtype), values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"num_rows": self.num_rows}


class _WithTable(tf.keras.layers.Layer):
    """A layer with a table of one vector per code.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Codes of unknown values, from 1 on.
        regularizer: Of an own table.
        table: Of another layer, to be used in place of an own one; no part of the configuration.
    """

    def __init__(
        self,
        *,
        num_codes: int,
        embedding_dim: int,
        num_unknown: int = 0,
        regularizer: tf.keras.regularizers.Regularizer | Mapping[str, Any] | None = None,
        table: tf.keras.layers.Embedding | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_codes, self.embedding_dim, self.num_unknown = num_codes, embedding_dim, num_unknown
        self.regularizer = tf.keras.regularizers.get(regularizer)
        self.table = table or tf.keras.layers.Embedding(
            num_codes,
            embedding_dim,
            embeddings_initializer=NeutralRows(num_unknown + 1),
            embeddings_regularizer=self.regularizer,
            name="table",
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "embedding_dim": self.embedding_dim,
            "num_unknown": self.num_unknown,
            "regularizer": tf.keras.regularizers.serialize(self.regularizer) if self.regularizer else None,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class CodeEmbedding(_WithTable):
    """The vector of a code.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Codes of unknown values, from 1 on.
        unknown_rate: Share of codes taken for unknown ones in training, in [0, 1); missing ones stay missing.
    """

    def __init__(self, *, unknown_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unknown_rate = unknown_rate

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes int64 [batch] as float32 [batch, embedding_dim]."""
        if training and self.unknown_rate:
            shape = tf.shape(codes)
            unknown = tf.random.uniform(
                shape, FIRST_UNKNOWN_CODE, FIRST_UNKNOWN_CODE + self.num_unknown, dtype=codes.dtype
            )
            is_taken = (tf.random.uniform(shape) < self.unknown_rate) & (codes != MISSING_CODE)
            codes = tf.where(is_taken, unknown, codes)
        return self.table(codes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "unknown_rate": self.unknown_rate}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class PooledEmbedding(_WithTable):
    """The pooled vectors of a list's codes; padding (code 0) never counts, an empty list gives zeros.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Codes of unknown values, from 1 on.
        pooling: "sum", "mean" or "sqrtn".
    """

    def __init__(self, *, pooling: Pooling = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling = pooling

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        """Encodes int64 [batch, any] as float32 [batch, embedding_dim]."""
        return pool(self.table(codes), tf.cast(codes != MISSING_CODE, tf.float32), self.pooling)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "pooling": self.pooling}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class HistoryEmbedding(_WithTable):
    """The pooled vectors of a query's past candidates, weighted by rating and by how many came later.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Codes of unknown values, from 1 on.
        pooling: "sum", "mean" or "sqrtn".
        length: Candidates that count, the latest ones.
        by_rating: Multiply by 1 + slope * rating.
        rating_vectors: Add rating * (a second vector) in place of that.
        half_life: Later candidates for which the weight halves; None: all weigh the same.
        table: Of another layer, to be used in place of an own one; no part of the configuration.
    """

    def __init__(
        self,
        *,
        pooling: Pooling = "mean",
        length: int,
        by_rating: bool = False,
        rating_vectors: bool = False,
        half_life: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pooling, self.length, self.half_life = pooling, length, half_life
        self.by_rating, self.rating_vectors = by_rating, rating_vectors
        self.rating_table = None
        if rating_vectors:
            self.rating_table = tf.keras.layers.Embedding(
                self.num_codes,
                self.embedding_dim,
                embeddings_initializer=NeutralRows(self.num_unknown + 1),
                embeddings_regularizer=self.regularizer,
                name="rating_table",
            )
        elif by_rating:
            self.slope = self.add_weight(name="slope", shape=(), initializer=tf.keras.initializers.Constant(0.5))

    def call(self, codes: tf.Tensor, ratings: tf.Tensor | None = None) -> tf.Tensor:
        """Encodes a history.

        Args:
            codes: int64 [batch, any], the latest last; 0 is padding, anywhere.
            ratings: float32 [batch, any], standardised; with `by_rating`.

        Returns:
            float32 [batch, embedding_dim], zero for an empty history.
        """
        # Histories differ in length: what is padding is not looked up.
        places = tf.where(codes != MISSING_CODE)
        parts = self.parts(codes, ratings, places)
        return tf.math.unsorted_segment_sum(parts, places[:, 0], tf.shape(codes)[0])

    def parts(self, codes: tf.Tensor, ratings: tf.Tensor | None, places: tf.Tensor) -> tf.Tensor:
        """What single candidates of histories contribute to the vectors that `call` gives.

        Args:
            codes: As in `call`.
            ratings: As in `call`.
            places: int64 [n, 2], (row, slot) of each.

        Returns:
            float32 [n, embedding_dim], zero for padding and for what is too old to count.
        """
        is_used = tf.cast(codes != MISSING_CODE, tf.float32)
        num_later = tf.cumsum(is_used, axis=1, exclusive=True, reverse=True)
        weights = is_used * tf.cast(num_later < self.length, tf.float32)
        if self.half_life is not None:
            weights *= 0.5 ** (num_later / self.half_life)
        # The rating is no part of what mean and root are taken over, or else a list of one would not show it.
        shares = _shares(weights, self.pooling)
        if self.by_rating and not self.rating_vectors:
            shares *= 1 + self.slope * ratings
        codes = tf.gather_nd(codes, places)
        vectors = self.table(codes)
        if self.rating_table is not None:
            vectors += self.rating_table(codes) * tf.expand_dims(tf.gather_nd(ratings, places), 1)
        return vectors * tf.expand_dims(tf.gather_nd(shares, places), 1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments but the shared table."""
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "length": self.length,
            "by_rating": self.by_rating,
            "rating_vectors": self.rating_vectors,
            "half_life": self.half_life,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class FrequencyBias(tf.keras.layers.Layer):
    """The logarithm of how often a value occurs, times a learnt factor that starts at 1.

    A softmax over all candidates without anything personal has its optimum there.

    Args:
        num_codes: Codes of the value's lookup, of which the last have been counted.

    Example:
        >>> layer = FrequencyBias(num_codes=4)
        >>> layer.learn([7, 0])
        >>> print(layer(tf.constant([0, 1, 2, 3])).numpy().round(2))  # log(1 + count) less its mean over known values
        [-1.04 -1.04  1.04 -1.04]
    """

    def __init__(self, *, num_codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.log_counts = self.add_weight(name="log_counts", shape=(num_codes,), initializer="zeros", trainable=False)

    def learn(self, counts: Sequence[int]) -> None:
        """Takes over the counts of the last `len(counts)` codes; what has none has never been seen."""
        if not len(counts):
            return
        logs = np.log1p(np.concatenate([np.zeros(self.num_codes - len(counts)), counts]))
        self.log_counts.assign(logs - logs[-len(counts) :].mean())

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        """Encodes int64 [batch] as float32 [batch]."""
        return self.factor * tf.gather(self.log_counts, codes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_codes": self.num_codes}
