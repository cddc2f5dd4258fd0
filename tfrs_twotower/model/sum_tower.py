"""A tower that adds its features' vectors, with nothing on top."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.dropout import drop_units
from tfrs_twotower.features.feature import Encoder, Feature
from tfrs_twotower.features.history import History
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.history_parts import HistoryParts, HistoryTerm
from tfrs_twotower.model.mlp import l2_regularizer
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.tower_config import SharedTables, TowerConfig


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SumTowerConfig(TowerConfig):
    """A tower that adds its features' vectors, with nothing on top: with a bias, half a factorisation machine.

    All vectors are as long as the output, so no feature may have an `embedding_dim`; numbers go through a matrix. The
    contribution of a past candidate can be subtracted exactly, which training by query needs
    (`TwoTowerModel.query_batches`).

    Attributes:
        features: Features, with unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding, >= 1; the same in both towers.
        has_bias: Whether the tower has one more output, a bias that is added to the score: how much a query likes any
            candidate, or how much a candidate is liked by any query. Every vector has an entry for it.
        frequency_of: A `Categorical` among the features, usually the candidate's id: the logarithm of how often its
            value occurs in training, times a learnt factor that starts at 1, becomes part of the bias. A softmax then
            starts from popularity, and the vectors learn what is personal.
        dropout: Share of the sum's entries dropped in training, in [0, 1); never the bias.
        l2: Weight of the squared norms of all vectors in the loss, >= 0. Above 0, the time of a training step grows
            with the tables.
        context: See `TowerConfig`.
        context_dropout: See `TowerConfig`.

    References:
        Rendle 2010, "Factorization Machines".

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> config = SumTowerConfig(features=(Categorical(name="movie_id"),), has_bias=True, frequency_of="movie_id")
        >>> config.num_outputs
        65
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for feature in self.features:
            embedding_dim = getattr(feature, "embedding_dim", None)
            if embedding_dim is not None:
                raise ValueError(
                    f"`embedding_dim` of {feature.name!r} must be left out: vectors that are added are as long as the "
                    f"output. Received: {embedding_dim}."
                )

    def build_tower(
        self, vocabularies: Vocabularies, *, name: str = "tower", shared_tables: SharedTables | None = None
    ) -> SumTower:
        """Builds a `SumTower`; see `TowerConfig`."""
        return SumTower.create(self, vocabularies, name=name, shared_tables=shared_tables)

    def with_fixed_dims(self, encoders: Mapping[str, tf.keras.layers.Layer]) -> TowerConfig:
        """Returns itself: all vectors are as long as the output; see `TowerConfig`."""
        del encoders
        return self


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SumTower(Tower):
    """A tower whose features' vectors are added, so that the contribution of a past candidate can be subtracted.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> config = SumTowerConfig(features=(Numeric(name="price"),), output_dim=2)
        >>> isinstance(config.build_tower(Vocabularies()), SumTower)
        True
    """

    def encode_with_parts(
        self, codes: Mapping[str, tf.Tensor], places: tf.Tensor, candidates: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, HistoryParts]:
        """Encodes queries, and what each past candidate contributes to them.

        Args:
            codes: As `lookup` gives them.
            places: int64 [n, 2], (row, slot) of every past candidate in the histories.
            candidates: int32 [n], numbers that tell past candidates apart, such as their places in the batch.
            training: Whether to drop units and past candidates; a query and its parts drop the same ones, and the part
                of a candidate that is dropped is zero.

        Returns:
            (outputs, parts): float32 [batch, num_outputs], and the parts by past candidate.
        """
        codes = self.drop_context(codes, training)
        columns, column_of_place = tf.unique(candidates)
        pairs = tf.stack([places[:, 0], tf.cast(column_of_place, tf.int64)], axis=1)
        num_rows = tf.shape(next(iter(codes.values())))[0]
        shape = tf.cast(tf.stack([num_rows, tf.size(columns)]), tf.int64)
        terms = []
        for past in self.histories:
            column_codes = tf.tensor_scatter_nd_update(
                tf.zeros(tf.shape(columns), codes[past.name].dtype),
                column_of_place[:, tf.newaxis],
                tf.gather_nd(codes[past.name], places),
            )
            ratings = codes[past.rating_name] if past.by_rating else None
            for weighted in self.encoders[past.name].terms(codes[past.name], ratings, places, training):
                weights = tf.scatter_nd(pairs, weighted.weights, shape)
                terms.append(HistoryTerm(weights=weights, vectors=weighted.look_up(column_codes)))
        past_names = {past.name for past in self.histories}
        others = self.feature_vectors(codes, [name for name in self.encoders if name not in past_names], training)
        outputs = tf.add_n([*(tf.matmul(term.weights, term.vectors) for term in terms), *others])
        kept = self.top.mask(num_rows, training) if training and self.config.dropout else None
        parts = HistoryParts(terms=terms, kept=kept, columns=columns, pairs=pairs)
        return self.add_frequency(outputs if kept is None else outputs * kept, codes), parts

    def build_encoder(self, feature: Feature, shared_tables: SharedTables) -> tf.keras.layers.Layer:
        """Builds an encoder whose vectors are as long as the output; see `Tower`."""
        regularizer, num_outputs = l2_regularizer(self.config.l2), self.config.num_outputs
        if isinstance(feature, History):
            return feature.build_encoder(
                self.vocabularies,
                embedding_dim=num_outputs,
                table=shared_tables.get(feature.name),
                regularizer=regularizer,
            )
        encoder = feature.build_encoder(self.vocabularies, embedding_dim=num_outputs, regularizer=regularizer)
        if feature.is_embedded:
            return encoder
        return ProjectedEncoder(encoder=encoder, units=num_outputs, l2=self.config.l2, name=encoder.name)

    def build_top(self) -> tf.keras.layers.Layer:
        """Builds the sum; see `Tower`."""
        return VectorSum(dropout=self.config.dropout, has_bias=self.config.has_bias, dtype="float32", name="sum")

    def combine(self, vectors: list[tf.Tensor], training: bool) -> tf.Tensor:
        """Adds the vectors; see `Tower`."""
        return self.top(vectors, training=training)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class ProjectedEncoder(Encoder):
    """An encoder followed by a matrix, so that numbers become a vector that can be added.

    Args:
        encoder: Encoder of a feature.
        units: Length of the vector.
        l2: Weight of the squared norm of the matrix in the loss.
    """

    def __init__(self, *, encoder: Encoder, units: int, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.units, self.l2 = encoder, units, l2
        self.projection = tf.keras.layers.Dense(
            units, use_bias=False, kernel_regularizer=l2_regularizer(l2), name="projection"
        )

    def call(self, *codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Encodes codes as float32 [batch, units]."""
        return self.projection(self.encoder(*codes, training=training))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "encoder": to_config(self.encoder), "units": self.units, "l2": self.l2}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ProjectedEncoder:
        """Makes the encoder that `get_config` described."""
        return cls(**{**config, "encoder": from_config(config["encoder"])})


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class VectorSum(tf.keras.layers.Layer):
    """The sum of vectors, some entries of which are dropped in training.

    Args:
        dropout: Share of a row's entries that training sets to zero while it scales up the others, in [0, 1).
        has_bias: Whether the last entry is a bias, which is never dropped.

    References:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def __init__(self, *, dropout: float = 0.0, has_bias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout, self.has_bias = dropout, has_bias

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Remembers the length of the vectors."""
        self._width = int(input_shape[0][-1])
        super().build(input_shape)

    def call(self, vectors: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """Adds float32 [batch, width] each to [batch, width]."""
        total = tf.add_n(list(vectors))
        return total * self.mask(tf.shape(total)[0], training) if training and self.dropout else total

    def mask(self, num_rows: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns float32 [num_rows, width], the factors of a sum's entries; available after the first call."""
        ones = tf.ones([num_rows, self._width])
        if not training or not self.dropout:
            return ones
        kept = drop_units(ones, self.dropout)
        return tf.concat([kept[:, :-1], ones[:, -1:]], axis=1) if self.has_bias else kept

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "dropout": self.dropout, "has_bias": self.has_bias}
