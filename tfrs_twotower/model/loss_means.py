"""The means of the losses in Keras's logs."""

from __future__ import annotations

import tensorflow as tf

LOSSES = ("loss", "regularization_loss", "total_loss")


class LossMeans:
    """The weighted means of the losses of an epoch; no part of the model's weights.

    Attributes:
        metrics: `loss`, `regularization_loss` and `total_loss`.
    """

    def __init__(self) -> None:
        self.metrics = [tf.keras.metrics.Mean(name=name) for name in LOSSES]

    def update(self, loss: tf.Tensor, regularization: tf.Tensor, weight: tf.Tensor) -> None:
        """Takes a batch into the means.

        Args:
            loss: float32 scalar, the task's loss.
            regularization: float32 scalar, that of the weights.
            weight: float32 scalar, what the batch counts.
        """
        for metric, value in zip(self.metrics, (loss, regularization, loss + regularization), strict=True):
            metric.update_state(value, sample_weight=weight)
