"""Converting ids, numbers and times of a user's table, and collecting the rows where that is impossible."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.times import seconds

#: What to do with rows that cannot be used: raise an error, or leave them out and warn how many they were.
OnInvalid = Literal["fail", "drop"]

_NUM_SHOWN = 5
_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"


class InvalidRows:
    """Collects the rows of a table that cannot be used, or fails at the first of them.

    Example:
        >>> invalid = InvalidRows(3, "fail")
        >>> stars = pa.array([5.0, -1.0, 3.0])
        >>> invalid.add("stars", "negative numbers", pc.less(stars, 0), stars)
        Traceback (most recent call last):
        ValueError: `stars` holds negative numbers in 1 of 3 rows, the first in rows [1]: [-1.0]. ...
    """

    def __init__(self, num_rows: int, on_invalid: OnInvalid) -> None:
        self._bad = np.zeros(num_rows, bool)
        self._on_invalid = on_invalid
        self._findings: list[str] = []

    def add(self, column: str, finding: str, bad: pa.Array, values: Any) -> None:
        """Marks the rows that have a fault.

        Args:
            column: Name of the column with the fault.
            finding: What is wrong with the values, such as "negative numbers".
            bad: bool [num_rows], True where a row has the fault; null counts as False.
            values: [num_rows], the values as the user gave them.

        Raises:
            ValueError: If a row has the fault and `on_invalid` is "fail". The message names the column, the number of
                such rows and the first of them.
        """
        mask = np.asarray(pc.fill_null(bad, False).to_numpy(zero_copy_only=False), bool)
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        shown = rows[:_NUM_SHOWN].tolist()
        text = (
            f"`{column}` holds {finding} in {rows.size} of {mask.size} rows, the first in rows {shown}: "
            f"{[values[row].as_py() for row in shown]}."
        )
        if self._on_invalid == "fail":
            raise ValueError(f"{text} Correct them, or leave them out with on_invalid='drop'.")
        self._bad |= mask
        self._findings.append(text)

    def valid_rows(self) -> pa.Array | None:
        """Gives the rows to keep, or None if all are valid, and warns the caller's caller about the others."""
        if not self._findings:
            return None
        warnings.warn(f"Left out {self._bad.sum()} of {self._bad.size} rows. {' '.join(self._findings)}", stacklevel=3)
        return pa.array(np.flatnonzero(~self._bad))


def read_ids(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Converts ids to strings.

    Args:
        column: Strings, integers, or floats that are whole numbers.
        name: What errors call the column.

    Returns:
        string [num_rows], null where the id is missing.

    Raises:
        TypeError: If the column holds anything else.

    Example:
        >>> read_ids(pa.chunked_array([[7.0, None]]), "ratings.customer").to_pylist()
        ['7', None]
    """
    values = column.combine_chunks()
    if pa.types.is_null(values.type):
        return values.cast(pa.string())
    if pa.types.is_floating(values.type):
        # A data frame turns a column of integers into floats when one of them is missing.
        values = pc.if_else(pc.is_nan(values), None, values)
        if not pc.all(pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2**53))).as_py():
            raise TypeError(f"`{name}` must hold strings or integers. Received: {values.type} with fractions.")
        values = values.cast(pa.int64())
    if pa.types.is_integer(values.type):
        # Casting the distinct values only is faster than casting every row.
        encoded = values.dictionary_encode()
        return encoded.dictionary.cast(pa.string()).take(encoded.indices)
    if pa.types.is_string(values.type):
        return values
    raise TypeError(f"`{name}` must hold strings or integers. Received: {values.type}.")


def is_missing(ids: pa.Array) -> pa.Array:
    """Tells which ids are null or empty.

    Args:
        ids: string [num_rows].

    Returns:
        bool [num_rows].

    Example:
        >>> is_missing(pa.array(["a", "", None])).to_pylist()
        [False, True, True]
    """
    return pc.or_kleene(pc.is_null(ids), pc.equal(ids, ""))


def read_numbers(values: pa.Array, column: str, invalid: InvalidRows) -> pa.Array:
    """Converts numbers, or text that shows numbers, to float32.

    Args:
        values: [num_rows], the column's values.
        column: Name of the column.
        invalid: Receives the rows without a finite number.

    Returns:
        float32 [num_rows], finite except in the rows found invalid.

    Raises:
        ValueError: If the column's type is not one of numbers or text.

    Example:
        >>> read_numbers(pa.array(["1.5", " 2 "]), "stars", InvalidRows(2, "fail")).to_pylist()
        [1.5, 2.0]
    """
    given = values
    if pa.types.is_string(values.type):
        values = pc.if_else(pc.match_substring_regex(values, _NUMBER), pc.utf8_trim_whitespace(values), None)
    try:
        numbers = values.cast(pa.float32(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"`{column}` must hold numbers. Received: {values.type}.") from error
    finite = pc.fill_null(pc.is_finite(numbers), False)
    invalid.add(column, "values that are not finite numbers", pc.invert(finite), given)
    return pc.fill_null(numbers, float("nan"))


def read_times(values: pa.Array, column: str, invalid: InvalidRows) -> pa.Array:
    """Converts times in any form that `seconds` reads.

    Args:
        values: [num_rows], the column's values.
        column: Name of the column.
        invalid: Receives the rows without a time.

    Returns:
        int64 [num_rows], seconds since 1970-01-01 UTC, 0 in the rows found invalid.

    Raises:
        ValueError: If the column's type is not one of times.

    Example:
        >>> read_times(pa.array(["1970-01-02"]), "when", InvalidRows(1, "fail")).to_pylist()
        [86400]
    """
    try:
        times = seconds(values)
    except TypeError as error:
        raise ValueError(f"`{column}` must hold times. Received: {values.type}.") from error
    invalid.add(column, "values that are not times", pc.is_null(times), values)
    return pc.fill_null(times, 0)
