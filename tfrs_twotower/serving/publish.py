"""A version appears all at once, or not at all: written aside, checked, then renamed to the next integer.

TensorFlow Serving, and everything here that looks for the newest version, passes over names that are no integers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def publish(directory: Path, write: Callable[[Path], None], check: Callable[[Path], None]) -> Path:
    """Makes the next version in `directory`.

    Args:
        directory: `saved_models/<name>`; made if it is not there.
        write: Writes the bundle into the folder that it is given.
        check: Raises if what was written is not fit to be served.

    Returns:
        `directory/<integer version>`.

    Raises:
        OSError: If `directory` cannot be written.
        Exception: Whatever `write` or `check` raise; nothing is left behind then.
    """
    require_writable(directory)
    directory.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=directory))
    try:
        aside.chmod(0o755)
        write(aside)
        check(aside)
        return _rename_to_next(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_writable(directory: Path) -> None:
    """Fails now rather than after a long training; makes nothing.

    Args:
        directory: A folder, or where one is to be made.

    Raises:
        OSError: If `directory` cannot be made or written.
    """
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(f"{directory} cannot be written ({error.strerror}). Choose another output folder.") from error


def versions(directory: Path) -> list[int]:
    """The versions in a folder, ascending; none if it is not there."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal() and path.is_dir())


def _rename_to_next(aside: Path, directory: Path) -> Path:
    version = max(versions(directory), default=0) + 1
    while True:
        target = directory / str(version)
        try:
            # On POSIX a rename onto a folder fails unless that is empty; ours never are.
            return aside.rename(target)
        except OSError:
            if not target.exists():
                raise
            version += 1  # another publisher was faster
