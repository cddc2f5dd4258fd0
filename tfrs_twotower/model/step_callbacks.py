"""Callbacks that `fit` of this library's models adds to those it is given."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.pipeline import Epochs
from tfrs_twotower.model.finite import not_finite
from tfrs_twotower.model.loss_means import LOSSES


class EpochsBegun(tf.keras.callbacks.Callback):
    """Counts each epoch that begins, so that the next `fit` goes on after it."""

    def __init__(self, epochs: Epochs) -> None:
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Counts an epoch."""
        del epoch, logs
        self._epochs.begin_epoch()


class FiniteLoss(tf.keras.callbacks.Callback):
    """Stops a training whose loss is no longer finite, because nothing can come of it."""

    takes_many_steps = True

    def __init__(self) -> None:
        super().__init__()
        self._epoch = self._first = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the epoch."""
        del logs
        self._epoch, self._first = epoch, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the means of the losses, of which one step's suffices to show it.

        Raises:
            FloatingPointError: If one is not finite.
        """
        first, self._first = self._first, batch + 1
        # A user's own `train_step` may return other logs.
        bad = {name: value for name, value in (logs or {}).items() if name in LOSSES and not np.isfinite(value)}
        if not bad:
            return
        steps = f"step {batch}" if first == batch else f"steps {first} to {batch}"
        weights = not_finite(self.model.weights)
        raise FloatingPointError(
            f"The loss is not finite after {steps} of epoch {self._epoch}: {bad}. Weights with NaN or infinity: "
            f"{', '.join(weights) or 'none'}. The likely cause is a learning rate that is too high, or, if it happens "
            "in the first step, features or weights of events that are not finite or very large."
        )
