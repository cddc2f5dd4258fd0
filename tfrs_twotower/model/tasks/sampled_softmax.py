"""The sampled softmax: retrieval trained on batches of events, with the candidates of a batch as the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.batches.batch import EventBatch, ExplicitNegatives
from tfrs_twotower.batches.negatives import InBatchNegatives, Negatives
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
from tfrs_twotower.model.tasks.softmax import SoftmaxTask, log_sums
from tfrs_twotower.model.tasks.task import EventTask

_LOWEST = float(np.finfo(np.float32).min)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class SampledSoftmaxTask(SoftmaxTask, EventTask):
    """Ranks each query's positive candidate above the other candidates of the batch, by a softmax over that sample.

    The loss is the mean over the batch, so that it does not grow with the batch size. A candidate that occurs in
    batches often is often a negative: without subtracting the logarithm of its sampling probability (the logQ
    correction), popular candidates would be pushed down.

    Args:
        threshold: A candidate is positive if its rating is at least this; other events only supply negatives.
        highest_rating: Rating at which a positive counts fully; from there, its gain falls linearly to 0.6 at the
            threshold, so that a change of scale changes nothing. None: all positives count alike.
        temperature: Divisor of the scores, > 0; the initial value if it is learnt.
        learns_temperature: Whether training adjusts it. It stays positive.
        normalizes: Whether embeddings are scaled to length 1 first, so that scores are cosines.
        num_hard_negatives: Number of negatives of each query that count, those with the highest scores, >= 1; None for
            all.
        corrects_log_q: Whether the logQ correction is applied in training; False is for comparison.
        frequencies: Estimator of how often a candidate occurs in a batch, if the events cannot be counted beforehand;
            None for the counts of the training part.
        impression_weight: What each candidate that was shown and not chosen counts, >= 0, in a second softmax that
            compares a positive with such candidates alone; 1: as much as the positive, 0: it is not compared.
        dislike_weight: The same for each candidate that the query rated below the threshold.

    References:
        Bengio & Senécal 2003 (the correction); Yi et al. 2019, eq. 3-5.

    Example:
        >>> task = SampledSoftmaxTask(threshold=3.0)
        >>> equal = tf.ones([2, 4])  # both candidates score alike: the loss is log 2
        >>> round(float(task(equal, equal, tf.constant([0, 1]))), 4)
        0.6931
    """

    def __init__(
        self,
        *,
        normalizes: bool = False,
        num_hard_negatives: int | None = None,
        corrects_log_q: bool = True,
        frequencies: FrequencyEstimator | None = None,
        name: str = "sampled_softmax",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if num_hard_negatives is not None:
            whole_number(num_hard_negatives, "`num_hard_negatives`", 1)
        if frequencies is not None and not isinstance(frequencies, FrequencyEstimator):
            raise TypeError(f"`frequencies` must be a FrequencyEstimator or None. Received: {frequencies!r}.")
        self.normalizes, self.num_hard_negatives = normalizes, num_hard_negatives
        self.corrects_log_q, self.frequencies = corrects_log_q, frequencies
        # The name tells that this is a loss over the batch, not over the catalogue.
        self.in_batch_loss = tf.keras.metrics.Mean(name="in_batch_loss")

    def call(
        self,
        queries: tf.Tensor,
        candidates: tf.Tensor,
        candidate_codes: tf.Tensor,
        *,
        log_sampling_probabilities: tf.Tensor | None = None,
        is_other_positive: tf.Tensor | None = None,
        weights: tf.Tensor | None = None,
        explicit_log_sums: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Computes the loss, a float32 scalar: the weighted mean of the queries' cross-entropies; 0 for an empty batch.

        Args:
            queries: float32 [batch, embedding_dim]; its products with candidates are the scores, as `scale_queries` and
                `scale_candidates` make them.
            candidates: float32 [num_candidates, embedding_dim], num_candidates >= batch: the i-th is the positive of
                the i-th query; those after the batch's own are negatives of all queries (mixed negative sampling, Yang
                et al. 2020).
            candidate_codes: Integers [num_candidates], equal for the same candidate: the query's positive is never its
                negative as well.
            log_sampling_probabilities: float32 [num_candidates], log Q: the logarithm of how often each candidate
                occurs in a batch, up to a constant; None if all occur equally often.
            is_other_positive: bool [batch, num_candidates], other positives of the query, which are left out.
            weights: float32 [batch], the weight of each query; None for 1 each.
            explicit_log_sums: float32 [batch], the `log_sums` of the scores of each query's explicit negatives, to
                which the logarithms of what they count are added; the positive is compared with these as well. There
                is no logQ correction: they are there whatever the sample is. None for none.
        """
        scores = tf.matmul(queries, candidates, transpose_b=True)
        uncorrected = tf.linalg.diag_part(scores)
        if log_sampling_probabilities is not None:
            scores -= log_sampling_probabilities
        positives = tf.linalg.diag_part(scores)[:, tf.newaxis]
        batch = tf.shape(queries)[0]
        is_left_out = candidate_codes[tf.newaxis] == candidate_codes[:batch, tf.newaxis]
        if is_other_positive is not None:
            is_left_out |= is_other_positive
        is_left_out |= tf.eye(batch, tf.shape(candidates)[0], dtype=tf.bool)
        negatives = tf.where(is_left_out, _LOWEST, scores)
        if self.num_hard_negatives is not None:
            negatives, _ = tf.math.top_k(negatives, tf.minimum(self.num_hard_negatives, tf.shape(negatives)[1]))
        losses = tf.reduce_logsumexp(tf.concat([positives, negatives], axis=1), axis=1) - positives[:, 0]
        weights = tf.ones_like(losses) if weights is None else weights
        self.in_batch_loss.update_state(losses, sample_weight=weights)
        if explicit_log_sums is not None:
            losses += tf.math.softplus(explicit_log_sums - uncorrected)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))

    @property
    def needs_candidate_keys(self) -> bool:
        """Whether frequencies are estimated, which must be told apart by candidate; see `EventTask`."""
        return self.frequencies is not None

    def check_events(self, train: Interactions, negatives: Negatives | None, batch_size: int) -> None:
        """Raises an error if no event is positive or batches have no negative; see `EventTask`."""
        self.require_positives(train)
        num_uniform = 0
        if negatives is not None:
            if not isinstance(negatives, InBatchNegatives):
                raise TypeError(
                    f"`negatives` of a SampledSoftmaxTask must be InBatchNegatives. Received: {negatives!r}."
                )
            if negatives.threshold != self.threshold:
                raise ValueError(
                    f"`negatives` must have the task's threshold, {self.threshold:g}: a candidate that they count as "
                    f"positive is not a negative. Received: {negatives.threshold:g}."
                )
            if negatives.negative_weights != self.negative_weights:
                raise ValueError(
                    f"`negatives` must have the task's `negative_weights`, {self.negative_weights}. "
                    f"Received: {negatives.negative_weights}."
                )
            num_uniform = negatives.num_uniform
        if batch_size < 2 and not num_uniform:
            raise ValueError(
                "`batch_size` must be at least 2, so that there are other candidates, unless `negatives` have uniform "
                f"ones. Received: {batch_size}."
            )

    def default_negatives(self, train: Interactions) -> InBatchNegatives:
        """Returns the batch's other candidates, and explicit negatives if they count; see `EventTask`."""
        return InBatchNegatives(train, threshold=self.threshold, negative_weights=self.negative_weights)

    def event_loss(self, queries: tf.Tensor, candidates: tf.Tensor, batch: EventBatch, training: bool) -> tf.Tensor:
        """Computes the loss of a batch with negatives, or in training also of one without; see `EventTask`.

        Candidates are told apart by their keys, which stay the same from one data set to the next, or by their rows.

        Raises:
            ValueError: If the correction is applied, and neither the batch nor an estimator tells how often candidates
                occur.
            TypeError: If an evaluation batch has no negatives.
        """
        if not training and batch.negatives is None:
            raise TypeError(
                "A SampledSoftmaxTask has no loss on evaluation batches, which have no negatives. Follow the "
                "validation part by the callback ValidationMetrics instead of `validation_data`."
            )
        codes = batch.candidate_rows if batch.candidate_keys is None else batch.candidate_keys
        explicit_log_sums = None
        if batch.explicit_negatives is not None:
            explicit_log_sums = _explicit_log_sums(queries, candidates, batch.explicit_negatives)
            candidates, codes = candidates[: batch.num_shared], codes[: batch.num_shared]
        return self(
            queries,
            candidates,
            codes,
            log_sampling_probabilities=self._log_sampling_probabilities(codes, batch, training),
            is_other_positive=None if batch.negatives is None else batch.negatives.is_other_positive,
            weights=self.gains(batch.ratings, batch.weights),
            explicit_log_sums=explicit_log_sums,
        )

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """Scales queries' vectors to length 1 if `normalizes`, and divides them by the temperature; see `Task`."""
        return super().scale_queries(self.scale_candidates(vectors))

    def scale_candidates(self, vectors: tf.Tensor) -> tf.Tensor:
        """Scales candidates' vectors to length 1 if `normalizes`; see `Task`."""
        return tf.math.l2_normalize(vectors, axis=1) if self.normalizes else vectors

    def _log_sampling_probabilities(self, codes: tf.Tensor, batch: EventBatch, training: bool) -> tf.Tensor | None:
        if not self.corrects_log_q:
            return None
        if self.frequencies is not None:
            return self.frequencies(codes, training=training)
        if batch.negatives is None:
            raise ValueError(
                "The batch must tell how often its candidates occur (`EventBatch.negatives`), or the task must "
                "estimate it: SampledSoftmaxTask(frequencies=FrequencyEstimator(...))."
            )
        return batch.negatives.log_sampling_probabilities

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "normalizes": self.normalizes,
            "num_hard_negatives": self.num_hard_negatives,
            "corrects_log_q": self.corrects_log_q,
            "frequencies": to_config(self.frequencies) if self.frequencies is not None else None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SampledSoftmaxTask:
        """Makes the task that `get_config` described."""
        described = config["frequencies"]
        return cls(**{**config, "frequencies": from_config(described) if described else None})


def _explicit_log_sums(queries: tf.Tensor, candidates: tf.Tensor, negatives: ExplicitNegatives) -> tf.Tensor:
    """Returns the `log_sums` of the explicit negatives of each query, float32 [batch]."""
    products = tf.gather(queries, negatives.events) * tf.gather(candidates, negatives.candidates)
    scores = tf.reduce_sum(products, axis=1) + tf.math.log(negatives.weights)
    return log_sums(scores, negatives.events, tf.shape(queries)[0])
