"""Zip files whose damage is named: which archive, which member, and what to do."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip for reading.

    Raises:
        ValueError: If it is damaged or no zip.
    """
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged or no zip file ({error}). Get it again.") from error


@contextlib.contextmanager
def open_member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """Opens a member for reading; what goes wrong while it is read is named, too.

    Raises:
        ValueError: If the member is missing, damaged, encrypted, or compressed in a way that Python does not know.
    """
    try:
        with archive.open(name) as member:
            yield member
    # RuntimeError: encrypted, or an unknown compression.
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error, RuntimeError) as error:
        raise ValueError(f"{archive.filename} is damaged: {name} cannot be read ({error}). Get it again.") from error
