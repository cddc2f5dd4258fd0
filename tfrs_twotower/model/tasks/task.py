"""What a model can be trained for: the interfaces of tasks that are trained by event, and of those trained by query.

A task is a Keras layer. It implements one of the interfaces, or both. Checking what it is to be trained on (`check_*`)
is apart from saying what its batches need.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, QueryBatch
from tfrs_twotower.batches.negatives import Negatives
from tfrs_twotower.data.interactions import Interactions


class Task(tf.keras.layers.Layer, abc.ABC):
    """What all tasks share.

    Args:
        threshold: A candidate is positive if its rating is at least this.
    """

    #: Whether scores are log-odds of a positive rating.
    predicts_probabilities: ClassVar[bool] = False

    def __init__(self, *, threshold: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = float(threshold)
        if not np.isfinite(self.threshold):
            raise ValueError(f"`threshold` must be finite. Received: {threshold}.")

    @property
    def score_variables(self) -> list[tf.Variable]:
        """Variables besides the towers' that a score depends on."""
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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


class EventTask(Task):
    """A task that is trained on batches of events."""

    @property
    def needs_candidate_keys(self) -> bool:
        """Whether batches must name their candidates by numbers that stay the same in every table."""
        return False

    @abc.abstractmethod
    def check_events(self, train: Interactions, negatives: Negatives | None, batch_size: int) -> None:
        """Refuses events from which there is nothing to learn, and negatives that are not for this task.

        Args:
            train: The training part, with at least one event.
            negatives: What the caller wants, if anything.
            batch_size: Events per batch.

        Raises:
            ValueError: If there is nothing to learn.
            TypeError: If the negatives are for another task.
        """

    def default_negatives(self, train: Interactions) -> Negatives | None:
        """Returns the negatives that batches have unless the caller wants others.

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
    """A task that is trained on batches of whole queries."""

    @abc.abstractmethod
    def check_queries(self, train: Interactions) -> None:
        """Refuses queries from which there is nothing to learn.

        Args:
            train: The training part, with at least one event.

        Raises:
            ValueError: If there is nothing to learn.
        """

    def num_sampled_for(self, train: Interactions) -> int | None:
        """Returns how many candidates to draw for a batch beside its own; None for the whole catalogue.

        Args:
            train: The training part.
        """
        del train
        return 0

    @abc.abstractmethod
    def query_loss(
        self, queries: tf.Tensor, parts: tf.Tensor, candidates: tf.Tensor, batch: QueryBatch, training: bool
    ) -> tf.Tensor:
        """Computes the loss of a batch of queries, a float32 scalar: each event without its own part in the history.

        Args:
            queries: float32 [batch, embedding_dim].
            parts: float32 [events, embedding_dim], what each event's candidate contributes to its query, by all events
                of the pair.
            candidates: float32 [num_rows, embedding_dim].
            batch: The batch.
            training: Whether this is a training step.
        """
