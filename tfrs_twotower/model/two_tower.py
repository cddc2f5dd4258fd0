"""The two-tower model: the logit of a pair is the dot product of its two embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.data.batches import WHOLE, Shard, build_evaluation_batches, build_training_batches
from tfrs_twotower.data.histories import History
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.negatives import NegativeSampler
from tfrs_twotower.model.features import require_suitable_columns
from tfrs_twotower.model.tasks import RatingTask
from tfrs_twotower.model.towers import Tower, TowerConfig, build_tower
from tfrs_twotower.model.vocabularies import learn_vocabularies

#: Input of the signatures that are asked about one candidate, beside the query's features.
CANDIDATE_INPUT = "candidate_id"


def build_two_tower(
    train: Interactions, *, query: TowerConfig, candidate: TowerConfig, rating_task: RatingTask | None = None
) -> TwoTowerModel:
    """Builds an untrained model whose vocabularies come from the training split.

    Args:
        train: The training split.
        query: The query tower; its features are columns of `train.queries`.
        candidate: The candidate tower; its features are columns of `train.candidates`.
        rating_task: What to train for; by default the binary task, positive from a rating of 3 on.

    Raises:
        ValueError: If a feature has no column, the towers' output lengths differ, or a query feature is called
            `candidate_id`.
        TypeError: If a column's type does not suit its feature.
    """
    if CANDIDATE_INPUT in [feature.name for feature in query.features]:
        raise ValueError(f"No query feature may be called {CANDIDATE_INPUT!r}: the `score` signature has that input.")
    require_suitable_columns(query.features, train.queries)
    require_suitable_columns(candidate.features, train.candidates)
    if query.output_dim != candidate.output_dim:
        raise ValueError(
            "`output_dim` must be the same in both towers: the score is a dot product. "
            f"Received: query {query.output_dim}, candidate {candidate.output_dim}."
        )
    query_counts = np.bincount(train.query_rows, minlength=train.num_queries)
    candidate_counts = np.bincount(train.candidate_rows, minlength=train.num_candidates)
    query_vocabularies = learn_vocabularies(query.features, train.queries, query_counts)
    candidate_vocabularies = learn_vocabularies(candidate.features, train.candidates, candidate_counts)
    return TwoTowerModel(
        query_tower=build_tower(query, query_vocabularies, name="query"),
        candidate_tower=build_tower(candidate, candidate_vocabularies, name="candidate"),
        rating_task=rating_task if rating_task is not None else RatingTask(),
    )


class TwoTowerModel(tfrs.Model):
    """Trains two towers together; `compile` and `fit` are Keras's.

    Inputs are batches of *codes*, as `training_batches` makes them. A data set of raw features goes through
    `lookup` first: `raw.map(model.lookup)`.

    Attributes:
        query_tower: Raw query features -> embedding.
        candidate_tower: Raw candidate features -> embedding.
        rating_task: The loss and its metrics.
    """

    def __init__(self, *, query_tower: Tower, candidate_tower: Tower, rating_task: RatingTask) -> None:
        super().__init__(name="two_tower")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.rating_task = rating_task

    def lookup(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Turns a raw batch into one of codes.

        Args:
            raw: `{"query": {feature: tensor}, "candidate": {feature: tensor}}` and anything else, such as "rating".

        Returns:
            The same with both features' tensors looked up.
        """
        query, candidate = (
            self.query_tower.lookup(raw["query"]),
            self.candidate_tower.lookup(raw["candidate"]),
        )
        return {**raw, "query": query, "candidate": candidate}

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """float32 [batch], the log-odds of each pair in a batch of codes."""
        query = self.query_tower.encode(inputs["query"], training=training)
        candidate = self.candidate_tower.encode(inputs["candidate"], training=training)
        return tf.reduce_sum(query * candidate, axis=1)

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """The loss of a batch of codes with "rating"; called by Keras."""
        logits = self(inputs, training=training)
        return self.rating_task(inputs["rating"], logits, weights=inputs.get("weight"), training=training)

    def training_batches(
        self,
        train: Interactions,
        *,
        batch_size: int = 1024,
        seed: int,
        initial_epoch: int = 0,
        shard: Shard = WHOLE,
        negatives: NegativeSampler | None = None,
        history: History | None = None,
    ) -> tf.data.Dataset:
        """Shuffled batches for `fit`; see `build_training_batches`.

        Raises:
            ValueError: If the rating task finds one class only: nothing can be told apart then.
        """
        if negatives is None:
            self.rating_task.require_two_classes(train.ratings)
        queries, candidates = self._encode_tables(train)
        return build_training_batches(
            train,
            queries,
            candidates,
            batch_size=batch_size,
            seed=seed,
            initial_epoch=initial_epoch,
            shard=shard,
            negatives=negatives,
            history=history,
        )

    def evaluation_batches(
        self, interactions: Interactions, *, batch_size: int = 8192, history: History | None = None
    ) -> tf.data.Dataset:
        """Batches for `evaluate`, `predict` and `validation_data`; see `build_evaluation_batches`."""
        queries, candidates = self._encode_tables(interactions)
        return build_evaluation_batches(interactions, queries, candidates, batch_size=batch_size, history=history)

    def embed(self, interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
        """Embeds every query and every candidate once.

        Returns:
            (queries, candidates): float32 [num_queries, output_dim] and [num_candidates, output_dim].
        """
        queries, candidates = self._encode_tables(interactions)
        return self.query_tower.embed_codes(queries), self.candidate_tower.embed_codes(candidates)

    def _encode_tables(self, interactions: Interactions) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return (
            self.query_tower.encode_table(interactions.queries),
            self.candidate_tower.encode_table(interactions.candidates),
        )
