"""Layers of a multilayer perceptron: hidden layers with normalisation and dropout, and cross layers."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.features.dropout import UnitDropout
from tfrs_twotower.model.batch_normalization import BatchNormalization

Normalization = Literal["batch", "layer", "none"]


def l2_regularizer(l2: float) -> tf.keras.regularizers.Regularizer | None:
    """Returns Keras's regulariser of squared norms, None for a weight of 0.

    Args:
        l2: Weight of the squared norms in the loss, >= 0.
    """
    return tf.keras.regularizers.L2(l2) if l2 else None


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class HiddenLayer(tf.keras.layers.Layer):
    """Dense, activation, normalisation and dropout, with an optional residual connection around them.

    Args:
        units: Width.
        activation: Activation, a name that Keras knows.
        normalization: "batch", "layer" or "none".
        dropout: Share of units dropped in training, in [0, 1).
        residual: Whether to add the input to the output, through a matrix if their widths differ.
        l2: Weight of the squared norms of the kernels in the loss.
    """

    def __init__(
        self,
        *,
        units: int,
        activation: str = "relu",
        normalization: Normalization = "batch",
        dropout: float = 0.0,
        residual: bool = False,
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        layers = tf.keras.layers
        self.units, self.activation, self.normalization = units, activation, normalization
        self.residual, self.l2 = residual, l2
        self.dense = layers.Dense(
            units, activation=activation, kernel_regularizer=l2_regularizer(self.l2), name="dense"
        )
        self.normalize = {
            "batch": _batch_normalization,
            "layer": layers.LayerNormalization,
            "none": layers.Identity,
        }[normalization](name="normalize")
        self.dropout = UnitDropout(dropout, name="dropout")
        self.shortcut: tf.keras.layers.Layer = layers.Identity(name="shortcut")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Adds a matrix to the residual connection if the widths differ."""
        if self.residual and input_shape[-1] != self.units:
            self.shortcut = tf.keras.layers.Dense(
                self.units, use_bias=False, kernel_regularizer=l2_regularizer(self.l2), name="shortcut"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps float32 [batch, any] to float32 [batch, units]."""
        # Keras hands `training` on to the normalisation, as it did to this layer.
        hidden = self.dropout(self.normalize(self.dense(inputs)), training=training)
        return hidden + self.shortcut(inputs) if self.residual else hidden

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "normalization": self.normalization,
            "dropout": self.dropout.rate,
            "residual": self.residual,
            "l2": self.l2,
        }


def _batch_normalization(**options: Any) -> BatchNormalization:
    """Makes a layer that replicas of a distribution strategy normalise the whole batch by, as one device does."""
    # Without replicas our own layer is the more accurate one, and the faster one.
    is_replicated = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return BatchNormalization(synchronized=is_replicated, **options)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class CrossStack(tf.keras.layers.Layer):
    """Cross layers, each of which multiplies the first input with the output of the layer before.

    Args:
        num_layers: Number of layers, >= 1.
        l2: Weight of the squared norms of the kernels in the loss.
    """

    def __init__(self, *, num_layers: int, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l2 = l2
        regularizer = l2_regularizer(l2)
        self.crosses = [
            tfrs.layers.dcn.Cross(kernel_regularizer=regularizer, name=f"cross_{number}")
            for number in range(num_layers)
        ]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float32 [batch, any] to the same shape."""
        crossed = inputs
        for layer in self.crosses:
            crossed = layer(inputs, crossed)
        return crossed

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "num_layers": len(self.crosses), "l2": self.l2}
