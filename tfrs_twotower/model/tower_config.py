"""What a tower is made of, declared and checked before any layer is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from tfrs_twotower.features.features import (
    KINDS,
    Categorical,
    Feature,
    feature_from_config,
    feature_to_config,
    whole_number,
)
from tfrs_twotower.features.inputs import raw_specs
from tfrs_twotower.model.mlp import Normalization


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AnyTowerConfig:
    """What all towers have.

    Attributes:
        features: Inputs, by unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding that comes out, >= 1; the same in both towers.
        has_bias: Whether a number comes out besides, which is added to the score: how much a query likes anything, or
            a candidate is liked by anyone.
        frequency_of: A `Categorical` among the features, usually the candidate's id: the logarithm of how often its
            value occurs in training, times a learnt factor that starts at 1, is part of the bias. A softmax starts from
            popularity then, and vectors have the personal part to learn.
        dropout: Share of units dropped in training, in [0, 1).
        l2: Weight of squared norms in the loss, >= 0.
    """

    features: tuple[Feature, ...]
    output_dim: int = 64
    has_bias: bool = False
    frequency_of: str | None = None
    dropout: float = 0.0
    l2: float = 0.0

    #: Settings that are whole numbers, and the least that each may be.
    _whole: ClassVar[Mapping[str, int]] = {"output_dim": 1}

    def __post_init__(self) -> None:
        if not isinstance(self.features, tuple | list):
            raise TypeError(f"`features` must be a tuple. Received: {self.features!r}.")
        strangers = [feature for feature in self.features if not isinstance(feature, tuple(KINDS.values()))]
        if strangers:
            raise TypeError(f"`features` must be of these kinds: {', '.join(KINDS)}. Received: {strangers[0]!r}.")
        object.__setattr__(self, "features", tuple(self.features))
        inputs = [spec.name for feature in self.features for spec in raw_specs(feature)]
        if not inputs or len(set(inputs)) < len(inputs):
            raise ValueError(f"`features` must be at least one, with unique names. Received: {inputs}.")
        for name, least in self._whole.items():
            if name != "embedding_dim" or getattr(self, name) is not None:
                object.__setattr__(self, name, whole_number(getattr(self, name), f"`{name}`", least))
        if not isinstance(self.has_bias, bool):
            raise TypeError(f"`has_bias` must be True or False. Received: {self.has_bias!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {self.dropout}.")
        if not self.l2 >= 0:
            raise ValueError(f"`l2` must be at least 0. Received: {self.l2}.")
        if self.frequency_of is not None:
            names = [feature.name for feature in self.features if isinstance(feature, Categorical)]
            if not self.has_bias or self.frequency_of not in names:
                raise ValueError(
                    "`frequency_of` must name a Categorical of a tower that has a bias. "
                    f"Received: {self.frequency_of!r}, has_bias={self.has_bias}, Categorical features: {names}."
                )

    @property
    def num_outputs(self) -> int:
        """Numbers that come out: the embedding, and after it the bias if there is one."""
        return self.output_dim + self.has_bias

    def to_config(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        features = [feature_to_config(feature) for feature in self.features]
        return {"kind": type(self).__name__, **settings, "features": features}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerConfig(_AnyTowerConfig):
    """A tower that joins its features' vectors and puts an MLP on top.

    Attributes:
        features: Inputs, by unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding that comes out, >= 1; the same in both towers.
        has_bias: Whether a number comes out besides, which is added to the score.
        frequency_of: See `SumTowerConfig`.
        dropout: Share of hidden units dropped in training, in [0, 1).
        l2: Weight of the squared norms of the MLP's kernels in the loss, >= 0. The default is the validation part's
            choice on MovieLens 100K, for AUC and log loss alike.
        embedding_dim: Length of a feature's vector where the feature names none, >= 1; None for a rule by the number
            of values, `tfrs_twotower.features.encoders.ruled_dim`.
        hidden_units: Widths of the hidden layers, each with activation, normalisation and dropout; () for none.
        activation: Of the hidden layers, a name that Keras knows.
        normalization: Of the hidden layers, "batch", "layer" or "none".
        residual: Whether a hidden layer's input is added to its output, through a matrix where their widths differ.
        num_cross_layers: Cross layers (DCN V2) before the hidden ones, >= 0.
    """

    embedding_dim: int | None = 50
    hidden_units: tuple[int, ...] = (128, 64)
    activation: str = "relu"
    normalization: Normalization = "batch"
    dropout: float = 0.3
    residual: bool = False
    num_cross_layers: int = 0
    l2: float = 3e-3

    _whole: ClassVar[Mapping[str, int]] = {"embedding_dim": 1, "output_dim": 1, "num_cross_layers": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SumTowerConfig(_AnyTowerConfig):
    """A tower that adds its features' vectors, and nothing on top: with a bias, half a factorisation machine.

    All vectors are as long as the output, so no feature may have an `embedding_dim`; numbers go through a matrix. What
    a past candidate contributes can be taken away exactly, as training by query (`TwoTowerModel.query_batches`) needs.

    Attributes:
        features: Inputs, by unique names. The one that identifies a row is usually among them.
        output_dim: Length of the embedding that comes out, >= 1; the same in both towers.
        has_bias: Whether a number comes out besides, which is added to the score: how much a query likes anything, or
            a candidate is liked by anyone. Every vector has an entry for it.
        frequency_of: A `Categorical` among the features, usually the candidate's id: the logarithm of how often its
            value occurs in training, times a learnt factor that starts at 1, is part of the bias. A softmax starts from
            popularity then, and vectors have the personal part to learn.
        dropout: Share of the sum's entries dropped in training, in [0, 1); never the bias.
        l2: Weight of the squared norms of all vectors in the loss, >= 0. Above 0, a training step takes time in
            proportion to the tables.

    References:
        Rendle 2010, "Factorization Machines".
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for feature in self.features:
            if getattr(feature, "embedding_dim", None) is not None:
                raise ValueError(
                    f"`embedding_dim` of {feature.name!r} must be left out: vectors that are added are as long as the "
                    f"output. Received: {feature.embedding_dim}."  # type: ignore[union-attr]
                )


AnyTowerConfig = TowerConfig | SumTowerConfig

#: Every kind of configuration, by the name that a saved one calls it.
_CONFIGS: Mapping[str, type[_AnyTowerConfig]] = {kind.__name__: kind for kind in (TowerConfig, SumTowerConfig)}


def tower_config_from_config(config: Mapping[str, Any]) -> AnyTowerConfig:
    """What `to_config` of either kind described.

    Raises:
        ValueError: If the kind is unknown, or a value impossible.
        TypeError: If there is no such setting.

    Example:
        >>> config = SumTowerConfig(features=(Categorical(name="user_id"),), output_dim=8)
        >>> tower_config_from_config(config.to_config()) == config
        True
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in _CONFIGS:
        raise ValueError(f"`kind` must be one of {', '.join(_CONFIGS)}. Received: {kind!r}.")
    features = tuple(feature_from_config(feature) for feature in settings.pop("features"))
    return _CONFIGS[kind](features=features, **settings)  # type: ignore[return-value]
