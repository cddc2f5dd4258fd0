"""A softmax over candidates: what the sampled and the full softmax share."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.explicit_negatives import NegativeWeights
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.tasks.task import Task

# The score of no candidate at all.
_LOWEST = -1e30
# What a positive at the threshold counts, where one with the highest rating counts 1: as three of five stars do.
_GAIN_AT_THRESHOLD = 0.6


class SoftmaxTask(Task):
    """What softmax tasks share: how much a positive counts, and the temperature of the scores.

    Args:
        threshold: A candidate is positive if its rating is at least this.
        highest_rating: Rating at which a positive counts fully; from there, its gain falls linearly to 0.6 at the
            threshold, so that a change of scale changes nothing. None: all positives count alike.
        temperature: Divisor of the scores, > 0; the initial value if it is learnt.
        learns_temperature: Whether training adjusts it. It stays positive.
        impression_weight: What each candidate that was shown and not chosen counts, >= 0, in a second softmax that
            compares a positive with such candidates alone; 1: as much as the positive, 0: it is not compared.
        dislike_weight: The same for each candidate that the query rated below the threshold.

    References:
        McFadden 1974, "Conditional Logit Analysis of Qualitative Choice Behavior": what somebody is shown is what they
        choose from, whatever decided that it was shown.
    """

    def __init__(
        self,
        *,
        highest_rating: float | None = None,
        temperature: float = 1.0,
        learns_temperature: bool = False,
        impression_weight: float = 0.0,
        dislike_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < temperature < np.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {temperature}.")
        if highest_rating is not None and not self.threshold <= highest_rating < np.inf:
            raise ValueError(
                f"`highest_rating` must be finite and at least the threshold {self.threshold:g}, or None. "
                f"Received: {highest_rating}."
            )
        for name, weight in (("impression_weight", impression_weight), ("dislike_weight", dislike_weight)):
            if not 0 <= weight < np.inf:
                raise ValueError(f"`{name}` must be finite and at least 0. Received: {weight}.")
        self.impression_weight, self.dislike_weight = float(impression_weight), float(dislike_weight)
        self.highest_rating = None if highest_rating is None else float(highest_rating)
        self.temperature, self.learns_temperature = temperature, learns_temperature
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=tf.keras.initializers.Constant(-np.log(temperature)),
            trainable=learns_temperature,
        )

    def gains(self, ratings: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """Returns the weight of each event, float32 [n]: 0 if it is not positive.

        Args:
            ratings: float32 [n].
            weights: float32 [n], or None for 1 each.
        """
        gains = tf.where(ratings >= self.threshold, self._gains_of_positives(ratings), 0.0)
        return gains if weights is None else gains * weights

    def batch_weight(self, batch: EventBatch | QueryBatch) -> tf.Tensor:
        """Returns what a batch counts in the mean of an epoch's losses: the gains of its positives; see `Task`."""
        return tf.reduce_sum(self.gains(batch.ratings, batch.weights))

    @property
    def score_variables(self) -> list[tf.Variable]:
        """The scale; see `Task`."""
        return [self.log_scale]

    @property
    def negative_weights(self) -> NegativeWeights | None:
        """What explicit negatives count; None if they count no more than any other candidate."""
        if not self.impression_weight and not self.dislike_weight:
            return None
        return NegativeWeights(impression=self.impression_weight, dislike=self.dislike_weight)

    def require_positives(self, train: Interactions) -> None:
        """Raises an error if the events teach nothing.

        Args:
            train: The training part, with at least one event.

        Raises:
            ValueError: If no event is positive, there is only one candidate, or impressions count and there are none.
        """
        if self.impression_weight and train.impressions is None:
            raise ValueError(
                f"`impression_weight` must be 0, because `train` has no impressions. Received: "
                f"{self.impression_weight:g}. Name their column in `Schema(impressions=...)`."
            )
        highest = train.ratings.max()
        if highest < self.threshold:
            raise ValueError(
                f"`rating` must reach the threshold {self.threshold:g} in some event; the highest is {highest:g}. "
                "Choose another threshold."
            )
        if train.num_candidates < 2:
            raise ValueError("`train` must have at least two candidates: a single one comes first whatever is learnt.")

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """Divides queries' vectors by the temperature; see `Task`."""
        return vectors * tf.exp(self.log_scale)

    def _gains_of_positives(self, ratings: tf.Tensor) -> tf.Tensor:
        if self.highest_rating is None or self.highest_rating == self.threshold:
            return tf.ones_like(ratings)
        share = (ratings - self.threshold) / (self.highest_rating - self.threshold)
        return _GAIN_AT_THRESHOLD + (1 - _GAIN_AT_THRESHOLD) * tf.minimum(share, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "highest_rating": self.highest_rating,
            "temperature": self.temperature,
            "learns_temperature": self.learns_temperature,
            "impression_weight": self.impression_weight,
            "dislike_weight": self.dislike_weight,
        }


def log_sums(scores: tf.Tensor, segments: tf.Tensor, num_segments: tf.Tensor) -> tf.Tensor:
    """Returns the logarithm of each segment's sum of exponentials, float32 [num_segments]; very low for an empty one.

    Args:
        scores: float32 [n].
        segments: Integers [n], the segment of each score.
        num_segments: int32 scalar.

    Example:
        >>> sums = tf.exp(log_sums(tf.math.log([1.0, 2.0, 3.0]), tf.constant([1, 0, 1]), 2))
        >>> tf.round(sums).numpy().tolist()
        [2.0, 4.0]
    """
    highest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, segments, num_segments))
    sums = tf.math.unsorted_segment_sum(tf.exp(scores - tf.gather(highest, segments)), segments, num_segments)
    is_empty = sums == 0
    return tf.where(is_empty, _LOWEST, highest + tf.math.log(tf.where(is_empty, 1.0, sums)))
