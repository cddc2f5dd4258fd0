"""The bearer token that clients must send, if the server asks for one."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

_SCHEME = "bearer"
_MAX_BYTES = 4096


def read_token(*, file: Path | None, variable: str | None) -> str | None:
    """Reads a token from a file or an environment variable, since arguments of a command can be seen by others.

    Args:
        file: A file that holds nothing else; white space around it does not count.
        variable: Name of an environment variable.

    Returns:
        The token; None if neither is given.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If both are given, or what they name holds no token.
    """
    if file is not None and variable is not None:
        raise ValueError("A token must come from a file or from an environment variable, not from both.")
    if file is not None:
        with file.open("rb") as opened:
            token = opened.read(_MAX_BYTES).decode("utf-8", errors="replace").strip()
        source = str(file)
    elif variable is not None:
        token, source = os.environ.get(variable, "").strip(), f"the environment variable {variable}"
    else:
        return None
    if not token:
        raise ValueError(f"There is no token in {source}.")
    return token


def is_authorized(header: str | None, token: str | None) -> bool:
    """Tells whether a request may pass. How long that takes does not depend on the secret.

    Args:
        header: Value of the header `Authorization`; None if there is none.
        token: The token; None if none is asked for.
    """
    if token is None:
        return True
    scheme, _, given = (header or "").partition(" ")
    is_equal = hmac.compare_digest(given.strip().encode("utf-8", errors="replace"), token.encode("ascii"))
    return scheme.lower() == _SCHEME and is_equal
