"""The interfaces of tasks: those that are trained on batches of events, and those trained on batches of queries.

A task is a Keras layer that implements one of the interfaces, or both. Methods that check the training part (`check_*`)
are separate from those that tell what the batches must hold.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.explicit_negatives import NegativeWeights
from tfrs_twotower.batches.negatives import Negatives
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.history_parts import HistoryParts


class Task(tf.keras.layers.Layer, abc.ABC):
    """Base class of tasks: a task defines the loss that a model is trained for.

    Args:
        threshold: A candidate is positive if its rating is at least this.

    Example:
        >>> from tfrs_twotower.model.tasks.rating import RatingTask
        >>> task: Task = RatingTask(threshold=4.0)
        >>> task.threshold, task.predicts_probabilities
        (4.0, True)
    """

    #: Whether scores are log-odds of a positive rating.
    predicts_probabilities: ClassVar[bool] = False

    def __init__(self, *, threshold: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})  # with mixed precision, too
        self.threshold = float(threshold)
        if not np.isfinite(self.threshold):
            raise ValueError(f"`threshold` must be finite. Received: {threshold}.")

    @property
    def negative_weights(self) -> NegativeWeights | None:
        """What the explicit negatives of a query count; None if batches need not have them."""
        return None

    @property
    def score_variables(self) -> list[tf.Variable]:
        """Variables that a score depends on, in addition to those of the towers."""
        return []

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """Scales queries' vectors so that their product with a candidate's is the score.

        Args:
            vectors: float32 [batch, dim].
        """
        return vectors

    def scale_candidates(self, vectors: tf.Tensor) -> tf.Tensor:
        """Scales candidates' vectors.

        Args:
            vectors: float32 [batch, dim].
        """
        return vectors

    def batch_weight(self, batch: EventBatch | QueryBatch) -> tf.Tensor:
        """Returns what a batch counts in the mean of an epoch's losses, a float32 scalar: here, its pairs' weights.

        Args:
            batch: The batch.
        """
        if batch.weights is None:
            return tf.cast(tf.size(batch.ratings), tf.float32)
        return tf.reduce_sum(batch.weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


class EventTask(Task):
    """A task that is trained on batches of events.

    Example:
        A task of your own, which asks for a score above 1 of a positive pair and below -1 of any other:

        >>> class HingeTask(EventTask):
        ...     def check_events(self, train, negatives, batch_size):
        ...         if negatives is not None:
        ...             raise TypeError("A HingeTask takes no negatives.")
        ...
        ...     def event_loss(self, queries, candidates, batch, training):
        ...         signs = tf.where(batch.ratings >= self.threshold, 1.0, -1.0)
        ...         scores = tf.reduce_sum(queries * candidates, axis=1)
        ...         return tf.reduce_mean(tf.nn.relu(1 - signs * scores))
        >>> batch = EventBatch(query={}, candidate={}, candidate_rows=tf.range(2), ratings=tf.constant([5.0, 1.0]))
        >>> float(HingeTask().event_loss(tf.ones([2, 1]), tf.ones([2, 1]), batch, training=True))  # (0 + 2) / 2
        1.0
    """

    #: Whether the loss of an event depends on the candidates of other events of its batch, as in a softmax. Replicas of
    #: a distribution strategy then exchange the embeddings of their candidates. A task that says False is given the
    #: candidates of its own pairs only.
    compares_candidates: ClassVar[bool] = True

    @property
    def needs_candidate_keys(self) -> bool:
        """Whether batches must have `candidate_keys`, numbers that identify a candidate in every data set."""
        return False

    @abc.abstractmethod
    def check_events(self, train: Interactions, negatives: Negatives | None, batch_size: int) -> None:
        """Raises an error if the events teach nothing, or if the negatives do not suit this task.

        Args:
            train: The training part, with at least one event.
            negatives: The negatives that the caller asked for, or None.
            batch_size: Events per batch.

        Raises:
            ValueError: If there is nothing to learn.
            TypeError: If the negatives are of a kind for another task.
        """

    def default_negatives(self, train: Interactions) -> Negatives | None:
        """Returns the negatives of batches for which the caller asked for none.

        Args:
            train: The training part.
        """
        del train
        return None

    @abc.abstractmethod
    def event_loss(self, queries: tf.Tensor, candidates: tf.Tensor, batch: EventBatch, training: bool) -> tf.Tensor:
        """Computes the loss of a batch of events, a float32 scalar.

        Args:
            queries: float32 [events, embedding_dim].
            candidates: float32 [num_rows, embedding_dim], those of the events first.
            batch: The batch.
            training: Whether this is a training step.
        """


class QueryTask(Task):
    """A task that is trained on batches of whole queries.

    Example:
        A task of your own, which pushes the scores of all targets up:

        >>> from tfrs_twotower.model.history_parts import HistoryTerm
        >>> class GreedyTask(QueryTask):
        ...     def check_queries(self, train):
        ...         if train.ratings.max() < self.threshold:
        ...             raise ValueError("`train` must have a positive event.")
        ...
        ...     def query_loss(self, queries, parts, candidates, batch, training):
        ...         scores = batch.scores_of_pairs(queries, candidates) - parts.scores(candidates)
        ...         return -tf.reduce_mean(scores)
        >>> batch = QueryBatch(
        ...     query={}, candidate={}, candidate_rows=tf.range(2), log_sampling_probabilities=tf.zeros(2),
        ...     target_places=tf.constant([[0, 0]], tf.int64), target_candidates=tf.constant([1]),
        ...     ratings=tf.constant([5.0]),
        ... )
        >>> term = HistoryTerm(weights=tf.constant([[0.5]]), vectors=tf.constant([[2.0]]))
        >>> pairs = tf.constant([[0, 0]], tf.int64)
        >>> parts = HistoryParts(terms=[term], kept=None, columns=tf.constant([1]), pairs=pairs)
        >>> queries, candidates = tf.constant([[3.0]]), tf.constant([[0.0], [2.0]])
        >>> float(GreedyTask().query_loss(queries, parts, candidates, batch, training=True))  # -(3 - 1) * 2
        -4.0
    """

    @abc.abstractmethod
    def check_queries(self, train: Interactions) -> None:
        """Raises an error if the queries teach nothing.

        Args:
            train: The training part, with at least one event.

        Raises:
            ValueError: If there is nothing to learn.
        """

    def num_sampled_for(self, train: Interactions) -> int | None:
        """Returns the number of candidates drawn for a batch beside its own; None for the whole catalogue.

        Args:
            train: The training part.
        """
        del train
        return 0

    @abc.abstractmethod
    def query_loss(
        self, queries: tf.Tensor, parts: HistoryParts, candidates: tf.Tensor, batch: QueryBatch, training: bool
    ) -> tf.Tensor:
        """Computes the loss of a batch of queries, a float32 scalar.

        Each event is scored without its own part in the history.

        Args:
            queries: float32 [batch, embedding_dim].
            parts: The contribution of each event's candidate to the embedding of its query, summed over all events of
                the pair; `parts.scores` tells what it adds to the candidate's score.
            candidates: float32 [num_rows, embedding_dim].
            batch: The batch.
            training: Whether this is a training step.
        """
