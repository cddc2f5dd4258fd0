"""Compile and fit with this library's defaults; `model.compile` and `model.fit` do the same by hand."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.data.histories import HistoryKnown, Timeline
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.callbacks import BestWeights
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
    """
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
