"""The layers between a tower's vectors and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from tfrs_twotower._tfrs import tfrs

Normalization = Literal["batch", "layer", "none"]


def build_mlp(
    *,
    hidden_units: Sequence[int],
    output_dim: int,
    activation: str,
    normalization: Normalization,
    dropout: float,
    residual: bool,
    num_cross_layers: int,
    l2: float,
) -> tf.keras.Sequential:
    """Cross layers, hidden layers, and a linear layer to the output.

    Args:
        hidden_units: Widths of the hidden layers.
        output_dim: Length of the output.
        activation: Of the hidden layers, a name that Keras knows.
        normalization: Of the hidden layers.
        dropout: Of the hidden layers, in [0, 1).
        residual: Whether a hidden layer's input is added to its output.
        num_cross_layers: TFRS's cross layers before the hidden ones.
        l2: Weight of the squared norms of all kernels.

    Returns:
        float32 [batch, any] to float32 [batch, output_dim].

    References:
        Wang et al. 2021, "DCN V2", eq. 1 (the cross layer).
    """
    regularizer = tf.keras.regularizers.L2(l2) if l2 else None
    mlp = tf.keras.Sequential(name="mlp")
    if num_cross_layers:
        mlp.add(CrossStack(num_layers=num_cross_layers, l2=l2, name="cross"))
    for number, units in enumerate(hidden_units):
        mlp.add(
            HiddenLayer(
                units=units,
                activation=activation,
                normalization=normalization,
                dropout=dropout,
                residual=residual,
                l2=l2,
                name=f"hidden_{number}",
            )
        )
    mlp.add(tf.keras.layers.Dense(output_dim, kernel_regularizer=regularizer, name="output"))
    return mlp


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class HiddenLayer(tf.keras.layers.Layer):
    """Dense, activation, normalisation, dropout; and around them, if asked for, a way straight on.

    Args:
        units: Width.
        activation: A name that Keras knows.
        normalization: "batch", "layer" or "none".
        dropout: Share of units dropped in training, in [0, 1).
        residual: Add the input to the output, through a matrix where their widths differ.
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
        self.dense = layers.Dense(units, activation=activation, kernel_regularizer=self._regularizer(), name="dense")
        self.normalize = {
            "batch": layers.BatchNormalization,
            "layer": layers.LayerNormalization,
            "none": layers.Identity,
        }[normalization](name="normalize")
        self.dropout = layers.Dropout(dropout, name="dropout")
        self.shortcut: tf.keras.layers.Layer = layers.Identity(name="shortcut")

    def build(self, input_shape: tf.TensorShape) -> None:
        """Chooses the way around."""
        if self.residual and input_shape[-1] != self.units:
            self.shortcut = tf.keras.layers.Dense(
                self.units, use_bias=False, kernel_regularizer=self._regularizer(), name="shortcut"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """float32 [batch, any] to float32 [batch, units]."""
        # What takes `training` among these gets it from Keras, as this layer did.
        hidden = self.dropout(self.normalize(self.dense(inputs)), training=training)
        return hidden + self.shortcut(inputs) if self.residual else hidden

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "normalization": self.normalization,
            "dropout": self.dropout.rate,
            "residual": self.residual,
            "l2": self.l2,
        }

    def _regularizer(self) -> tf.keras.regularizers.Regularizer | None:
        return tf.keras.regularizers.L2(self.l2) if self.l2 else None


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class CrossStack(tf.keras.layers.Layer):
    """Cross layers, each of which multiplies the first input into the last layer's output.

    Args:
        num_layers: At least 1.
        l2: Weight of the squared norms of the kernels in the loss.
    """

    def __init__(self, *, num_layers: int, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l2 = l2
        regularizer = tf.keras.regularizers.L2(l2) if l2 else None
        self.crosses = [
            tfrs.layers.dcn.Cross(kernel_regularizer=regularizer, name=f"cross_{number}")
            for number in range(num_layers)
        ]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """float32 [batch, any] to the same shape."""
        crossed = inputs
        for layer in self.crosses:
            crossed = layer(inputs, crossed)
        return crossed

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_layers": len(self.crosses), "l2": self.l2}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class VectorSum(tf.keras.layers.Layer):
    """The sum of vectors, some of whose entries training drops.

    Args:
        dropout: Share of a row's entries that training sets to zero, the others made larger to match, in [0, 1).
        has_bias: Whether the last entry is a bias, which is never dropped.

    References:
        Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".
    """

    def __init__(self, *, dropout: float = 0.0, has_bias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout, self.has_bias = dropout, has_bias

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Notes how long the vectors are."""
        self._width = int(input_shape[0][-1])
        super().build(input_shape)

    def call(self, vectors: Sequence[tf.Tensor], training: bool = False) -> tf.Tensor:
        """Adds float32 [batch, width] each to [batch, width]."""
        total = tf.add_n(list(vectors))
        return total * self.mask(tf.shape(total)[0], training) if training and self.dropout else total

    def mask(self, num_rows: tf.Tensor, training: bool) -> tf.Tensor:
        """float32 [num_rows, width], what the entries of a sum are multiplied by; after the first call."""
        ones = tf.ones([num_rows, self._width])
        if not training or not self.dropout:
            return ones
        kept = tf.nn.dropout(ones, self.dropout)
        return tf.concat([kept[:, :-1], ones[:, -1:]], axis=1) if self.has_bias else kept

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dropout": self.dropout, "has_bias": self.has_bias}
