"""Collecting the rows of a user's table that cannot be used."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.rows import first_rows

#: What to do with rows that cannot be used: raise an error, or leave them out and warn how many they were.
OnInvalid = Literal["fail", "drop"]

_NUM_SHOWN = 5


class InvalidRows:
    """Collects the rows of a table that cannot be used, or fails at the first of them.

    Example:
        >>> invalid = InvalidRows(3, "fail")
        >>> stars = pa.array([5.0, -1.0, 3.0])
        >>> invalid.add("stars", "negative numbers", pc.less(stars, 0), stars)
        Traceback (most recent call last):
        ValueError: `stars` holds negative numbers in 1 of 3 rows, the first in rows [1], ...
    """

    def __init__(self, num_rows: int, on_invalid: OnInvalid) -> None:
        self._bad = np.zeros(num_rows, bool)
        self._on_invalid = on_invalid
        self._findings: list[str] = []

    def add(self, column: str, finding: str, bad: pa.Array | np.ndarray, values: Any, advice: str = "") -> None:
        """Marks the rows that have a fault.

        Args:
            column: Name of the column with the fault.
            finding: What is wrong with the values, such as "negative numbers".
            bad: bool [num_rows], True where a row has the fault; null counts as False.
            values: [num_rows], the values as the user gave them.
            advice: A sentence on what the values must be.

        Raises:
            ValueError: If a row has the fault and `on_invalid` is "fail". The message names the column, the number of
                such rows and the first of them.
        """
        if isinstance(bad, pa.ChunkedArray):
            bad = bad.combine_chunks()
        mask = bad if isinstance(bad, np.ndarray) else pc.fill_null(bad, False).to_numpy(zero_copy_only=False)
        mask = np.asarray(mask, bool)
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        text = (
            f"`{column}` holds {finding} in {rows.size} of {mask.size} rows, {first_rows(rows)}: "
            f"{[values[row].as_py() for row in rows[:_NUM_SHOWN].tolist()]}.{f' {advice}' if advice else ''}"
        )
        if self._on_invalid == "fail":
            raise ValueError(f"{text} Correct them, or leave them out with on_invalid='drop'.")
        self._bad |= mask
        self._findings.append(text)

    def valid_rows(self, *, stacklevel: int = 2) -> pa.Array | None:
        """Gives the rows to keep, or None if all are valid, and warns about the others.

        Args:
            stacklevel: Which caller the warning points at: 2 is the caller of this method.
        """
        if not self._findings:
            return None
        warnings.warn(
            f"Left out {self._bad.sum()} of {self._bad.size} rows. {' '.join(self._findings)}", stacklevel=stacklevel
        )
        return pa.array(np.flatnonzero(~self._bad))
