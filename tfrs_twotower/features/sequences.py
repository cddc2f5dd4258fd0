"""Histories as sequences: the interface of their encoders, and what goes into one."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.codes import MISSING_CODE
from tfrs_twotower.features.config import Declaration, from_config, to_config
from tfrs_twotower.features.draws import uniform
from tfrs_twotower.features.embeddings import TableEncoder

# A gap between two events is one of so many: each is four times as long as the one before, from seconds to years.
_NUM_GAPS, _GAP_BASE_LOG2 = 14, 2.0
# Share of histories that training sees without their times, so that a request may leave them out.
_TIMELESS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryEncoder(Declaration, abc.ABC):
    """Declares how the sequence of a query's past candidates becomes a vector; a kind is a subclass.

    Example:
        A kind of your own, by which the latest candidate alone describes the query:

        >>> class Latest(SequenceLayer):
        ...     def call(self, vectors, is_used, training=False):
        ...         return vectors
        >>> class LatestOnly(HistoryEncoder):
        ...     def build_layer(self, embedding_dim, name):
        ...         return Latest(name=name)
        >>> layer = LatestOnly().build_layer(2, "latest")
        >>> layer.last(tf.constant([[[1.0, 2.0], [3.0, 4.0]]]), tf.constant([[True, True]])).numpy().tolist()
        [[3.0, 4.0]]
    """

    @abc.abstractmethod
    def build_layer(self, embedding_dim: int, name: str) -> SequenceLayer:
        """Builds the layer.

        Args:
            embedding_dim: Length of the vectors.
            name: Name of the layer.
        """


class SequenceLayer(tf.keras.layers.Layer, abc.ABC):
    """A layer that encodes every beginning of a sequence at once.

    Example:
        >>> class Latest(SequenceLayer):
        ...     def call(self, vectors, is_used, training=False):
        ...         return vectors
        >>> Latest().last(tf.constant([[[0.0], [2.0]]]), tf.constant([[False, True]])).numpy().tolist()
        [[2.0]]
    """

    @abc.abstractmethod
    def call(self, vectors: tf.Tensor, is_used: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes every beginning of each sequence.

        Args:
            vectors: float32 [batch, length, embedding_dim], earliest first. Padding comes before the earliest.
            is_used: bool [batch, length], False for padding, which must not change the result of anything else.
            training: Whether this is a training step.

        Returns:
            float32 [batch, length, embedding_dim]. A place may depend on itself and on earlier places, never on a later
            one; that of padding is arbitrary, but finite.
        """

    def last(self, vectors: tf.Tensor, is_used: tf.Tensor) -> tf.Tensor:
        """Encodes whole sequences, outside of training; a kind may have a faster way than this one.

        Args:
            vectors: As in `call`, length >= 1.
            is_used: As in `call`.

        Returns:
            float32 [batch, embedding_dim], the last place of what `call` returns.
        """
        return self(vectors, is_used)[:, -1]


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SequenceEmbedding(TableEncoder):
    """The vector of a sequence of past candidates, from their vectors, ratings and gaps in time.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Number of codes of unknown values, which follow code 0.
        encoder: Encodes the sequence of vectors.
        length: Maximum number of candidates that count, the latest ones.
        by_rating: Whether a rating times a vector that is learnt is added to the candidate's.
        by_time: Whether a vector for the time since the candidate before is added to the candidate's.
        table: Table of another layer, used instead of a table of its own; not part of the configuration.
    """

    def __init__(
        self,
        *,
        encoder: HistoryEncoder | Mapping[str, Any],
        length: int,
        by_rating: bool = False,
        by_time: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder if isinstance(encoder, HistoryEncoder) else from_config(encoder)
        self.length, self.by_rating, self.by_time = length, by_rating, by_time
        self.layer = self.encoder.build_layer(self.embedding_dim, "sequence")
        if by_rating:
            self.rating_vector = self._add_vectors("rating_vector", [self.embedding_dim])
        if by_time:
            self.gap_vectors = self._add_vectors("gap_vectors", [_NUM_GAPS + 1, self.embedding_dim])

    def call(self, codes: tf.Tensor, *numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes histories.

        Args:
            codes: int64 [batch, any], the latest last; 0 is padding, anywhere.
            numbers: float32 [batch, any], ratings, standardised, with `by_rating`; then int64 [batch, any], seconds
                since 1970, `NO_TIME` where unknown, with `by_time`.
            training: Whether this is a training step.

        Returns:
            float32 [batch, embedding_dim], zero for an empty history.
        """
        codes, *latest = self._latest(codes, numbers, training)
        vectors, is_used = self._vectors(codes, latest, training), codes != MISSING_CODE
        states = self.layer(vectors, is_used, training=True)[:, -1] if training else self.layer.last(vectors, is_used)
        return tf.where(is_used[:, -1:], states, 0.0)

    def encode_each(self, codes: tf.Tensor, *numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes, for every place of each history, what lies before it.

        Args:
            codes: int64 [batch, length + 1 at most], the latest last; 0 is padding, before the earliest.
            numbers: As in `call`.
            training: Whether this is a training step.

        Returns:
            float32 [batch, as codes, embedding_dim], zero where nothing lies before.
        """
        codes, *earlier = (values[:, :-1] for values in (codes, *numbers))
        is_used = codes != MISSING_CODE
        states = self.layer(self._vectors(codes, earlier, training), is_used, training=training)
        states = tf.where(is_used[:, :, tf.newaxis], states, 0.0)
        return tf.pad(states, [[0, 0], [1, 0], [0, 0]])

    def _add_vectors(self, name: str, shape: list[int]) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, initializer=tf.keras.initializers.RandomNormal(stddev=0.02))

    def _vectors(self, codes: tf.Tensor, numbers: list[tf.Tensor], training: bool) -> tf.Tensor:
        """float32 [batch, length, embedding_dim], what goes into the encoder."""
        vectors = self.table(codes)
        if self.by_rating:
            vectors += numbers[0][:, :, tf.newaxis] * self.rating_vector
        if self.by_time:
            gaps = _gaps(codes, numbers[-1])
            if training:
                is_dropped = uniform([tf.shape(codes)[0], 1], 0.0, 1.0, tf.float32) < _TIMELESS
                gaps = tf.where(is_dropped, 0, gaps)
            vectors += tf.gather(self.gap_vectors, gaps)
        # Vectors begin small, as a candidate's do; an encoder adds to them what is of the size of 1.
        return vectors * self.embedding_dim**0.5

    def _latest(self, codes: tf.Tensor, numbers: tuple[tf.Tensor, ...], training: bool) -> list[tf.Tensor]:
        """Moves the latest candidates of each row to the end, without padding between or after them.

        Outside of training all batches are equally wide: sums over another width are rounded differently, and a row
        must not depend, even in its last digits, on what else is in the batch.
        """
        is_used = codes != MISSING_CODE
        from_end = tf.cumsum(tf.cast(is_used, tf.int32), axis=1, reverse=True)  # 1 for the latest
        width = tf.constant(self.length)
        if training:
            width = tf.minimum(tf.reduce_max(tf.concat([tf.reshape(from_end, [-1]), [1]], axis=0)), width)
        places = tf.where(is_used & (from_end <= self.length))
        columns = width - tf.gather_nd(from_end, places)
        targets = tf.stack([tf.cast(places[:, 0], tf.int32), columns], axis=1)
        shape = tf.stack([tf.shape(codes)[0], width])
        return [tf.scatter_nd(targets, tf.gather_nd(values, places), shape) for values in (codes, *numbers)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments except the shared table."""
        return {
            **super().get_config(),
            "encoder": to_config(self.encoder),
            "length": self.length,
            "by_rating": self.by_rating,
            "by_time": self.by_time,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SecondsLookup(tf.keras.layers.Layer):
    """Returns times as they are: float32 would tell them apart by two minutes.

    Example:
        >>> SecondsLookup()(tf.constant([[1_700_000_000]], tf.int64)).numpy().tolist()
        [[1700000000]]
    """

    def call(self, times: tf.Tensor) -> tf.Tensor:
        """Returns int64 [batch, any] as it is."""
        return times


def _gaps(codes: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    """Returns the number of the gap before each candidate, int32 as codes; 0 if there is none, or a time is unknown."""
    is_known = (codes != MISSING_CODE) & (times != NO_TIME)
    both = is_known[:, 1:] & is_known[:, :-1]
    seconds = tf.where(both, times[:, 1:] - times[:, :-1], 0)
    gaps = tf.math.log1p(tf.cast(tf.maximum(seconds, 0), tf.float32)) / (_GAP_BASE_LOG2 * math.log(2.0))
    numbers = 1 + tf.minimum(tf.cast(gaps, tf.int32), _NUM_GAPS - 1)
    return tf.pad(tf.where(both, numbers, 0), [[0, 0], [1, 0]])
