"""What comes first out of the catalogue: a softmax over a batch's candidates, corrected for how they got there."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_LOWEST = float(np.finfo(np.float32).min)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class RetrievalTask(tf.keras.layers.Layer):
    """Puts each query's positive candidate before the batch's other candidates.

    The loss is the mean over the batch, so that it does not grow with it. A candidate that comes into batches often is
    a negative often: without the correction by that frequency's logarithm (logQ), popular candidates would lose it.

    Args:
        temperature: What scores are divided by, > 0; where it is learnt, the start.
        learns_temperature: Whether training adjusts it. It stays positive.
        normalizes: Whether embeddings are cut to length 1 first, so that scores are cosines.
        num_hard_negatives: Only the highest-scored so many negatives of each query count, >= 1; None for all.

    References:
        Bengio & Senécal 2003 (the correction); Yi et al. 2019, eq. 3-5.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        learns_temperature: bool = False,
        normalizes: bool = False,
        num_hard_negatives: int | None = None,
        name: str = "retrieval_task",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 < temperature < np.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {temperature}.")
        if num_hard_negatives is not None and num_hard_negatives < 1:
            raise ValueError(f"`num_hard_negatives` must be at least 1. Received: {num_hard_negatives}.")
        self.temperature, self.learns_temperature = temperature, learns_temperature
        self.normalizes, self.num_hard_negatives = normalizes, num_hard_negatives
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=tf.keras.initializers.Constant(-np.log(temperature)),
            trainable=learns_temperature,
        )
        # In-batch: not to be taken for the loss over the catalogue, which a batch does not see.
        self.in_batch_loss = tf.keras.metrics.Mean(name="in_batch_loss")

    def call(
        self,
        queries: tf.Tensor,
        candidates: tf.Tensor,
        candidate_codes: tf.Tensor,
        *,
        log_frequencies: tf.Tensor | None = None,
        is_other_positive: tf.Tensor | None = None,
        weights: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss, a float32 scalar: the weighted mean of each query's cross-entropy; 0 for an empty batch.

        Args:
            queries: float32 [batch, embedding_dim].
            candidates: float32 [num_candidates, embedding_dim], num_candidates >= batch: the i-th is the positive of
                the i-th query; what comes after the batch's are negatives of all (mixed negative sampling, Yang et al.
                2020).
            candidate_codes: Integers [num_candidates], equal for the same candidate: one that is the query's positive
                is not its negative.
            log_frequencies: float32 [num_candidates], the logarithm of how often each candidate comes into a batch,
                up to a constant; None for all alike.
            is_other_positive: bool [batch, num_candidates], candidates that the query likes besides: they are left out.
            weights: float32 [batch], what each query counts; None for 1 each.
        """
        scores = self.scores(queries, candidates)
        if log_frequencies is not None:
            scores -= log_frequencies
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
        return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))

    def scores(self, queries: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """float32 [batch, num_candidates], the products of embeddings over the temperature."""
        if self.normalizes:
            queries, candidates = tf.math.l2_normalize(queries, axis=1), tf.math.l2_normalize(candidates, axis=1)
        return tf.matmul(queries, candidates, transpose_b=True) * tf.exp(self.log_scale)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "learns_temperature": self.learns_temperature,
            "normalizes": self.normalizes,
            "num_hard_negatives": self.num_hard_negatives,
        }
