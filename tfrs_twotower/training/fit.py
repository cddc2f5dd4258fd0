"""Compile and fit with this library's defaults; `model.compile` and `model.fit` do the same by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.batches.histories import HistoryKnown, Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.features.features import whole_number
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.callbacks import AveragedWeights, BestWeights
from tfrs_twotower.training.optimizers import LazyAdam

_BATCH_SIZE = 1024
_LEAST_STEPS = 64
# Of one event, batch normalisation would leave nothing but its bias.
_LEAST_BATCH_SIZE = 16


def fit_two_tower(
    model: TwoTowerModel,
    split: Split,
    *,
    seed: int,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    patience: int = 6,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> tf.keras.callbacks.History:
    """Trains on the training part, stops by the validation part, and keeps the best epoch's weights.

    Best is the lowest log loss, which asks for right probabilities as well as for the right order; by AUC the chosen
    epoch comes later and is overconfident.

    Args:
        model: From `build_two_tower`.
        split: Its `train` and `validation` parts are used.
        seed: Of the order of the events.
        epochs: At most so many, >= 1.
        batch_size: Events per step; by default 1,024, or fewer, down to 16, where an epoch would have less than 64
            steps: with a handful an epoch, training would stop before batch normalisation has seen enough to be judged.
        learning_rate: `LazyAdam`'s.
        patience: Epochs without a better validation log loss before training stops.
        callbacks: More of Keras's callbacks.

    Returns:
        Keras's history: one value per epoch of each metric.

    Raises:
        ValueError: If `epochs` is below 1.
        TypeError: If it is no two-tower model, or has no rating task: there is no log loss to follow.
    """
    if not isinstance(model, TwoTowerModel):
        raise TypeError(f"`model` must be a TwoTowerModel; of two heads, `fit_joint` trains. Received: {model!r}.")
    if model.rating_head is None:
        raise TypeError(
            "`fit_two_tower` follows the validation log loss, which a RatingTask alone has. For others use `model.fit` "
            f"with ValidationMetrics, or `fit_by_query`. Received: {type(model.task).__name__}."
        )
    if epochs < 1:
        raise ValueError(f"`epochs` must be at least 1. Received: {epochs}.")
    if batch_size is None:
        batch_size = max(_LEAST_BATCH_SIZE, min(_BATCH_SIZE, split.train.num_events // _LEAST_STEPS))
    length = model.history_length
    known = HistoryKnown(timeline=Timeline(split.context), length=length) if length else None
    model.compile(optimizer=LazyAdam(learning_rate))
    return model.fit(
        model.training_batches(split.train, batch_size=batch_size, seed=seed),
        validation_data=model.evaluation_batches(split.validation, history=known),
        epochs=epochs,
        callbacks=[BestWeights("val_log_loss", mode="min", patience=patience), *callbacks],
        verbose=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryTraining:
    """How a head is trained by query, for a fixed number of epochs.

    Attributes:
        epochs: Passes over the queries, >= 1; the validation part's choice, since nothing stops it earlier.
        batch_size: Queries per step, >= 1.
        learning_rate: `LazyAdam`'s, > 0.
        decay: Of the moving average of the weights, in (0, 1); None for no average, which large tables make slow. See
            `AveragedWeights`.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 4e-3
    decay: float | None = 0.97

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            whole_number(getattr(self, name), f"`{name}`", 1)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"`learning_rate` must be positive and finite. Received: {self.learning_rate}.")
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"`decay` must be in (0, 1), or None. Received: {self.decay}.")


#: The validation part's choice on MovieLens 100K, for the configuration in `tfrs_twotower.model.joint_movielens`.
RETRIEVAL_TRAINING = QueryTraining(epochs=64, batch_size=128, learning_rate=3e-3)
RATING_TRAINING = QueryTraining(epochs=56, batch_size=64, learning_rate=3e-3)


def fit_joint(
    model: JointModel,
    train: Interactions,
    *,
    seed: int,
    retrieval: QueryTraining = RETRIEVAL_TRAINING,
    rating: QueryTraining = RATING_TRAINING,
    retrieval_callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    rating_callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> dict[str, tf.keras.callbacks.History]:
    """Trains heads that share nothing one after the other: each has steps and rates of its own.

    With the epochs fixed beforehand, the validation part can be trained on, too: `split.seen`.

    Args:
        model: From `build_two_tower` for each head.
        train: The events to train on.
        seed: Of the order of the queries.
        retrieval: How the retrieval head is trained.
        rating: How the rating head is trained.
        retrieval_callbacks: More of Keras's callbacks for the retrieval head.
        rating_callbacks: More of Keras's callbacks for the rating head.

    Returns:
        "retrieval" and "rating" -> Keras's history.

    Raises:
        ValueError: If the heads share their towers: training the second would spoil the first.
    """
    if model.shares_towers:
        raise ValueError(
            "`fit_joint` trains one head after the other, but these share their towers. Train both at once: "
            "model.fit(model.query_batches(train, seed=seed), ...)."
        )
    # The second head is refused, where it must be, before the first is trained.
    model.query_batches(train, seed=seed)
    return {
        "retrieval": fit_by_query(model.retrieval, train, seed=seed, training=retrieval, callbacks=retrieval_callbacks),
        "rating": fit_by_query(model.rating, train, seed=seed, training=rating, callbacks=rating_callbacks),
    }


def fit_by_query(
    model: TwoTowerModel,
    train: Interactions,
    *,
    seed: int,
    training: QueryTraining,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
) -> tf.keras.callbacks.History:
    """Trains a model by query for a fixed number of epochs, and leaves it with the average of its weights, if wanted.

    Args:
        model: From `build_two_tower`, with a `CatalogueTask` or a `RatingTask`.
        train: The events to train on.
        seed: Of the order of the queries.
        training: How long and how fast.
        callbacks: More of Keras's callbacks; they see the averaged weights at an epoch's end.

    Returns:
        Keras's history.
    """
    average = [] if training.decay is None else [AveragedWeights(decay=training.decay)]
    model.compile(optimizer=LazyAdam(training.learning_rate))
    return model.fit(
        model.query_batches(train, batch_size=training.batch_size, seed=seed),
        epochs=training.epochs,
        callbacks=[*average, *callbacks],
        verbose=0,
    )
