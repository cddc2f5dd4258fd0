"""What a bundle knows of candidates whatever the catalogue: their towers, which embed also new ones."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle.query_side import by_task
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel


class CandidateSide(tf.Module):
    """The heads' candidate towers, whatever the catalogue. No Keras object is tracked.

    Args:
        model: A trained model.

    Attributes:
        embed: (**features) -> {"retrieval": float32 [batch, dim], "rating": ...}, "rating" only where the model
            knows probabilities.
        is_latent: float32 [dim], 1 where the retrieval embedding says what a candidate is like, 0 for biases.
    """

    def __init__(self, model: TwoTowerModel | JointModel) -> None:
        super().__init__(name="candidate_side")
        self.weights = [
            variable
            for head in model.heads
            for variable in [*head.candidate_tower.variables, *head.task.score_variables]
        ]
        self.tables = [table for head in model.heads for table in head.candidate_tower.lookup_tables]

        def embed(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            return by_task(model, [of.embed_candidates(of.candidate_tower.lookup(features)) for of in model.heads])

        specs = {spec.name: spec for spec in candidate_inputs(model)}
        self.embed = tf.function(embed).get_concrete_function(**specs)  # see `QuerySide`
        first = model.heads[0]
        is_latent = np.arange(first.embedding_dim) < first.candidate_tower.config.output_dim
        self.is_latent = tf.Variable(is_latent.astype(np.float32), trainable=False, name="is_latent")


def candidate_inputs(model: TwoTowerModel | JointModel) -> list[tf.TensorSpec]:
    """The raw inputs of the signature about candidates: all heads' towers'."""
    specs = {spec.name: spec for head in model.heads for spec in head.candidate_tower.raw_specs}
    return list(specs.values())
