"""What the model is trained for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._tfrs import tfrs
from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.data.interactions import Interactions


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class Task(tf.keras.layers.Layer):
    """What all tasks share. A batch is of events or of whole queries; a task has a loss for one of them, or for both.

    Args:
        threshold: A candidate is positive if its rating is at least this.
    """

    def __init__(self, *, threshold: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = float(threshold)
        if not np.isfinite(self.threshold):
            raise ValueError(f"`threshold` must be finite. Received: {threshold}.")

    @property
    def takes_candidate_keys(self) -> bool:
        """Whether batches of events must name their candidates by numbers that no table changes."""
        return False

    @property
    def score_variables(self) -> list[tf.Variable]:
        """What a score depends on besides the towers."""
        return []

    def prepare_events(
        self, train: Interactions, negatives: NegativeSampler | InBatchNegatives | None, batch_size: int
    ) -> NegativeSampler | InBatchNegatives | None:
        """Refuses events from which there is nothing to learn, and says what their batches need.

        Args:
            train: The training part, with an event.
            negatives: What the caller wants, if anything.
            batch_size: Events per batch.

        Returns:
            The negatives of the batches, if any.

        Raises:
            ValueError: If there is nothing to learn.
            TypeError: If the task is trained by query, or the negatives are another task's.
        """
        del train, batch_size
        return negatives

    def prepare_queries(self, train: Interactions) -> int | None:
        """Refuses queries from which there is nothing to learn, and says what their batches need.

        Args:
            train: The training part, with an event.

        Returns:
            How many candidates to draw for a batch beside its own; None for the whole catalogue.

        Raises:
            ValueError: If there is nothing to learn.
            TypeError: If the task is trained by event.
        """
        del train
        return 0

    def event_loss(
        self, queries: tf.Tensor, candidates: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        """The loss of a batch of events, from `build_training_batches`.

        Args:
            queries: float32 [events, embedding_dim].
            candidates: float32 [num_rows, embedding_dim], those of the events first.
            inputs: The batch.
            training: Whether this is a training step.
        """
        raise TypeError(f"A {type(self).__name__} is trained by query, not by event.")

    def query_loss(
        self,
        queries: tf.Tensor,
        parts: tf.Tensor,
        candidates: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:
        """The loss of a batch of queries, from `build_query_batches`: each event without its own part in the history.

        Args:
            queries: float32 [batch, embedding_dim].
            parts: float32 [events, embedding_dim], what each event's candidate contributes to its query, by all events
                of the pair.
            candidates: float32 [num_candidates, embedding_dim].
            inputs: The batch.
            training: Whether this is a training step.
        """
        raise TypeError(f"A {type(self).__name__} is trained by event, not by query.")

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """What a query's vector becomes, so that its product with a candidate's is the score."""
        return vectors

    def scale_candidates(self, vectors: tf.Tensor) -> tf.Tensor:
        """What a candidate's vector becomes."""
        return vectors

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class RatingTask(Task):
    """Tells liked from disliked among rated pairs: cross-entropy on logits, binary or ordinal.

    Ordinal, one half of the loss is the binary one at the threshold, the other the mean of those at other cuts, whose
    logits differ from the pair's by learnt numbers: how high a rating is says more than on which side of the threshold
    it lies. The probability stays the one at the threshold.

    Args:
        threshold: A pair is positive if its rating is at least this.
        other_cuts: Other ratings to cut at, ascending; () for the binary loss.

    References:
        Rennie & Srebro 2005, "Loss Functions for Preference Levels", section 3.2 (all thresholds).
    """

    def __init__(self, *, other_cuts: Sequence[float] = (), name: str = "rating_task", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(other_cuts, Sequence) or isinstance(other_cuts, str):
            raise TypeError(f"`other_cuts` must be a sequence of ratings. Received: {other_cuts!r}.")
        self.other_cuts = tuple(float(cut) for cut in other_cuts)
        is_ascending = list(self.other_cuts) == sorted(set(self.other_cuts)) and np.isfinite(self.other_cuts).all()
        if not is_ascending or self.threshold in self.other_cuts:
            raise ValueError(
                "`other_cuts` must be finite and ascending, without the threshold. "
                f"Received: {list(other_cuts)}, threshold {self.threshold:g}."
            )
        if self.other_cuts:
            cuts = sorted([*self.other_cuts, self.threshold])
            self._place = cuts.index(self.threshold)
            # The distance from each cut to the next, through a softplus, which keeps the cuts in order.
            self.gaps = self.add_weight(name="gaps", shape=(len(self.other_cuts),), initializer="zeros")
        self.ranking = tfrs.tasks.Ranking(
            loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[
                # Of logits, hence the threshold of 0. The loss as a metric is weighted by example, so that a small
                # last batch counts as much as it holds; `loss` in Keras's logs is the last batch's alone.
                tf.keras.metrics.BinaryCrossentropy(from_logits=True, name="log_loss"),
                tf.keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
                tf.keras.metrics.AUC(from_logits=True, name="auc"),
            ],
        )

    def call(
        self, ratings: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """The loss, a float32 scalar: the weighted mean of the pairs' losses; 0 if nothing counts.

        Args:
            ratings: float32 [batch].
            logits: float32 [batch], log-odds that the pair is positive.
            weights: float32 [batch], what each pair counts, in the metrics too; None for 1 each.
            training: Whether this is a training step.
        """
        if weights is not None:
            # Of mean 1: Keras divides by the pairs, whatever they weigh.
            weights = tf.math.divide_no_nan(weights, tf.reduce_mean(weights))
        loss = self._binary_loss(ratings, logits, self.threshold, weights, training, is_measured=True)
        if not self.other_cuts:
            return loss
        distances = tf.concat([[0.0], tf.cumsum(tf.math.softplus(self.gaps))], axis=0)
        offsets = distances[self._place] - distances
        cuts = sorted([*self.other_cuts, self.threshold])
        others = tf.zeros([])
        for place, cut in enumerate(cuts):
            if place != self._place:
                others += self._binary_loss(ratings, logits + offsets[place], cut, weights, training, is_measured=False)
        return (loss + others / len(self.other_cuts)) / 2

    def prepare_events(
        self, train: Interactions, negatives: NegativeSampler | InBatchNegatives | None, batch_size: int
    ) -> NegativeSampler | InBatchNegatives | None:
        """Ratings of one class need a `NegativeSampler`; see `Task`."""
        if negatives is None:
            self.require_two_classes(train.ratings)
        elif not isinstance(negatives, NegativeSampler):
            raise TypeError(f"`negatives` of a RatingTask must be a NegativeSampler. Received: {negatives!r}.")
        return negatives

    def prepare_queries(self, train: Interactions) -> int | None:
        """A batch needs the candidates of its own events alone; see `Task`."""
        self.require_two_classes(train.ratings)
        return 0

    def require_two_classes(self, ratings: np.ndarray) -> None:
        """Refuses ratings among which there is nothing to tell apart.

        Args:
            ratings: float32 [n], n >= 1.

        Raises:
            ValueError: If all or none are positive.
        """
        lowest, highest = ratings.min(), ratings.max()
        if lowest < self.threshold <= highest:
            return
        raise ValueError(
            f"`rating` must be on both sides of the threshold {self.threshold:g}. Received: {len(ratings)} ratings "
            f"from {lowest:g} to {highest:g}, one class only. Choose another threshold, or sample negatives."
        )

    def event_loss(
        self, queries: tf.Tensor, candidates: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        """The loss of each event, and of each negative if there are any; see `Task`."""
        if "query_place" in inputs:
            queries = tf.gather(queries, inputs["query_place"])
        return self._pair_loss(queries, candidates, inputs, training)

    def query_loss(
        self,
        queries: tf.Tensor,
        parts: tf.Tensor,
        candidates: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:
        """The loss of each event; see `Task`."""
        others = tf.gather(queries, inputs["target_place"][:, 0]) - parts
        return self._pair_loss(others, tf.gather(candidates, inputs["target_candidate"]), inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "other_cuts": list(self.other_cuts)}

    def _pair_loss(
        self, queries: tf.Tensor, candidates: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        logits = tf.reduce_sum(queries * candidates, axis=1)
        return self(inputs["rating"], logits, weights=inputs.get("weight"), training=training)

    def _binary_loss(
        self,
        ratings: tf.Tensor,
        logits: tf.Tensor,
        cut: float,
        weights: tf.Tensor | None,
        training: bool,
        *,
        is_measured: bool,
    ) -> tf.Tensor:
        return self.ranking(
            labels=tf.cast(ratings >= cut, tf.float32)[:, tf.newaxis],
            predictions=logits[:, tf.newaxis],
            sample_weight=weights,
            training=training,
            compute_metrics=is_measured,
        )


def sum_over_pairs(parts: tf.Tensor, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """What all events of a pair of query and candidate contribute, for each event: a pair may occur more than once.

    Args:
        parts: float32 [n, dim], of each event.
        queries: int64 [n], rows.
        candidates: int32 [n], rows.

    Returns:
        float32 [n, dim].

    Example:
        >>> rows = tf.constant([0, 0, 1], tf.int64), tf.constant([5, 5, 5])
        >>> print(sum_over_pairs(tf.constant([[1.0], [2.0], [4.0]]), *rows).numpy()[:, 0])
        [3. 3. 4.]
    """
    width = tf.reduce_max(tf.concat([candidates, [0]], axis=0)) + 1
    pairs, places = tf.unique(queries * tf.cast(width, tf.int64) + tf.cast(candidates, tf.int64))
    return tf.gather(tf.math.unsorted_segment_sum(parts, places, tf.size(pairs)), places)
