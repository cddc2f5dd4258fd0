"""Compiles and fits with this library's defaults; `model.compile` and `model.fit` do the same by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower._settings import require_having, whole_number
from tfrs_twotower.batches.histories import FixedHistory, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.callbacks import AveragedWeights, BestWeights
from tfrs_twotower.training.optimizers import LazyAdam

_MAX_BATCH_SIZE = 1024
_MIN_STEPS = 64
# With one event, batch normalisation would leave nothing but its bias.
_MIN_BATCH_SIZE = 16


def _compile(model: TwoTowerModel, learning_rate: float) -> None:
    # The optimizer's variables must be distributed as the model's are.
    with model.distribute_strategy.scope():
        model.compile(optimizer=LazyAdam(learning_rate))


def _require_learning_rate(learning_rate: float) -> None:
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"`learning_rate` must be positive and finite. Received: {learning_rate}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventTraining:
    """Declares how a model is trained by event, until the validation part no longer improves.

    Attributes:
        epochs: Maximum number of epochs, >= 1.
        batch_size: Events per step, >= 1; None for 1,024, or fewer, down to 16, if an epoch would have fewer than 64
            steps: with a handful of steps an epoch, training would stop before batch normalisation has settled.
        learning_rate: Learning rate of `LazyAdam`, > 0.
        patience: Number of epochs without a better validation log loss after which training stops, >= 0.

    Example:
        >>> EventTraining(epochs=30).batch_size_for(10_000)
        156
    """

    epochs: int = 100
    batch_size: int | None = None
    learning_rate: float = 1e-3
    patience: int = 6

    def __post_init__(self) -> None:
        whole_number(self.epochs, "`epochs`", 1)
        if self.batch_size is not None:
            whole_number(self.batch_size, "`batch_size`", 1)
        whole_number(self.patience, "`patience`", 0)
        _require_learning_rate(self.learning_rate)

    def batch_size_for(self, num_events: int) -> int:
        """Returns the events per step.

        Args:
            num_events: Number of training events.
        """
        if self.batch_size is not None:
            return self.batch_size
        return max(_MIN_BATCH_SIZE, min(_MAX_BATCH_SIZE, num_events // _MIN_STEPS))


def fit_two_tower(
    model: TwoTowerModel,
    split: Split,
    *,
    seed: int,
    training: EventTraining | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> tf.keras.callbacks.History:
    """Trains by event on the training part, stops by the validation part, and keeps the best epoch's weights.

    The best epoch has the lowest log loss, which rewards right probabilities as well as the right order; the best epoch
    by AUC comes later and is overconfident.

    Args:
        model: From `build_two_tower`.
        split: Its `train` and `validation` parts are used.
        seed: Seed of the order of the events.
        training: Number of epochs, batch size, learning rate and patience; by default `EventTraining()`.
        callbacks: More Keras callbacks.

    Returns:
        Keras's history: one value per epoch of each metric.

    Raises:
        TypeError: If `model` is not a `TwoTowerModel`, or has no log loss because it does not predict probabilities.

    Example:
        >>> import numpy as np
        >>> import pyarrow as pa
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
        >>> "val_log_loss" in fit_two_tower(model, split, seed=0, training=EventTraining(epochs=2)).history
        True
    """
    if not isinstance(model, TwoTowerModel):
        raise TypeError(
            f"`model` must be a TwoTowerModel; use `fit_joint` for a joint model. Received: a {type(model).__name__}."
        )
    require_split(split, "split")
    if model.rating_model is None:
        raise TypeError(
            "`fit_two_tower` follows the validation log loss, which only a RatingTask has. For other tasks use "
            f"`model.fit` with ValidationMetrics, or `fit_by_query`. Received: {type(model.task).__name__}."
        )
    training = training or EventTraining()
    length = model.history_length
    known = FixedHistory(timeline=Timeline(split.context), length=length) if length else None
    batch_size = training.batch_size_for(split.train.num_events)
    _compile(model, training.learning_rate)
    return model.fit(
        model.training_batches(split.train, batch_size=batch_size, seed=seed),
        validation_data=model.evaluation_batches(split.validation, history=known),
        epochs=training.epochs,
        callbacks=[BestWeights("val_log_loss", mode="min", patience=training.patience), *callbacks],
        verbose=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryTraining:
    """Declares how a model is trained by query, for a fixed number of epochs.

    Attributes:
        epochs: Passes over the queries, >= 1; the validation part's choice, since nothing stops training earlier.
        batch_size: Queries per step, >= 1.
        learning_rate: Learning rate of `LazyAdam`, > 0.
        decay: Decay of the moving average of the weights, in (0, 1); None for no average, which is slow for large
            tables. See `AveragedWeights`.

    Example:
        >>> QueryTraining(epochs=30).batch_size
        256
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 4e-3
    decay: float | None = 0.97

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            whole_number(getattr(self, name), f"`{name}`", 1)
        _require_learning_rate(self.learning_rate)
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"`decay` must be in (0, 1), or None. Received: {self.decay}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointHistory:
    """Keras's records of the trainings of a joint model.

    Attributes:
        retrieval: Keras's history of the retrieval model.
        rating: Keras's history of the rating model.

    Example:
        >>> retrieval, rating = tf.keras.callbacks.History(), tf.keras.callbacks.History()
        >>> retrieval.history, rating.history = {"softmax_loss": [2.5, 2.25]}, {"log_loss": [0.5]}
        >>> JointHistory(retrieval=retrieval, rating=rating).retrieval.history["softmax_loss"][-1]
        2.25
    """

    retrieval: tf.keras.callbacks.History
    rating: tf.keras.callbacks.History


def fit_joint(
    model: JointModel,
    train: Interactions,
    *,
    seed: int,
    retrieval: QueryTraining,
    rating: QueryTraining,
    retrieval_callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    rating_callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> JointHistory:
    """Trains the two models of a joint model one after the other, each with its own steps and learning rate.

    Since the number of epochs is fixed beforehand, training can use the validation part as well: pass `split.seen`.

    Args:
        model: A joint model of two models that share no tower.
        train: The events to train on.
        seed: Seed of the order of the queries.
        retrieval: How the retrieval model is trained.
        rating: How the rating model is trained.
        retrieval_callbacks: More Keras callbacks for the retrieval model.
        rating_callbacks: More Keras callbacks for the rating model.

    Raises:
        ValueError: If the models share their towers: training the second would spoil the first.
        TypeError: If a model cannot be trained by query.

    Example:
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.model.recipe_models import build_recommender
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> once = QueryTraining(epochs=1)
        >>> model = build_recommender(choose_recipe(ratings), ratings)
        >>> history = fit_joint(model, ratings, seed=0, retrieval=once, rating=once)
        >>> "log_loss" in history.rating.history
        True
    """
    require_having(model, "model", "shares_towers", "a `JointModel`; use `fit_by_query` for a single model")
    if model.shares_towers:
        raise ValueError(
            "`fit_joint` trains one model after the other, but these share their towers. Train both at once: "
            "model.fit(model.query_batches(train, seed=seed), ...)."
        )
    # An error about the second model should come before the first one is trained.
    model.rating_model.check_queries(train)
    return JointHistory(
        retrieval=fit_by_query(
            model.retrieval_model, train, seed=seed, training=retrieval, callbacks=retrieval_callbacks
        ),
        rating=fit_by_query(model.rating_model, train, seed=seed, training=rating, callbacks=rating_callbacks),
    )


def fit_by_query(
    model: TwoTowerModel,
    train: Interactions,
    *,
    seed: int,
    training: QueryTraining,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> tf.keras.callbacks.History:
    """Trains a model by query for a fixed number of epochs, and keeps the average of its weights unless told not to.

    Args:
        model: From `build_two_tower`, with a task that is trained by query.
        train: The events to train on.
        seed: Seed of the order of the queries.
        training: Number of epochs, batch size and learning rate.
        callbacks: More Keras callbacks; they see the averaged weights at an epoch's end.

    Returns:
        Keras's history.

    Raises:
        TypeError: If the model cannot be trained by query.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.model.recipe_models import build_retrieval_model
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a", "b"]}), candidates=pa.table({"movie_id": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 1], "candidate_row": [0, 1], "rating": [5.0, 4.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> model = build_retrieval_model(choose_recipe(ratings), ratings)
        >>> "softmax_loss" in fit_by_query(model, ratings, seed=0, training=QueryTraining(epochs=1)).history
        True
    """
    require_having(model, "model", "query_tower", "a `TwoTowerModel`; use `fit_joint` for a joint model")
    _compile(model, training.learning_rate)
    average = [] if training.decay is None else [AveragedWeights(decay=training.decay)]
    return model.fit(
        model.query_batches(train, batch_size=training.batch_size, seed=seed),
        epochs=training.epochs,
        callbacks=[*average, *callbacks],
        verbose=0,
    )
