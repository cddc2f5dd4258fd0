"""Encoders with a table of vectors, one per code, which training fills.

A lookup in a table gives sparse gradients: with an optimizer that keeps them so (`LazyAdam`), the time of a step does
not grow with the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.features.codes import FIRST_UNKNOWN_CODE, MISSING_CODE
from tfrs_twotower.features.draws import uniform
from tfrs_twotower.features.feature import Encoder, Pooling

_MAX_RULED_DIM = 256


def ruled_dim(num_codes: int) -> int:
    """Returns the length of a vector that suits a number of values: 1.6 * n^0.56, at most 256.

    Args:
        num_codes: Number of values, >= 1.

    References:
        Howard & Gugger 2020, "fastai: A Layered API for Deep Learning" (the rule for tabular embeddings).

    Example:
        >>> ruled_dim(3), ruled_dim(1_700), ruled_dim(5_000_000)
        (3, 103, 256)
    """
    return min(_MAX_RULED_DIM, round(1.6 * num_codes**0.56))


def pooling_shares(weights: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Returns what each vector of a list is multiplied by before all are added.

    Args:
        weights: float32 [batch, any], >= 0, 0 for padding.
        pooling: "sum", "mean" (over the sum of the weights), or "sqrtn" (over the root of the sum of their squares).

    Returns:
        float32 [batch, any], zero where all weights are zero.
    """
    if pooling == "sum":
        return weights
    if pooling == "mean":
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    squares = tf.reduce_sum(tf.square(weights), axis=1, keepdims=True)
    # The root's slope at 0 is infinite, and would be NaN in the gradient.
    return weights / tf.sqrt(tf.where(squares > 0, squares, 1.0))


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class NeutralRows(tf.keras.initializers.Initializer):
    """Initialises embeddings as Keras does, but with zeros in the first rows, which training may never reach.

    Args:
        num_rows: Number of rows of codes that training may never meet: those of missing and unknown values.

    Example:
        >>> NeutralRows(2)([3, 4])[:2].numpy().tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self._uniform = tf.keras.initializers.RandomUniform()

    def __call__(self, shape: Sequence[int], dtype: tf.DType = tf.float32, **kwargs: Any) -> tf.Tensor:
        """Returns float32 [rows, embedding_dim], or a parameter server's part of them, drawn as the whole is."""
        part, offset = kwargs.pop("partition_shape", shape), kwargs.pop("partition_offset", [0] * len(shape))
        with warnings.catch_warnings():
            # Keras would warn that all parts are drawn alike, which they must be.
            warnings.filterwarnings("ignore", message="The initializer RandomUniform is unseeded")
            values = self._uniform(shape, dtype, **kwargs)
        values = tf.where(tf.range(shape[0])[:, tf.newaxis] < self.num_rows, tf.zeros((), dtype), values)
        return values if tuple(part) == tuple(shape) else tf.slice(values, offset, part)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"num_rows": self.num_rows}


class TableEncoder(Encoder):
    """An encoder with a table of one vector per code.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Number of codes of unknown values, which follow code 0.
        regularizer: Regulariser of a table of its own.
        table: Table of another layer, used instead of a table of its own; not part of the configuration.
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
        self.table = table or self.build_table("table")

    def build_table(self, name: str) -> tf.keras.layers.Embedding:
        """Builds a table of vectors, zero for missing and unknown values.

        Args:
            name: Name of the layer.
        """
        return tf.keras.layers.Embedding(
            self.num_codes,
            self.embedding_dim,
            embeddings_initializer=NeutralRows(self.num_unknown + FIRST_UNKNOWN_CODE),
            embeddings_regularizer=self.regularizer,
            name=name,
        )

    @property
    def tables(self) -> list[tf.keras.layers.Embedding]:
        """All layers with a vector for each code."""
        return [self.table]

    def vectors(self) -> np.ndarray:
        """Returns a copy of the table, float32 [num_codes, embedding_dim], whole where parameter servers share it."""
        return np.array(tf.convert_to_tensor(self.table.embeddings))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "embedding_dim": self.embedding_dim,
            "num_unknown": self.num_unknown,
            "regularizer": tf.keras.regularizers.serialize(self.regularizer) if self.regularizer else None,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class CodeEmbedding(TableEncoder):
    """The vector of a code.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Number of codes of unknown values, which follow code 0.
        id_dropout: Share of codes that training replaces by that of an unknown value, in [0, 1); missing values stay
            missing.

    Example:
        >>> layer = CodeEmbedding(num_codes=4, embedding_dim=2, num_unknown=1)
        >>> print(layer(tf.constant([0, 1])).numpy())  # missing and unknown values start at zero
        [[0. 0.]
         [0. 0.]]
    """

    def __init__(self, *, id_dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.id_dropout = id_dropout

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes int64 [batch] as float32 [batch, embedding_dim]."""
        if training and self.id_dropout:
            shape = tf.shape(codes)
            unknown = uniform(shape, FIRST_UNKNOWN_CODE, FIRST_UNKNOWN_CODE + self.num_unknown, codes.dtype)
            is_dropped = (uniform(shape, 0.0, 1.0, tf.float32) < self.id_dropout) & (codes != MISSING_CODE)
            codes = tf.where(is_dropped, unknown, codes)
        return self.table(codes)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "id_dropout": self.id_dropout}


def pooled_sum(
    table: tf.keras.layers.Embedding, codes: tf.Tensor, rows: tf.Tensor, weights: tf.Tensor, num_rows: tf.Tensor
) -> tf.Tensor:
    """Adds up weighted rows of a table without holding them all, so that long lists take little memory.

    Its gradient is as large as the table: training looks the rows up instead.

    Args:
        table: float32 [num_codes, embedding_dim].
        codes: int32 or int64 [n], rows of the table.
        rows: int64 [n], the row of the result that each is added to, ascending.
        weights: float32 [n].
        num_rows: int32 [], rows of the result.

    Returns:
        float32 [num_rows, embedding_dim].

    Example:
        >>> table = tf.keras.layers.Embedding(2, 2, embeddings_initializer="ones")
        >>> one = tf.constant([1], tf.int64)
        >>> print(pooled_sum(table, one, one, tf.constant([0.5]), tf.constant(2)).numpy())
        [[0.  0. ]
         [0.5 0.5]]
    """
    if not table.built:
        table(codes[:0])
    matrix = tf.SparseTensor(
        tf.stack([rows, tf.cast(codes, tf.int64)], axis=1),
        weights,
        tf.stack([tf.cast(num_rows, tf.int64), table.input_dim]),
    )
    return tf.sparse.sparse_dense_matmul(matrix, table.embeddings)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class PooledEmbedding(TableEncoder):
    """The pooled vectors of a list's codes; padding (code 0) never counts, and an empty list gives zeros.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Number of codes of unknown values, which follow code 0.
        pooling: "sum", "mean" or "sqrtn".

    Example:
        >>> layer = PooledEmbedding(num_codes=4, embedding_dim=2, num_unknown=1)
        >>> print(layer(tf.constant([[0, 0]])).numpy())
        [[0. 0.]]
    """

    def __init__(self, *, pooling: Pooling = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling = pooling

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes int64 [batch, any] as float32 [batch, embedding_dim]."""
        # Lists differ in length: padding is not looked up.
        places = tf.where(codes != MISSING_CODE)
        shares = pooling_shares(tf.cast(codes != MISSING_CODE, tf.float32), self.pooling)
        codes_there, shares_there = tf.gather_nd(codes, places), tf.gather_nd(shares, places)
        if not training:
            return pooled_sum(self.table, codes_there, places[:, 0], shares_there, tf.shape(codes)[0])
        vectors = self.table(codes_there) * tf.expand_dims(shares_there, 1)
        return tf.math.unsorted_segment_sum(vectors, places[:, 0], tf.shape(codes)[0])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "pooling": self.pooling}
