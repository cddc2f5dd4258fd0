"""What `fit` is given: whether it can be trained on, and how many steps run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.batches.batch import EventBatch, JointBatch, QueryBatch
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.features.config import Declaration

_HOW_TO_MAKE_BATCHES = (
    "Give batches that `training_batches`, `query_batches` or, for `validation_data`, `evaluation_batches` make; in a "
    "data set of your own, `map` the raw features of a batch through the model's `lookup`."
)
# A long epoch takes at least this many executions, so that a progress bar moves.
_MIN_EXECUTIONS = 4
# More steps at once would hardly be faster, and an epoch of as few steps is over soon.
_MAX_STEPS_AT_ONCE, _SHORT_EPOCH = 64, 32


def require_batches(argument: str, given: Any) -> None:
    """Raises an error if data cannot be batches, before TensorFlow says so in its own way.

    Args:
        argument: Name of the argument.
        given: Its value.

    Raises:
        TypeError: If they cannot.
    """
    if given is None and argument == "validation_data":
        return
    if given is None or isinstance(given, Interactions | Split | Declaration | tf.keras.Model | pa.Table | str):
        raise TypeError(f"`{argument}` must be batches. Received: {type(given).__name__}. {_HOW_TO_MAKE_BATCHES}")
    if isinstance(given, tf.data.Dataset) and not isinstance(given.element_spec, EventBatch | QueryBatch | JointBatch):
        raise TypeError(
            f"`{argument}` must be a data set of batches of codes. Received: {given.element_spec}. "
            f"{_HOW_TO_MAKE_BATCHES}"
        )


def steps_at_once(x: Any, options: dict[str, Any], callbacks: Any) -> int:
    """Returns the number of steps to run without a return to Python.

    Args:
        x: What `fit` is given to train on.
        options: Further arguments of `fit`.
        callbacks: Its callbacks.
    """
    validation = options.get("validation_data")
    if not all(isinstance(batches, tf.data.Dataset) for batches in (x, validation) if batches is not None):
        return 1
    if any(_needs_every_step(callback) for callback in as_list(callbacks)):
        return 1
    if validation is not None and not options.get("validation_steps") and validation.cardinality() < 0:
        return 1
    steps = options.get("steps_per_epoch") or int(x.cardinality())
    return max(1, min(steps, max(steps // _MIN_EXECUTIONS, _SHORT_EPOCH), _MAX_STEPS_AT_ONCE))


def _needs_every_step(callback: tf.keras.callbacks.Callback) -> bool:
    """Whether a callback must be called after each step; one of ours may say that it need not."""
    return callback._implements_train_batch_hooks() and not getattr(callback, "takes_many_steps", False)


def as_list(callbacks: Any) -> Sequence[tf.keras.callbacks.Callback]:
    """Returns what Keras takes for callbacks, which may be one or None, as a list."""
    if callbacks is None:
        return []
    if isinstance(callbacks, tf.keras.callbacks.Callback):
        return [callbacks]
    return list(callbacks)
