"""Zip files from outside: which ones are refused, and reading their members up to the declared size."""

from __future__ import annotations

import copy
import errno
import io
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

#: What zipfile raises for bytes that are not what the zip format demands, and for kinds that it does not know.
_FAULTS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, OSError)
#: Other methods are read by decompressors that do not limit what one read can expand to.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IS_ENCRYPTED = 0x1
#: More than zipfile decompresses beyond what it was asked for.
_READ_AHEAD_BYTES = 2**16
_SPECIAL_FILES = (stat.S_ISLNK, stat.S_ISCHR, stat.S_ISBLK, stat.S_ISFIFO, stat.S_ISSOCK)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip file for reading, unless a member is of a kind that no archive of data has.

    Args:
        path: The zip file.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If the file is damaged or is not a zip file, or if a member has an absolute path or `..` in its
            path, is a link, occurs twice, is encrypted, or is compressed by another method than deflate.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _FAULTS as error:
        # A position outside the file is an invalid argument for the operating system; other errors are about the disk.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(f"{path} is damaged or is not a zip file ({error}). Get it again.") from error
    try:
        _check_members(path, archive.infolist())
    except ValueError:
        archive.close()
        raise
    return archive


def open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Opens a member, from which never more than its declared size can be read.

    Args:
        archive: A zip file that `open_zip` opened.
        name: Full name of the member.

    Raises:
        ValueError: If the member is missing or damaged. While it is read: if it is damaged, or longer or shorter than
            declared.
    """
    place = f"{archive.filename} is damaged: {name}"
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise ValueError(f"{place} is missing. Get it again.") from error
    # zipfile stops without a word at the declared size, so that a member that goes on would not show.
    longer = copy.copy(info)
    longer.file_size += _READ_AHEAD_BYTES
    try:
        member = archive.open(longer)
    except _FAULTS as error:
        raise ValueError(f"{place} cannot be read ({error}). Get it again.") from error
    return io.BufferedReader(_Member(member, info.file_size, place), buffer_size=2**16)


class _Member(io.RawIOBase):
    """A member that must have its declared size, and whose errors name it."""

    def __init__(self, member: IO[bytes], size_bytes: int, place: str) -> None:
        super().__init__()
        self._member = member
        self._size_bytes = size_bytes
        self._place = place
        self._num_read = 0

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._member.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._member.read(min(len(buffer), self._size_bytes - self._num_read + 1))
        except _FAULTS as error:
            raise ValueError(f"{self._place} cannot be read ({error}). Get it again.") from error
        self._num_read += len(content)
        if self._num_read > self._size_bytes or (not content and self._num_read < self._size_bytes):
            fault = "longer" if self._num_read > self._size_bytes else "shorter"
            raise ValueError(f"{self._place} is {fault} than its declared {self._size_bytes:,} bytes. Get it again.")
        buffer[: len(content)] = content
        return len(content)


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        fault = _find_fault(member, name)
        if name in seen:
            fault = "occurs twice"
        if fault is not None:
            raise ValueError(
                f"{path} is refused: its member {member.filename!r} {fault}. Get the archive from GroupLens, or unpack "
                "it with a program that you trust and name the folder."
            )
        seen.add(name)


def _find_fault(member: zipfile.ZipInfo, name: PurePosixPath) -> str | None:
    if name.is_absolute() or re.match("[A-Za-z]:", str(name)):
        return "has an absolute path"
    if ".." in name.parts:
        return "has a path that leads outside the archive"
    if any(is_special(member.external_attr >> 16) for is_special in _SPECIAL_FILES):
        return "is a link or a device and not a file"
    if member.flag_bits & _IS_ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type} and not by deflate"
    return None
