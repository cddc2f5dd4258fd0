"""The two-tower model: the score of a pair is the dot product of its two embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.data.batches import WHOLE, Shard, build_evaluation_batches, build_training_batches
from tfrs_twotower.data.histories import HistoryApart, HistorySource, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.data.query_batches import WHOLE_CATALOGUE, build_query_batches
from tfrs_twotower.model.features import Categorical, Feature, Hashed, History, histories, require_input_name
from tfrs_twotower.model.retrieval import CatalogueTask, RetrievalTask
from tfrs_twotower.model.tasks import RatingTask
from tfrs_twotower.model.tower_config import SumTowerConfig, TowerConfig, tower_config_from_config
from tfrs_twotower.model.towers import SumTower, Tower, build_tower
from tfrs_twotower.model.vocabularies import (
    Vocabularies,
    learn_candidate_vocabularies,
    learn_query_vocabularies,
)

#: Input of the signatures that are asked about one candidate, beside the query's features.
CANDIDATE_INPUT = "candidate_id"

#: What a model can be trained for.
Task = RatingTask | RetrievalTask | CatalogueTask
AnyTowerConfig = TowerConfig | SumTowerConfig

#: Queries whose histories are held at once.
_EMBEDDED_AT_ONCE = 4096

_NUM_SAMPLED = 8192


def build_two_tower(
    train: Interactions, *, query: AnyTowerConfig, candidate: AnyTowerConfig, task: Task | None = None
) -> TwoTowerModel:
    """Builds an untrained model whose vocabularies come from the training split.

    Args:
        train: The training split.
        query: The query tower; its features are columns of `train.queries`.
        candidate: The candidate tower; its features are columns of `train.candidates`.
        task: What to train for; by default the binary rating task, positive from a rating of 3 on.

    Raises:
        ValueError: If a feature has no column, or one with values that it cannot take; if the towers' output lengths
            differ, a history is not of the candidates' id, or a query feature is called `candidate_id`.
        TypeError: If a column's type does not suit its feature.
    """
    # Columns are checked where they are learnt from.
    names = [feature.name for feature in query.features]
    if histories(query.features) and train.query_id not in names:
        # The signatures take it all the same, to look a known query's history up.
        require_input_name(train.query_id)
        names.append(train.query_id)
    if CANDIDATE_INPUT in names:
        raise ValueError(f"No query feature may be called {CANDIDATE_INPUT!r}: the `score` signature has that input.")
    if train.query_id in [name for past in histories(query.features) for name in (past.name, past.rating_name)]:
        raise ValueError(f"No history may be called like the queries' id. Received: {train.query_id!r}.")
    for history in histories(query.features):
        if history.of.name != train.candidate_id:
            raise ValueError(
                f"`of` of the history {history.name!r} must be the candidates' id, {train.candidate_id!r}, "
                f"which is what histories list. Received: {history.of.name!r}."
            )
    return join_towers(
        query=query,
        candidate=candidate,
        query_vocabularies=learn_query_vocabularies(query.features, train),
        candidate_vocabularies=learn_candidate_vocabularies(candidate.features, train),
        task=task if task is not None else RatingTask(),
    )


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
        ValueError: If the towers' output lengths differ, the candidate tower has a history, or a history shares the
            vectors of a feature that the candidate tower does not have, or knows other values of.
    """
    if query.output_dim != candidate.output_dim:
        raise ValueError(
            "`output_dim` must be the same in both towers: the score is a dot product. "
            f"Received: query {query.output_dim}, candidate {candidate.output_dim}."
        )
    if histories(candidate.features):
        raise ValueError(f"`candidate` must have no History: only queries have one. Received: {candidate.features}.")
    candidate_tower = build_tower(candidate, candidate_vocabularies, name="candidate")
    shared_tables = {}
    for history in histories(query.features):
        if not history.shares_embedding:
            continue
        if not any(_without_dim(history.of) == _without_dim(feature) for feature in candidate.features):
            raise ValueError(
                f"The history {history.name!r} can share the vectors of a feature of the candidate tower only. "
                f"Received: {history.of}."
            )
        if query_vocabularies.get(history.name) != candidate_vocabularies.get(history.of.name):
            raise ValueError(
                f"`query_vocabularies[{history.name!r}]` must be `candidate_vocabularies[{history.of.name!r}]`: they "
                "share a table."
            )
        shared_tables[history.name] = candidate_tower.encoders[history.of.name].table
    if isinstance(query, TowerConfig):
        features = tuple(_with_dim(feature, shared_tables) for feature in query.features)
        query = dataclasses.replace(query, features=features)
    elif any(table.output_dim != query.num_outputs for table in shared_tables.values()):
        raise ValueError(
            "A history can share the candidate's vectors only where they are as long as the query tower's outputs, "
            f"{query.num_outputs}. Received: {[table.output_dim for table in shared_tables.values()]}."
        )
    return TwoTowerModel(
        query_tower=build_tower(query, query_vocabularies, name="query", shared_tables=shared_tables),
        candidate_tower=candidate_tower,
        task=task,
    )


def _without_dim(feature: Feature) -> Feature:
    return dataclasses.replace(feature, embedding_dim=None) if isinstance(feature, Categorical | Hashed) else feature


def _with_dim(feature: Feature, shared_tables: Mapping[str, tf.keras.layers.Embedding]) -> Feature:
    """A history that knows how long the vectors are that it shares: its tower may be loaded alone."""
    if not isinstance(feature, History) or feature.name not in shared_tables:
        return feature
    dim = shared_tables[feature.name].output_dim
    return dataclasses.replace(feature, of=dataclasses.replace(feature.of, embedding_dim=dim))


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
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.task = task
        # The towers have their variables: Keras may restore an optimizer's state before the first batch.
        self.built = True

    @property
    def retrieval_head(self) -> TwoTowerModel:
        """What ranks the catalogue: this model."""
        return self

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
        """float32 [batch], the score of each pair in a batch of codes; of the rating task its log-odds."""
        query = self.embed_queries(inputs["query"], training=training)
        if "query_place" in inputs:
            query = tf.gather(query, inputs["query_place"])
        return tf.reduce_sum(query * self.embed_candidates(inputs["candidate"], training=training), axis=1)

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
        if not train.num_events:
            raise ValueError("`train` must have an event.")
        if isinstance(self.task, CatalogueTask):
            raise TypeError("A CatalogueTask is trained by query: use `query_batches`.")
        if isinstance(self.task, RetrievalTask):
            self.task.require_positives(train.ratings)
            negatives = negatives or InBatchNegatives(train, threshold=self.task.threshold)
        elif negatives is None:
            self.task.require_two_classes(train.ratings)
        wanted = InBatchNegatives if isinstance(self.task, RetrievalTask) else NegativeSampler
        if negatives is not None and not isinstance(negatives, wanted):
            raise TypeError(
                f"`negatives` of a {type(self.task).__name__} must be {wanted.__name__}. Received: {negatives!r}."
            )
        if history is None and self.history_length:
            history = HistoryApart(timeline=Timeline(train), length=self.history_length)
        self._require_history_of(train, history)
        queries, candidates = self._encode_tables(train)
        batches = build_training_batches(
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
        return self._with_histories(batches, train)

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
            num_sampled: Candidates drawn for a batch beside its own; by default the whole catalogue up to 50,000
                candidates, 8,192 drawn ones above.

        Raises:
            TypeError: If the task is trained by event, or the query tower has a history that it does not just add.
            ValueError: If there is nothing to learn in the ratings.
        """
        if isinstance(self.task, RetrievalTask):
            raise TypeError("A RetrievalTask is trained by event: use `training_batches`, or a CatalogueTask.")
        if self.history_length and not isinstance(self.query_tower, SumTower):
            raise TypeError(
                "By query, a history must be taken apart again, which a `SumTowerConfig` allows alone. Give the query "
                "tower one, or train by event with `training_batches`."
            )
        if isinstance(self.task, CatalogueTask):
            self.task.require_positives(train.ratings)
        else:
            self.task.require_two_classes(train.ratings)
        if num_sampled is None and train.num_candidates > WHOLE_CATALOGUE:
            num_sampled = _NUM_SAMPLED
        queries, candidates = self._encode_tables(train)
        batches = build_query_batches(
            train,
            queries,
            candidates,
            batch_size=batch_size,
            seed=seed,
            initial_epoch=initial_epoch,
            num_sampled=num_sampled,
        )
        return self._with_histories(batches, train)

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
        self._require_history_of(interactions, history)
        queries, candidates = self._encode_tables(interactions)
        batches = build_evaluation_batches(interactions, queries, candidates, batch_size=batch_size, history=history)
        return self._with_histories(batches, interactions)

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
        queries, candidates = self._encode_tables(interactions)
        return (
            self._query_side(tf.constant(self._encode_queries(queries, interactions, known)), 1.0).numpy(),
            self.embed_catalogue(candidates),
        )

    def embed_catalogue(self, codes: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [num_candidates, embedding_dim], of all candidates' codes, from `candidate_tower.encode_table`."""
        return self._candidate_side(tf.constant(self.candidate_tower.embed_codes(codes))).numpy()

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
        return max((history.length for history in self.query_tower.histories), default=0)

    def _require_history_of(self, interactions: Interactions, history: HistorySource | None) -> None:
        if history is None:
            return
        if history.length < self.history_length:
            raise ValueError(
                f"`history` must have a length of at least {self.history_length}, the query tower's. "
                f"Received: {history.length}."
            )
        if not history.timeline.interactions.has_rows_of(interactions):
            raise ValueError("`history` must be of the same queries and candidates as the events, in their order.")

    def _with_histories(self, batches: tf.data.Dataset, interactions: Interactions) -> tf.data.Dataset:
        """Batches in which the rows of past candidates have become codes among the query's."""
        if not self.history_length:
            return batches
        tower = self.query_tower
        past = {name: tf.constant(codes) for name, codes in tower.encode_past(interactions.candidates).items()}

        def look_up(batch: dict[str, Any]) -> dict[str, Any]:
            rows, ratings = batch["history"], batch["history_rating"]
            rows = tf.where(rows < 0, interactions.num_candidates, rows)  # the padding's code is the last
            return {**batch, "query": {**batch["query"], **_past_codes(tower, past, rows, ratings, tf.gather)}}

        return batches.map(look_up, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _encode_queries(
        self, queries: dict[str, np.ndarray], interactions: Interactions, known: Interactions | None
    ) -> np.ndarray:
        if not self.history_length:
            return self.query_tower.embed_codes(queries)
        if known is None:
            raise ValueError("`known` must be given: the query tower takes a history. Of a split it is `split.seen`.")
        if not known.has_rows_of(interactions):
            raise ValueError("`known` must have the queries and candidates of `interactions`, in their order.")
        timeline, past = Timeline(known), self.query_tower.encode_past(interactions.candidates)
        parts = [np.zeros((0, self.query_tower.config.num_outputs), np.float32)]
        for start in range(0, interactions.num_queries, _EMBEDDED_AT_ONCE):
            block = np.arange(start, min(start + _EMBEDDED_AT_ONCE, interactions.num_queries))
            rows, ratings = timeline.candidates_at(timeline.latest(block, self.history_length))
            codes = {name: values[block] for name, values in queries.items()}
            codes.update(_past_codes(self.query_tower, past, rows, ratings, np.take))
            parts.append(self.query_tower.embed_codes(codes))
        return np.concatenate(parts)

    def _query_side(self, outputs: tf.Tensor, one: float) -> tf.Tensor:
        """What the query tower gave, for the dot product; `one` is what the candidate's bias is multiplied by."""
        dim = self.query_tower.config.output_dim
        entries = [self.task.scale_queries(outputs[:, :dim]), outputs[:, dim:]]
        if self.candidate_tower.config.has_bias:
            entries.append(tf.fill([tf.shape(outputs)[0], 1], one))
        return tf.concat(entries, axis=1)

    def _candidate_side(self, outputs: tf.Tensor) -> tf.Tensor:
        """What the candidate tower gave, for the dot product."""
        dim = self.candidate_tower.config.output_dim
        entries = [self.task.scale_candidates(outputs[:, :dim])]
        if self.query_tower.config.has_bias:
            entries.append(tf.ones([tf.shape(outputs)[0], 1]))
        return tf.concat([*entries, outputs[:, dim:]], axis=1)

    def _encode_tables(self, interactions: Interactions) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return (
            self.query_tower.encode_table(interactions.queries),
            self.candidate_tower.encode_table(interactions.candidates),
        )


def _past_codes(
    tower: Tower,
    past: Mapping[str, Any],
    rows: Any,
    ratings: Any,
    take: Callable[[Any, Any], Any],
) -> dict[str, Any]:
    """Codes of the tower's histories from rows of past candidates and their ratings, [batch, length] each."""
    codes = {}
    for history in tower.histories:
        codes[history.name] = take(past[history.name], rows)
        if history.by_rating:
            codes[history.rating_name] = tower.lookups[history.rating_name](ratings)
    return codes
