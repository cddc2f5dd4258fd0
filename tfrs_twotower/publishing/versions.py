"""The versions in a folder: their numbers, their manifests, and which of them is served.

TensorFlow Serving, and everything here that looks for the newest version, ignores names that are not integers. A
version is withdrawn, and removed, by renaming it to such a name, so that it is either there as a whole or not at all. A
folder without a SavedModel is not a version, whatever its name, and is left alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tfrs_twotower._settings import whole_number
from tfrs_twotower.bundle.layout import MAX_VERSION, MODEL_FILE, version_digits, version_numbers, versions
from tfrs_twotower.bundle.manifest import Manifest

try:
    import fcntl
except ImportError:  # Windows has no locks: what another publisher may still be writing is left alone
    fcntl = None  # type: ignore[assignment]

_WITHDRAWN = ".withdrawn-"
_REMOVED = ".removed-"
_PATIENCE_S = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """A version in a folder.

    Attributes:
        number: Its number, which no other version gets while it exists.
        path: Its folder.
        is_served: Whether it is the version that a server takes.
        is_withdrawn: Whether `rollback` took it back.
        manifest: Its manifest; None if it cannot be read.
        problem: Reason why its manifest cannot be read; None if it can.

    Example:
        >>> version = Version(
        ...     number=3, path=Path("saved_models/shop/3"), is_served=True, is_withdrawn=False, manifest=None
        ... )
        >>> version.path.name
        '3'
    """

    number: int
    path: Path
    is_served: bool
    is_withdrawn: bool
    manifest: Manifest | None
    problem: str | None = None


def list_versions(directory: str | Path) -> list[Version]:
    """Lists all versions in a folder, also those that were withdrawn, in ascending order.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        FileNotFoundError: If there is no version.

    Example:
        >>> list_versions("saved_models/nothing")
        Traceback (most recent call last):
        FileNotFoundError: saved_models/nothing holds no version of a bundle.
    """
    directory = Path(directory)
    published, withdrawn = versions(directory), _withdrawn(directory)
    if not published and not withdrawn:
        raise FileNotFoundError(f"{directory} holds no version of a bundle.")
    listed = [(number, directory / str(number), False) for number in published]
    listed += [(number, directory / f"{_WITHDRAWN}{number}", True) for number in withdrawn]
    return [
        _with_manifest(
            Version(
                number=number,
                path=path,
                is_served=not is_withdrawn and number == published[-1],
                is_withdrawn=is_withdrawn,
                manifest=None,
            )
        )
        for number, path, is_withdrawn in sorted(listed)
    ]


def rollback(directory: str | Path, *, to: int | None = None) -> Path:
    """Withdraws the newest versions, so that an older one becomes the newest: a server goes back to it by itself.

    A withdrawn version stays as `.withdrawn-<version>`, and its number is not given to another. Renaming it to its
    number publishes it again.

    Args:
        directory: `saved_models/<name>`.
        to: The version to go back to; by default the one before the newest.

    Returns:
        Its folder.

    Raises:
        FileNotFoundError: If there is no version.
        ValueError: If there is no such version, or no version before the newest.
        TypeError: If `to` is not a whole number.
        OSError: If the folder cannot be written.

    Example:
        >>> rollback("saved_models/nothing")
        Traceback (most recent call last):
        FileNotFoundError: saved_models/nothing holds no version of a bundle.
    """
    directory = Path(directory)
    if to is not None:
        to = whole_number(to, "`to`", 0)
    if not versions(directory):
        raise FileNotFoundError(f"{directory} holds no version of a bundle.")
    with lock(directory):
        published = versions(directory)
        if to is None:
            if len(published) < 2:
                raise ValueError(f"{directory} holds only version {published[0]}: there is none to go back to.")
            to = published[-2]
        if to not in published:
            raise ValueError(f"`to` must be one of {', '.join(map(str, published))}. Received: {to}.")
        newer = {directory / str(number): directory / f"{_WITHDRAWN}{number}" for number in published if number > to}
        for withdrawn in newer.values():
            if withdrawn.exists():
                raise FileExistsError(f"{withdrawn} already exists. Remove it, or move it elsewhere.")
        # The newest first: if this is interrupted, a server sees versions that it has seen before.
        for path in reversed(newer):
            path.rename(newer[path])
    return directory / str(to)


def next_version(directory: Path) -> int:
    """Returns a number above all that exist, including names such as 007, which a server reads as 7.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        OSError: If there is no greater number that TensorFlow Serving can read.
    """
    greatest = max([0, *map(int, version_digits(directory, "")), *map(int, version_digits(directory, _WITHDRAWN))])
    if greatest == MAX_VERSION:
        raise OSError(
            f"{directory} holds {greatest}, and TensorFlow Serving reads no greater number as a version. Rename it, or "
            "choose another output folder."
        )
    return greatest + 1


def remove_old(directory: Path, keep: int) -> None:
    """Removes all but the newest published versions, and withdrawn versions older than the oldest that is kept.

    Args:
        directory: `saved_models/<name>`, whose lock the caller holds.
        keep: How many, >= 1.
    """
    published = versions(directory)
    kept = published[-keep:]
    paths = [directory / str(number) for number in published[:-keep]]
    paths += [directory / f"{_WITHDRAWN}{number}" for number in _withdrawn(directory) if kept and number < kept[0]]
    for path in paths:
        grave = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=directory))
        path.rename(grave / path.name)
    remove_leftovers(directory)


def remove_leftovers(directory: Path) -> None:
    """Finishes removals that were interrupted, in a folder whose lock the caller holds.

    Args:
        directory: `saved_models/<name>`.
    """
    for path in directory.glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)


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


def _with_manifest(version: Version) -> Version:
    try:
        return dataclasses.replace(version, manifest=Manifest.read(version.path))
    except (OSError, ValueError) as error:
        return dataclasses.replace(version, problem=str(error))


def _withdrawn(directory: Path) -> list[int]:
    return [
        n for n in version_numbers(directory, _WITHDRAWN) if (directory / f"{_WITHDRAWN}{n}" / MODEL_FILE).is_file()
    ]
