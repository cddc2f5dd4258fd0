"""The two-tower model: the score of a pair is the dot product of its two embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.batches.event_batches import WHOLE, Shard, build_evaluation_batches, build_training_batches
from tfrs_twotower.batches.histories import HistoryApart, HistorySource, Timeline
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.batches.query_batches import build_query_batches
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.feeding import (
    encode_queries,
    encoded_batches,
    require_events,
    require_history_of,
    with_candidate_keys,
)
from tfrs_twotower.model.tasks.rating import RatingTask, Task, sum_over_pairs
from tfrs_twotower.model.tower_config import AnyTowerConfig, tower_config_from_config
from tfrs_twotower.model.tower_pair import build_tower_pair
from tfrs_twotower.model.towers import SumTower, Tower


def join_towers(
    *,
    query: AnyTowerConfig,
    candidate: AnyTowerConfig,
    query_vocabularies: Vocabularies,
    candidate_vocabularies: Vocabularies,
    task: Task,
) -> TwoTowerModel:
    """Builds two towers that fit each other and joins them in an untrained model.

    Args:
        query: The query tower.
        candidate: The candidate tower.
        query_vocabularies: What the query tower knows.
        candidate_vocabularies: What the candidate tower knows.
        task: What to train for.

    Raises:
        ValueError: If the towers do not fit; see `build_tower_pair`.
    """
    query_tower, candidate_tower = build_tower_pair(
        query=query,
        candidate=candidate,
        query_vocabularies=query_vocabularies,
        candidate_vocabularies=candidate_vocabularies,
    )
    return TwoTowerModel(query_tower=query_tower, candidate_tower=candidate_tower, task=task)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class TwoTowerModel(tfrs.Model):
    """Trains two towers together; `compile` and `fit` are Keras's.

    Inputs are batches of *codes*, as `training_batches` and `query_batches` make them. A data set of raw features goes
    through `lookup` first: `raw.map(model.lookup)`.

    The embeddings of a query and a candidate are what their towers give, made ready for one dot product: the task's
    scale is in the query's, and a bias is one more entry, beside a 1 in the other's. Any index can serve them.

    Attributes:
        query_tower: Raw query features -> vector, and bias if it has one.
        candidate_tower: Raw candidate features -> vector, and bias if it has one.
        task: The loss and its metrics.
    """

    def __init__(self, *, query_tower: Tower, candidate_tower: Tower, task: Task) -> None:
        super().__init__(name="two_tower")
        if not isinstance(task, Task):
            raise TypeError(f"`task` must be a task, such as RatingTask(). Received: {task!r}.")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.task = task
        # The towers have their variables: Keras may restore an optimizer's state before the first batch.
        self.built = True

    @property
    def heads(self) -> list[TwoTowerModel]:
        """The different models that this one is made of: itself alone."""
        return [self]

    @property
    def rating_head(self) -> TwoTowerModel | None:
        """What knows probabilities: this model if it was trained for that."""
        return self if isinstance(self.task, RatingTask) else None

    @property
    def threshold(self) -> float:
        """A rating of at least this is positive."""
        return self.task.threshold

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings, biases with them."""
        configs = self.query_tower.config, self.candidate_tower.config
        return configs[0].output_dim + sum(config.has_bias for config in configs)

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

    def embed_queries(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """float32 [batch, embedding_dim], of the query tower's codes."""
        return self._query_side(self.query_tower.encode(codes, training=training), 1.0)

    def embed_candidates(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """float32 [batch, embedding_dim], of the candidate tower's codes."""
        return self._candidate_side(self.candidate_tower.encode(codes, training=training))

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """float32 [batch], the score of each pair in a batch of events; of the rating task its log-odds.

        Raises:
            TypeError: If the batch is of queries.
        """
        if "target_place" in inputs:
            raise TypeError("A batch of queries has no pairs to score. Give batches of events: `evaluation_batches`.")
        query = self.embed_queries(inputs["query"], training=training)
        if "query_place" in inputs:
            query = tf.gather(query, inputs["query_place"])
        # What comes after the pairs' own candidates are negatives of all.
        candidates = self.embed_candidates(inputs["candidate"], training=training)[: tf.shape(query)[0]]
        return tf.reduce_sum(query * candidates, axis=1)

    def compute_loss(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        """The loss of a batch of codes with "rating", of events or of whole queries; called by Keras."""
        candidates = self.embed_candidates(inputs["candidate"], training=training)
        if "target_place" not in inputs:
            queries = self.embed_queries(inputs["query"], training=training)
            return self.task.event_loss(queries, candidates, inputs, training)
        places = inputs["target_place"]
        if isinstance(self.query_tower, SumTower):
            outputs, part_outputs = self.query_tower.encode_with_parts(inputs["query"], places, training=training)
            # In the difference of a query and its part the candidate's bias must count once.
            queries, parts = self._query_side(outputs, 1.0), self._query_side(part_outputs, 0.0)
            parts = sum_over_pairs(parts, places[:, 0], inputs["target_candidate"])
        else:
            queries = self.embed_queries(inputs["query"], training=training)
            parts = tf.zeros([tf.shape(places)[0], self.embedding_dim])
        return self.task.query_loss(queries, parts, candidates, inputs, training)

    def training_batches(
        self,
        train: Interactions,
        *,
        batch_size: int = 1024,
        seed: int,
        initial_epoch: int = 0,
        shard: Shard = WHOLE,
        negatives: NegativeSampler | InBatchNegatives | None = None,
        history: HistorySource | None = None,
    ) -> tf.data.Dataset:
        """Shuffled batches of events for `fit`; see `build_training_batches`.

        Args:
            train: The training split.
            batch_size: Events per batch, >= 1.
            seed: Of the shuffle and of the negatives, >= 0.
            initial_epoch: Epoch of the first iteration.
            shard: This worker's part.
            negatives: For the rating task a `NegativeSampler`, which adds candidates that the query never met; for the
                retrieval task `InBatchNegatives`, by default without uniform ones.
            history: What a query is known to have done besides; by default, where the query tower takes a history, a
                `HistoryApart` of the training split.

        Raises:
            ValueError: If the rating task finds one class only, or a retrieval task no positive: there is nothing to
                learn then.
            TypeError: If the task is trained by query, or the negatives are another task's.
        """
        require_events(train)
        negatives = self.task.prepare_events(train, negatives, batch_size)
        if negatives is not None and not negatives.interactions.has_rows_of(train):
            raise ValueError("`negatives` must be of the queries and candidates of `train`, in their order.")
        if history is None and self.history_length:
            history = HistoryApart(timeline=Timeline(train), length=self.history_length)
        require_history_of(self.query_tower, train, history)
        batches = encoded_batches(
            build_training_batches,
            self.query_tower,
            self.candidate_tower,
            train,
            batch_size=batch_size,
            seed=seed,
            initial_epoch=initial_epoch,
            shard=shard,
            negatives=negatives,
            history=history,
        )
        return with_candidate_keys(batches, train) if self.task.takes_candidate_keys else batches

    def query_batches(
        self,
        train: Interactions,
        *,
        batch_size: int = 256,
        seed: int,
        initial_epoch: int = 0,
        num_sampled: int | None = None,
    ) -> tf.data.Dataset:
        """Shuffled batches of whole queries for `fit`; see `build_query_batches`.

        Each query is encoded once for all its events, and what an event contributes to its own query is taken off. An
        epoch takes a fraction of the time that it takes by event.

        Args:
            train: The training split.
            batch_size: Queries per batch, >= 1.
            seed: Of the order of the queries, >= 0.
            initial_epoch: Epoch of the first iteration.
            num_sampled: Candidates drawn for a batch beside its own; by default what the task needs: a CatalogueTask
                the whole catalogue up to 50,000 candidates, 8,192 drawn ones above.

        Raises:
            TypeError: If the task is trained by event, or the query tower has a history that it does not just add.
            ValueError: If there is nothing to learn in the ratings.
        """
        require_events(train)
        wanted = self.task.prepare_queries(train)
        if self.history_length and not isinstance(self.query_tower, SumTower):
            raise TypeError(
                "By query, a history must be taken apart again, which a `SumTowerConfig` allows alone. Give the query "
                "tower one, or train by event with `training_batches`."
            )
        return encoded_batches(
            build_query_batches,
            self.query_tower,
            self.candidate_tower,
            train,
            batch_size=batch_size,
            seed=seed,
            initial_epoch=initial_epoch,
            num_sampled=wanted if num_sampled is None else num_sampled,
        )

    def evaluation_batches(
        self, interactions: Interactions, *, batch_size: int = 8192, history: HistorySource | None = None
    ) -> tf.data.Dataset:
        """Batches for `evaluate`, `predict` and `validation_data`; see `build_evaluation_batches`.

        Args:
            interactions: Any part.
            batch_size: Events per batch, >= 1.
            history: What a query is known to have done, usually a `HistoryKnown` of what came before the part.

        Raises:
            ValueError: If the query tower takes a history, and none is given.
        """
        if history is None and self.history_length:
            raise ValueError(
                "`history` must be given: the query tower takes one. For the validation part it is "
                f"HistoryKnown(timeline=Timeline(split.context), length={self.history_length})."
            )
        require_history_of(self.query_tower, interactions, history)
        return encoded_batches(
            build_evaluation_batches,
            self.query_tower,
            self.candidate_tower,
            interactions,
            batch_size=batch_size,
            history=history,
        )

    def embed(self, interactions: Interactions, *, known: Interactions | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embeds every query and every candidate once.

        Args:
            interactions: Whose queries and candidates are wanted.
            known: Events of these queries with these candidates, for a query tower that takes a history.

        Returns:
            (queries, candidates): float32 [num_queries, embedding_dim] and [num_candidates, embedding_dim].

        Raises:
            ValueError: If the query tower takes a history, and no events are given.
        """
        outputs = encode_queries(self.query_tower, interactions, known)
        return self._query_side(tf.constant(outputs), 1.0).numpy(), self.embed_catalogue(interactions.candidates)

    def embed_catalogue(self, candidates: pa.Table) -> np.ndarray:
        """float32 [num_candidates, embedding_dim], of all rows of a table of candidates."""
        outputs = self.candidate_tower.embed_codes(self.candidate_tower.encode_table(candidates))
        return self._candidate_side(tf.constant(outputs)).numpy()

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Nothing is left to build: `from_config` gives towers that have their variables."""

    def get_config(self) -> dict[str, Any]:
        """Both towers and the task."""
        return {
            "query_tower": self.query_tower.get_config(),
            "candidate_tower": self.candidate_tower.get_config(),
            "task": tf.keras.layers.serialize(self.task),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> TwoTowerModel:
        """The untrained model that `get_config` described; what its towers share, they share again."""
        del custom_objects
        query, candidate = config["query_tower"], config["candidate_tower"]
        return join_towers(
            query=tower_config_from_config(query["config"]),
            candidate=tower_config_from_config(candidate["config"]),
            query_vocabularies=Vocabularies.from_config(query["vocabularies"]),
            candidate_vocabularies=Vocabularies.from_config(candidate["vocabularies"]),
            task=tf.keras.layers.deserialize(config["task"]),
        )

    @property
    def history_length(self) -> int:
        """Slots that the longest history of the query tower looks at, 0 where it has none."""
        return self.query_tower.history_length

    def _query_side(self, outputs: tf.Tensor, one: float) -> tf.Tensor:
        """What the query tower gave, for the dot product; `one` is what the candidate's bias is multiplied by."""
        dim = self.query_tower.config.output_dim
        side = self.task.scale_queries(outputs[:, :dim] if self.query_tower.config.has_bias else outputs)
        if self.query_tower.config.has_bias:
            side = tf.concat([side, outputs[:, dim:]], axis=1)
        return tf.pad(side, [[0, 0], [0, 1]], constant_values=one) if self.candidate_tower.config.has_bias else side

    def _candidate_side(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the candidate tower gave, for the dot product."""
        dim = self.candidate_tower.config.output_dim
        entries = [self.task.scale_candidates(outputs[:, :dim])]
        if self.query_tower.config.has_bias:
            entries.append(tf.ones([tf.shape(outputs)[0], 1]))
        return tf.concat([*entries, outputs[:, dim:]], axis=1)
