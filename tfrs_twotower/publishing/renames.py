"""Several renames as one step: all happen, or none; if the process is killed, the next one finishes them.

What is to be renamed is first written to a record. Whoever takes the folder's lock next, and finds a record, does what
is left of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tfrs_twotower._locks import flush

_RECORD = ".renames.json"

#: A folder, and the old and the new name of something in it.
Rename: TypeAlias = tuple[Path, str, str]


def rename_all(home: Path, renames: Sequence[Rename]) -> None:
    """Renames files and folders, all or none.

    Args:
        home: The folder that keeps the record, whose lock the caller holds.
        renames: Renames in `home` and in folders beside it, in order. No new name may exist.

    Raises:
        OSError: If one cannot be renamed; those before it have their old names again.
    """
    if len(renames) > 1:
        _write_record(home, renames)
    started: list[Rename] = []
    try:
        for folder, old, new in renames:
            started.append((folder, old, new))
            (folder / old).rename(folder / new)
    except BaseException:
        for folder, old, new in reversed(started):
            if not (folder / old).exists():
                (folder / new).rename(folder / old)
        (home / _RECORD).unlink(missing_ok=True)
        raise
    for folder in {folder for folder, _, _ in renames}:
        flush(folder)
    (home / _RECORD).unlink(missing_ok=True)


def finish_renames(home: Path) -> None:
    """Does what a killed process left to do.

    Args:
        home: A folder that may keep a record, whose lock the caller holds.

    Raises:
        OSError: If something cannot be renamed, or the record is damaged.
    """
    record = home / _RECORD
    if not record.is_file():
        return
    try:
        renames = [(str(name), str(old), str(new)) for name, old, new in json.loads(record.read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:
        raise OSError(f"{record} is damaged. Check which versions are there, then remove it.") from error
    folders = set()
    for name, old, new in renames:
        if any(part in ("", ".", "..") or part != Path(part).name for part in (name, old, new)):
            raise OSError(f"{record} names a file elsewhere: {name}, {old}, {new}. Find out why, then remove it.")
        folder = home.resolve().with_name(name)
        if (folder / old).exists() and not os.path.lexists(folder / new):
            (folder / old).rename(folder / new)
            folders.add(folder)
    for folder in folders:
        flush(folder)
    record.unlink()


def _write_record(home: Path, renames: Sequence[Rename]) -> None:
    """Writes the record, which appears as a whole."""
    text = json.dumps([(folder.resolve().name, old, new) for folder, old, new in renames])
    aside = home / f"{_RECORD}.new"
    aside.write_text(text, encoding="utf-8")
    flush(aside)
    aside.replace(home / _RECORD)
    flush(home)
