"""Reading ids: every id becomes a string, and what cannot be an id is told apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import plain_column
from tfrs_twotower.data.compact import decode

# What other programs write for a missing value.
_MISSING_WORDS = r"^(?i:null|na|nan|none|n/a|<na>|#n/a)$"
_LETTERS = r"^\p{L}+$"
_WHOLE = r"^-?(0|[1-9][0-9]*)(\.0+)?$"
_WHOLE_FLOAT = r"^-?(0|[1-9][0-9]*)\.0+$"
# Whole numbers up to this size are exact in a float of so many bits.
_EXACT = {32: 2**24, 64: 2**53}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ids:
    """A column of ids.

    Attributes:
        codes: int32 [num_rows], the place of each row's id in `values`; -1 where the id is missing.
        values: string [num_values], the distinct ids, in the order in which they first appear.
        notes: What was assumed or changed, as sentences.
    """

    codes: np.ndarray
    values: pa.Array
    notes: tuple[str, ...] = ()

    @property
    def is_missing(self) -> np.ndarray:
        """Tells which ids are missing, bool [num_rows]."""
        return self.codes < 0


def read_ids(column: pa.ChunkedArray, name: str) -> Ids:
    """Reads a column of ids. Only the distinct values are converted, so that many rows take little time.

    White space around an id is removed. Whole numbers that are written with a fraction of zero, such as 12.0, become
    12 if all ids of the column are whole numbers. A word such as NULL or NaN is a missing id, unless most other ids of
    the column are words of letters alone, as country codes are, among which NA is Namibia.

    Args:
        column: Text, integers, or floats and decimals that are whole numbers.
        name: What errors and notes call the column.

    Raises:
        TypeError: If the column holds anything else.
        ValueError: If a float or its text is too great to be exact.

    Example:
        >>> ids = read_ids(pa.chunked_array([[" 7", "8", "7", "NULL"]]), "ratings.customer")
        >>> ids.values.to_pylist(), ids.codes.tolist()
        (['7', '8'], [0, 1, 0, -1])
    """
    values, codes = _distinct(column)
    if not pa.types.is_decimal(values.type):
        # The caller's table may hold text as bytes, or in another of Arrow's types for text.
        values = plain_column(pa.chunked_array([values]), name).combine_chunks()
    is_text = pa.types.is_string(values.type)
    values = values if is_text else _as_text(values, name)
    notes: list[str] = []
    if is_text:
        values = _without_blanks(values, name, notes)
        values = _without_missing_words(values, name, notes)
        values = _without_fractions(values, name, notes)
    values = pc.if_else(pc.equal(values, ""), None, values)
    # Several values may have become the same id.
    encoded = values.dictionary_encode()
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    # One more for the codes of nulls, -1.
    return Ids(codes=np.append(places, np.int32(-1))[codes], values=encoded.dictionary, notes=tuple(notes))


def note_twins(values: pa.Array, name: str) -> list[str]:
    r"""Counts the ids that another id equals if both are written in Unicode's normal form NFC.

    Args:
        values: string [num_values], distinct ids.
        name: What the note calls the column.

    Returns:
        One sentence if there are such ids.

    Example:
        >>> note_twins(pa.array(["Café", "Cafe\u0301"]), "shop")
        ["2 ids of `shop` look the same as another id, such as 'Café', but are spelt by other Unicode characters. ..."]
    """
    normal = pc.utf8_normalize(values, form="NFC").dictionary_encode()
    if len(normal.dictionary) == len(values):
        return []
    counts = np.bincount(normal.indices.to_numpy())
    twins = counts[counts > 1]
    example = normal.dictionary[int(np.flatnonzero(counts > 1)[0])].as_py()
    return [
        f"{twins.sum()} ids of `{name}` look the same as another id, such as {example!r}, but are spelt by other "
        "Unicode characters. They stay different ids."
    ]


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Finds the distinct values of a column.

    Returns:
        (values, codes): the distinct values; int32 [num_rows], -1 for null.
    """
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        values = column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
        indices = [pc.fill_null(chunk.indices.cast(pa.int32()), -1).to_numpy() for chunk in column.chunks]
        return values, np.concatenate([np.zeros(0, np.int32), *indices])
    try:
        encoded = column.dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return decode(column).combine_chunks(), np.arange(len(column), dtype=np.int32)
    return _distinct(encoded)


def _as_text(values: pa.Array, name: str) -> pa.Array:
    kind = values.type
    if pa.types.is_null(kind):
        return values.cast(pa.string())
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    if pa.types.is_decimal(kind):
        numbers = values.to_pylist()
        is_whole = pa.array([number is None or int(number) == number for number in numbers], pa.bool_())
        if pc.all(is_whole).as_py() is False:
            raise _not_ids(values, is_whole, name, f"{kind} with fractions")
        return pa.array([None if number is None else str(int(number)) for number in numbers], pa.string())
    if not pa.types.is_floating(kind):
        raise TypeError(
            f"`{name}` must hold strings or integers. Received: {kind}. Convert the ids to text or integers first."
        )
    exact = _EXACT[kind.bit_width]
    # A data frame turns a column of integers into floats when one of them is missing.
    values = values.cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), None, values)
    is_whole = pc.fill_null(pc.and_(pc.equal(pc.floor(values), values), pc.is_finite(values)), True)
    if pc.all(is_whole).as_py() is False:
        raise _not_ids(values, is_whole, name, f"float{kind.bit_width} with fractions")
    if pc.any(pc.greater_equal(pc.abs(values), exact)).as_py():
        first = values.filter(pc.greater_equal(pc.abs(values), exact))[0].as_py()
        raise _inexact(name, f"{first:.0f}", exact, f"a column of float{kind.bit_width}")
    return values.cast(pa.int64()).cast(pa.string())


def _not_ids(values: pa.Array, is_good: pa.Array, name: str, received: str) -> TypeError:
    first = values.filter(pc.invert(is_good))[0].as_py()
    return TypeError(
        f"`{name}` must hold strings or integers. Received: {received}, such as {first}. Is it the right column?"
    )


def _inexact(name: str, first: str, exact: int, where: str) -> ValueError:
    return ValueError(
        f"`{name}` holds whole numbers beyond {exact:,} in {where}, such as {first}: a float has lost digits there, so "
        "that different ids may have become one. Read the ids as text or as integers."
    )


def _without_blanks(values: pa.Array, name: str, notes: list[str]) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(values)
    num_changed = pc.sum(pc.and_(pc.not_equal(trimmed, values), pc.not_equal(trimmed, ""))).as_py()
    if num_changed:
        notes.append(f"White space around ids of `{name}` was removed: {num_changed} different ids had some.")
    return trimmed


def _without_missing_words(values: pa.Array, name: str, notes: list[str]) -> pa.Array:
    is_word = pc.fill_null(pc.match_substring_regex(values, _MISSING_WORDS), False)
    if not pc.any(is_word).as_py():
        return values
    words = ", ".join(repr(word) for word in values.filter(is_word).to_pylist())
    others = values.filter(pc.and_(pc.invert(is_word), pc.fill_null(pc.not_equal(values, ""), False)))
    num_letters = pc.sum(pc.match_substring_regex(others, _LETTERS)).as_py() or 0
    if num_letters * 2 > len(others):
        notes.append(
            f"In `{name}` {words} is read as an id and not as a missing one, because most other ids there are words of "
            "letters, too. Remove these rows if the id is missing."
        )
        return values
    notes.append(f"In `{name}` {words} is read as a missing id, because most other ids are not words of letters.")
    return pc.if_else(is_word, "", values)


def _without_fractions(values: pa.Array, name: str, notes: list[str]) -> pa.Array:
    present = values.filter(pc.fill_null(pc.not_equal(values, ""), False))
    is_float = pc.match_substring_regex(present, _WHOLE_FLOAT)
    if not pc.any(is_float).as_py() or not pc.all(pc.match_substring_regex(present, _WHOLE)).as_py():
        return values
    floats = present.filter(is_float)
    digits = pc.replace_substring_regex(floats, r"^-?([0-9]+)\.0+$", r"\1")
    is_inexact = pc.greater_equal(pc.if_else(pc.less_equal(pc.utf8_length(digits), 15), "0", digits).cast(pa.float64()),
                                  float(_EXACT[64]))  # fmt: skip
    if pc.any(is_inexact).as_py():
        raise _inexact(name, floats.filter(is_inexact)[0].as_py(), _EXACT[64], "the form of floats")
    example = floats[0].as_py()
    notes.append(
        f"{len(floats)} ids of `{name}` are whole numbers that are written with a fraction, such as {example}: they "
        f"are read as {example.partition('.')[0]}."
    )
    return pc.replace_substring_regex(values, r"\.0+$", "")
