"""Publishes a version all at once or not at all: it is written aside, checked, and renamed to the next integer.

A bundle that needs ScaNN and its portable twin are published as one: in two folders, under the same number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tfrs_twotower._control_characters import require_no_control_characters
from tfrs_twotower._locks import flush, try_lock
from tfrs_twotower._settings import whole_number
from tfrs_twotower.publishing.pairs import hold
from tfrs_twotower.publishing.renames import rename_all
from tfrs_twotower.publishing.versions import next_version, remove_leftovers, remove_old

_INCOMPLETE = f".incomplete-{re.sub('[^A-Za-z0-9]', '', socket.gethostname())}-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publication:
    """Declares a bundle that is to become the next version in a folder.

    Attributes:
        directory: `saved_models/<name>`; created if it does not exist.
        write: Writes the bundle into the folder that it is given.
    """

    directory: Path
    write: Callable[[Path], None]


def publish(
    publications: Sequence[Publication],
    check: Callable[[Sequence[Path]], None],
    *,
    keep: int | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Publishes the next version in each of some folders, under one number, after all were written and checked.

    Args:
        publications: That of a bundle and, if it has one, that of its portable twin, in this order.
        check: Raises an error if what was written must not be served. It is given one folder for each publication.
        keep: Number of newest versions that stay in each folder, >= 1; by default all stay. The version before the new
            one stays until the next publication, since readers may be loading it.
        confirm: Raises an error if what others have published in the meantime forbids the publication. It is called at
            the last moment, while no other process can publish.

    Returns:
        `directory/<integer version>` of each.

    Raises:
        TypeError: If `keep` is not a whole number.
        ValueError: If `keep` is less than 1.
        OSError: If a directory cannot be written, or has no number left for a version.
        Exception: Whatever `write`, `check` or `confirm` raise; nothing is left behind then. If the process is killed
            between two renames, the next publication or rollback does the second.
    """
    require_keep(keep)
    for publication in publications:
        require_publishable(publication.directory)
    home = publications[0].directory
    with contextlib.ExitStack() as stack:
        folders = []
        for publication in publications:
            folders.append(stack.enter_context(_folder_aside(publication.directory, home)))
            publication.write(folders[-1])
        check(folders)
        for folder in folders:
            _flush(folder)
        version = _rename_to_next(
            home,
            [(publication.directory, folder.name) for publication, folder in zip(publications, folders, strict=True)],
            confirm,
        )
    if keep is not None:
        try:
            with hold(home):
                remove_old(home, keep)
        except OSError as error:
            warnings.warn(f"Published, but old versions in {home} stay: {error}", stacklevel=2)
    return [publication.directory / version for publication in publications]


def require_keep(keep: int | None) -> None:
    """Checks the number of versions that are to stay.

    Raises:
        TypeError: If it is not a whole number.
        ValueError: If it is less than 1.
    """
    if keep is not None:
        whole_number(keep, "`keep`", 1)


def require_publishable(directory: Path) -> None:
    """Raises an error if a folder cannot take another version, so that it comes before a long training.

    Args:
        directory: `saved_models/<name>`, or where it is to be created.

    Raises:
        ValueError: If its name contains control characters, which files that start a server cannot hold.
        OSError: If `directory` cannot be created or written, or there is no greater number for a version.
    """
    require_no_control_characters(directory.name, "The name of the model's folder")
    require_writable(directory)
    next_version(directory)


def require_writable(directory: Path) -> None:
    """Raises an error if a folder cannot be written, so that it comes before a long training; creates nothing.

    Args:
        directory: A folder, or where one is to be created.

    Raises:
        OSError: If `directory` cannot be created or written.
    """
    try:
        existing = _nearest_existing(directory.absolute())
        if not existing.is_dir():
            what = "a link that leads to no folder" if existing.is_symlink() else "not a folder"
            raise OSError(f"{directory} cannot be written ({existing} is {what}). Choose another output folder.")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f"{directory} cannot be written ({error.strerror}). Choose another output folder.") from error


def _nearest_existing(path: Path) -> Path:
    """Returns a path, or else the nearest folder above it, that is there, be it a link that leads nowhere."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _nearest_existing(path.parent)
    return path


@contextlib.contextmanager
def _folder_aside(directory: Path, home: Path) -> Iterator[Path]:
    """Creates a folder beside the versions, which is removed at the end unless it was renamed.

    It is locked for as long as this process lives; the leftovers of a killed process are not.
    """
    home.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with hold(home):  # finishes what a killed publisher left, before its folders are taken for abandoned
            _remove_abandoned(directory)
            remove_leftovers(directory)
            aside = Path(tempfile.mkdtemp(prefix=_INCOMPLETE, dir=directory))
            held.enter_context(try_lock(aside))
        try:
            aside.chmod(0o755)
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(directory: Path) -> None:
    """Removes what killed publishers of this machine left: on some file systems locks hold on one machine only."""
    for path in directory.glob(f"{_INCOMPLETE}*"):
        with try_lock(path) as is_mine:
            if is_mine:
                shutil.rmtree(path, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Makes sure that files are on the disk before they get the name of a version."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def _rename_to_next(home: Path, written: Sequence[tuple[Path, str]], confirm: Callable[[], None]) -> str:
    """Gives the next number to folders aside, each of which is a directory and a name in it."""
    with hold(home):
        confirm()
        number = next_version(home)
        while True:
            try:
                # On POSIX a rename onto a folder fails unless that is empty; ours never are.
                rename_all(home, [(directory, aside, str(number)) for directory, aside in written])
                return str(number)
            except OSError:
                if not any(os.path.lexists(directory / str(number)) for directory, _ in written):
                    raise
                number += 1  # without locks, another publisher was faster
