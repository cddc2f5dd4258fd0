"""The full softmax: retrieval trained on batches of queries, with the whole catalogue as candidates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.batches.batch import ExplicitNegatives, QueryBatch
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.history_parts import HistoryParts
from tfrs_twotower.model.tasks.softmax import SoftmaxTask, log_sums
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
        impression_weight: What each candidate that was shown and not chosen counts, >= 0, in a second softmax that
            compares a positive with such candidates alone; 1: as much as the positive, 0: it is not compared.
        dislike_weight: The same for each candidate that the query rated below the threshold.

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
        negatives: ExplicitNegatives | None = None,
        is_disliked: tf.Tensor | None = None,
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
            negatives: Candidates that were shown with the events and not chosen, with which the events are compared;
                None for none.
            is_disliked: bool [n], the events that the other events of their query are compared with; None for none.
        """
        if log_sampling_probabilities is not None:
            logs = tf.broadcast_to(log_sampling_probabilities, tf.shape(scores))
            present = target_places
            if negatives is not None:
                present = tf.concat([target_places, _places_of(negatives, target_places)], axis=0)
            scores = scores - tf.tensor_scatter_nd_update(logs, present, tf.zeros(tf.shape(present)[:1]))
        if own_scores is not None:
            # A pair with several events is one entry of the scores: each of them subtracts its share, or else the
            # gradient would count the pair as often.
            pairs = target_places[:, 0] * tf.shape(scores, out_type=tf.int64)[1] + target_places[:, 1]
            _, pair_of_event, num_events = tf.unique_with_counts(pairs)
            shares = own_scores / tf.cast(tf.gather(num_events, pair_of_event), tf.float32)
            scores = tf.tensor_scatter_nd_sub(scores, target_places, shares)
        losses = -tf.gather_nd(tf.nn.log_softmax(scores, axis=1), target_places)
        self.softmax_loss.update_state(losses, sample_weight=gains)
        if negatives is not None or is_disliked is not None:
            losses += self._losses_of_choices(scores, target_places, negatives, is_disliked)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * gains), tf.reduce_sum(gains))

    def _losses_of_choices(
        self,
        scores: tf.Tensor,
        target_places: tf.Tensor,
        negatives: ExplicitNegatives | None,
        is_disliked: tf.Tensor | None,
    ) -> tf.Tensor:
        """Returns the cross-entropy of each event among its explicit negatives, float32 [n].

        Args:
            scores: float32 [batch, num_candidates], as they are compared.
            target_places: As of `call`.
            negatives: As of `call`.
            is_disliked: As of `call`.
        """
        targets = tf.gather_nd(scores, target_places)
        sums = []
        if negatives is not None:
            shown = tf.gather_nd(scores, _places_of(negatives, target_places)) + tf.math.log(negatives.weights)
            sums.append(log_sums(shown, negatives.events, tf.size(targets)))
        if is_disliked is not None:
            disliked = tf.boolean_mask(targets, is_disliked) + tf.math.log(self.dislike_weight)
            rows = tf.boolean_mask(target_places[:, 0], is_disliked)
            sums.append(tf.gather(log_sums(disliked, rows, tf.shape(scores)[0]), target_places[:, 0]))
        return tf.math.softplus(tf.reduce_logsumexp(tf.stack(sums), axis=0) - targets)

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
        return self(
            tf.matmul(queries, candidates, transpose_b=True),
            batch.pairs,
            self.gains(batch.ratings, batch.weights),
            # Without a history nothing is subtracted, and the scores need not be copied.
            own_scores=parts.scores(candidates - tf.reduce_mean(candidates, axis=0)) if parts.terms else None,
            log_sampling_probabilities=batch.log_sampling_probabilities,
            negatives=batch.explicit_negatives,
            is_disliked=self._are_disliked(batch) if self.dislike_weight else None,
        )

    def _are_disliked(self, batch: QueryBatch) -> tf.Tensor:
        """Tells which events are dislikes, bool [events]; an event of another context than its row's weighs nothing."""
        is_disliked = batch.ratings < self.threshold
        return is_disliked if batch.weights is None else is_disliked & (batch.weights > 0)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "max_candidates": self.max_candidates, "num_sampled": self.num_sampled}


def _places_of(negatives: ExplicitNegatives, target_places: tf.Tensor) -> tf.Tensor:
    """Returns the query and the candidate of each explicit negative in the scores, int64 [m, 2]."""
    queries = tf.gather(target_places[:, 0], negatives.events)
    return tf.stack([queries, tf.cast(negatives.candidates, tf.int64)], axis=1)
