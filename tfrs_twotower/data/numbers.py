"""Reading numbers, such as ratings and weights, in the forms in which people write them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.cleaning import InvalidRows

_NUMBER = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$"
_COMMA_NUMBER = r"^\s*[-+]?[0-9]+(,[0-9]+)?\s*$"
_COMMA = r"^\s*[-+]?[0-9]+,[0-9]+\s*$"
_COMMA_THOUSANDS = r"^\s*[-+]?[1-9][0-9]{0,2},[0-9]{3}\s*$"
_TRUE_WORDS, _FALSE_WORDS = ("true", "yes", "t", "y"), ("false", "no", "f", "n")


def read_numbers(column: pa.ChunkedArray, name: str, invalid: InvalidRows, notes: list[str]) -> pa.ChunkedArray:
    """Converts numbers, or text that shows numbers, to float32. Truth values, also as words, become 1 and 0.

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
    if pa.types.is_string(kind):
        numbers = _from_text(column, name, notes)
    elif pa.types.is_boolean(kind):
        notes.append(f"The truth values in `{name}` are read as numbers: true as 1, false as 0.")
        numbers = column.cast(pa.float32())
    elif _is_number(kind) or pa.types.is_null(kind):
        numbers = _without_dictionary(column).cast(pa.float32(), safe=False)
    else:
        raise ValueError(f"`{name}` must hold numbers. Received: {kind}.")
    finite = pc.fill_null(pc.is_finite(numbers), False)
    invalid.add(name, "values that are not finite numbers", pc.invert(finite), column)
    return pc.fill_null(numbers, float("nan"))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _without_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type)


def _from_text(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    """Reads the distinct values, which are few where many rows have ratings."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries()
    if not encoded.num_chunks:
        return pa.chunked_array([], pa.float32())
    numbers = _parse(encoded.chunk(0).dictionary, name, notes)
    return pa.chunked_array([numbers.take(chunk.indices) for chunk in encoded.chunks], pa.float32())


def _parse(values: pa.Array, name: str, notes: list[str]) -> pa.Array:
    present = values.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(values), ""), False))
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    is_word = pc.is_in(words, value_set=pa.array([*_TRUE_WORDS, *_FALSE_WORDS]))
    is_digit = pc.fill_null(pc.is_in(words, value_set=pa.array(["0", "1"])), False)
    is_number = pc.fill_null(pc.match_substring_regex(values, _NUMBER), False)
    # What is neither a word nor a number does not tell how the others are meant.
    if pc.any(is_word).as_py() and not pc.any(pc.and_not(is_number, is_digit)).as_py():
        is_true = pc.is_in(words, value_set=pa.array([*_TRUE_WORDS, "1"]))
        found = sorted(set(words.filter(is_word).to_pylist()))
        shown = ", ".join(f"{word} as {int(word in _TRUE_WORDS)}" for word in found)
        notes.append(f"The words in `{name}` are read as numbers: {shown}.")
        return pc.if_else(pc.or_(is_word, is_digit), is_true.cast(pa.float32()), None)
    if len(present) and pc.all(pc.match_substring_regex(present, _COMMA_NUMBER)).as_py():
        with_comma = present.filter(pc.match_substring_regex(present, _COMMA))
        if len(with_comma):
            example = with_comma[0].as_py().strip()
            if pc.all(pc.match_substring_regex(with_comma, _COMMA_THOUSANDS)).as_py():
                raise ValueError(
                    f"`{name}` holds numbers such as {example}, whose comma may divide a fraction or thousands. Write "
                    "them with a decimal point, or without a comma."
                )
            notes.append(f"The comma in numbers of `{name}` such as {example} is read as a decimal comma.")
            values = pc.replace_substring(values, ",", ".")
        is_number = pc.match_substring_regex(values, _NUMBER)
    return pc.if_else(is_number, pc.utf8_trim_whitespace(values), None).cast(pa.float32())
