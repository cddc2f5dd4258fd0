"""Causal self-attention over a query's past candidates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.features.dropout import drop_units
from tfrs_twotower.features.sequences import HistoryEncoder, SequenceLayer

# Distances below this have a weight of their own; from there to the largest, they share weights by their logarithm.
_EXACT_DISTANCES, _NUM_DISTANCES, _MAX_DISTANCE = 8, 24, 256
# Units of the hidden layer, as a multiple of those of a vector.
_HIDDEN_FACTOR = 2
_NO_ATTENTION = -1e9
_EPSILON = 1e-6


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfAttention(HistoryEncoder):
    """Causal self-attention: each past candidate looks at those before it, by what they are and how far back they lie.

    Attributes:
        num_layers: Number of blocks, each of attention and a hidden layer, >= 1.
        num_heads: Number of heads of the attention, >= 1.
        dropout: Share of units that training drops, in [0, 1).

    References:
        Kang & McAuley 2018, "Self-Attentive Sequential Recommendation"; Xiong et al. 2020, "On Layer Normalization in
        the Transformer Architecture" (normalisation before each part); Raffel et al. 2020, "Exploring the Limits of
        Transfer Learning with a Unified Text-to-Text Transformer", section 2.1 (a weight for each distance).

    Example:
        >>> layer = SelfAttention(num_heads=1).build_layer(4, "attention")
        >>> layer(tf.ones([2, 3, 4]), tf.ones([2, 3], tf.bool)).shape
        TensorShape([2, 3, 4])
    """

    num_layers: int = 1
    num_heads: int = 2
    dropout: float = 0.3

    minimums: ClassVar[Mapping[str, int]] = {"num_layers": 1, "num_heads": 1}

    def __post_init__(self) -> None:
        for setting, minimum in self.minimums.items():
            whole_number(getattr(self, setting), f"`{setting}`", minimum)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {self.dropout}.")

    def build_layer(self, embedding_dim: int, name: str) -> SelfAttentionLayer:
        """Builds a `SelfAttentionLayer`; see `HistoryEncoder`."""
        return SelfAttentionLayer(
            embedding_dim=embedding_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            dropout=self.dropout,
            name=name,
        )


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SelfAttentionLayer(SequenceLayer):
    """Blocks of causal self-attention and a hidden layer, each added to what goes into it; made by `SelfAttention`.

    Args:
        embedding_dim: Length of the vectors.
        num_layers: Number of blocks.
        num_heads: Number of heads.
        dropout: Share of units that training drops.
    """

    def __init__(self, *, embedding_dim: int, num_layers: int, num_heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding_dim, self.num_layers, self.num_heads = embedding_dim, num_layers, num_heads
        self.dropout = dropout
        self.head_dim = -(-embedding_dim // num_heads)
        self.blocks = [self._add_block(f"block_{number}") for number in range(num_layers)]
        self.gain, self.shift = self._add_normalization("last")

    def call(self, vectors: tf.Tensor, is_used: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes every beginning of each sequence; see `SequenceLayer`."""
        vectors = self._drop(vectors, training)
        for block in self.blocks:
            vectors = self._apply(block, vectors, is_used, training)
        return _normalize(vectors, self.gain, self.shift)

    def last(self, vectors: tf.Tensor, is_used: tf.Tensor) -> tf.Tensor:
        """Encodes whole sequences; the last block computes their last place alone."""
        *blocks, last = self.blocks
        for block in blocks:
            vectors = self._apply(block, vectors, is_used, training=False)
        return _normalize(self._apply_to_last(last, vectors, is_used), self.gain, self.shift)

    def _add_block(self, name: str) -> _Block:
        inner, outer = self.num_heads * self.head_dim, self.embedding_dim
        hidden = _HIDDEN_FACTOR * outer
        attention_gain, attention_shift = self._add_normalization(f"{name}_attention")
        hidden_gain, hidden_shift = self._add_normalization(f"{name}_hidden")
        return _Block(
            attention_gain=attention_gain,
            attention_shift=attention_shift,
            query=self.add_weight(name=f"{name}_query", shape=[outer, inner]),
            key=self.add_weight(name=f"{name}_key", shape=[outer, inner]),
            value=self.add_weight(name=f"{name}_value", shape=[outer, inner]),
            distances=self.add_weight(
                name=f"{name}_distances", shape=[self.num_heads, _NUM_DISTANCES], initializer="zeros"
            ),
            mixing=self.add_weight(name=f"{name}_mixing", shape=[inner, outer]),
            hidden_gain=hidden_gain,
            hidden_shift=hidden_shift,
            hidden=self.add_weight(name=f"{name}_hidden", shape=[outer, hidden]),
            hidden_bias=self.add_weight(name=f"{name}_hidden_bias", shape=[hidden], initializer="zeros"),
            output=self.add_weight(name=f"{name}_output", shape=[hidden, outer]),
            output_bias=self.add_weight(name=f"{name}_output_bias", shape=[outer], initializer="zeros"),
        )

    def _add_normalization(self, name: str) -> tuple[tf.Variable, tf.Variable]:
        return (
            self.add_weight(name=f"{name}_gain", shape=[self.embedding_dim], initializer="ones"),
            self.add_weight(name=f"{name}_shift", shape=[self.embedding_dim], initializer="zeros"),
        )

    def _apply(self, block: _Block, vectors: tf.Tensor, is_used: tf.Tensor, training: bool) -> tf.Tensor:
        """Applies a block to all places of sequences.

        Args:
            block: The block.
            vectors: float32 [batch, length, embedding_dim].
            is_used: bool [batch, length].
            training: Whether this is a training step.

        Returns:
            float32 [batch, length, embedding_dim].
        """
        normalized = _normalize(vectors, block.attention_gain, block.attention_shift)
        queries, keys, values = (self._split(normalized, kernel) for kernel in (block.query, block.key, block.value))
        scores = tf.matmul(queries, keys, transpose_b=True) / math.sqrt(self.head_dim)
        length = tf.shape(vectors)[1]
        scores += _by_distance(block.distances, tf.range(length), length)
        scores += tf.where(is_used, 0.0, _NO_ATTENTION)[:, tf.newaxis, tf.newaxis]
        weights = self._drop(tf.nn.softmax(scores), training)
        mixed = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        mixed = tf.reshape(mixed, [tf.shape(vectors)[0], length, self.num_heads * self.head_dim])
        return self._add_hidden(block, vectors + self._drop(tf.matmul(mixed, block.mixing), training), training)

    def _apply_to_last(self, block: _Block, vectors: tf.Tensor, is_used: tf.Tensor) -> tf.Tensor:
        """Applies a block to the last places of sequences, float32 [batch, embedding_dim].

        One place asks for less than all: instead of the keys of all places, its query goes through the keys' matrix;
        and the places are mixed before they go through the values' matrix, not afterwards.
        """
        normalized = _normalize(vectors, block.attention_gain, block.attention_shift)
        shape = [self.embedding_dim, self.num_heads, self.head_dim]
        query, key, value = (tf.reshape(kernel, shape) for kernel in (block.query, block.key, block.value))
        asked = tf.einsum("be,ehd->bhd", normalized[:, -1], query)
        scores = tf.matmul(tf.einsum("bhd,ehd->bhe", asked, key), normalized, transpose_b=True)
        length = tf.shape(vectors)[1]
        scores = scores / math.sqrt(self.head_dim) + _by_distance(block.distances, [length - 1], length)[:, 0]
        weights = tf.nn.softmax(scores + tf.where(is_used, 0.0, _NO_ATTENTION)[:, tf.newaxis])
        mixed = tf.einsum("bhe,ehd->bhd", tf.matmul(weights, normalized), value)
        mixed = tf.reshape(mixed, [tf.shape(vectors)[0], self.num_heads * self.head_dim])
        return self._add_hidden(block, vectors[:, -1] + tf.matmul(mixed, block.mixing), training=False)

    def _add_hidden(self, block: _Block, vectors: tf.Tensor, training: bool) -> tf.Tensor:
        """Adds a hidden layer of vectors, float32 [..., embedding_dim], to them."""
        normalized = _normalize(vectors, block.hidden_gain, block.hidden_shift)
        hidden = tf.nn.relu(tf.matmul(normalized, block.hidden) + block.hidden_bias)
        return vectors + self._drop(tf.matmul(hidden, block.output) + block.output_bias, training)

    def _split(self, vectors: tf.Tensor, kernel: tf.Variable) -> tf.Tensor:
        """Projects vectors and splits them among the heads, float32 [batch, num_heads, length, head_dim]."""
        shape = tf.shape(vectors)
        projected = tf.reshape(tf.matmul(vectors, kernel), [shape[0], shape[1], self.num_heads, self.head_dim])
        return tf.transpose(projected, [0, 2, 1, 3])

    def _drop(self, values: tf.Tensor, training: bool) -> tf.Tensor:
        return drop_units(values, self.dropout) if training else values

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "embedding_dim": self.embedding_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
        }


class _Block(NamedTuple):
    """The weights of a block, all float32.

    Attributes:
        attention_gain: [dim], of the normalisation before the attention.
        attention_shift: [dim].
        query: [dim, num_heads * head_dim].
        key: [dim, num_heads * head_dim].
        value: [dim, num_heads * head_dim].
        distances: [num_heads, _NUM_DISTANCES], what is added to a score by the distance of its two places.
        mixing: [num_heads * head_dim, dim].
        hidden_gain: [dim], of the normalisation before the hidden layer.
        hidden_shift: [dim].
        hidden: [dim, hidden].
        hidden_bias: [hidden].
        output: [hidden, dim].
        output_bias: [dim].
    """

    attention_gain: tf.Variable
    attention_shift: tf.Variable
    query: tf.Variable
    key: tf.Variable
    value: tf.Variable
    distances: tf.Variable
    mixing: tf.Variable
    hidden_gain: tf.Variable
    hidden_shift: tf.Variable
    hidden: tf.Variable
    hidden_bias: tf.Variable
    output: tf.Variable
    output_bias: tf.Variable


def _normalize(vectors: tf.Tensor, gain: tf.Variable, shift: tf.Variable) -> tf.Tensor:
    """Normalises each vector to mean 0 and variance 1, then scales and shifts it (Ba et al. 2016)."""
    centred = vectors - tf.reduce_mean(vectors, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + _EPSILON) * gain + shift


def _by_distance(weights: tf.Variable, asking: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """float32 [num_heads, asking, length]: the weight of each distance, and no attention to later places."""
    distances = tf.reshape(asking, [-1, 1]) - tf.range(length)
    numbers = tf.gather(_DISTANCE_NUMBERS, tf.clip_by_value(distances, 0, _MAX_DISTANCE))
    return tf.where(distances >= 0, tf.gather(weights, numbers, axis=1), _NO_ATTENTION)


def _number_distances() -> np.ndarray:
    """int32 [_MAX_DISTANCE + 1], the number of the weight that each distance has."""
    distances = np.arange(_MAX_DISTANCE + 1)
    shares = np.log(np.maximum(distances, 1) / _EXACT_DISTANCES) / np.log(_MAX_DISTANCE / _EXACT_DISTANCES)
    shared = _EXACT_DISTANCES + np.floor(shares * (_NUM_DISTANCES - 1 - _EXACT_DISTANCES))
    return np.where(distances < _EXACT_DISTANCES, distances, shared).astype(np.int32)


_DISTANCE_NUMBERS = _number_distances()
