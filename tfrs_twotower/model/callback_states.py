"""What Keras's callbacks know in the middle of a training, so that a training that goes on later goes on alike.

Keras's own backups hold weights alone. After them, `EarlyStopping` has forgotten its best epoch, and `ModelCheckpoint`
takes the first value it sees for the best one, over whose model it writes.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import tensorflow as tf

#: Name -> a value of JSON, or arrays.
State: TypeAlias = dict[str, Any]

_ATTRIBUTES: Mapping[type[tf.keras.callbacks.Callback], Sequence[str]] = {
    tf.keras.callbacks.EarlyStopping: ("best", "wait", "best_epoch", "stopped_epoch", "best_weights"),
    tf.keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
    tf.keras.callbacks.ModelCheckpoint: ("best", "epochs_since_last_save"),
    tf.keras.callbacks.History: ("history", "epoch"),
}


@runtime_checkable
class HasState(Protocol):
    """A callback of this library, or of a user, that remembers something from one epoch to the next."""

    def state(self) -> State:
        """Returns what must be kept: values of JSON, NumPy arrays, and lists of arrays."""

    def restore_state(self, state: State) -> None:
        """Takes what `state` returned; called after `on_train_begin`."""


@runtime_checkable
class WatchesCallbacks(Protocol):
    """A callback that keeps the states of the others, and must be called after them."""

    def watch(self, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
        """Takes the other callbacks of a training; called by `fit` before it begins."""


def has_state(callback: tf.keras.callbacks.Callback) -> bool:
    """Tells whether a callback remembers anything that `callback_state` knows of.

    Args:
        callback: Any callback.
    """
    return isinstance(callback, (HasState, *_ATTRIBUTES))


def callback_state(callback: tf.keras.callbacks.Callback) -> State:
    """Returns what a callback must remember: its own `state`, or what is known of Keras's callbacks.

    Args:
        callback: Any callback; nothing is kept of one that is unknown.

    Example:
        >>> stopping = tf.keras.callbacks.EarlyStopping("loss")
        >>> stopping.on_train_begin()
        >>> callback_state(stopping)["wait"]
        0
    """
    if isinstance(callback, HasState):
        return callback.state()
    names = [name for kind, names in _ATTRIBUTES.items() if isinstance(callback, kind) for name in names]
    state = {}
    for name in names:
        value = getattr(callback, name, None)
        state[name] = value.item() if isinstance(value, np.generic) else value
    return state


def restore_callback(callback: tf.keras.callbacks.Callback, state: State) -> None:
    """Gives a callback what `callback_state` returned.

    Args:
        callback: A callback of the same kind, after its `on_train_begin`.
        state: What it must remember.
    """
    if isinstance(callback, HasState):
        callback.restore_state(state)
        return
    for name, value in state.items():
        setattr(callback, name, value)


def companions(
    callbacks: Sequence[tf.keras.callbacks.Callback], *, is_resumed: bool
) -> list[tf.keras.callbacks.Callback]:
    """Returns callbacks that go last in the list, and keep what Keras's callbacks would forget.

    Args:
        callbacks: The callbacks of a training.
        is_resumed: Whether the model was loaded in the middle of a training.
    """
    kept: list[tf.keras.callbacks.Callback] = []
    for callback in callbacks:
        if isinstance(callback, tf.keras.callbacks.BackupAndRestore):
            kept.append(_BackupStates(callback, [other for other in callbacks if other is not callback]))
        elif isinstance(callback, tf.keras.callbacks.ModelCheckpoint) and callback.save_best_only:
            kept.append(_BestValue(callback, is_resumed=is_resumed))
    return kept


class _BackupStates(tf.keras.callbacks.Callback):
    """Keeps the states of other callbacks beside the weights that a `BackupAndRestore` keeps."""

    takes_many_steps = True

    def __init__(
        self, backup: tf.keras.callbacks.BackupAndRestore, others: Sequence[tf.keras.callbacks.Callback]
    ) -> None:
        super().__init__()
        self._backup, self._others = backup, others
        self._file = Path(os.fspath(backup.backup_dir)) / "callbacks.npz"

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Restores the states if the backup was restored."""
        del logs
        if int(self._backup._training_state._ckpt_saved_epoch.numpy()) >= 0 and self._file.exists():
            for callback, state in zip(self._others, read_states(self._file), strict=False):
                restore_callback(callback, state)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the states."""
        del epoch, logs
        if not self.model.distribute_strategy.extended.should_checkpoint:
            return  # another worker does
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_states(self._file, [callback_state(callback) for callback in self._others])

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Removes the states with the backup."""
        del logs
        if self._backup.delete_checkpoint:
            self._file.unlink(missing_ok=True)


class _BestValue(tf.keras.callbacks.Callback):
    """Keeps the best value of a `ModelCheckpoint` beside the model that had it, for a training that goes on from it."""

    takes_many_steps = True

    def __init__(self, checkpoint: tf.keras.callbacks.ModelCheckpoint, *, is_resumed: bool) -> None:
        super().__init__()
        self._checkpoint, self._is_resumed = checkpoint, is_resumed
        self._file = Path(f"{os.fspath(checkpoint.filepath)}.best.json")

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Restores the best value, unless the script gives one or the training is a new one."""
        del logs
        if not self._is_resumed or math.isfinite(self._checkpoint.best) or not self._file.exists():
            return
        kept = json.loads(self._file.read_text(encoding="utf-8"))
        if kept["monitor"] == self._checkpoint.monitor:
            self._checkpoint.best = kept["best"]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the best value."""
        del epoch, logs
        if math.isfinite(self._checkpoint.best) and self.model.distribute_strategy.extended.should_checkpoint:
            kept = {"monitor": self._checkpoint.monitor, "best": float(self._checkpoint.best)}
            replace_file(self._file, json.dumps(kept).encode())


def write_states(path: Path, states: Sequence[State], **arrays: np.ndarray) -> None:
    """Writes states to a file, which is replaced whole.

    Args:
        path: The file, `.npz`.
        states: As `callback_state` returns them.
        arrays: Arrays that are written beside them.

    Raises:
        OSError: If it cannot be written.
    """
    entries: dict[str, Any] = dict(arrays)
    plain: list[State] = []
    for number, state in enumerate(states):
        plain.append({})
        for name, value in state.items():
            key = f"state/{number}/{name}"
            if isinstance(value, np.ndarray):
                entries[key] = value
            elif isinstance(value, list) and value and all(isinstance(part, np.ndarray | np.generic) for part in value):
                entries |= {f"{key}/{place}": np.asarray(part) for place, part in enumerate(value)}
                plain[-1][name] = {"arrays": len(value)}
            else:
                plain[-1][name] = {"value": value}
    entries["states"] = np.frombuffer(json.dumps(plain, default=_plain).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_states(path: Path) -> list[State]:
    """Reads what `write_states` wrote.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read, or is damaged.
    """
    states, _ = read_states_and_arrays(path)
    return states


def read_states_and_arrays(path: Path) -> tuple[list[State], dict[str, np.ndarray]]:
    """Reads what `write_states` wrote.

    Args:
        path: The file.

    Returns:
        (states, arrays)

    Raises:
        OSError: If it cannot be read, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # NumPy does not compare the checksums of arrays
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        with np.load(path, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files}
        plain = json.loads(entries.pop("states").tobytes())
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise OSError(f"{path} is damaged: {error}") from error
    states: list[State] = []
    for number, kept in enumerate(plain):
        states.append({})
        for name, value in kept.items():
            key = f"state/{number}/{name}"
            if "arrays" in value:
                states[-1][name] = [entries.pop(f"{key}/{place}") for place in range(value["arrays"])]
            else:
                states[-1][name] = value["value"]
        prefix = f"state/{number}/"
        for key in [key for key in entries if key.startswith(prefix)]:
            states[-1][key.removeprefix(prefix)] = entries.pop(key)
    return states, entries


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file, which is replaced whole.

    Args:
        path: The file.
        content: What it holds from now on.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _plain(value: Any) -> Any:
    """A value of NumPy, which Keras's logs hold, as one of JSON."""
    return value.item()
