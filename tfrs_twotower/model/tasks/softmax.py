"""What comes first out of the catalogue: a softmax over candidates, corrected for how they got into the batch.

`RetrievalTask` trains by event, against the other candidates of the batch; `CatalogueTask` by query, against all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.negatives import InBatchNegatives, NegativeSampler
from tfrs_twotower.batches.query_batches import WHOLE_CATALOGUE
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import whole_number
from tfrs_twotower.model.tasks.frequencies import FrequencyEstimator
from tfrs_twotower.model.tasks.rating import Task

_LOWEST = float(np.finfo(np.float32).min)
#: Candidates drawn for a batch of queries where the catalogue is too large to hold.
_NUM_SAMPLED = 8192


class _Softmax(Task):
    """What both softmax tasks share: what a positive counts, and by how much scores differ.

    Args:
        threshold: A candidate is positive if its rating is at least this.
        by_rating: Whether a positive counts in proportion to its rating, or else all alike.
        temperature: What scores are divided by, > 0; where it is learnt, the start.
        learns_temperature: Whether training adjusts it. It stays positive.
    """

    def __init__(
        self,
        *,
        by_rating: bool = False,
        temperature: float = 1.0,
        learns_temperature: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < temperature < np.inf:
            raise ValueError(f"`temperature` must be positive and finite. Received: {temperature}.")
        if by_rating and self.threshold < 0:
            raise ValueError(f"`by_rating` needs a threshold of at least 0. Received: {self.threshold:g}.")
        self.by_rating = by_rating
        self.temperature, self.learns_temperature = temperature, learns_temperature
        self.log_scale = self.add_weight(
            name="log_scale",
            shape=(),
            initializer=tf.keras.initializers.Constant(-np.log(temperature)),
            trainable=learns_temperature,
        )

    def gains(self, ratings: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        """float32 [n], what each event counts: nothing where it is not positive.

        Args:
            ratings: float32 [n].
            weights: float32 [n], or None for 1 each.
        """
        gains = tf.where(ratings >= self.threshold, ratings if self.by_rating else tf.ones_like(ratings), 0.0)
        return gains if weights is None else gains * weights

    @property
    def score_variables(self) -> list[tf.Variable]:
        """The scale; see `Task`."""
        return [self.log_scale]

    def require_positives(self, train: Interactions) -> None:
        """Refuses events from which there is nothing to learn.

        Args:
            train: The training part, with an event.

        Raises:
            ValueError: If none is positive, or there is one candidate only.
        """
        highest = train.ratings.max()
        if highest < self.threshold:
            raise ValueError(
                f"`rating` must reach the threshold {self.threshold:g} somewhere; the highest is {highest:g}."
            )
        if train.num_candidates < 2:
            raise ValueError("`train` must have two candidates or more: a single one comes first whatever is learnt.")

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """A query's vector over the temperature; see `Task`."""
        return vectors * tf.exp(self.log_scale)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "by_rating": self.by_rating,
            "temperature": self.temperature,
            "learns_temperature": self.learns_temperature,
        }


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class RetrievalTask(_Softmax):
    """Puts each query's positive candidate before the batch's other candidates.

    The loss is the mean over the batch, so that it does not grow with it. A candidate that comes into batches often is
    a negative often: without the correction by that frequency's logarithm (logQ), popular candidates would lose it.

    Args:
        threshold: A candidate is positive if its rating is at least this; other events only give negatives.
        by_rating: Whether a positive counts in proportion to its rating, or else all alike.
        temperature: What scores are divided by, > 0; where it is learnt, the start.
        learns_temperature: Whether training adjusts it. It stays positive.
        normalizes: Whether embeddings are cut to length 1 first, so that scores are cosines.
        num_hard_negatives: Only the highest-scored so many negatives of each query count, >= 1; None for all.
        corrects_frequency: Whether scores are corrected in training; False is for comparison.
        frequencies: Estimates how often a candidate comes into a batch, where the events cannot be counted beforehand;
            None for the counts of the training part.

    References:
        Bengio & Senécal 2003 (the correction); Yi et al. 2019, eq. 3-5.
    """

    def __init__(
        self,
        *,
        normalizes: bool = False,
        num_hard_negatives: int | None = None,
        corrects_frequency: bool = True,
        frequencies: FrequencyEstimator | None = None,
        name: str = "retrieval_task",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if num_hard_negatives is not None:
            whole_number(num_hard_negatives, "`num_hard_negatives`", 1)
        if frequencies is not None and not isinstance(frequencies, FrequencyEstimator):
            raise TypeError(f"`frequencies` must be a FrequencyEstimator or None. Received: {frequencies!r}.")
        self.normalizes, self.num_hard_negatives = normalizes, num_hard_negatives
        self.corrects_frequency, self.frequencies = corrects_frequency, frequencies
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
            queries: float32 [batch, embedding_dim]; its products with candidates are the scores, as `scale_queries` and
                `scale_candidates` make them.
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
        scores = tf.matmul(queries, candidates, transpose_b=True)
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

    @property
    def takes_candidate_keys(self) -> bool:
        """What is estimated of a candidate must stay its own; see `Task`."""
        return self.frequencies is not None

    def prepare_events(
        self, train: Interactions, negatives: NegativeSampler | InBatchNegatives | None, batch_size: int
    ) -> InBatchNegatives:
        """The batch's other candidates are always negatives; see `Task`."""
        self.require_positives(train)
        negatives = InBatchNegatives(train, threshold=self.threshold) if negatives is None else negatives
        if not isinstance(negatives, InBatchNegatives):
            raise TypeError(f"`negatives` of a RetrievalTask must be InBatchNegatives. Received: {negatives!r}.")
        if negatives.threshold != self.threshold:
            raise ValueError(
                f"`negatives` must have the task's threshold, {self.threshold:g}: what is positive to them is no "
                f"negative. Received: {negatives.threshold:g}."
            )
        if batch_size < 2 and not negatives.num_uniform:
            raise ValueError(
                "`batch_size` must be at least 2, so that a candidate has another beside it, unless `negatives` have "
                f"uniform ones. Received: {batch_size}."
            )
        return negatives

    def prepare_queries(self, train: Interactions) -> int | None:
        """Refuses them; see `Task`."""
        raise TypeError("A RetrievalTask is trained by event: use `training_batches`, or a CatalogueTask.")

    def event_loss(
        self, queries: tf.Tensor, candidates: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        """The loss of a batch as `InBatchNegatives` describe it, or in training of one without; see `Task`.

        Candidates are told apart by "candidate_key", integers that stay the same from one data set to the next, or by
        "candidate_row".

        Raises:
            ValueError: If the correction is wanted, and neither the batch nor an estimator says how often candidates
                come.
            TypeError: If an evaluation batch has no negatives.
        """
        if not training and "is_other_positive" not in inputs:
            raise TypeError(
                "A RetrievalTask has no loss on evaluation batches, which have no negatives: follow the validation "
                "part by the callback ValidationMetrics, not by `validation_data`."
            )
        codes = inputs["candidate_key"] if "candidate_key" in inputs else inputs["candidate_row"]
        log_frequencies = None
        if self.frequencies is not None and self.corrects_frequency:
            log_frequencies = self.frequencies(codes, training=training)
        elif self.corrects_frequency:
            if "log_frequency" not in inputs:
                raise ValueError(
                    "The batch must say how often its candidates come (`log_frequency`), or the task must estimate it: "
                    "RetrievalTask(frequencies=FrequencyEstimator(...))."
                )
            log_frequencies = inputs["log_frequency"]
        return self(
            queries,
            candidates,
            codes,
            log_frequencies=log_frequencies,
            is_other_positive=inputs.get("is_other_positive"),
            weights=self.gains(inputs["rating"], inputs.get("weight")),
        )

    def scale_queries(self, vectors: tf.Tensor) -> tf.Tensor:
        """A query's vector, of length 1 if wanted, over the temperature; see `Task`."""
        return super().scale_queries(self.scale_candidates(vectors))

    def scale_candidates(self, vectors: tf.Tensor) -> tf.Tensor:
        """A candidate's vector, of length 1 if wanted; see `Task`."""
        return tf.math.l2_normalize(vectors, axis=1) if self.normalizes else vectors

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "normalizes": self.normalizes,
            "num_hard_negatives": self.num_hard_negatives,
            "corrects_frequency": self.corrects_frequency,
            "frequencies": tf.keras.layers.serialize(self.frequencies) if self.frequencies is not None else None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RetrievalTask:
        """The task that `get_config` described."""
        described = config["frequencies"]
        return cls(**{**config, "frequencies": tf.keras.layers.deserialize(described) if described else None})


@tf.keras.utils.register_keras_serializable(package="tfrs_twotower")
class CatalogueTask(_Softmax):
    """Puts all of a query's positives before all other candidates of the catalogue: one multinomial per query.

    A query's history holds its targets. Each target is scored without what it contributes itself, so that the score is
    that of a candidate which the query has not met yet. All other candidates are scored by the whole history; what a
    target adds to every score alike is therefore left in its own, or else its lack alone would give the target away.

    Args:
        threshold: A candidate is positive if its rating is at least this.
        by_rating: Whether a positive counts in proportion to its rating, or else all alike.
        temperature: What scores are divided by, > 0; where it is learnt, the start.
        learns_temperature: Whether training adjusts it. It stays positive.

    References:
        Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering", eq. 2 (the multinomial); Steck 2019,
        "Embarrassingly Shallow Autoencoders for Sparse Data" (why a target must not predict itself).
    """

    def __init__(self, *, name: str = "catalogue_task", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.catalogue_loss = tf.keras.metrics.Mean(name="catalogue_loss")

    def call(
        self,
        scores: tf.Tensor,
        target_places: tf.Tensor,
        gains: tf.Tensor,
        *,
        own_scores: tf.Tensor | None = None,
        log_frequencies: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss, a float32 scalar: the cross-entropy of each target, averaged by what it counts; 0 without targets.

        Args:
            scores: float32 [batch, num_candidates].
            target_places: int64 [n, 2], each event's query and candidate in `scores`.
            gains: float32 [n], what each counts, >= 0.
            own_scores: float32 [n], what each event's candidate contributes to its own score, to be taken off; of a
                pair that occurs twice the same number twice.
            log_frequencies: float32 [num_candidates], the logarithm of the probability that a query finds a candidate
                in its batch that is none of its targets, which are always there; None for the whole catalogue.
        """
        targets = tf.gather_nd(scores, target_places)
        if own_scores is not None:
            targets -= own_scores
        if log_frequencies is not None:
            scores = scores - log_frequencies
        scores = tf.tensor_scatter_nd_update(scores, target_places, targets)
        losses = -tf.gather_nd(tf.nn.log_softmax(scores, axis=1), target_places)
        self.catalogue_loss.update_state(losses, sample_weight=gains)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * gains), tf.reduce_sum(gains))

    def prepare_events(
        self, train: Interactions, negatives: NegativeSampler | InBatchNegatives | None, batch_size: int
    ) -> None:
        """Refuses them; see `Task`."""
        raise TypeError("A CatalogueTask is trained by query: use `query_batches`.")

    def prepare_queries(self, train: Interactions) -> int | None:
        """The whole catalogue up to 50,000 candidates, and 8,192 of them above; see `Task`."""
        self.require_positives(train)
        return None if train.num_candidates <= WHOLE_CATALOGUE else _NUM_SAMPLED

    def event_loss(
        self, queries: tf.Tensor, candidates: tf.Tensor, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tf.Tensor:
        """Refuses them; see `Task`.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "A CatalogueTask has no loss on batches of events: train by `query_batches`, and follow the validation "
            "part by the callback ValidationMetrics, not by `validation_data`."
        )

    def query_loss(
        self,
        queries: tf.Tensor,
        parts: tf.Tensor,
        candidates: tf.Tensor,
        inputs: Mapping[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:
        """The loss of a batch of queries, each event's score without what it contributes itself; see `Task`."""
        del training
        columns = inputs["target_candidate"]
        beyond_mean = tf.gather(candidates - tf.reduce_mean(candidates, axis=0), columns)
        return self(
            tf.matmul(queries, candidates, transpose_b=True),
            tf.stack([inputs["target_place"][:, 0], tf.cast(columns, tf.int64)], axis=1),
            self.gains(inputs["rating"], inputs.get("weight")),
            own_scores=tf.reduce_sum(parts * beyond_mean, axis=1),
            log_frequencies=inputs["log_frequency"],
        )
