"""What Keras's formats of files keep of a model and its optimizer, and what to say where that is not everything."""

from __future__ import annotations

import os
import warnings
from typing import Any

import h5py
import tensorflow as tf

_PREFIX = "optimizer/"


def warn_of_missing_state(filepath: Any, *, is_compiled: bool) -> None:
    """Warns if the state of the optimizer is lost when weights are loaded: training would not go on as before.

    Args:
        filepath: What `load_weights` loads.
        is_compiled: Whether the model has an optimizer.
    """
    if is_compiled == _has_state(os.fspath(filepath)):
        return
    if is_compiled:
        reason = (
            f"{filepath} has weights and no state of an optimizer, and the model's optimizer stays as it is. `.keras`, "
            "`.weights.h5` and TensorFlow's checkpoint keep the state, if the model that is saved is compiled."
        )
    else:
        reason = (
            f"{filepath} has the state of an optimizer, which is not loaded, because the model has none. Call "
            "`compile` before `load_weights` to go on with the training."
        )
    warnings.warn(reason, stacklevel=3)


def warn_of_folder() -> None:
    """Warns that a model was loaded from the older folder format, which Keras restores no optimizer from."""
    warnings.warn(
        "The model was loaded from the older folder format, from which Keras restores no state of an optimizer: its "
        "optimizer is as new. Save the model as `.keras` to go on with the training.",
        stacklevel=3,
    )


def require_format(filepath: Any, save_format: Any, *, was_called: bool) -> None:
    """Checks that a model can be saved in a format, before Keras says so in its own way.

    Args:
        filepath: Where to save it.
        save_format: Keras's `save_format`, or None.
        was_called: Whether the model has been called, so that Keras can trace it.

    Raises:
        ValueError: If it cannot.
    """
    path = os.fspath(filepath)
    if path.endswith(".keras") and save_format in (None, "keras"):
        return
    if _is_hdf5(path, save_format):
        raise ValueError(
            "`filepath` must end with .keras: HDF5 holds no model that is a class of its own. Its weights alone can be "
            f"saved as HDF5, by `save_weights`. Received: {path}."
        )
    if not was_called:
        raise ValueError(
            "`filepath` must end with .keras, or the model must have been called before, as `predict` does: the older "
            f"folder format holds a trace of a call. Received: {path}."
        )


def require_joint_weights_format(filepath: Any, save_format: Any) -> None:
    """Checks that a format can hold the weights of two models.

    Args:
        filepath: Where to save them.
        save_format: Keras's `save_format`, or None.

    Raises:
        ValueError: If it cannot.
    """
    path = os.fspath(filepath)
    if not path.endswith(".weights.h5") and _is_hdf5(path, save_format):
        raise ValueError(
            "`filepath` must end with .weights.h5, or be that of a TensorFlow checkpoint: older HDF5 files tell "
            f"weights apart by names, which are the same in both models. Received: {path}."
        )


def _is_hdf5(path: str, save_format: Any) -> bool:
    return save_format in ("h5", "hdf5") or (save_format is None and path.endswith((".h5", ".hdf5", ".hdf")))


def _has_state(path: str) -> bool:
    if path.endswith(".weights.h5"):
        with h5py.File(path) as file:
            return len(file.get(f"{_PREFIX}vars", ())) > 0
    if _is_hdf5(path, None):
        return False
    if os.path.isdir(path):
        path = tf.train.latest_checkpoint(path) or path
    try:
        return any(name.startswith(f"{_PREFIX}_variables") for name, _ in tf.train.list_variables(path))
    except (ValueError, tf.errors.OpError):  # another format
        return False
