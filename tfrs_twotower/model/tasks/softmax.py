"""A softmax over candidates: what the sampled and the full softmax share."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.tasks.task import Task


class SoftmaxTask(Task):
    """What softmax tasks share: how much a positive counts, and the temperature of the scores.

    Args:
        threshold: A candidate is positive if its rating is at least this.
        by_rating: Whether a positive counts in proportion to its rating; otherwise all count alike.
        temperature: Divisor of the scores, > 0; the initial value if it is learnt.
        learns_temperature: Whether training adjusts it. It stays positive.
    """

    def __init__(
        self,
        *,
        by_rating: bool = False,
        temperature: float = 1.0,
        learns_temperature: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < temperature < np.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {temperature}.")
        if by_rating and self.threshold < 0:
            raise ValueError(f"`by_rating` needs a threshold of at least 0. Received: {self.threshold:g}.")
        self.by_rating = by_rating
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
        gains = tf.where(ratings >= self.threshold, ratings if self.by_rating else tf.ones_like(ratings), 0.0)
        return gains if weights is None else gains * weights

    @property
    def score_variables(self) -> list[tf.Variable]:
        """The scale; see `Task`."""
        return [self.log_scale]

    def require_positives(self, train: Interactions) -> None:
        """Raises an error if the events teach nothing.

        Args:
            train: The training part, with at least one event.

        Raises:
            ValueError: If no event is positive, or there is only one candidate.
        """
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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "by_rating": self.by_rating,
            "temperature": self.temperature,
            "learns_temperature": self.learns_temperature,
        }
