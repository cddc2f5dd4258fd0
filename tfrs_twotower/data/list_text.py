"""Columns of lists that are written as text, such as Action|Comedy."""

from __future__ import annotations

import ast
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_BRACKETS = r"^\s*\[.*\]\s*$"
# Each part must occur in so many different lists on average; the parts of codes such as US|17 do not.
_MIN_RECURRENCE = 3


def read_lists(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    """Turns a column of text into a column of lists, if its values are written as lists.

    These are lists of JSON or Python, such as ["a", "b"], if all values are; and words divided by `|`, if the words
    recur: a word occurs in three different lists or more on average.

    Args:
        column: Any column; only text is examined.
        name: What the note calls the column.
        notes: Receives what was assumed.

    Returns:
        A column of lists, or the column as it was.

    Example:
        >>> notes = []
        >>> read_lists(pa.chunked_array([['["a", "b"]', "[]"]]), "kinds", notes).to_pylist()
        [['a', 'b'], []]
        >>> notes
        ['The text in `kinds` is read as lists, such as ["a", "b"].']
    """
    if not pa.types.is_string(column.type):
        return column
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return column
    values = encoded.chunk(0).dictionary
    lists = _from_brackets(values)
    if lists is None:
        lists = _from_bars(values)
    if lists is None:
        return column
    notes.append(f"The text in `{name}` is read as lists, such as {_find_example(values)}.")
    return pa.chunked_array([lists.take(chunk.indices) for chunk in encoded.chunks], lists.type)


def parse_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turns text into lists where it is known to be lists, in the forms that `read_lists` finds.

    Args:
        column: Text.

    Returns:
        A column of lists. Text without brackets and bars is a list of one.

    Example:
        >>> parse_lists(pa.chunked_array([["Action|Comedy", "Drama", ""]])).to_pylist()
        [['Action', 'Comedy'], ['Drama'], []]
    """
    values = column.combine_chunks()
    lists = _from_brackets(values)
    return pa.chunked_array([_divide(values) if lists is None else lists])


def _find_example(values: pa.Array) -> str:
    return next((value for value in values.to_pylist() if "|" in value or len(value.strip()) > 2), "[]")


def _from_brackets(values: pa.Array) -> pa.Array | None:
    present = pc.not_equal(pc.utf8_trim_whitespace(values), "")
    if not pc.any(present).as_py() or not pc.all(pc.match_substring_regex(values.filter(present), _BRACKETS)).as_py():
        return None
    parsed = [_parse(value) if value.strip() else None for value in values.to_pylist()]
    if any(value is None and given.as_py().strip() for value, given in zip(parsed, values, strict=True)):
        return None
    items = [item for value in parsed if value for item in value]
    if all(isinstance(item, str) for item in items):
        return pa.array(parsed, pa.list_(pa.string()))
    if all(isinstance(item, int) and not isinstance(item, bool) and abs(item) < 2**63 for item in items):
        return pa.array(parsed, pa.list_(pa.int64()))
    if all(isinstance(item, int | float) and not isinstance(item, bool) for item in items):
        return pa.array(parsed, pa.list_(pa.float64()))
    return None


def _parse(text: str) -> list[Any] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    return None


def _from_bars(values: pa.Array) -> pa.Array | None:
    has_bar = pc.match_substring(values, "|")
    if (pc.sum(has_bar).as_py() or 0) < 2:
        return None
    lists = _divide(values)
    parts = lists.flatten()
    if pc.any(pc.equal(parts, "")).as_py() or len(parts) < _MIN_RECURRENCE * len(pc.unique(parts)):
        return None
    return lists


def _divide(values: pa.Array) -> pa.Array:
    """Divides each text at its bars; an empty one has no parts."""
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(values), "")
    lists = pc.if_else(pc.equal(trimmed, ""), pa.scalar([], pa.list_(pa.string())), pc.split_pattern(trimmed, "|"))
    return pa.ListArray.from_arrays(lists.offsets, pc.utf8_trim_whitespace(lists.flatten()))
