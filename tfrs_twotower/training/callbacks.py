"""Keras callbacks for the best weights, averaged weights, and validation metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.rating import has_both_classes, pair_probabilities, rating_metrics
from tfrs_twotower.model.callback_states import State
from tfrs_twotower.model.keras_steps import KerasSteps
from tfrs_twotower.model.replicas import mean_of_workers
from tfrs_twotower.training.validation import ValidationRanking


class BestWeights(tf.keras.callbacks.EarlyStopping):
    """Stops when a validation metric no longer improves, and always ends with the best epoch's weights.

    Keras's own `EarlyStopping(restore_best_weights=True)` restores them only where it stopped the training, not
    where the training ran through its last epoch.

    Args:
        monitor: A key of Keras's logs, such as "val_log_loss".
        mode: Which direction is better.
        patience: Epochs without a better value before it stops.

    Example:
        >>> BestWeights("val_log_loss", mode="min", patience=3).monitor
        'val_log_loss'
    """

    def __init__(self, monitor: str, *, mode: Literal["min", "max"], patience: int) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"`mode` must be 'min' or 'max'. Received: {mode!r}.")
        super().__init__(monitor=monitor, mode=mode, patience=patience, restore_best_weights=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compares the metric with its best value, and stops training when patience is exhausted.

        Raises:
            ValueError: If Keras's logs do not have the metric: there would be no best epoch.
        """
        if self.monitor not in (logs or {}):
            raise ValueError(f"`monitor` must be one of {', '.join(logs or {})}. Received: {self.monitor}.")
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Restores the best weights, however the training ended."""
        super().on_train_end(logs)
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ValidationMetrics(tf.keras.callbacks.Callback):
    """Measures the validation part after an epoch as `evaluate` measures the test part: each query embedded once.

    It adds the ranking metrics of `query_metrics` to Keras's logs, such as `val_ndcg@k`. If the model predicts
    probabilities and the validation part has ratings of both classes, it also adds the metrics of `rating_metrics`,
    such as `val_log_loss`. Callbacks that read them, such as `BestWeights`, must come after it in the list.

    Args:
        split: Its validation part is measured; training events and the held-out queries' history are left out of the
            ranking.
        k: Slots of the ranking, 1 <= k <= num_candidates; None leaves the ranking out.
        recommend_seen: Whether candidates that a query has seen may be recommended again, and count.
        max_queries: Maximum number of queries that are ranked for, >= 1, drawn once; None for all.
        every: Number of epochs from one measurement to the next, >= 1. The first and the last epoch are measured in any
            case, and in between the logs keep the latest values. A callback that stops training by them counts its
            patience in epochs, so its patience should be a few times this number.

    Example:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.interactions import Interactions
        >>> from tfrs_twotower.data.splits import random_split
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.model.build import build_two_tower
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> split = random_split(ratings, test=0.25, validation=0.25, seed=1)
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> model = build_two_tower(split.train, query=user, candidate=movie)
        >>> model.compile(optimizer="adam", run_eagerly=True)
        >>> batches = model.training_batches(split.train, seed=0)
        >>> history = model.fit(batches, callbacks=[ValidationMetrics(split, k=2)], verbose=0).history
        >>> "val_ndcg@2" in history
        True
    """

    def __init__(
        self,
        split: Split,
        *,
        k: int | None = 10,
        every: int = 1,
        recommend_seen: bool = False,
        max_queries: int | None = None,
    ) -> None:
        super().__init__()
        require_split(split, "split")
        if k is not None and not 1 <= k <= split.train.num_candidates:
            raise ValueError(f"`k` must be in 1..num_candidates, {split.train.num_candidates}. Received: {k}.")
        self._split, self._k, self._every = split, k, whole_number(every, "`every`", 1)
        self._latest: dict[str, float] = {}
        self._ranker = ValidationRanking(split, recommend_seen=recommend_seen, max_queries=max_queries)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Discards the values of an earlier training."""
        del logs
        self._latest = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measures the validation part if a measurement is due."""
        planned = (getattr(self, "params", None) or {}).get("epochs")  # Keras sets them, and not before training
        if (epoch + 1) % self._every == 0 or epoch + 1 == planned or not self._latest:
            self._latest = {f"val_{name}": value for name, value in self._measure().items()}
        if logs is not None:
            logs.update(self._latest)

    def state(self) -> State:
        """Returns the latest values."""
        return {"latest": {name: float(value) for name, value in self._latest.items()}}

    def restore_state(self, state: State) -> None:
        """Takes what `state` returned."""
        self._latest = state["latest"]

    def _measure(self) -> dict[str, float]:
        validation, threshold = self._split.validation, self.model.threshold
        retrieval, rating = self.model.retrieval_model, self.model.rating_model
        metrics = {}
        if self._k is not None:
            embedded = retrieval.embed(self._ranker.part, known=self._ranker.known)
            metrics = self._ranker.metrics(*embedded, k=self._k, threshold=threshold)
            del metrics["num_queries"]
        labels = validation.ratings >= threshold
        if rating is not None and has_both_classes(labels):
            is_embedded = rating is retrieval and self._k is not None and self._ranker.part is validation
            pairs = embedded if is_embedded else rating.embed(validation, known=self._ranker.known)
            metrics.update(rating_metrics(labels, pair_probabilities(pairs[0], pairs[1], validation)))
        # Workers on different machines may differ in the last digit, and would not stop after the same epoch.
        means = mean_of_workers(list(metrics.values()), self.model.distribute_strategy)
        return dict(zip(metrics, means, strict=True))


class AveragedWeights(tf.keras.callbacks.Callback):
    """Keeps a moving average of the weights for evaluation and for the end; training continues from the latest weights.

    The average is less noisy than the weights after any single step: it ranks better, and which epoch is best depends
    less on chance. Callbacks that come after it in the list see the average at the end of an epoch;
    Keras's own `validation_data` does not.

    A step takes time in proportion to all the weights, tables with them. For a model of this library the average is
    taken inside the step, so that `fit` still runs many steps without a return to Python.

    Args:
        decay: Share of the average that a step keeps, in (0, 1); the average spans about 1 / (1 - decay) steps. The
            first steps keep less.

    References:
        Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging".

    Example:
        >>> import numpy as np
        >>> model = tf.keras.Sequential([tf.keras.Input([1]), tf.keras.layers.Dense(1, use_bias=False)])
        >>> model.set_weights([np.zeros((1, 1))])
        >>> model.compile(optimizer=tf.keras.optimizers.SGD(1.0), loss=lambda labels, outputs: -outputs)
        >>> ones, average = tf.ones([2, 1]), AveragedWeights(decay=0.99)
        >>> _ = model.fit(ones, ones, batch_size=1, callbacks=[average], verbose=0)
        >>> model.get_weights()[0].round(3)  # the weight goes 0, 1, 2; the average is 0.9, then 2/11 * 0.9 + 9/11 * 2
        array([[1.8]], dtype=float32)
    """

    #: Whether it need not be called after each step.
    takes_many_steps = True

    def __init__(self, *, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be in (0, 1). Received: {decay}.")
        self._decay = decay
        # It does not look at the logs, which the coordinator of workers does not have after each step.
        self._supports_tf_logs = True

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts from the weights as they are."""
        del logs
        # What batch normalisation has measured belongs to the weights that it was measured with.
        norms = [layer for layer in self.model.submodules if isinstance(layer, tf.keras.layers.BatchNormalization)]
        measured = [variable for layer in norms for variable in (layer.moving_mean, layer.moving_variance)]
        self._variables = [*self.model.trainable_variables, *measured]
        self._latest: list[tf.Variable] | None = None
        with self.model.distribute_strategy.scope():
            self._averages = [_like(variable) for variable in self._variables]
            self._step = tf.Variable(0.0, trainable=False)
        self._is_in_graph = isinstance(self.model, KerasSteps)
        if self._is_in_graph:
            self.model.after_step = self._average_step
            self.model.train_function = self.model.make_train_function(force=True)
        else:
            self._average = tf.function(self._average_step)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Goes on from the latest weights."""
        del epoch, logs
        if self._latest is not None:
            _assign(self._variables, self._latest)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Takes a step into the average, unless the step has done so."""
        del batch, logs
        if not self._is_in_graph:
            self._average()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Puts the average in the weights' place."""
        del epoch, logs
        if self._latest is None:
            self._latest = [_like(variable) for variable in self._variables]
        _assign(self._latest, self._variables)
        _assign(self._variables, self._averages)

    def state(self) -> State:
        """Returns the averages, and how many steps they have seen; within an epoch, the weights are the latest ones."""
        return {"step": float(self._step), "averages": [average.numpy() for average in self._averages]}

    def restore_state(self, state: State) -> None:
        """Takes what `state` returned."""
        self._latest = None
        self._step.assign(state["step"])
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.assign(value)

    def _average_step(self) -> None:
        decay = tf.minimum(self._decay, (1 + self._step) / (10 + self._step))
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(decay * average + (1 - decay) * variable)
        self._step.assign_add(1.0)


def _like(variable: tf.Variable) -> tf.Variable:
    """Makes a variable with the same value, which the replicas of a distribution strategy keep in the same way."""
    return tf.Variable(
        variable, trainable=False, synchronization=variable.synchronization, aggregation=variable.aggregation
    )


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Variable]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
