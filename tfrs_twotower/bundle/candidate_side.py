"""The candidate side of a bundle: the models' candidate towers, which embed new candidates, too."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.bundle.query_side import Embeddings, by_role
from tfrs_twotower.bundle.whole_packets import with_whole_packets
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.tower import Tower


class CandidateSide(tf.Module):
    """The models' candidate towers, whatever the catalogue. No Keras object is tracked.

    Args:
        model: A trained model.

    Attributes:
        embed: (**features) -> {"retrieval": float32 [batch, dim], "rating": ...}; "rating" only if the model predicts
            probabilities.
        is_latent: float32 [dim], 1 for the entries of the retrieval embedding that describe a candidate, 0 for biases.
    """

    def __init__(self, model: Recommender) -> None:
        super().__init__(name="candidate_side")
        self.weights = [
            variable
            for part in model.models
            for variable in [*part.candidate_tower.variables, *part.task.score_variables]
        ]
        self.tables = [table for tower in candidate_towers(model) for table in tower.lookup_tables]

        def embed(**features: tf.Tensor) -> Embeddings:
            return by_role(model, lambda part: part.embed_candidates(part.candidate_tower.lookup(features)))

        specs = {spec.name: spec for spec in candidate_inputs(model)}
        traced = tf.function(as_written(with_whole_packets(embed), unless=model.uses_autograph))
        self.embed = traced.get_concrete_function(**specs)  # see `QuerySide`
        retrieval = model.retrieval_model
        is_latent = np.arange(retrieval.embedding_dim) < retrieval.vector_dim
        self.is_latent = tf.Variable(is_latent.astype(np.float32), trainable=False, name="is_latent")


def candidate_inputs(model: Recommender) -> list[tf.TensorSpec]:
    """Returns the raw inputs of the signature about candidates: those of all towers."""
    return list({spec.name: spec for tower in candidate_towers(model) for spec in tower.raw_specs}.values())


def candidate_towers(model: Recommender) -> list[Tower]:
    """Returns the candidate towers of all models."""
    return [part.candidate_tower for part in model.models]
