"""Names of a SavedModel's inputs: which a feature may have, and which the signatures keep for themselves."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

#: The candidate that a signature is asked about.
CANDIDATE_INPUT = "candidate_id"
#: The candidates that a query must not be recommended.
EXCLUDE_INPUT = "exclude_ids"
#: Goes before the name of a candidate feature that is filtered by.
FILTER_PREFIX = "filter_"


def require_free_inputs(names: Iterable[str]) -> None:
    """Checks that query features leave the signatures' other inputs their names.

    Args:
        names: Names of the query features.

    Raises:
        ValueError: If one does not.

    Example:
        >>> require_free_inputs(["user_id", "age"])
    """
    for name in names:
        if name in (CANDIDATE_INPUT, EXCLUDE_INPUT) or name.startswith(FILTER_PREFIX):
            raise ValueError(f"No query feature may be called {name!r}: signatures have an input of that name.")


def require_input_name(name: str) -> None:
    """Checks that a SavedModel's signature can have an input of that name.

    Args:
        name: The name.

    Raises:
        ValueError: If it cannot.
    """
    # What TensorFlow takes as the name of a signature's input, unchanged.
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is None:
        raise ValueError(
            "`name` must be a letter, then letters, digits and underscores: it names an input of the SavedModel. "
            f"Received: {name!r}."
        )
    if keyword.iskeyword(name) or name == "self":
        raise ValueError(f"`name` must not be a Python keyword or `self`: {name!r} could not be passed to a signature.")
