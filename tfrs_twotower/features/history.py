"""A query's history: the vectors of its past candidates, pooled or encoded as a sequence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.categorical import IdFeature
from tfrs_twotower.features.codes import MISSING_CODE
from tfrs_twotower.features.draws import uniform
from tfrs_twotower.features.embeddings import TableEncoder, pooled_sum, pooling_shares, ruled_dim
from tfrs_twotower.features.feature import Feature, Pooling, require_pooling
from tfrs_twotower.features.numeric import Moments, Standardize, moments
from tfrs_twotower.features.sequences import HistoryEncoder, SecondsLookup, SequenceEmbedding
from tfrs_twotower.features.vocabularies import Learnt, Vocabularies, learnt_of


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class History(Feature):
    """The query's past candidates: their vectors pooled or encoded in order, zero if there are none. For query towers.

    It comes from the events, not from a column, and it lets the model embed queries that training never met.

    Raw input: string [batch, any], candidate ids, the latest last, padded with "", which never counts. With
    `by_rating` also `<name>_rating`, float32 [batch, any]; NaN is the average rating, and a rating more than 1,000
    standard deviations from it counts as that far away. With `by_time` also `<name>_time`, int64 [batch, any], seconds
    since 1970-01-01 UTC; `NO_TIME` is unknown.

    Attributes:
        of: The candidates' id feature, such as a `Categorical` or a `Hashed`.
        name: Name of the raw input.
        length: Maximum number of candidates that count, the latest ones, >= 1.
        embedding_dim: Length of the vector; None takes the tower's. With `shares_embedding` it is the candidate id's.
        pooling: "sum", "mean" or "sqrtn", of the candidates' vectors times their weights.
        by_rating: Whether each candidate's vector is multiplied by 1 + slope * (its rating, standardised by the
            training split), with a slope that is learnt, so that a disliked candidate may have a negative weight. The
            denominator of "mean" and "sqrtn" does not change with the ratings.
        rating_vectors: With `by_rating`, whether each candidate has a second vector, which its rating multiplies, in
            place of one slope for all: the first stands for having met it, the second for having liked it (Koren 2008,
            "SVD++").
        slope_per_entry: With `by_rating`, whether each entry of the vector has a slope of its own.
        half_life: Number of later candidates after which a candidate's weight has halved, > 0; None weighs all alike.
        dropout: Training drops up to this share of a history, in [0, 1): the share is drawn for each history anew,
            uniformly from 0 to `dropout`. The model then suits histories that are short or incomplete.
        shares_embedding: Whether to use the candidate tower's vectors of `of` rather than to learn others.
        encoder: Encodes the candidates as a sequence, such as `SelfAttention()`, so that their order counts; then
            `pooling` is not used, and a rating adds to a candidate's vector. None pools them.
        by_time: With `encoder`, whether the time since the candidate before counts.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> past = History(of=Categorical(name="movie_id"), length=50, by_rating=True)
        >>> [spec.name for spec in past.raw_specs]
        ['history', 'history_rating']
    """

    of: IdFeature
    name: str = "history"
    length: int = 100
    embedding_dim: int | None = None
    pooling: Pooling = "mean"
    by_rating: bool = False
    rating_vectors: bool = False
    slope_per_entry: bool = False
    half_life: float | None = None
    dropout: float = 0.0
    shares_embedding: bool = False
    encoder: HistoryEncoder | None = None
    by_time: bool = False

    minimums: ClassVar[Mapping[str, int]] = {"length": 1, "embedding_dim": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pooling(self.pooling, self.name)
        if not isinstance(self.of, IdFeature):
            raise TypeError(f"`of` must be the candidate id's Categorical or Hashed. Received: {self.of!r}.")
        if self.rating_vectors and not self.by_rating:
            raise ValueError(f"`rating_vectors` of {self.name!r} need `by_rating`.")
        if self.slope_per_entry and (self.rating_vectors or not self.by_rating):
            raise ValueError(f"`slope_per_entry` of {self.name!r} needs `by_rating` without `rating_vectors`.")
        if self.encoder is not None and not isinstance(self.encoder, HistoryEncoder):
            raise TypeError(f"`encoder` of {self.name!r} must be a SelfAttention, or None. Received: {self.encoder!r}.")
        pools = self.rating_vectors or self.slope_per_entry or self.half_life is not None or self.dropout
        if self.encoder is not None and pools:
            raise ValueError(
                f"`encoder` of {self.name!r} goes without `rating_vectors`, `slope_per_entry`, `half_life` and "
                "`dropout`, which say how vectors are pooled."
            )
        if self.by_time and self.encoder is None:
            raise ValueError(f"`by_time` of {self.name!r} needs an `encoder`.")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise ValueError(f"`half_life` of {self.name!r} must be positive and finite. Received: {self.half_life}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` of {self.name!r} must be in [0, 1). Received: {self.dropout}.")
        if self.shares_embedding and self.embedding_dim is not None:
            raise ValueError(
                f"`embedding_dim` of {self.name!r} must be left out with `shares_embedding`: it is that of "
                f"{self.of.name!r}. Received: {self.embedding_dim}."
            )

    @property
    def rating_name(self) -> str:
        """Name of the raw input that holds the ratings, used with `by_rating`."""
        return f"{self.name}_rating"

    @property
    def time_name(self) -> str:
        """Name of the raw input that holds the times, used with `by_time`."""
        return f"{self.name}_time"

    @property
    def raw_specs(self) -> tuple[tf.TensorSpec, ...]:
        """String [batch, any]; with `by_rating`, float32 [batch, any]; with `by_time`, int64 [batch, any]."""
        specs = [tf.TensorSpec([None, None], tf.string, name=self.name)]
        if self.by_rating:
            specs.append(tf.TensorSpec([None, None], tf.float32, name=self.rating_name))
        if self.by_time:
            specs.append(tf.TensorSpec([None, None], tf.int64, name=self.time_name))
        return tuple(specs)

    def learn_from_events(self, learnt_of_id: Learnt | None, ratings: np.ndarray) -> dict[str, Learnt]:
        """Learns the vocabulary and the statistics of the lookups.

        Args:
            learnt_of_id: What `of` learnt about the candidates.
            ratings: float32 [num_events], of the training split.

        Returns:
            Input name -> what was learnt.
        """
        learnt: dict[str, Learnt] = {} if learnt_of_id is None else {self.name: learnt_of_id}
        if self.by_rating:
            learnt[self.rating_name] = moments(ratings.astype(np.float64), np.ones(len(ratings)))
        return learnt

    def build_lookups(self, vocabularies: Vocabularies) -> dict[str, tf.keras.layers.Layer]:
        """Builds the lookups of ids and ratings; see `Feature`."""
        lookups = {self.name: self.of.build_lookup(vocabularies.get(self.name), f"{self.name}_lookup")}
        if self.by_rating:
            of_ratings = learnt_of(vocabularies.get(self.rating_name), Moments(0.0, 1.0), self.rating_name)
            lookups[self.rating_name] = Standardize(
                mean=of_ratings.mean,
                standard_deviation=of_ratings.standard_deviation,
                name=f"{self.rating_name}_lookup",
            )
        if self.by_time:
            lookups[self.time_name] = SecondsLookup(name=f"{self.time_name}_lookup")
        return lookups

    def build_encoder(
        self,
        vocabularies: Vocabularies,
        *,
        embedding_dim: int | None,
        regularizer: tf.keras.regularizers.Regularizer | None = None,
        table: tf.keras.layers.Embedding | None = None,
    ) -> HistoryEmbedding | SequenceEmbedding:
        """Builds the table of vectors and what makes one of them; see `Feature`.

        Args:
            vocabularies: See `Feature`.
            embedding_dim: See `Feature`.
            regularizer: See `Feature`.
            table: The candidate tower's table, for a history that shares it.
        """
        num_codes = self.of.num_codes(vocabularies.values_of(self.name))
        own_dim = self.of.embedding_dim if self.shares_embedding else self.embedding_dim
        settings: dict[str, Any] = {
            "num_codes": num_codes,
            "embedding_dim": table.output_dim
            if table is not None
            else own_dim or embedding_dim or ruled_dim(num_codes),
            "num_unknown": self.of.num_unknown,
            "length": self.length,
            "by_rating": self.by_rating,
            "table": table,
            "regularizer": regularizer,
            "name": f"{self.name}_embedding",
        }
        if self.encoder is not None:
            return SequenceEmbedding(encoder=self.encoder, by_time=self.by_time, **settings)
        return HistoryEmbedding(
            pooling=self.pooling,
            rating_vectors=self.rating_vectors,
            slope_per_entry=self.slope_per_entry,
            half_life=self.half_life,
            dropout=self.dropout,
            **settings,
        )

    def align(self, codes: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Gives ratings and times the width of the ids: truncates them, or pads them with the average or no time.

        A rating belongs to the candidate at the same place, whatever the width of the batch.

        Args:
            codes: Input name -> codes.
        """
        aligned, width = dict(codes), tf.shape(codes[self.name])[1]
        for name, is_taken, missing in (
            (self.rating_name, self.by_rating, 0.0),
            (self.time_name, self.by_time, NO_TIME),
        ):
            if is_taken:
                num_missing = tf.maximum(0, width - tf.shape(codes[name])[1])
                padded = tf.pad(codes[name], [[0, 0], [0, num_missing]], constant_values=missing)
                aligned[name] = padded[:, :width]
        return aligned

    def with_embedding_dim(self, embedding_dim: int) -> History:
        """Returns the same history with a fixed length of its vector, unless it is the candidate id's."""
        return self if self.shares_embedding else dataclasses.replace(self, embedding_dim=embedding_dim)

    def source_codes(self, lookups: Mapping[str, Any], vocabularies: Vocabularies) -> np.ndarray | None:
        """New candidates start with the vector of unknown ones; see `Feature`."""
        of = dataclasses.replace(self.of, name=self.name)
        return of.source_codes({self.name: lookups[self.name]}, vocabularies)


def histories(features: Sequence[Feature]) -> list[History]:
    """Returns the histories among some features."""
    return [feature for feature in features if isinstance(feature, History)]


class WeightedVectors(NamedTuple):
    """Weights of past candidates, and the vectors that they are multiplied by.

    Attributes:
        weights: float32 [n].
        look_up: From codes, int64 [any], to their vectors, float32 [any, embedding_dim].
    """

    weights: tf.Tensor
    look_up: Callable[[tf.Tensor], tf.Tensor]


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class HistoryEmbedding(TableEncoder):
    """The pooled vectors of a query's past candidates, weighted by rating and by how many came later.

    Args:
        num_codes: Rows of the table.
        embedding_dim: Length of a vector.
        num_unknown: Number of codes of unknown values, which follow code 0.
        pooling: "sum", "mean" or "sqrtn".
        length: Maximum number of candidates that count, the latest ones.
        by_rating: Whether to multiply by 1 + slope * rating.
        rating_vectors: Whether to add rating * (a second vector) in place of that.
        slope_per_entry: Whether each entry has a slope of its own.
        half_life: Number of later candidates after which the weight has halved; None weighs all alike.
        dropout: Largest share of a history that training drops.
        table: Table of another layer, used instead of a table of its own; not part of the configuration.

    Example:
        >>> layer = HistoryEmbedding(num_codes=4, embedding_dim=2, length=10)
        >>> print(layer(tf.constant([[0, 0]])).numpy())  # an empty history
        [[0. 0.]]
    """

    def __init__(
        self,
        *,
        pooling: Pooling = "mean",
        length: int,
        by_rating: bool = False,
        rating_vectors: bool = False,
        slope_per_entry: bool = False,
        half_life: float | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pooling, self.length, self.half_life = pooling, length, half_life
        self.by_rating, self.rating_vectors, self.slope_per_entry = by_rating, rating_vectors, slope_per_entry
        self.dropout = dropout
        self.rating_table = None
        if rating_vectors:
            self.rating_table = self.build_table("rating_table")
        elif by_rating:
            shape = (self.embedding_dim,) if slope_per_entry else ()
            self.slope = self.add_weight(name="slope", shape=shape, initializer=tf.keras.initializers.Constant(0.5))

    @property
    def tables(self) -> list[tf.keras.layers.Embedding]:
        """The table, and that of the ratings; see `TableEncoder`."""
        return [self.table] if self.rating_table is None else [self.table, self.rating_table]

    def call(self, codes: tf.Tensor, ratings: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Encodes a history.

        Args:
            codes: int64 [batch, any], the latest last; 0 is padding, anywhere.
            ratings: float32 [batch, any], standardised; with `by_rating`.
            training: Whether gradients are needed: then candidates are dropped, and the vectors of all others are held
                at once.

        Returns:
            float32 [batch, embedding_dim], zero for an empty history.
        """
        # Histories differ in length: padding, and what is beyond `length`, is not looked up.
        shares = self._shares(codes, training)
        places = tf.where(shares > 0)
        if training:
            codes_there = tf.gather_nd(codes, places)
            parts = [
                term.look_up(codes_there) * term.weights[:, tf.newaxis] for term in self._terms(ratings, places, shares)
            ]
            return tf.math.unsorted_segment_sum(tf.add_n(parts), places[:, 0], tf.shape(codes)[0])
        rows, codes_there, shares_there = places[:, 0], tf.gather_nd(codes, places), tf.gather_nd(shares, places)

        def pooled(table: tf.keras.layers.Embedding, weights: tf.Tensor) -> tf.Tensor:
            return pooled_sum(table, codes_there, rows, weights, tf.shape(codes)[0])

        if not self.by_rating:
            return pooled(self.table, shares_there)
        rated = shares_there * tf.gather_nd(ratings, places)
        if self.rating_table is not None:
            return pooled(self.table, shares_there) + pooled(self.rating_table, rated)
        if self.slope_per_entry:
            return pooled(self.table, shares_there) + self.slope * pooled(self.table, rated)
        return pooled(self.table, shares_there + self.slope * rated)

    def terms(
        self, codes: tf.Tensor, ratings: tf.Tensor | None, places: tf.Tensor, training: bool = False
    ) -> list[WeightedVectors]:
        """Returns the terms whose sum over a history is what `call` returns.

        Args:
            codes: As in `call`.
            ratings: As in `call`.
            places: int64 [n, 2], (row, slot) of each candidate.
            training: As in `call`.

        Returns:
            Terms of n weights each, which are zero for padding, for candidates beyond `length` and for what is
            dropped.
        """
        return self._terms(ratings, places, self._shares(codes, training))

    def _terms(self, ratings: tf.Tensor | None, places: tf.Tensor, shares: tf.Tensor) -> list[WeightedVectors]:
        shares = tf.gather_nd(shares, places)
        if not self.by_rating:
            return [WeightedVectors(shares, self.table)]
        rated = shares * tf.gather_nd(ratings, places)
        if self.rating_table is not None:
            return [WeightedVectors(shares, self.table), WeightedVectors(rated, self.rating_table)]
        if self.slope_per_entry:
            sloped = WeightedVectors(rated, lambda codes: self.table(codes) * self.slope)
            return [WeightedVectors(shares, self.table), sloped]
        return [WeightedVectors(shares + self.slope * rated, self.table)]

    def _shares(self, codes: tf.Tensor, training: bool) -> tf.Tensor:
        """float32 [batch, any], what each candidate's vector is multiplied by before the rating is looked at."""
        is_used = tf.cast(codes != MISSING_CODE, tf.float32)
        num_later = tf.cumsum(is_used, axis=1, exclusive=True, reverse=True)
        weights = is_used * tf.cast(num_later < self.length, tf.float32)
        if self.half_life is not None:
            weights *= 0.5 ** (num_later / self.half_life)
        if training and self.dropout:
            rates = uniform([tf.shape(codes)[0], 1], 0.0, self.dropout, tf.float32)
            weights *= tf.cast(uniform(tf.shape(codes), 0.0, 1.0, tf.float32) >= rates, tf.float32)
        # The rating is left out of the denominator, or else a list of one would not show it.
        return pooling_shares(weights, self.pooling)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments except the shared table."""
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "length": self.length,
            "by_rating": self.by_rating,
            "rating_vectors": self.rating_vectors,
            "slope_per_entry": self.slope_per_entry,
            "half_life": self.half_life,
            "dropout": self.dropout,
        }
