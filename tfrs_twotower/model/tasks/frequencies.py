"""Estimates how often candidates occur in training batches from the stream itself, without counting beforehand."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrs_twotower._settings import whole_number

# Multiply-add hashes modulo a prime (Carter & Wegman 1979); codes modulo it keep products within 64 bits.
_PRIME = 2**31 - 1
_MULTIPLIERS = (1_103_515_245, 2_147_001_325, 1_664_525_011, 1_812_433_253, 1_566_083_941, 1_284_865_837)
_OFFSETS = (12_345, 1_013_904_223, 374_761_393, 668_265_263, 1_274_126_177, 974_711_141)


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class FrequencyEstimator(tf.keras.layers.Layer):
    """Estimates how many times a candidate occurs per batch, in memory that does not grow with the catalogue.

    For each of `num_slots` slots it keeps the step at which one of the slot's candidates was last seen, and the
    smoothed gap, in steps, between occurrences; several occurrences in one batch count as as many short gaps.
    Candidates that share a slot look too frequent, so the longest gap over several hashes counts.

    Args:
        num_slots: Slots of each hash, >= 1; ten times the candidates, or as many as memory allows, at 12 bytes each.
        num_hashes: 1 to 6.
        learning_rate: How much one occurrence moves the gap, in (0, 1): about the inverse of the number of occurrences
            that an estimate is based on.

    References:
        Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", algorithms 2-3.
        There a batch counts a candidate once; counting each occurrence avoids a bias for frequent candidates.

    Example:
        >>> estimator = FrequencyEstimator(num_slots=100)
        >>> for codes in ([1, 1, 2], [1, 1, 3], [1, 1, 2], [1, 1, 3]):
        ...     logs = estimator(tf.constant(codes), training=True)
        >>> print(tf.exp(estimator(tf.constant([1, 2]))).numpy().round(2))
        [2.   0.95]
    """

    def __init__(self, *, num_slots: int, num_hashes: int = 2, learning_rate: float = 0.05, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})  # with mixed precision, too
        whole_number(num_slots, "`num_slots`", 1)
        if not whole_number(num_hashes, "`num_hashes`", 1) <= len(_MULTIPLIERS):
            raise ValueError(f"`num_hashes` must be in 1..{len(_MULTIPLIERS)}. Received: {num_hashes}.")
        if not 0 < learning_rate < 1:
            raise ValueError(f"`learning_rate` must be in (0, 1). Received: {learning_rate}.")
        self.num_slots, self.num_hashes, self.learning_rate = num_slots, num_hashes, learning_rate
        shape = (num_hashes * num_slots,)
        self.step = self.add_weight(name="step", shape=(), dtype=tf.int64, initializer="zeros", trainable=False)
        self.last_seen = self.add_weight(
            name="last_seen", shape=shape, dtype=tf.int64, initializer="zeros", trainable=False
        )
        self.gap = self.add_weight(name="gap", shape=shape, initializer="zeros", trainable=False)

    def call(self, codes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Estimates frequencies; in training it learns from the batch first.

        Args:
            codes: Integers [n], each candidate's number, which is the same in all batches; repetitions are occurrences.
            training: Whether this is a batch of the stream.

        Returns:
            float32 [n], the logarithm of the expected occurrences per batch; for a candidate that has never been seen,
            that of one occurrence in all steps so far.
        """
        slots = self._slots(codes)
        if training:
            self._learn(tf.reshape(slots, [-1]))
        gaps = tf.nn.embedding_lookup(self.gap, slots)
        # A single slot that is still empty proves that the candidate has never been seen.
        is_seen = tf.reduce_min(gaps, axis=0) > 0
        longest = tf.cast(tf.maximum(self.step, 1), tf.float32)
        return -tf.math.log(tf.where(is_seen, tf.reduce_max(gaps, axis=0), longest))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_slots": self.num_slots,
            "num_hashes": self.num_hashes,
            "learning_rate": self.learning_rate,
        }

    def _slots(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns int64 [num_hashes, n], places in the arrays, where one hash follows the other."""
        codes = tf.cast(codes, tf.int64) % _PRIME
        hashed = [
            (codes * multiplier + offset) % _PRIME % self.num_slots + number * self.num_slots
            for number, (multiplier, offset) in enumerate(zip(_MULTIPLIERS, _OFFSETS, strict=True))
            if number < self.num_hashes
        ]
        return tf.stack(hashed)

    def _learn(self, slots: tf.Tensor) -> None:
        step = self.step.assign_add(1)
        unique, _, counts = tf.unique_with_counts(slots)
        counts = tf.cast(counts, tf.float32)
        before = tf.nn.embedding_lookup(self.gap, unique)
        gaps = tf.cast(step - tf.nn.embedding_lookup(self.last_seen, unique), tf.float32) / counts
        # One step of the moving average per occurrence; the first gap is taken as it is.
        kept = tf.where(before > 0, (1 - self.learning_rate) ** counts, 0.0)
        self.gap.scatter_update(tf.IndexedSlices(kept * before + (1 - kept) * gaps, unique))
        self.last_seen.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(unique), step), unique))
