"""Names of a SavedModel's inputs: those that a feature may have, and those reserved for the signatures."""

from __future__ import annotations

from collections.abc import Iterable

from tfrs_twotower.data.input_names import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX, require_input_name

__all__ = ["CANDIDATE_INPUT", "EXCLUDE_INPUT", "FILTER_PREFIX", "require_free_inputs", "require_input_name"]


def require_free_inputs(names: Iterable[str]) -> None:
    """Checks that no query feature has the name of another input of the signatures.

    Args:
        names: Names of the query features.

    Raises:
        ValueError: If one has.

    Example:
        >>> require_free_inputs(["user_id", "age"])
    """
    for name in names:
        if name in (CANDIDATE_INPUT, EXCLUDE_INPUT) or name.startswith(FILTER_PREFIX):
            raise ValueError(f"No query feature may be called {name!r}: signatures have an input of that name.")
