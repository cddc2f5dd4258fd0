"""The full softmax: retrieval trained on batches of queries, with the whole catalogue as candidates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.batches.batch import QueryBatch
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.history_parts import HistoryParts
from tfrs_twotower.model.tasks.softmax import SoftmaxTask
from tfrs_twotower.model.tasks.task import QueryTask


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class FullSoftmaxTask(SoftmaxTask, QueryTask):
    """Ranks a query's positives above all other candidates of the catalogue, by one multinomial per query.

    A query's history holds its targets. Each target is scored without its own contribution to the history, so that its
    score is that of a candidate which the query has not met yet. All other candidates are scored by the whole history.
    What a target adds to every score alike therefore stays in its own score, because its absence would reveal the
    target.

    Args:
        threshold: A candidate is positive if its rating is at least this.
        highest_rating: Rating at which a positive counts fully; from there, its gain falls linearly to 0.6 at the
            threshold, so that a change of scale changes nothing. None: all positives count alike.
        temperature: Divisor of the scores, > 0; the initial value if it is learnt.
        learns_temperature: Whether training adjusts it. It stays positive.
        max_candidates: Size of the largest catalogue that is not sampled, >= 1; every batch then holds all of it. A
            larger catalogue is sampled, with the logQ correction.
        num_sampled: Number of candidates drawn uniformly for a batch of a larger catalogue, beside its own, >= 0.
        impression_weight: As how many candidates of the catalogue a candidate counts, >= 0, beside itself, in the
            softmax of a query to which it was shown and that did not choose it; for each time that it was shown.
        dislike_weight: The same for a candidate that a query rated below the threshold.

    References:
        Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", eq. 2 (the multinomial); Steck 2019,
        "Embarrassingly Shallow Autoencoders for Sparse Data" (why a target must not predict itself).

    Example:
        >>> task = FullSoftmaxTask(highest_rating=5.0, learns_temperature=True)
        >>> scores, places = tf.zeros([1, 4]), tf.constant([[0, 2]], tf.int64)
        >>> round(float(task(scores, places, tf.constant([5.0]))), 4)  # log 4: all candidates score alike
        1.3863
    """

    def __init__(
        self,
        *,
        max_candidates: int = 50_000,
        num_sampled: int = 8192,
        name: str = "full_softmax",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.max_candidates = whole_number(max_candidates, "`max_candidates`", 1)
        self.num_sampled = whole_number(num_sampled, "`num_sampled`", 0)
        self.softmax_loss = tf.keras.metrics.Mean(name="softmax_loss")

    def call(
        self,
        scores: tf.Tensor,
        target_places: tf.Tensor,
        gains: tf.Tensor,
        *,
        own_scores: tf.Tensor | None = None,
        log_sampling_probabilities: tf.Tensor | None = None,
        negative_places: tf.Tensor | None = None,
        negative_weights: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the loss, a float32 scalar: the targets' mean cross-entropy, weighted by gain; 0 without targets.

        Args:
            scores: float32 [batch, num_candidates].
            target_places: int64 [n, 2], each event's query and candidate in `scores`.
            gains: float32 [n], the weight of each event, >= 0.
            own_scores: float32 [n], the contribution of each event's candidate to its own score, which is subtracted;
                a pair that occurs twice has the same number twice.
            log_sampling_probabilities: float32 [num_candidates] or [batch, num_candidates], log Q: the logarithm of the
                probability that a query finds a candidate in its batch that is neither target nor explicit negative,
                which are always there; None for the whole catalogue.
            negative_places: int64 [m, 2], the query and the candidate in `scores` of each explicit negative, none
                twice; None if there are none.
            negative_weights: float32 [m], > 0, as how many candidates each counts beside itself.
        """
        if log_sampling_probabilities is not None:
            logs = tf.broadcast_to(log_sampling_probabilities, tf.shape(scores))
            present = target_places
            if negative_places is not None:
                present = tf.concat([target_places, negative_places], axis=0)
            scores = scores - tf.tensor_scatter_nd_update(logs, present, tf.zeros(tf.shape(present)[:1]))
        if negative_places is not None:
            scores = tf.tensor_scatter_nd_add(scores, negative_places, tf.math.log1p(negative_weights))
        own = own_scores
        if own is not None:
            # A pair with several events is one entry of the scores: each of them subtracts its share, or else the
            # gradient would count the pair as often.
            pairs = target_places[:, 0] * tf.shape(scores, out_type=tf.int64)[1] + target_places[:, 1]
            _, pair_of_event, num_events = tf.unique_with_counts(pairs)
            shares = own / tf.cast(tf.gather(num_events, pair_of_event), tf.float32)
            scores = tf.tensor_scatter_nd_sub(scores, target_places, shares)
        losses = -tf.gather_nd(tf.nn.log_softmax(scores, axis=1), target_places)
        self.softmax_loss.update_state(losses, sample_weight=gains)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * gains), tf.reduce_sum(gains))

    def check_queries(self, train: Interactions) -> None:
        """Raises an error if no event is positive; see `QueryTask`."""
        self.require_positives(train)

    def num_sampled_for(self, train: Interactions) -> int | None:
        """Returns None, for the whole catalogue, up to `max_candidates`, else `num_sampled`; see `QueryTask`."""
        return None if train.num_candidates <= self.max_candidates else self.num_sampled

    def query_loss(
        self, queries: tf.Tensor, parts: HistoryParts, candidates: tf.Tensor, batch: QueryBatch, training: bool
    ) -> tf.Tensor:
        """Computes the loss of a batch, each event scored without its own contribution; see `QueryTask`."""
        del training
        negatives = batch.explicit_negatives
        return self(
            tf.matmul(queries, candidates, transpose_b=True),
            batch.pairs,
            self.gains(batch.ratings, batch.weights),
            # Without a history nothing is subtracted, and the scores need not be copied.
            own_scores=parts.scores(candidates - tf.reduce_mean(candidates, axis=0)) if parts.terms else None,
            log_sampling_probabilities=batch.log_sampling_probabilities,
            negative_places=None if negatives is None else batch.negative_pairs,
            negative_weights=None if negatives is None else negatives.weights,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "max_candidates": self.max_candidates, "num_sampled": self.num_sampled}
