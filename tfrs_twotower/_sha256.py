"""The SHA-256 of a file, read in parts."""

from __future__ import annotations

import hashlib
from typing import IO

_CHUNK_BYTES = 2**20


def sha256_of(file: IO[bytes]) -> str:
    """Computes the SHA-256 of what is left to read of a file.

    Args:
        file: An open file.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import io
        >>> sha256_of(io.BytesIO(b""))[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
