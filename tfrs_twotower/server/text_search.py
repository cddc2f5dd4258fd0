"""Search in columns of texts, whatever the case and the accents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Words of a text that are looked for; others make no difference.
_MAX_WORDS = 8
_MARKS = r"\p{Mn}"


def fold(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Makes texts alike that differ in case or accents alone.

    Args:
        texts: Strings; null stays null.

    Example:
        >>> fold(pa.array(["Amélie", "ÅNGSTRÖM"])).to_pylist()
        ['amelie', 'angstrom']
    """
    texts = texts.cast(pa.string())
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.replace_substring_regex(pc.utf8_normalize(texts, "NFKD"), _MARKS, "")
    return pc.utf8_lower(texts)


def search(columns: Sequence[Any], text: str, limit: int) -> tuple[np.ndarray, int]:
    """Finds rows that contain all words in one of the columns, those first that are or begin with the text.

    Args:
        columns: Folded texts.
        text: The words.
        limit: Maximum number of rows.

    Returns:
        (rows, number of all rows that were found).
    """
    whole = fold(pa.array([" ".join(text.split())]))[0].as_py()
    if not whole:
        return np.arange(min(limit, len(columns[0]))), len(columns[0])
    found = np.ones(len(columns[0]), bool)
    for word in whole.split()[:_MAX_WORDS]:
        found &= _any(pc.match_substring(column, word) for column in columns)
    rows = np.flatnonzero(found)
    is_start = _any(pc.starts_with(column.take(rows), whole) for column in columns)
    is_equal = _any(pc.equal(column.take(rows), whole) for column in columns)
    order = np.lexsort((~is_start, ~is_equal))
    return rows[order][:limit], len(rows)


def _any(masks: Iterable[Any]) -> np.ndarray:
    arrays = [pc.fill_null(mask, False).to_numpy(zero_copy_only=False) for mask in masks]
    combined: np.ndarray = np.logical_or.reduce(arrays)
    return combined
