"""Two models in one: a retrieval head that ranks the catalogue, and a rating head that knows the probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class JointModel(tfrs.Model):
    """Ranks by one head and gives the other's probability; the heads have towers of their own, or share both.

    Of heads that share nothing, training one after the other, each to its own best epoch (`fit_joint`), does what
    training them together does. `fit` on `query_batches`, or on both heads' `training_batches` zipped as "retrieval"
    and "rating", trains both at once by the weighted sum of their losses; heads that share towers are trained so.

    Args:
        retrieval: Its scores rank.
        rating: Its scores are log-odds; its task is a `RatingTask`. Made of the retrieval head's own towers, it shares
            them.
        retrieval_weight: Of the retrieval head's loss, finite, >= 0.
        rating_weight: Of the rating head's loss, finite, >= 0.

    Raises:
        TypeError: If a head is no two-tower model, or the rating head was made for another task.
        ValueError: If the heads disagree about what is positive or about an input, share one tower of two, or a weight
            is out of range.
    """

    def __init__(
        self,
        *,
        retrieval: TwoTowerModel,
        rating: TwoTowerModel,
        retrieval_weight: float = 1.0,
        rating_weight: float = 1.0,
    ) -> None:
        super().__init__(name="joint")
        for name, head in (("retrieval", retrieval), ("rating", rating)):
            if not isinstance(head, TwoTowerModel):
                raise TypeError(f"`{name}` must be a TwoTowerModel. Received: {head!r}.")
        if not isinstance(rating.task, RatingTask):
            raise TypeError(f"`rating` must have a RatingTask. Received: {type(rating.task).__name__}.")
        if retrieval.threshold != rating.threshold:
            raise ValueError(
                "Both heads must have the same threshold of what is positive. "
                f"Received: retrieval {retrieval.threshold:g}, rating {rating.threshold:g}."
            )
        for name, weight in (("retrieval_weight", retrieval_weight), ("rating_weight", rating_weight)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"`{name}` must be finite and at least 0. Received: {weight}.")
        pairs = (
            (retrieval.query_tower, rating.query_tower),
            (retrieval.candidate_tower, rating.candidate_tower),
        )
        if len({first is second for first, second in pairs}) == 2:
            raise ValueError("The heads must share both towers or none: a history may share the candidates' vectors.")
        for towers in pairs:
            specs = [{spec.name: spec for spec in tower.raw_specs} for tower in towers]
            for name in specs[0].keys() & specs[1].keys():
                if specs[0][name] != specs[1][name]:
                    raise ValueError(
                        f"Both heads must take {name!r} alike: they are given the same input. "
                        f"Received: {specs[0][name]} and {specs[1][name]}."
                    )
        self.retrieval, self.rating = retrieval, rating
        self.retrieval_weight, self.rating_weight = float(retrieval_weight), float(rating_weight)
        self.built = True

    @property
    def heads(self) -> list[TwoTowerModel]:
        """The models that this one is made of, the retrieval head first."""
        return [self.retrieval, self.rating]

    @property
    def rating_head(self) -> TwoTowerModel:
        """What knows probabilities."""
        return self.rating

    @property
    def shares_towers(self) -> bool:
        """Whether both heads are made of the same towers."""
        return self.retrieval.query_tower is self.rating.query_tower

    @property
    def threshold(self) -> float:
        """A rating of at least this is positive."""
        return self.rating.threshold

    def query_batches(
        self, train: Interactions, *, batch_size: int = 256, seed: int, num_sampled: int | None = None
    ) -> tf.data.Dataset:
        """Batches of both heads for `fit`, of the same queries; see `TwoTowerModel.query_batches`."""
        options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "num_sampled": num_sampled}
        retrieval = self.retrieval.query_batches(train, **options)
        if self.shares_towers:
            # Once: each iteration over batches is another epoch, in another order.
            return retrieval.map(lambda batch: {"retrieval": batch, "rating": batch})
        return tf.data.Dataset.zip({"retrieval": retrieval, "rating": self.rating.query_batches(train, **options)})

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """The weighted sum of both heads' losses of their batches; called by Keras."""
        return self.retrieval_weight * self.retrieval.compute_loss(
            inputs["retrieval"], training=training
        ) + self.rating_weight * self.rating.compute_loss(inputs["rating"], training=training)

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, tf.Tensor]:
        """float32 [batch], each head's scores of the pairs in its batch of events, "retrieval" and "rating"."""
        return {
            "retrieval": self.retrieval(inputs["retrieval"], training=training),
            "rating": self.rating(inputs["rating"], training=training),
        }

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Nothing is left to build: `from_config` gives towers that have their variables."""

    def get_config(self) -> dict[str, Any]:
        """Both heads, whether they share their towers, and their weights."""
        return {
            "retrieval": self.retrieval.get_config(),
            "rating": self.rating.get_config(),
            "shares_towers": self.shares_towers,
            "retrieval_weight": self.retrieval_weight,
            "rating_weight": self.rating_weight,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> JointModel:
        """The untrained model that `get_config` described."""
        del custom_objects
        retrieval, rating = (TwoTowerModel.from_config(config[name]) for name in ("retrieval", "rating"))
        if config["shares_towers"]:
            towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
            rating = TwoTowerModel(**towers, task=rating.task)
        return cls(
            retrieval=retrieval,
            rating=rating,
            retrieval_weight=config["retrieval_weight"],
            rating_weight=config["rating_weight"],
        )
