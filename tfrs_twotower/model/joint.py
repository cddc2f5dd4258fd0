"""Two models in one: a retrieval model that ranks the catalogue, and a rating model that predicts probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower.batches.batch import JointBatch
from tfrs_twotower.batches.pipeline import map_batches, zip_batches
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.model.file_formats import require_joint_weights_format
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.two_tower import TwoTowerModel


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class JointModel(Recommender):
    """Ranks by a retrieval model and predicts probabilities by a rating model, which may share their towers.

    Models that share nothing are best trained one after the other, each to its own best epoch (`fit_joint`). `fit` on
    `query_batches`, or on both models' `training_batches` zipped as a `JointBatch`, trains both at once by the weighted
    sum of their losses; models that share towers are trained so.

    Args:
        retrieval_model: The model whose scores rank the catalogue.
        rating_model: The model whose scores are log-odds; its task is a `RatingTask`. If it is built from the retrieval
            model's own towers, it shares them.
        retrieval_weight: Weight of the retrieval model's loss, finite, >= 0.
        rating_weight: Weight of the rating model's loss, finite, >= 0.

    Raises:
        TypeError: If one is not a two-tower model, or the rating model's task does not predict probabilities.
        ValueError: If the models disagree about what is positive or about an input, share only one of two towers, or a
            weight is out of range.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.vocabularies import Vocabularies
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
        >>> from tfrs_twotower.model.tasks.rating import RatingTask
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> towers = {
        ...     "query_tower": user.build_tower(Vocabularies()), "candidate_tower": movie.build_tower(Vocabularies())
        ... }
        >>> model = JointModel(
        ...     retrieval_model=TwoTowerModel(**towers, task=FullSoftmaxTask()),
        ...     rating_model=TwoTowerModel(**towers, task=RatingTask()),
        ... )
        >>> model.shares_towers
        True
    """

    def __init__(
        self,
        *,
        retrieval_model: TwoTowerModel,
        rating_model: TwoTowerModel,
        retrieval_weight: float = 1.0,
        rating_weight: float = 1.0,
    ) -> None:
        super().__init__(name="joint")
        for name, model in (("retrieval_model", retrieval_model), ("rating_model", rating_model)):
            if not isinstance(model, TwoTowerModel):
                raise TypeError(f"`{name}` must be a TwoTowerModel. Received: {model!r}.")
        if not rating_model.task.predicts_probabilities:
            raise TypeError(f"`rating_model` must have a RatingTask. Received: {type(rating_model.task).__name__}.")
        if retrieval_model.threshold != rating_model.threshold:
            raise ValueError(
                "Both models must have the same threshold of what is positive. "
                f"Received: retrieval {retrieval_model.threshold:g}, rating {rating_model.threshold:g}."
            )
        for name, weight in (("retrieval_weight", retrieval_weight), ("rating_weight", rating_weight)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"`{name}` must be finite and at least 0. Received: {weight}.")
        pairs = (
            (retrieval_model.query_tower, rating_model.query_tower),
            (retrieval_model.candidate_tower, rating_model.candidate_tower),
        )
        if len({first is second for first, second in pairs}) == 2:
            raise ValueError("The models must share both towers or none: a history may share the candidates' vectors.")
        for towers in pairs:
            specs = [{spec.name: spec for spec in tower.raw_specs} for tower in towers]
            for name in specs[0].keys() & specs[1].keys():
                if specs[0][name] != specs[1][name]:
                    raise ValueError(
                        f"Both models must take {name!r} alike: they are given the same input. "
                        f"Received: {specs[0][name]} and {specs[1][name]}."
                    )
        self.retrieval, self.rating = retrieval_model, rating_model
        self.retrieval_weight, self.rating_weight = float(retrieval_weight), float(rating_weight)
        self.built = True

    @property
    def uses_autograph(self) -> bool:
        """Whether Python in the graph may depend on tensors; see `KerasSteps`."""
        return super().uses_autograph or any(model.uses_autograph for model in self.models)

    @property
    def retrieval_model(self) -> TwoTowerModel:
        """The model whose scores rank."""
        return self.retrieval

    @property
    def rating_model(self) -> TwoTowerModel:
        """The model whose scores are log-odds."""
        return self.rating

    @property
    def shares_towers(self) -> bool:
        """Whether both models have the same towers."""
        return self.retrieval.query_tower is self.rating.query_tower

    @property
    def threshold(self) -> float:
        """A rating of at least this is positive."""
        return self.rating.threshold

    def query_batches(
        self, train: Interactions, *, batch_size: int = 256, seed: int, initial_epoch: int = 0
    ) -> tf.data.Dataset:
        """Makes batches for `fit`, each a `JointBatch` of the same queries; see `TwoTowerModel.query_batches`."""
        options: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "initial_epoch": initial_epoch}
        self.rating.check_queries(train)
        contexts = [set(model.query_tower.config.context) for model in (self.retrieval, self.rating)]
        if contexts[0] != contexts[1]:
            raise ValueError(
                "Both models must have the same context to be trained at once, by batches of the same requests. Train "
                f"one after the other with `fit_joint`. Received: {sorted(contexts[0])} and {sorted(contexts[1])}."
            )
        retrieval = self.retrieval.query_batches(train, **options)
        if self.shares_towers:
            # One data set for both: every iteration over batches is another epoch, in another order.
            return map_batches(retrieval, lambda batch: JointBatch(batch, batch))
        return zip_batches(retrieval, self.rating.query_batches(train, **options), JointBatch)

    def compute_loss(self, batch: JointBatch, training: bool = False) -> tf.Tensor:
        """Computes the weighted sum of both models' losses of their batches; called by Keras."""
        _require_joint(batch)
        return self._weighted_sum(
            self.retrieval.compute_loss(batch.retrieval, training=training),
            self.rating.compute_loss(batch.rating, training=training),
        )

    def share_of_loss(self, batch: JointBatch, training: bool = False) -> tf.Tensor:
        """Computes what a replica's piece adds to the loss of the whole batch; each model has weights of its own."""
        _require_joint(batch)
        return self._weighted_sum(
            self.retrieval.share_of_loss(batch.retrieval, training=training),
            self.rating.share_of_loss(batch.rating, training=training),
        )

    def piece_of(self, batch: JointBatch, index: int, count: int) -> JointBatch:
        """Returns the piece of a batch that replica `index` out of `count` takes."""
        return JointBatch(
            self.retrieval.piece_of(batch.retrieval, index, count), self.rating.piece_of(batch.rating, index, count)
        )

    def batch_weight(self, batch: JointBatch) -> tf.Tensor:
        """Returns what a batch counts in the mean of the losses: as much as the rating model's batch."""
        return self.rating.batch_weight(batch.rating)

    def call(self, batch: JointBatch, training: bool = False) -> JointBatch:
        """Scores the pairs of batches of events, float32 [batch] by each model."""
        return JointBatch(
            self.retrieval(batch.retrieval, training=training), self.rating(batch.rating, training=training)
        )

    def save_weights(
        self, filepath: Any, overwrite: bool = True, save_format: str | None = None, **options: Any
    ) -> None:
        """Saves the weights as Keras does.

        Args:
            filepath: A path that ends with `.weights.h5`, or that of a TensorFlow checkpoint.
            overwrite: Whether a file that exists is replaced without a question.
            save_format: "tf", or None: the ending of the path decides.
            options: Further arguments of Keras's `save_weights`.

        Raises:
            ValueError: If it is another HDF5 file.
        """
        require_joint_weights_format(filepath, save_format)
        super().save_weights(filepath, overwrite=overwrite, save_format=save_format, **options)

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Builds nothing, because `from_config` returns towers that have their variables."""

    def get_config(self) -> dict[str, Any]:
        """Returns both models, with their classes, whether they share their towers, and their weights."""
        return {
            "retrieval_model": to_config(self.retrieval),
            "rating_model": to_config(self.rating),
            "shares_towers": self.shares_towers,
            "retrieval_weight": self.retrieval_weight,
            "rating_weight": self.rating_weight,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> JointModel:
        """Makes the untrained model that `get_config` described."""
        del custom_objects
        retrieval, rating = from_config(config["retrieval_model"]), from_config(config["rating_model"])
        if config["shares_towers"]:
            towers = {"query_tower": retrieval.query_tower, "candidate_tower": retrieval.candidate_tower}
            rating = type(rating)(**towers, task=rating.task)
        return cls(
            retrieval_model=retrieval,
            rating_model=rating,
            retrieval_weight=config["retrieval_weight"],
            rating_weight=config["rating_weight"],
        )

    def _weighted_sum(self, retrieval: tf.Tensor, rating: tf.Tensor) -> tf.Tensor:
        return self.retrieval_weight * retrieval + self.rating_weight * rating


def _require_joint(batch: Any) -> None:
    if not isinstance(batch, JointBatch):
        raise TypeError(
            "A JointModel is trained on a JointBatch, as its `query_batches` make them. "
            f"Received: {type(batch).__name__}."
        )
