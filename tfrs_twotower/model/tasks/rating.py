"""The rating task, which fits probabilities to ratings, binary or ordinal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.negatives import Negatives, NegativeSampler
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.history_parts import HistoryParts
from tfrs_twotower.model.precision import full_precision
from tfrs_twotower.model.replicas import mean_over_replicas, num_replicas
from tfrs_twotower.model.tasks.task import EventTask, QueryTask


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class RatingTask(EventTask, QueryTask):
    """Fits the probability that a rated pair is positive, by binary or ordinal cross-entropy on logits.

    The ordinal loss is half the binary loss at the threshold and half the mean of the binary losses at other
    thresholds, whose logits differ from the pair's by learnt offsets. It uses the height of a rating, which tells more
    than the side of one threshold on which the rating lies. The predicted probability remains that of the threshold.

    Args:
        threshold: A pair is positive if its rating is at least this.
        other_thresholds: Other thresholds of the ordinal loss, ascending; () for the binary loss.

    References:
        Rennie & Srebro 2005, "Loss Functions for Preference Levels", section 3.2 (all thresholds).

    Example:
        >>> task = RatingTask(threshold=3.0)
        >>> round(float(task(tf.constant([5.0, 1.0]), tf.constant([0.0, 0.0]))), 4)  # log 2: both logits are 0
        0.6931
    """

    predicts_probabilities: ClassVar[bool] = True
    compares_candidates: ClassVar[bool] = False

    def __init__(self, *, other_thresholds: Sequence[float] = (), name: str = "rating_task", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(other_thresholds, Sequence) or isinstance(other_thresholds, str):
            raise TypeError(f"`other_thresholds` must be a sequence of ratings. Received: {other_thresholds!r}.")
        self.other_thresholds = tuple(float(value) for value in other_thresholds)
        is_ascending = list(self.other_thresholds) == sorted(set(self.other_thresholds))
        if not np.isfinite(self.other_thresholds).all() or not is_ascending or self.threshold in self.other_thresholds:
            raise ValueError(
                "`other_thresholds` must be finite and ascending, without `threshold`. "
                f"Received: {list(other_thresholds)}, threshold {self.threshold:g}."
            )
        if self.other_thresholds:
            self._place = sorted([*self.other_thresholds, self.threshold]).index(self.threshold)
            # The distance from each threshold to the next, through a softplus, which keeps them in order.
            self.gaps = self.add_weight(name="gaps", shape=(len(self.other_thresholds),), initializer="zeros")
        with full_precision():
            self.ranking = tfrs.tasks.Ranking(
                # Keras refuses to reduce a loss under a distribution strategy, whose replicas have pieces of a batch.
                loss=tf.keras.losses.BinaryCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE),
                metrics=[
                    # Predictions are logits, hence the threshold of 0. The loss at other thresholds is no part of the
                    # log loss, but of `loss` in Keras's logs.
                    tf.keras.metrics.BinaryCrossentropy(from_logits=True, name="log_loss"),
                    tf.keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                    tf.keras.metrics.AUC(from_logits=True, name="auc"),
                ],
            )

    def call(
        self, ratings: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Computes the loss, a float32 scalar: the weighted mean of the pairs' losses; 0 if all weights are 0.

        Args:
            ratings: float32 [batch].
            logits: float32 [batch], log-odds that the pair is positive.
            weights: float32 [batch], what each pair counts in the loss and the metrics; None for 1 each.
            training: Whether this is a training step.
        """
        if weights is not None:
            # Scaled to a mean of 1: Keras divides by the number of pairs, whatever they weigh.
            weights = tf.math.divide_no_nan(weights, mean_over_replicas(weights))
        loss = self._loss(ratings, logits, weights, training)
        if weights is not None and num_replicas() > 1:
            # The mean weight of this replica's pairs is another than that of all.
            loss = tf.math.divide_no_nan(loss, tf.reduce_mean(weights))
        return loss

    def check_events(self, train: Interactions, negatives: Negatives | None, batch_size: int) -> None:
        """Refuses ratings of one class without a `NegativeSampler`; see `EventTask`."""
        del batch_size
        if negatives is None:
            self.require_two_classes(train.ratings)
        elif not isinstance(negatives, NegativeSampler):
            raise TypeError(f"`negatives` of a RatingTask must be a NegativeSampler. Received: {negatives!r}.")

    def check_queries(self, train: Interactions) -> None:
        """Raises an error if all ratings are of one class; see `QueryTask`."""
        self.require_two_classes(train.ratings)

    def require_two_classes(self, ratings: np.ndarray) -> None:
        """Raises an error if all ratings are of one class.

        Args:
            ratings: float32 [n], n >= 1.

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

    def event_loss(self, queries: tf.Tensor, candidates: tf.Tensor, batch: EventBatch, training: bool) -> tf.Tensor:
        """Computes the loss of each event, and of each negative if there are any; see `EventTask`."""
        logits = batch.scores_of_pairs(queries, candidates)
        return self(batch.ratings, logits, weights=batch.weights, training=training)

    def query_loss(
        self, queries: tf.Tensor, parts: HistoryParts, candidates: tf.Tensor, batch: QueryBatch, training: bool
    ) -> tf.Tensor:
        """Computes the loss of each event; see `QueryTask`."""
        logits = batch.scores_of_pairs(queries, candidates) - parts.scores(candidates)
        return self(batch.ratings, logits, weights=batch.weights, training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "other_thresholds": list(self.other_thresholds)}

    def _loss(self, ratings: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None, training: bool) -> tf.Tensor:
        loss = self._binary_loss(ratings, logits, self.threshold, weights, training, is_measured=True)
        if not self.other_thresholds:
            return loss
        distances = tf.concat([[0.0], tf.cumsum(tf.math.softplus(self.gaps))], axis=0)
        offsets = distances[self._place] - distances
        others = tf.zeros([])
        for place, threshold in enumerate(sorted([*self.other_thresholds, self.threshold])):
            if place != self._place:
                shifted = logits + offsets[place]
                others += self._binary_loss(ratings, shifted, threshold, weights, training, is_measured=False)
        return (loss + others / len(self.other_thresholds)) / 2

    def _binary_loss(
        self,
        ratings: tf.Tensor,
        logits: tf.Tensor,
        threshold: float,
        weights: tf.Tensor | None,
        training: bool,
        *,
        is_measured: bool,
    ) -> tf.Tensor:
        losses = self.ranking(
            labels=tf.cast(ratings >= threshold, tf.float32)[:, tf.newaxis],
            predictions=logits[:, tf.newaxis],
            sample_weight=weights,
            training=training,
            compute_metrics=is_measured,
        )
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.cast(tf.size(losses), losses.dtype))
