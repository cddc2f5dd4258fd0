"""The folder of a run: what is trained on what, and how far it is, so that the same run can go on in a new process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower._locks import try_lock
from tfrs_twotower._version import __version__
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.callback_states import replace_file
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.training.checkpoints import TrainingCheckpoints

_FILE, _TRAININGS = "run.json", "trainings"
_MAX_DIFFERENCES, _MAX_SHOWN = 5, 60


class RunFolder:
    """Keeps the trainings of a run, each in a folder of its own.

    The folder holds `run.json`, which says what is trained on what data; `trainings/<name>/` with the checkpoints of
    each training, its model's configuration and vocabularies (`model.json`) and its logs (`logs.json`); and what others
    add.

    Args:
        path: The folder, which is made.
        every_s: Seconds from one checkpoint to the next, as of `TrainingCheckpoints`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(folder)
        ...     begun = run.begin({"seed": 1}), run.begin({"seed": 1})
        ...     run.begin({"seed": 2})
        Traceback (most recent call last):
        ValueError: ... is of another run, which has not ended: `seed` was 1, and is 2. ...
        >>> begun
        (False, True)
    """

    def __init__(self, path: str | os.PathLike[str], *, every_s: float | None = None) -> None:
        self.path, self._every_s = Path(path), every_s
        self._is_held = False

    def __fspath__(self) -> str:
        """Returns the path, so that a run that is held can be given where a path can."""
        return os.fspath(self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[RunFolder]:
        """Keeps other trainings out of the folder until the block ends or its process does, whichever comes first.

        Within the block, the same object may be held again. A file system without locks keeps nobody out.

        Raises:
            ValueError: If another training, of this process or another one, holds the folder.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder, RunFolder(folder).held() as run:
            ...     run.begin({"seed": 1})
            False
        """
        if self._is_held:
            yield self
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with try_lock(self.path) as is_mine:
            if is_mine is False:
                raise ValueError(
                    f"`run_folder` must be a folder that no other process is training in. Received: {self.path}. Wait "
                    "until that process has ended, and give the same command again to go on from there or to train "
                    "anew; or name another folder."
                )
            self._is_held = True
            try:
                yield self
            finally:
                self._is_held = False

    def begin(self, description: Mapping[str, Any]) -> bool:
        """Begins the run, or goes on with it.

        Args:
            description: What decides about the result: name -> value of JSON, or more such dictionaries.

        Returns:
            Whether there is a run to go on with.

        Raises:
            ValueError: If another run has been begun there and has not ended, or the folder holds other things.
        """
        described = json.loads(json.dumps(description))
        file = self.path / _FILE
        if file.exists():
            known = self._read(file)
            if not known["has_ended"]:
                self._require_same(known["description"], described)
                return True
        elif self.path.exists() and any(self.path.iterdir()):
            raise ValueError(f"`run_folder` must be a new folder, or that of a run. Received: {self.path}.")
        shutil.rmtree(self.path / _TRAININGS, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        self._write(described, has_ended=False)
        return False

    def end(self) -> None:
        """Ends the run: its checkpoints are removed, and the next run in the folder is a new one."""
        known = self._read(self.path / _FILE)
        self._write(known["description"], has_ended=True)
        for path in (self.path / _TRAININGS).glob("*/checkpoint-*"):
            path.unlink(missing_ok=True)

    def checkpoints(self, task: str) -> TrainingCheckpoints:
        """Returns the callback that keeps a training.

        Args:
            task: What is done, such as "Training the rating model"; another one for each training.
        """
        name = re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")
        return TrainingCheckpoints(self.path / _TRAININGS / name, every_s=self._every_s)

    def add(self, name: str, content: str) -> None:
        """Adds a text file to the folder.

        Args:
            name: Name of the file.
            content: Its text.
        """
        replace_file(self.path / name, content.encode())

    def _read(self, file: Path) -> dict[str, Any]:
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            return {"description": dict(known["description"]), "has_ended": bool(known["has_ended"])}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: {error}. Remove the folder to train anew.") from error

    def _write(self, description: Mapping[str, Any], *, has_ended: bool) -> None:
        self.add(_FILE, json.dumps({"has_ended": has_ended, "description": description}, indent=1))

    def _require_same(self, known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        before, after = _flat(known), _flat(now)
        differences = [
            f"`{name}` was {_show(before.get(name))}, and is {_show(after.get(name))}"
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]
        if differences:
            more = len(differences) - _MAX_DIFFERENCES
            listed = "; ".join(differences[:_MAX_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
            raise ValueError(
                f"{self.path} is of another run, which has not ended: {listed}. To go on with it, change these back; "
                "to train anew, remove the folder or name another."
            )


def hold(folder: str | os.PathLike[str] | None) -> contextlib.AbstractContextManager[RunFolder | None]:
    """Holds a run's folder for a `with` statement; without one, there is nothing to hold.

    Args:
        folder: The folder, its path, or None.
    """
    if folder is None:
        return contextlib.nullcontext()
    return (folder if isinstance(folder, RunFolder) else RunFolder(folder)).held()


def describe_run(recipe: Recipe, split: Split, **settings: Any) -> dict[str, Any]:
    """Describes what decides about the result of a recipe's training.

    Args:
        recipe: The recipe.
        split: The data.
        settings: What else decides: name -> value of JSON.
    """
    parts = ("train", "validation", "history")
    return {
        "recipe": recipe.to_dict(),
        **settings,
        "data": {part: getattr(split, part).fingerprint() for part in parts},
        "versions": {
            "tfrs_twotower": __version__,
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "numpy")},
        },
    }


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict | list):
        return {path: value}
    flat: dict[str, Any] = {}
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        flat |= _flat(item, f"{path}.{key}" if path else str(key))
    return flat


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
