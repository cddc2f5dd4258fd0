"""A tower that concatenates its features' vectors and puts an MLP on top."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.mlp import CrossStack, HiddenLayer, Normalization, l2_regularizer
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.tower_config import SharedTables, TowerConfig


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPTowerConfig(TowerConfig):
    """A tower that concatenates its features' vectors and puts an MLP on top.

    Attributes:
        features: Features, with unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding, >= 1; the same in both towers.
        has_bias: Whether the tower has one more output, a bias that is added to the score.
        frequency_of: See `SumTowerConfig`.
        dropout: Share of hidden units dropped in training, in [0, 1).
        l2: Weight of the squared norms of the MLP's kernels in the loss, >= 0. The default is the validation part's
            choice on MovieLens 100K, for AUC and log loss alike.
        embedding_dim: Length of a feature's vector unless the feature sets its own, >= 1; None for a rule by the number
            of values, `tfrs_twotower.features.embeddings.ruled_dim`.
        hidden_units: Widths of the hidden layers, each with activation, normalisation and dropout; () for none.
        activation: Activation of the hidden layers, a name that Keras knows.
        normalization: Normalisation of the hidden layers: "batch", "layer" or "none".
        residual: Whether a hidden layer's input is added to its output, through a matrix if their widths differ.
        num_cross_layers: Number of cross layers (DCN V2) before the hidden ones, >= 0.
        context: See `TowerConfig`.
        context_dropout: See `TowerConfig`.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.vocabularies import Vocabulary
        >>> config = MLPTowerConfig(features=(Categorical(name="user_id"),), output_dim=4)
        >>> tower = config.build_tower(Vocabularies({"user_id": Vocabulary(("42", "7"))}), name="query")
        >>> tower({"user_id": tf.constant(["42", "never seen"])}).shape
        TensorShape([2, 4])
    """

    embedding_dim: int | None = 50
    hidden_units: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    normalization: Normalization = "batch"
    dropout: float = 0.3
    residual: bool = False
    num_cross_layers: int = 0
    l2: float = 3e-3

    minimums: ClassVar[Mapping[str, int]] = {"output_dim": 1, "num_cross_layers": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dim is not None:
            whole_number(self.embedding_dim, "`embedding_dim`", 1)
        if not isinstance(self.hidden_units, tuple | list):
            raise TypeError(f"`hidden_units` must be a tuple. Received: {self.hidden_units!r}.")
        widths = tuple(whole_number(units, "`hidden_units`", 1) for units in self.hidden_units)
        object.__setattr__(self, "hidden_units", widths)
        if self.normalization not in ("batch", "layer", "none"):
            raise ValueError(f"`normalization` must be batch, layer or none. Received: {self.normalization!r}.")
        if not isinstance(self.activation, str):
            raise TypeError(f"`activation` must be a name that Keras knows. Received: {self.activation!r}.")
        try:
            tf.keras.activations.get(self.activation)
        except ValueError as error:
            raise ValueError(f"`activation` must be a name that Keras knows. Received: {self.activation!r}.") from error

    def build_tower(
        self, vocabularies: Vocabularies, *, name: str = "tower", shared_tables: SharedTables | None = None
    ) -> MLPTower:
        """Builds an `MLPTower`; see `TowerConfig`."""
        return MLPTower.create(self, vocabularies, name=name, shared_tables=shared_tables)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class MLPTower(Tower):
    """A tower that concatenates its features' vectors and puts an MLP on top; made by an `MLPTowerConfig`.

    Example:
        >>> from tfrs_twotower.features.numeric import Numeric
        >>> config = MLPTowerConfig(features=(Numeric(name="price"),), hidden_units=(), output_dim=2)
        >>> isinstance(config.build_tower(Vocabularies()), MLPTower)
        True
    """

    config: MLPTowerConfig

    def build_encoder(self, feature: Feature, shared_tables: SharedTables) -> tf.keras.layers.Layer:
        """Builds a feature's own encoder; see `Tower`."""
        if isinstance(feature, History):
            return feature.build_encoder(
                self.vocabularies,
                embedding_dim=self.config.embedding_dim,
                table=shared_tables.get(feature.name),
            )
        return feature.build_encoder(self.vocabularies, embedding_dim=self.config.embedding_dim)

    def build_top(self) -> tf.keras.layers.Layer:
        """Builds cross layers, hidden layers and a linear output layer; see `Tower`.

        References:
            Wang et al. 2021, "DCN V2", eq. 1 (the cross layer).
        """
        config = self.config
        mlp = tf.keras.Sequential(name="mlp")
        if config.num_cross_layers:
            mlp.add(CrossStack(num_layers=config.num_cross_layers, l2=config.l2, name="cross"))
        for number, units in enumerate(config.hidden_units):
            mlp.add(
                HiddenLayer(
                    units=units,
                    activation=config.activation,
                    normalization=config.normalization,
                    dropout=config.dropout,
                    residual=config.residual,
                    l2=config.l2,
                    name=f"hidden_{number}",
                )
            )
        regularizer = l2_regularizer(config.l2)
        # The embedding is float32 with mixed precision, too.
        output = tf.keras.layers.Dense(
            config.num_outputs, kernel_regularizer=regularizer, dtype="float32", name="output"
        )
        mlp.add(output)
        return mlp

    def combine(self, vectors: list[tf.Tensor], training: bool) -> tf.Tensor:
        """Concatenates the vectors and applies the MLP; see `Tower`."""
        return self.top(tf.concat(vectors, axis=1), training=training)
