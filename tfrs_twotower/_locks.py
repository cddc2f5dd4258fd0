"""Locks of folders, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks: what another publisher may still be writing is left alone
    fcntl = None  # type: ignore[assignment]

_PATIENCE_S = 120


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a folder's lock, which ends with the process; on a file system without locks, goes on without one.

    Raises:
        TimeoutError: If another process holds it for two minutes.
    """
    start = time.monotonic()
    while True:
        with try_lock(folder) as is_mine:
            if is_mine is not False:
                yield
                return
        if time.monotonic() - start > _PATIENCE_S:
            raise TimeoutError(f"{folder} is locked by another process. Wait for it, or end it.")
        time.sleep(0.05)


@contextlib.contextmanager
def try_lock(folder: Path) -> Iterator[bool | None]:
    """Holds a folder's lock if that is possible at once; yields False if another has it, None if there are no locks.

    Args:
        folder: The folder.
    """
    if fcntl is None:
        yield None
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # renamed or removed meanwhile
        yield None
        return
    try:
        is_mine: bool | None = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_mine = False
        except OSError:
            is_mine = None
        yield is_mine
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Makes sure that a file's content, or a folder's list of names, is on the disk.

    Args:
        path: The file or folder.
    """
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into_place(aside: Path, path: Path) -> None:
    """Gives a file its name, in place of another of that name, once its content is on the disk.

    Args:
        aside: The file, on the same disk.
        path: Its name.

    Raises:
        OSError: If it cannot be renamed.
    """
    flush(aside)
    aside.replace(path)
    flush(path.parent)
