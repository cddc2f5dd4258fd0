"""Reading numbers, such as ratings, weights and prices, in the forms in which people write them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.cleaning import InvalidRows
from tfrs_twotower.data.compact import MISSING_NUMBER

_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
# A number with a decimal comma, of which points may divide the thousands: 1.299,95.
_COMMA = r"^\s*[-+]?([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+),[0-9]+\s*$"
_WHOLE = r"^\s*[-+]?[0-9]+\s*$"
# What begins with zeros is a code rather than a number.
_CODE = r"^\s*0[0-9]"
_FRACTION = r"[.,][0-9]"
_COMMA_THOUSANDS = r"^\s*[-+]?[1-9][0-9]{0,2},[0-9]{3}\s*$"
_TRUE_WORDS, _FALSE_WORDS = ("true", "yes", "t", "y"), ("false", "no", "f", "n")
# With more cells that are no numbers, a column is not meant to be one of numbers.
_MAX_SHARE_OF_ODD_CELLS = 0.1


def read_numbers(column: pa.ChunkedArray, name: str, invalid: InvalidRows, notes: list[str]) -> pa.ChunkedArray:
    """Converts numbers, or text that shows numbers, to float32. Truth values, also as words, become 1 and 0.

    Text is read in the way in which most cells can be read: as numbers with a decimal point, as words, or as numbers
    with a decimal comma. The other cells are invalid.

    Args:
        column: [num_rows], the column's values.
        name: Name of the column.
        invalid: Receives the rows without a finite number.
        notes: Receives what was assumed.

    Returns:
        float32 [num_rows], finite except in the rows found invalid.

    Raises:
        ValueError: If the column's type is not one of numbers or text, or it cannot be told whether a comma is a
            decimal comma.

    Example:
        >>> notes = []
        >>> read_numbers(pa.chunked_array([["yes", "no"]]), "liked", InvalidRows(2, "fail"), notes).to_pylist()
        [1.0, 0.0]
        >>> notes
        ['The words in `liked` are read as numbers: no as 0, yes as 1.']
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    note = ""
    if pa.types.is_string(kind):
        numbers, note = _from_text(column, name)
    elif pa.types.is_boolean(kind):
        note = f"The truth values in `{name}` are read as numbers: true as 1, false as 0."
        numbers = column.cast(pa.float32())
    elif _is_number(kind) or pa.types.is_null(kind):
        numbers = _without_dictionary(column).cast(pa.float32(), safe=False)
    else:
        raise ValueError(f"`{name}` must hold numbers. Received: {kind}.")
    notes += [note] if note else []
    finite = pc.fill_null(pc.is_finite(numbers), False)
    invalid.add(name, "values that are not finite numbers", pc.invert(finite), column, advice=note)
    return pc.fill_null(numbers, float("nan"))


def read_decimal_commas(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    """Turns a column of text into numbers, if all its values are numbers and some have a decimal comma.

    A value that begins with zeros, such as 007 or 01,5, is a code and no number.

    Args:
        column: Any column; only text is examined.
        name: What notes call the column.
        notes: Receives what was assumed.

    Returns:
        float64 [num_rows], null where the text is empty or a word such as NA; or the column as it was.

    Example:
        >>> notes = []
        >>> read_decimal_commas(pa.chunked_array([["12,53", "1.299,95", "8", ""]]), "price", notes).to_pylist()
        [12.53, 1299.95, 8.0, None]
        >>> notes
        ['The comma in numbers of `price` such as 12,53 is read as a decimal comma.']
    """
    if not pa.types.is_string(column.type) or not len(column):
        return column
    encoded = column.dictionary_encode().unify_dictionaries()
    values = encoded.chunk(0).dictionary
    text, is_missing = _with_points(values), pc.match_substring_regex(values, MISSING_NUMBER)
    commas = _with_commas(values)
    if pc.any(pc.match_substring_regex(values, _CODE)).as_py():
        return column
    if not len(commas) or not pc.all(pc.or_(text.is_valid(), is_missing)).as_py():
        notes += _note_odd_cells(values, _count_cells(encoded), is_missing, name)
        return column
    if _may_be_thousands(commas):
        notes.append(
            f"`{name}` holds numbers such as {commas[0].as_py()}, whose comma may divide a fraction or thousands. The "
            "column stays text; write them with a decimal point, or without a comma."
        )
        return column
    notes.append(_describe_commas(commas, name))
    numbers = text.cast(pa.float64())
    return pa.chunked_array([numbers.take(chunk.indices) for chunk in encoded.chunks], pa.float64())


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)


def _from_text(column: pa.ChunkedArray, name: str) -> tuple[pa.ChunkedArray, str]:
    """Reads the distinct values, which are few where many rows have ratings.

    Returns:
        (numbers, note): float32 [num_rows], null where a cell cannot be read; what was assumed, "" for nothing.
    """
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries()
    if not encoded.num_chunks:
        return pa.chunked_array([], pa.float32()), ""
    values = encoded.chunk(0).dictionary
    numbers, note = _parse(values, _count_cells(encoded), name)
    return pa.chunked_array([numbers.take(chunk.indices) for chunk in encoded.chunks], pa.float32()), note


def _count_cells(encoded: pa.ChunkedArray) -> np.ndarray:
    """Counts the rows with each value of a dictionary, int64 [num_values]."""
    indices = [chunk.indices.drop_null().to_numpy() for chunk in encoded.chunks]
    return np.bincount(np.concatenate(indices), minlength=len(encoded.chunk(0).dictionary))


def _note_odd_cells(values: pa.Array, num_cells: np.ndarray, is_missing: pa.Array, name: str) -> list[str]:
    """Says which few cells keep a column of fractions from being numbers; codes without fractions may be text."""
    ways = [way.is_valid().to_numpy(zero_copy_only=False) for way in (_read_points(values), _with_points(values))]
    is_number = max(ways, key=lambda way: int(num_cells[way].sum()))
    is_odd = ~is_number & ~pc.fill_null(is_missing, True).to_numpy(zero_copy_only=False)
    num_numbers, num_odd = int(num_cells[is_number].sum()), int(num_cells[is_odd].sum())
    fractions = values.filter(pc.and_(pa.array(is_number), pc.match_substring_regex(values, _FRACTION)))
    if not num_odd or not len(fractions) or num_odd > _MAX_SHARE_OF_ODD_CELLS * num_numbers:
        return []
    return [
        f"`{name}` holds numbers such as {fractions[0].as_py().strip()}, but stays text because of {num_odd} other "
        f"values, such as {values.filter(pa.array(is_odd))[0].as_py()!r}. Correct them, or leave these cells empty."
    ]


def _parse(values: pa.Array, num_cells: np.ndarray, name: str) -> tuple[pa.Array, str]:
    """Reads distinct values in the way that fits most cells; the first of several such ways."""
    points, words, commas = _read_points(values), _read_words(values), _with_points(values)
    num_points, num_words, num_commas = (
        int(num_cells[way.is_valid().to_numpy(zero_copy_only=False)].sum()) for way in (points, words, commas)
    )
    if num_points >= max(num_words, num_commas):
        return points, ""
    if num_words >= num_commas:
        return words, _describe_words(values, name)
    examples = _with_commas(values)
    if _may_be_thousands(examples):
        raise ValueError(
            f"`{name}` holds numbers such as {examples[0].as_py()}, whose comma may divide a fraction or thousands. "
            "Write them with a decimal point, or without a comma."
        )
    return commas.cast(pa.float32()), _describe_commas(examples, name)


def _read_points(values: pa.Array) -> pa.Array:
    is_number = pc.match_substring_regex(values, _NUMBER)
    return pc.if_else(is_number, pc.utf8_trim_whitespace(values), None).cast(pa.float32())


def _read_words(values: pa.Array) -> pa.Array:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    is_true = pc.is_in(words, value_set=pa.array([*_TRUE_WORDS, "1"]))
    is_false = pc.is_in(words, value_set=pa.array([*_FALSE_WORDS, "0"]))
    return pc.if_else(pc.or_(is_true, is_false), is_true.cast(pa.float32()), None)


def _describe_words(values: pa.Array, name: str) -> str:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    found = sorted({word for word in words.to_pylist() if word in (*_TRUE_WORDS, *_FALSE_WORDS)})
    shown = ", ".join(f"{word} as {int(word in _TRUE_WORDS)}" for word in found)
    return f"The words in `{name}` are read as numbers: {shown}."


def _with_points(values: pa.Array) -> pa.Array:
    """Returns whole numbers and numbers with a decimal comma as text with a decimal point, null for all else."""
    is_number = pc.or_(pc.match_substring_regex(values, _COMMA), pc.match_substring_regex(values, _WHOLE))
    text = pc.replace_substring(pc.utf8_trim_whitespace(values), ".", "")
    return pc.if_else(is_number, pc.replace_substring(text, ",", "."), None)


def _with_commas(values: pa.Array) -> pa.Array:
    found = values.filter(pc.fill_null(pc.match_substring_regex(values, _COMMA), False))
    return pc.utf8_trim_whitespace(found)


def _may_be_thousands(commas: pa.Array) -> bool:
    return bool(pc.all(pc.match_substring_regex(commas, _COMMA_THOUSANDS)).as_py())


def _describe_commas(commas: pa.Array, name: str) -> str:
    return f"The comma in numbers of `{name}` such as {commas[0].as_py()} is read as a decimal comma."
