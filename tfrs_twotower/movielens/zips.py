"""Zip files with errors that name the archive, the member, and what to do."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip file for reading.

    Args:
        path: The zip file.

    Raises:
        ValueError: If the file is damaged or is not a zip file.
    """
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or is not a zip file ({error}). Get it again.") from error


@contextlib.contextmanager
def open_member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """Opens a member for reading, and also names what goes wrong while the caller reads it.

    Args:
        archive: An open zip file.
        name: Full name of the member.

    Raises:
        ValueError: If the member is missing, damaged, encrypted, or compressed by a method that Python does not
            support.
    """
    try:
        with archive.open(name) as member:
            yield member
    # RuntimeError: the member is encrypted, or compressed by an unsupported method.
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error, RuntimeError) as error:
        raise ValueError(f"{archive.filename} is damaged: {name} cannot be read ({error}). Get it again.") from error
