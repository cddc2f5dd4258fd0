"""Callbacks that `fit` of this library's models adds to those it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    """Stops a training whose loss is no longer finite, because nothing can come of it; it looks after each epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the epoch."""
        del logs
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the means of the losses.

        Raises:
            FloatingPointError: If one is not finite.
        """
        del epoch
        self.require_finite(logs, "the steps")

    def require_finite(self, logs: Mapping[str, float] | None, steps: str) -> None:
        """Looks at the means of the losses, of which one step's suffices to show it.

        Args:
            logs: Keras's logs.
            steps: The steps since the last look, in words.

        Raises:
            FloatingPointError: If one is not finite.
        """
        # A user's own `train_step` may return other logs.
        bad = {name: value for name, value in (logs or {}).items() if name in LOSSES and not np.isfinite(value)}
        if not bad:
            return
        weights = not_finite(self.model.weights)
        raise FloatingPointError(
            f"The loss is not finite after {steps} of epoch {self._epoch}: {bad}. Weights with NaN or infinity: "
            f"{', '.join(weights) or 'none'}. The likely cause is a learning rate that is too high, or, if it happens "
            "in the first step, features or weights of events that are not finite or very large."
        )


class FiniteLossOfSteps(FiniteLoss):
    """The same, but it looks after each execution of steps; a coordinator of workers does not see their steps."""

    takes_many_steps = True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Remembers the epoch, whose first step is next."""
        super().on_epoch_begin(epoch, logs)
        self._first = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the means of the losses.

        Raises:
            FloatingPointError: If one is not finite.
        """
        first, self._first = self._first, batch + 1
        self.require_finite(logs, f"step {batch}" if first == batch else f"steps {first} to {batch}")


class Validation(tf.keras.callbacks.Callback):
    """Evaluates after each epoch in this process, as `fit` does where it schedules no workers.

    Args:
        batches: Batches of the validation part.
        steps: How many of them; None for all.
        every: Epochs from one evaluation to the next, or the epochs after which to evaluate, from 1.
    """

    def __init__(self, batches: tf.data.Dataset, steps: int | None, every: int | Sequence[int]) -> None:
        super().__init__()
        self._batches, self._steps, self._every = batches, steps, every

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds `val_` metrics to the logs of the epoch."""
        is_due = (epoch + 1) % self._every == 0 if isinstance(self._every, int) else epoch + 1 in self._every
        if is_due and logs is not None:
            found = self.model.evaluate(self._batches, steps=self._steps, verbose=0, return_dict=True)
            logs.update({f"val_{name}": value for name, value in found.items()})
