"""Files whose size and SHA-256 are known, and comparing files with them."""

from __future__ import annotations

import dataclasses
from typing import IO

from tfrs_twotower._sha256 import sha256_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownFile:
    """What is known of a published file.

    Attributes:
        size_bytes: Its size.
        sha256: Its SHA-256, 64 hexadecimal digits.
    """

    size_bytes: int
    sha256: str


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
    sha256 = sha256_of(file)
    received = KnownFile(size_bytes=file.tell(), sha256=sha256)
    if received != known:
        raise ValueError(
            f"{place} differs from the published file. Expected: {known.size_bytes:,} bytes, SHA-256 {known.sha256}. "
            f"Received: {received.size_bytes:,} bytes, SHA-256 {received.sha256}. {advice}"
        )
