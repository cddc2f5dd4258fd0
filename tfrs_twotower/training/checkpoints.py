"""Checkpoints of a training, from which the same training goes on as if it had never been interrupted."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.features.config import to_config
from tfrs_twotower.model.callback_states import (
    State,
    callback_state,
    has_state,
    read_states_and_arrays,
    replace_file,
    restore_callback,
    write_states,
)

_SUFFIX, _MODEL, _LOGS = ".npz", "model.json", "logs.json"
# Where it is not given how often to save: the shortest time in between, and the greatest share of the time.
_MIN_WAIT_S, _MAX_SHARE = 1.0, 0.02


class TrainingCheckpoints(tf.keras.callbacks.Callback):
    """Keeps all that a training of this library's models needs to go on, and goes on from it.

    The same script, run again after its process was killed, goes on at the step of the latest checkpoint: with the
    weights, the optimizer, the order of the events, the random numbers, and what other callbacks know, such as the best
    epoch of an `EarlyStopping` or the average of an `AveragedWeights`. After a training that ended it returns at once,
    with the weights and the history of that training, unless more epochs are asked for.

    `fit` calls it after all others, wherever it stands in the list. Keras's `BackupAndRestore` keeps weights alone.

    Args:
        folder: Where the checkpoints are kept, for this training alone; with the model's configuration and
            vocabularies in `model.json`, and the logs in `logs.json`.
        every_s: Seconds from one checkpoint to the next, at least; 0 for one after each execution of steps. None: at
            least a second, and so many that saving takes at most a fiftieth of the time.
        keep: Number of checkpoints that stay, the latest ones, >= 1: if one is damaged, the one before is taken.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import pyarrow as pa
        >>> import tfrs_twotower as tt
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = tt.Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> towers = {
        ...     "query": tt.SumTowerConfig(features=[tt.features.Categorical(name="user_id")]),
        ...     "candidate": tt.SumTowerConfig(features=[tt.features.Categorical(name="movie_id")]),
        ... }
        >>> def losses(epochs, folder):
        ...     model = tt.build_two_tower(ratings, **towers)
        ...     model.compile(optimizer=tt.training.LazyAdam())
        ...     batches = model.training_batches(ratings, batch_size=8, seed=0)
        ...     kept = TrainingCheckpoints(folder, every_s=0)
        ...     return model.fit(batches, epochs=epochs, callbacks=[kept], verbose=0).history["loss"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, all_epochs = losses(2, folder), losses(3, folder)
        >>> len(all_epochs), all_epochs[:2] == first
        (3, True)
    """

    #: Whether it need not be called after each step.
    takes_many_steps = True

    def __init__(self, folder: str | os.PathLike[str], *, every_s: float | None = None, keep: int = 2) -> None:
        super().__init__()
        if every_s is not None and not 0 <= every_s < float("inf"):
            raise ValueError(f"`every_s` must be finite and at least 0. Received: {every_s}.")
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: {keep}.")
        self.folder, self._every_s, self._keep = Path(folder), every_s, keep
        self._others: list[tf.keras.callbacks.Callback] = []
        self._epoch, self._num_begun = 0, 0
        self._saved_at = self._save_s = 0.0
        self._metrics: list[np.ndarray] | None = None
        self._history: State | None = None

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, the latest first."""
        return sorted(self.folder.glob(f"checkpoint-*{_SUFFIX}"), reverse=True)

    def watch(self, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
        """Takes the callbacks whose states are kept; called by `fit`.

        Args:
            callbacks: All others of the training.
        """
        self._others = [callback for callback in callbacks if has_state(callback)]

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Restores the latest checkpoint that is not damaged.

        Raises:
            ValueError: If the checkpoints are of a model with other weights or vocabularies, or the folder of another
                list of callbacks.
        """
        del logs
        self._num_begun, self._saved_at = 0, time.monotonic()
        self._metrics = self._history = None
        for path in self.checkpoints:
            try:
                states, arrays = read_states_and_arrays(path)
            except OSError as error:
                warnings.warn(f"{error}. The checkpoint before it is taken.", stacklevel=2)
                path.rename(path.with_name(f"damaged-{path.name}"))
                continue
            self._restore(path, states, arrays)
            break
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / _MODEL, json.dumps(to_config(self.model)).encode())

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves a checkpoint if it is due; what an epoch changes last, it has changed by now."""
        del logs
        self._epoch, self._num_begun = epoch, self._num_begun + 1
        if self._num_begun > 1:
            self._save_if_due(epoch, 0)
            return
        # Keras has just set these to nothing.
        if self._metrics is not None:
            for variable, value in zip(self._metric_variables(), self._metrics, strict=True):
                variable.assign(value)
        if self._history is not None:
            restore_callback(self.model.history, self._history)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves a checkpoint if it is due, except after the last step of an epoch."""
        del logs
        if batch + 1 < (self.params.get("steps") or 0):
            self._save_if_due(self._epoch, batch + 1)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Saves the training that has ended."""
        del logs
        if self._num_begun:
            self._save(self._epoch + 1, 0, has_ended=self.model.stop_training)
        elif self._history is not None:
            restore_callback(self.model.history, self._history)

    def _save_if_due(self, epoch: int, step: int) -> None:
        wait_s = max(_MIN_WAIT_S, self._save_s / _MAX_SHARE) if self._every_s is None else self._every_s
        if time.monotonic() - self._saved_at >= wait_s:
            self._save(epoch, step)

    def _save(self, epoch: int, step: int, *, has_ended: bool = False) -> None:
        start = time.monotonic()
        callbacks = [*self._others, self.model.history]
        progress: State = {"epoch": epoch, "step": step, "has_ended": has_ended}
        arrays = {
            f"{kind}/{place:05d}": variable.numpy()
            for kind, variables in self._variables().items()
            for place, variable in enumerate(variables)
        }
        path = self.folder / f"checkpoint-{epoch:06d}-{step:09d}{_SUFFIX}"
        write_states(path, [progress, *map(callback_state, callbacks)], **arrays)
        replace_file(self.folder / _LOGS, json.dumps(self.model.history.history, default=float).encode())
        for old in self.checkpoints[self._keep :]:
            old.unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self._save_s = self._saved_at - start

    def _restore(self, path: Path, states: list[State], arrays: dict[str, np.ndarray]) -> None:
        progress, *of_callbacks, history = states
        if len(of_callbacks) != len(self._others):
            raise ValueError(
                f"`folder` must hold checkpoints of the same training: {path} was written beside {len(of_callbacks)} "
                f"other callbacks. Received: {len(self._others)}. Remove the folder to train anew."
            )
        restored = {}
        for kind, variables in self._variables().items():
            values = [arrays[key] for key in sorted(arrays) if key.startswith(f"{kind}/")]
            shapes = [tuple(variable.shape) for variable in variables]
            if [value.shape for value in values] != shapes or not _are_of_same_vocabularies(variables, values):
                raise ValueError(
                    f"`folder` must hold checkpoints of the same model: the {kind} in {path} have other shapes, or "
                    "belong to other vocabularies. Remove the folder to train anew."
                )
            restored[kind] = values
        for kind, variables in self._variables().items():
            for variable, value in zip(variables, restored[kind], strict=True):
                variable.assign(value)
        for callback, state in zip(self._others, of_callbacks, strict=True):
            restore_callback(callback, state)
        self._metrics, self._history = restored["metrics"] if progress["step"] else None, history
        epoch = self.params["epochs"] if progress["has_ended"] else progress["epoch"]
        self.model._training_state = _Start(epoch, progress["step"])

    def _variables(self) -> dict[str, list[tf.Variable]]:
        return {
            "weights": list(self.model.weights),
            "optimizer": list(self.model.optimizer.variables()),  # of Keras's older optimizers, a method
            "metrics": self._metric_variables(),
        }

    def _metric_variables(self) -> list[tf.Variable]:
        return [variable for metric in self.model.metrics for variable in metric.variables]


class _Start:
    """Tells Keras where training begins, in the way of Keras's own backup."""

    def __init__(self, epoch: int, step: int) -> None:
        self._epoch, self._step = epoch, step

    def maybe_load_initial_counters_from_ckpt(
        self, steps_per_epoch: int | None, initial_epoch: int, mode: Any
    ) -> tuple[int, int]:
        """Returns (epoch, step)."""
        del steps_per_epoch, initial_epoch, mode
        return self._epoch, self._step


def _are_of_same_vocabularies(variables: list[tf.Variable], values: list[np.ndarray]) -> bool:
    return all(
        "vocabulary_fingerprint" not in variable.name or int(variable.numpy()) == int(value)
        for variable, value in zip(variables, values, strict=True)
    )
