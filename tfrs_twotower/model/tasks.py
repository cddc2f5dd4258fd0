"""What the model is trained for."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class RatingTask(tf.keras.layers.Layer):
    """Tells liked from disliked among rated pairs: binary cross-entropy on logits.

    Attributes:
        threshold: A pair is positive if its rating is at least this.
    """

    def __init__(self, *, threshold: float = 3.0, name: str = "rating_task", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.threshold = float(threshold)
        self.ranking = tfrs.tasks.Ranking(
            loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[
                # Of logits, hence the threshold of 0. The loss as a metric is weighted by example, so that a small
                # last batch counts as much as it holds; `loss` in Keras's logs is the last batch's alone.
                tf.keras.metrics.BinaryCrossentropy(from_logits=True, name="log_loss"),
                tf.keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                tf.keras.metrics.AUC(from_logits=True, name="auc"),
            ],
        )

    def call(
        self, ratings: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """The loss, a float32 scalar: the mean over the batch of each pair's loss times its weight.

        Args:
            ratings: float32 [batch].
            logits: float32 [batch], log-odds that the pair is positive.
            weights: float32 [batch], what each pair counts, in the metrics too; None for 1 each.
            training: Whether this is a training step.
        """
        labels = tf.cast(ratings >= self.threshold, tf.float32)
        return self.ranking(
            labels=labels[:, tf.newaxis],
            predictions=logits[:, tf.newaxis],
            sample_weight=weights,
            training=training,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}

    def require_two_classes(self, ratings: np.ndarray) -> None:
        """Refuses ratings among which there is nothing to tell apart.

        Args:
            ratings: float32 [n].

        Raises:
            ValueError: If all or none are positive.
        """
        lowest, highest = ratings.min(), ratings.max()
        if lowest < self.threshold <= highest:
            return
        raise ValueError(
            f"`rating` must be on both sides of the threshold {self.threshold:g}. Received: {len(ratings)} ratings "
            f"from {lowest:g} to {highest:g}, one class only. Choose another threshold, or sample negatives."
        )
