"""Keeping columns of text small while a file is read, without losing anything of the text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

# 007 is text, not a number, and so is an integer that float64 does not hold exactly.
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})?$"
_FLOAT = r"^(-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]+)?|[nN]a[nN]|-?inf)?$"
#: What stands for a missing value among numbers, as a pattern; NaN is a number to Arrow.
MISSING_NUMBER = r"^(?i:na|n/a|#n/a|<na>|null|none)?$"

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def compact(text: pa.Array) -> pa.Array:
    """Keeps one block of a column of text as integers or as a dictionary.

    Args:
        text: string [num_rows] without nulls.

    Returns:
        int64 [num_rows] if every value is an integer in its usual form or empty, which becomes null; otherwise a
        dictionary of the distinct values if values recur, or else the text itself. The text can be made of all of these
        again.

    Example:
        >>> compact(pa.array(["7", ""])).to_pylist(), compact(pa.array(["007", "8"])).to_pylist()
        ([7, None], ['007', '8'])
    """
    if pc.all(pc.match_substring_regex(text, _INTEGER)).as_py() is not False:
        return pc.if_else(pc.equal(text, ""), None, text).cast(pa.int64())
    encoded = text.dictionary_encode()
    return encoded if 2 * len(encoded.dictionary) <= len(text) else text


def join_blocks(blocks: Sequence[pa.Array], *, is_text: bool) -> pa.ChunkedArray:
    """Joins the blocks of one column, and turns them into numbers if every value is one.

    Args:
        blocks: The blocks, each as `compact` gives it.
        is_text: Whether the column stays text whatever it looks like.

    Returns:
        int64, float64, strings, or a dictionary of strings with the same dictionary in every chunk. Numbers have null
        where the text was empty, or a word such as NA for a missing value.

    Example:
        >>> blocks = [compact(pa.array(["7", ""])), compact(pa.array(["1.5"]))]
        >>> join_blocks(blocks, is_text=False).to_pylist(), join_blocks(blocks, is_text=True).to_pylist()
        ([7.0, None, 1.5], ['7', '', '1.5'])
    """
    if all(pa.types.is_integer(block.type) for block in blocks):
        numbers = pa.chunked_array(blocks, pa.int64())
        if not is_text and numbers.null_count < len(numbers):
            return numbers
    if any(pa.types.is_string(block.type) for block in blocks):
        text = pa.chunked_array([_as_text(block) for block in blocks], pa.string())
        values = text
    else:
        text = pa.chunked_array([_as_dictionary(block) for block in blocks], _DICTIONARY).unify_dictionaries()
        values = pa.chunked_array([chunk.dictionary for chunk in text.chunks[:1]], pa.string())
    numbers = None if is_text else _parse_numbers(values)
    if numbers is None or values is text:
        return text if numbers is None else numbers
    chunks = [numbers.chunk(0).take(chunk.indices) for chunk in text.chunks]
    return pa.chunked_array(chunks, numbers.type)


def _parse_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Turns text into integers or floats; None if a value is neither a number nor missing, or all are missing."""
    present = pc.if_else(pc.match_substring_regex(values, MISSING_NUMBER), None, values)
    if present.null_count == len(present):
        return None
    for pattern, kind in ((_INTEGER, pa.int64()), (_FLOAT, pa.float64())):
        if all(pc.all(pc.match_substring_regex(chunk, pattern)).as_py() is not False for chunk in present.chunks):
            return present.cast(kind)
    return None


def decode(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turns a dictionary into plain values; leaves other columns as they are.

    Args:
        column: Any column.

    Example:
        >>> decode(pa.chunked_array([pa.array(["a"]).dictionary_encode()])).type
        DataType(string)
    """
    if not pa.types.is_dictionary(column.type):
        return column
    kind = column.type.value_type
    return pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], kind)


def decode_table(table: pa.Table, columns: Collection[str] | None = None) -> pa.Table:
    """Turns the dictionaries of a table into plain values.

    Args:
        table: Any table.
        columns: Columns to turn; all by default.

    Example:
        >>> decode_table(pa.table({"a": pa.array(["x"]).dictionary_encode()})).schema.types
        [DataType(string)]
    """
    wanted = table.column_names if columns is None else columns
    return pa.table({n: decode(table[n]) if n in wanted else table[n] for n in table.column_names})


def _as_dictionary(block: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(block.type):
        return block
    encoded = block.dictionary_encode()
    values = pa.concat_arrays([encoded.dictionary.cast(pa.string()), pa.array([""])])
    # Null is the empty text.
    indices = pc.fill_null(encoded.indices, pa.scalar(len(values) - 1, pa.int32()))
    return pa.DictionaryArray.from_arrays(indices, values)


def _as_text(block: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(block.type):
        return block.dictionary.take(block.indices)
    return pc.fill_null(block.cast(pa.string()), "")
