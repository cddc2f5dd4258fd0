"""How a two-tower model makes the batches that it is trained and evaluated on: shuffled, encoded, with histories."""

from __future__ import annotations

import tensorflow as tf

from tfrs_twotower.batches.event_batches import build_evaluation_batches, build_training_batches
from tfrs_twotower.batches.histories import CausalHistory, HistorySource, LeaveOneOutHistory, Timeline
from tfrs_twotower.batches.negatives import Negatives
from tfrs_twotower.batches.pipeline import WHOLE, EpochOrder, Shard
from tfrs_twotower.batches.query_batches import build_query_batches
from tfrs_twotower.batches.sequence_batches import build_sequence_batches
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.model.encoding import encode_tables, require_events, require_history_of, with_candidate_keys
from tfrs_twotower.model.sum_tower import SumTower
from tfrs_twotower.model.tasks.task import EventTask, QueryTask, Task
from tfrs_twotower.model.tower import Tower


class BatchMaker:
    """Makes the batches of a two-tower model, which inherits these methods.

    Attributes:
        query_tower: Encodes the queries.
        candidate_tower: Encodes the candidates.
        task: Says which batches it is trained on.
    """

    query_tower: Tower
    candidate_tower: Tower
    task: Task

    @property
    def history_length(self) -> int:
        """Slots that the longest history of the query tower looks at, 0 without a history."""
        return self.query_tower.history_length

    def training_batches(
        self,
        train: Interactions,
        *,
        batch_size: int = 1024,
        seed: int,
        initial_epoch: int = 0,
        shard: Shard = WHOLE,
        negatives: Negatives | None = None,
        history: HistorySource | None = None,
    ) -> tf.data.Dataset:
        """Makes shuffled batches of events for `fit`; see `build_training_batches`.

        Args:
            train: The training split.
            batch_size: Events per batch, >= 1.
            seed: Seed of the shuffle and of the negatives, >= 0.
            initial_epoch: Epoch of the first iteration.
            shard: This worker's part.
            negatives: For a rating task a `NegativeSampler`, which adds candidates that the query has no event with;
                for a sampled softmax `InBatchNegatives`, by default without uniform ones.
            history: Source of each query's other events; by default, if the query tower takes a history, a
                `LeaveOneOutHistory` of the training split, or a `CausalHistory` if the tower reads it as a sequence.

        Raises:
            ValueError: If there is nothing to learn: a rating task finds one class only, or a softmax no positive; or
                if the negatives are of other queries, candidates or contexts.
            TypeError: If the task is trained by query, or the negatives are for another task.
        """
        task = self._event_task()
        require_events(train)
        task.check_events(train, negatives, batch_size)
        if negatives is not None and not negatives.interactions.has_rows_of(train):
            raise ValueError("`negatives` must be of the queries and candidates of `train`, in their order.")
        if self.query_tower.context and negatives is not None:
            ours, theirs = (part.contexts.table for part in (train, negatives.interactions))
            if not ours.equals(theirs):
                raise ValueError("`negatives` must be of events with the contexts of those of `train`.")
        if history is None and self.history_length:
            source = CausalHistory if self.query_tower.reads_sequences else LeaveOneOutHistory
            history = source(timeline=Timeline(train), length=self.history_length)
        require_history_of(self.query_tower, train, history)
        batches = build_training_batches(
            train,
            encode_tables(self.query_tower, self.candidate_tower, train),
            batch_size=batch_size,
            order=EpochOrder(seed=seed, initial_epoch=initial_epoch, shard=shard),
            negatives=task.default_negatives(train) if negatives is None else negatives,
            history=history,
        )
        return with_candidate_keys(batches, train) if task.needs_candidate_keys else batches

    def query_batches(
        self, train: Interactions, *, batch_size: int = 256, seed: int, initial_epoch: int = 0
    ) -> tf.data.Dataset:
        """Makes shuffled batches of whole queries for `fit`; see `build_query_batches`.

        Each query is encoded once for all its events, and the contribution of an event to its own query is subtracted.
        A tower that reads sequences encodes instead, at once, what lies before each event; see
        `build_sequence_batches`. An epoch takes a fraction of the time that it takes by event.

        Args:
            train: The training split.
            batch_size: Queries per batch, or parts of their sequences, >= 1.
            seed: Seed of the order of the queries and of the sampled candidates, >= 0.
            initial_epoch: Epoch of the first iteration.

        Raises:
            TypeError: If the task is trained by event; or the query tower pools a history, and is not a `SumTower` or
                reads another one as a sequence.
            ValueError: If there is nothing to learn in the ratings.
        """
        self.check_queries(train)
        tables = encode_tables(self.query_tower, self.candidate_tower, train)
        order = EpochOrder(seed=seed, initial_epoch=initial_epoch)
        task = self._query_task()
        if self.query_tower.reads_sequences:
            return build_sequence_batches(
                train,
                tables,
                length=min(history.length for history in self.query_tower.histories),
                batch_size=batch_size,
                order=order,
                num_sampled=task.num_sampled_for(train),
                threshold=task.threshold,
                negative_weights=task.negative_weights,
            )
        return build_query_batches(
            train,
            tables,
            batch_size=batch_size,
            order=order,
            num_sampled=task.num_sampled_for(train),
            threshold=task.threshold,
            negative_weights=task.negative_weights,
        )

    def check_queries(self, train: Interactions) -> None:
        """Checks that the model can be trained by query on these events.

        Args:
            train: The training split.

        Raises:
            TypeError: If the task is trained by event; or the query tower pools a history, and is not a `SumTower` or
                reads another one as a sequence.
            ValueError: If there is nothing to learn in the ratings.
        """
        task = self._query_task()
        require_events(train)
        task.check_queries(train)
        if self.query_tower.reads_sequences:
            pooled = [history.name for history in self.query_tower.histories if history.encoder is None]
            if pooled:
                raise TypeError(
                    "Training by query encodes what lies before each event, for which every history needs an "
                    f"`encoder`. Received one without: {pooled[0]!r}. Give it one, or train by event with "
                    "`training_batches`."
                )
            if self.query_tower.context:
                raise TypeError(
                    "Training by query encodes a whole sequence at once, whose events would each need their own "
                    "context. Train by event with `training_batches`, or leave the context out. "
                    f"Received: {[feature.name for feature in self.query_tower.context]}."
                )
            if task.negative_weights is not None and task.negative_weights.dislike:
                raise ValueError(
                    "`dislike_weight` must be 0 where a sequence is trained by query: each event is compared with what "
                    "could have come in its place, and an event that is disliked has no positive. "
                    f"Received: {task.negative_weights.dislike:g}."
                )
        elif self.history_length and not isinstance(self.query_tower, SumTower):
            raise TypeError(
                "Training by query takes histories apart again, which only a `SumTowerConfig` allows. Give the query "
                "tower one, or train by event with `training_batches`."
            )

    def evaluation_batches(
        self, interactions: Interactions, *, batch_size: int = 8192, history: HistorySource | None = None
    ) -> tf.data.Dataset:
        """Makes batches for `evaluate`, `predict` and `validation_data`; see `build_evaluation_batches`.

        Args:
            interactions: Any part.
            batch_size: Events per batch, >= 1.
            history: Source of the queries' past events, usually a `FixedHistory` of the events before the part.

        Raises:
            ValueError: If the query tower takes a history, and none is given.
        """
        require_interactions(interactions, "interactions")
        if history is None and self.history_length:
            raise ValueError(
                "`history` must be given: the query tower takes one. For the validation part it is "
                f"FixedHistory(timeline=Timeline(split.context), length={self.history_length})."
            )
        require_history_of(self.query_tower, interactions, history)
        tables = encode_tables(self.query_tower, self.candidate_tower, interactions)
        return build_evaluation_batches(interactions, tables, batch_size=batch_size, history=history)

    def _event_task(self) -> EventTask:
        if not isinstance(self.task, EventTask):
            raise TypeError(
                f"A {type(self.task).__name__} is trained by query: use `query_batches`, and follow the validation "
                "part by the callback ValidationMetrics instead of `validation_data`."
            )
        return self.task

    def _query_task(self) -> QueryTask:
        if not isinstance(self.task, QueryTask):
            raise TypeError(
                f"A {type(self.task).__name__} is trained by event: use `training_batches`, or a FullSoftmaxTask."
            )
        return self.task
