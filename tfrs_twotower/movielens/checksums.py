"""Files whose size and SHA-256 are known, and comparing files with them."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import IO

_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownFile:
    """What is known of a published file.

    Attributes:
        size_bytes: Its size.
        sha256: Its SHA-256, 64 hexadecimal digits.
    """

    size_bytes: int
    sha256: str


def sha256_of(file: IO[bytes]) -> str:
    """Computes the SHA-256 of what is left to read of a file.

    Args:
        file: An open file.

    Returns:
        64 hexadecimal digits.
    """
    return _measure(file).sha256


def require_known(file: IO[bytes], known: KnownFile, *, place: str, advice: str) -> None:
    """Checks that a file is the published one.

    Args:
        file: The file, open at its beginning.
        known: What is known of the published file.
        place: Name of the file, for the error.
        advice: What the reader of the error can do.

    Raises:
        ValueError: If the size or the SHA-256 differs.
    """
    received = _measure(file)
    if received != known:
        raise ValueError(
            f"{place} differs from the published file. Expected: {known.size_bytes:,} bytes, SHA-256 {known.sha256}. "
            f"Received: {received.size_bytes:,} bytes, SHA-256 {received.sha256}. {advice}"
        )


def _measure(file: IO[bytes]) -> KnownFile:
    digest = hashlib.sha256()
    size_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size_bytes += len(chunk)
    return KnownFile(size_bytes=size_bytes, sha256=digest.hexdigest())
