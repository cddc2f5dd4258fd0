"""The two-tower model: the score of a pair is the dot product of its two embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.pieces import piece_of_events, piece_of_queries
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.config import find_class, from_config, to_config
from tfrs_twotower.features.vocabularies import Vocabularies
from tfrs_twotower.model.batch_maker import BatchMaker
from tfrs_twotower.model.encoding import encode_queries
from tfrs_twotower.model.history_parts import no_parts
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.replicas import gather_candidates
from tfrs_twotower.model.sum_tower import SumTower
from tfrs_twotower.model.tasks.task import EventTask, Task
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.tower_config import TowerConfig
from tfrs_twotower.model.tower_pair import build_tower_pair
from tfrs_twotower.model.untrained import fingerprint

_AnyModel = TypeVar("_AnyModel", bound="TwoTowerModel")


def join_towers(
    *,
    query: TowerConfig,
    candidate: TowerConfig,
    query_vocabularies: Vocabularies,
    candidate_vocabularies: Vocabularies,
    task: Task,
) -> TwoTowerModel:
    """Builds two towers that fit each other and joins them in an untrained model.

    Args:
        query: The query tower.
        candidate: The candidate tower.
        query_vocabularies: What was learnt of the query tower's features.
        candidate_vocabularies: What was learnt of the candidate tower's features.
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
    model = TwoTowerModel(query_tower=query_tower, candidate_tower=candidate_tower, task=task)
    model.initial_fingerprint = fingerprint(model.trainable_variables)
    return model


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class TwoTowerModel(BatchMaker, Recommender):
    """Trains two towers together; `compile` and `fit` are Keras's.

    Inputs are batches of *codes*, as `training_batches` and `query_batches` make them; `lookup` makes one of raw
    features.

    The embeddings of a query and a candidate are their towers' outputs, prepared for one dot product: the query's
    embedding is multiplied by the task's scale, and a bias is one more entry, opposite a 1 in the other embedding. Any
    index can serve them.

    Attributes:
        query_tower: From raw query features to a vector, and a bias if it has one.
        candidate_tower: From raw candidate features to a vector, and a bias if it has one.
        task: The loss and its metrics.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> from tfrs_twotower.model.tasks.rating import RatingTask
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> model = TwoTowerModel(
        ...     query_tower=user.build_tower(Vocabularies()),
        ...     candidate_tower=movie.build_tower(Vocabularies()),
        ...     task=RatingTask(),
        ... )
        >>> model.rating_model is model
        True
    """

    def __init__(self, *, query_tower: Tower, candidate_tower: Tower, task: Task) -> None:
        super().__init__(name="two_tower")
        if not isinstance(task, Task):
            raise TypeError(f"`task` must be a task, such as RatingTask(). Received: {task!r}.")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.task = task
        if type(task).build is tf.keras.layers.Layer.build:
            task.built = True  # it has its weights, which Keras's summary would call unused
        # Towers that are given may be trained already; `join_towers` makes new ones, and sets this.
        self.initial_fingerprint: str | None = None
        # The towers have their variables: Keras may restore an optimizer's state before the first batch.
        self.built = True

    @property
    def uses_autograph(self) -> bool:
        """Whether Python in the graph may depend on tensors; see `KerasSteps`."""
        return super().uses_autograph or self.query_tower.uses_autograph or self.candidate_tower.uses_autograph

    @property
    def retrieval_model(self) -> TwoTowerModel:
        """This model, whose scores rank the catalogue."""
        return self

    @property
    def rating_model(self) -> TwoTowerModel | None:
        """This model if its task makes scores log-odds, or None."""
        return self if self.task.predicts_probabilities else None

    @property
    def threshold(self) -> float:
        """A rating of at least this is positive."""
        return self.task.threshold

    @property
    def seems_untrained(self) -> bool:
        """Whether the weights are still those that the model was built with: neither trained nor loaded."""
        return self.initial_fingerprint == fingerprint(self.trainable_variables)

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings, with the entries of biases."""
        configs = self.query_tower.config, self.candidate_tower.config
        return configs[0].output_dim + sum(config.has_bias for config in configs)

    @property
    def vector_dim(self) -> int:
        """Leading entries of an embedding that are not biases."""
        return self.query_tower.config.output_dim

    def lookup(
        self,
        query: Mapping[str, Any],
        candidate: Mapping[str, Any],
        ratings: tf.Tensor,
        weights: tf.Tensor | None = None,
    ) -> EventBatch:
        """Makes a batch of events from raw features, for a data set of your own.

        A softmax needs what `training_batches` add, and cannot be trained on these.

        Args:
            query: Input name -> tensor [batch, ...], as the query tower's `raw_specs` describe it.
            candidate: Input name -> tensor [batch, ...], as the candidate tower's `raw_specs` describe it.
            ratings: float32 [batch].
            weights: float32 [batch], what each event counts in the loss; None for 1 each.

        Raises:
            ValueError: If an input is missing.
            TypeError: If an input has another dtype.
        """
        return EventBatch(
            query=self.query_tower.lookup(query),
            candidate=self.candidate_tower.lookup(candidate),
            candidate_rows=tf.range(tf.shape(ratings)[0]),
            ratings=tf.cast(ratings, tf.float32),
            weights=None if weights is None else tf.cast(weights, tf.float32),
        )

    def embed_queries(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embeds the query tower's codes as float32 [batch, embedding_dim]."""
        return self._query_side(self.query_tower.encode(codes, training=training), 1.0)

    def embed_candidates(self, codes: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Embeds the candidate tower's codes as float32 [batch, embedding_dim]."""
        return self._candidate_side(self.candidate_tower.encode(codes, training=training))

    def call(self, batch: EventBatch, training: bool = False) -> tf.Tensor:
        """Scores the pairs of a batch of events, float32 [batch]; by a rating task, their log-odds.

        Raises:
            TypeError: If it is another kind of batch.
        """
        if not isinstance(batch, EventBatch):
            raise TypeError(
                "Only a batch of events has pairs to score: give batches that `evaluation_batches` or `lookup` make. "
                f"Received: {type(batch).__name__}."
            )
        return batch.scores_of_pairs(
            self.embed_queries(batch.query, training=training),
            self.embed_candidates(batch.candidate, training=training),
        )

    def compute_loss(self, batch: EventBatch | QueryBatch, training: bool = False) -> tf.Tensor:
        """Computes the loss of a batch; called by Keras.

        Raises:
            TypeError: If it is not a batch, or the task is trained on batches of the other kind.
        """
        if isinstance(batch, EventBatch):
            return self._event_loss(batch, training)
        if isinstance(batch, QueryBatch):
            return self._query_loss(batch, training)
        raise TypeError(
            "A model is trained on `training_batches`, `query_batches`, or batches that `lookup` makes of raw "
            f"features. Received: {type(batch).__name__}."
        )

    def batch_weight(self, batch: EventBatch | QueryBatch) -> tf.Tensor:
        """Returns what a batch counts in the mean of the losses: as much as its task says."""
        return self.task.batch_weight(batch)

    def piece_of(self, batch: EventBatch | QueryBatch, index: int, count: int) -> EventBatch | QueryBatch:
        """Returns the piece of a batch that replica `index` out of `count` takes."""
        if isinstance(batch, QueryBatch):
            return piece_of_queries(batch, index, count)
        gathers = isinstance(self.task, EventTask) and self.task.compares_candidates
        return piece_of_events(batch, index, count, gathers_candidates=gathers)

    def _event_loss(self, batch: EventBatch, training: bool) -> tf.Tensor:
        task = self._event_task()
        candidates = self.embed_candidates(batch.candidate, training=training)
        queries = self.embed_queries(batch.query, training=training)
        if self.measures_pairs:
            self.measure_pairs(batch, batch.scores_of_pairs(queries, candidates))
        if batch.explicit_negatives is None:
            candidates = gather_candidates(candidates, batch.rows_before)
        else:
            # A replica has the explicit negatives of its own queries, after the candidates that replicas exchange.
            num_shared = tf.shape(candidates)[0] - (tf.size(batch.candidate_rows) - batch.num_shared)
            shared = gather_candidates(candidates[:num_shared], batch.rows_before)
            candidates = tf.concat([shared, candidates[num_shared:]], axis=0)
        return task.event_loss(queries, candidates, batch, training)

    def _query_loss(self, batch: QueryBatch, training: bool) -> tf.Tensor:
        task = self._query_task()
        candidates = self.embed_candidates(batch.candidate, training=training)
        if self.query_tower.reads_sequences:
            outputs = self.query_tower.encode_each(batch.query, batch.target_places, training=training)
            queries, batch = self._query_side(outputs, 1.0), batch.by_event()
            parts = no_parts(batch.target_places)
        elif isinstance(self.query_tower, SumTower):
            outputs, parts = self.query_tower.encode_with_parts(
                batch.query, batch.target_places, batch.target_candidates, training=training
            )
            queries = self._query_side(outputs, 1.0)
            # In the difference of a query and its part the candidate's bias must count once.
            parts = parts.map(lambda vectors: self._query_side(vectors, 0.0))
        else:
            queries = self.embed_queries(batch.query, training=training)
            parts = no_parts(batch.target_places)
        if self.measures_pairs:
            self.measure_pairs(batch, batch.scores_of_pairs(queries, candidates) - parts.scores(candidates))
        return task.query_loss(queries, parts, candidates, batch, training)

    def embed(self, interactions: Interactions, *, known: Interactions | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embeds every request and every candidate once.

        A request is a query; or, if the events have features, a query in one of its contexts (`Requests`).

        Args:
            interactions: Interactions whose requests and candidates are embedded.
            known: Events of these queries with these candidates, for a query tower that takes a history.

        Returns:
            (queries, candidates): float32 [num_requests, embedding_dim], in the order of `interactions.requests`, and
            [num_candidates, embedding_dim].

        Raises:
            ValueError: If the query tower takes a history, and no events are given; or if it takes a context that the
                events do not have.
        """
        outputs = encode_queries(self.query_tower, interactions, known)
        return self._query_side(tf.constant(outputs), 1.0).numpy(), self.embed_catalogue(interactions.candidates)

    def embed_catalogue(self, candidates: pa.Table) -> np.ndarray:
        """Embeds all rows of a table of candidates as float32 [num_candidates, embedding_dim]."""
        if not isinstance(candidates, pa.Table):
            raise TypeError(
                "`candidates` must be an Arrow table, such as `interactions.candidates`. "
                f"Received: a {type(candidates).__name__}."
            )
        outputs = self.candidate_tower.embed_codes(self.candidate_tower.encode_table(candidates))
        return self._candidate_side(tf.constant(outputs)).numpy()

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        """Builds nothing, because `from_config` returns towers that have their variables."""

    def get_config(self) -> dict[str, Any]:
        """Returns both towers, with their classes, and the task."""
        return {
            "query_tower": to_config(self.query_tower),
            "candidate_tower": to_config(self.candidate_tower),
            "task": to_config(self.task),
        }

    @classmethod
    def from_config(
        cls: type[_AnyModel], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> _AnyModel:
        """Makes the untrained model that `get_config` described; towers that shared a table share it again."""
        del custom_objects
        query, candidate = (config[name]["config"] for name in ("query_tower", "candidate_tower"))
        query_tower, candidate_tower = build_tower_pair(
            query=from_config(query["config"]),
            candidate=from_config(candidate["config"]),
            query_vocabularies=Vocabularies.from_config(query["vocabularies"]),
            candidate_vocabularies=Vocabularies.from_config(candidate["vocabularies"]),
            query_class=find_class(config["query_tower"]),
            candidate_class=find_class(config["candidate_tower"]),
        )
        model = cls(query_tower=query_tower, candidate_tower=candidate_tower, task=from_config(config["task"]))
        model.initial_fingerprint = fingerprint(model.trainable_variables)
        return model

    def _query_side(self, outputs: tf.Tensor, one: float) -> tf.Tensor:
        """Prepares the query tower's outputs for the dot product; `one` is the factor of the candidate's bias."""
        dim = self.query_tower.config.output_dim
        side = self.task.scale_queries(outputs[:, :dim] if self.query_tower.config.has_bias else outputs)
        if self.query_tower.config.has_bias:
            side = tf.concat([side, outputs[:, dim:]], axis=1)
        return tf.pad(side, [[0, 0], [0, 1]], constant_values=one) if self.candidate_tower.config.has_bias else side

    def _candidate_side(self, outputs: tf.Tensor) -> tf.Tensor:
        """Prepares the candidate tower's outputs for the dot product."""
        dim = self.candidate_tower.config.output_dim
        has_bias = self.candidate_tower.config.has_bias
        entries = [self.task.scale_candidates(outputs[:, :dim] if has_bias else outputs)]
        if self.query_tower.config.has_bias:
            entries.append(tf.ones([tf.shape(outputs)[0], 1]))
        if has_bias:
            entries.append(outputs[:, dim:])
        return tf.concat(entries, axis=1) if len(entries) > 1 else entries[0]
