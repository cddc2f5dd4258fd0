"""Converting times of every form to seconds since 1970-01-01 UTC."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.cleaning import InvalidRows
from tfrs_twotower.data.time_text import TIME_FORMS, DayOrder, find_day_order, parse_times

_INTEGER = r"^-?[0-9]{1,18}$"
_DIGITS = r"^\s*-?[0-9]{1,18}\s*$|^\s*[0-9]{19}\s*$"
_FRACTION = r"^\s*-?[0-9]{1,18}\.[0-9]+\s*$"
_MAX_SECONDS = 2.0**63
# The first second of the year 2200.
_END = 7_258_118_400
_UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_BLOCK_ROWS = 2**20

#: Stands for a missing time in tensors and arrays, which have no nulls: the lowest int64. `seconds` reads it as null.
NO_TIME = -(2**63)


def seconds(values: pa.Array) -> pa.Array:
    """Converts times to whole seconds since 1970-01-01 UTC, rounded down.

    Args:
        values: Integers or floats (seconds since 1970), dates, timestamps, or text: ISO 8601 dates and times, with or
            without a fraction and an offset (UTC is assumed without an offset), or digits (seconds since 1970).

    Returns:
        int64 [len(values)], null where the value is null, not an existing time (such as 31 February), `NO_TIME`, or
        beyond 64 bits.

    Raises:
        TypeError: If the values are of any other type.

    Example:
        >>> seconds(pa.array(["1970-01-02", "1970-01-01T02:00:00.5+01:00", "1970-02-31", "7"])).to_pylist()
        [86400, 3600, None, 7]
        >>> seconds(pa.array([NO_TIME, 5])).to_pylist()
        [None, 5]
    """
    types = pa.types
    if types.is_string(values.type):
        digits = pc.if_else(pc.match_substring_regex(values, _INTEGER), values, None).cast(pa.int64())
        return pc.coalesce(digits, parse_times(values))
    if types.is_timestamp(values.type) or types.is_date(values.type):
        return _from_calendar(values)
    if types.is_floating(values.type):
        values = values.cast(pa.float64())
        is_representable = pc.less(pc.abs(values), _MAX_SECONDS)  # false for NaN and infinity
        return pc.if_else(is_representable, pc.floor(values), None).cast(pa.int64())
    if types.is_uint64(values.type):
        return pc.if_else(pc.less(values, pa.scalar(2**63, pa.uint64())), values, None).cast(pa.int64())
    if types.is_integer(values.type) or types.is_null(values.type):
        values = values.cast(pa.int64())
        return pc.if_else(pc.equal(values, NO_TIME), None, values)
    raise TypeError(f"Times must be numbers, dates, timestamps or text. Received: {values.type}.")


def read_times(column: pa.ChunkedArray, name: str, invalid: InvalidRows, notes: list[str]) -> pa.ChunkedArray:
    """Converts a user's column of times to seconds since 1970-01-01 UTC, rounded down.

    Numbers are read in the coarsest unit (seconds, milliseconds, microseconds or nanoseconds since 1970) in which the
    greatest of them lies before the year 2200. Numbers such as 20240131 are dates if all of them are. Of dates such as
    31/01/2024 the column must tell which number is the day, by a number above 12; with dots the day is the first.

    Args:
        column: [num_rows], numbers, dates, timestamps, or text in the forms of `TIME_FORMS`.
        name: Name of the column.
        invalid: Receives the rows without a time.
        notes: Receives what was assumed.

    Returns:
        int64 [num_rows], 0 in the rows found invalid.

    Raises:
        ValueError: If the column's type is not one of times, units are mixed, numbers are too coarse, or it cannot be
            told which number of a date is the day.

    Example:
        >>> notes = []
        >>> times = pa.chunked_array([[1704067200000, 1704153600000]])
        >>> read_times(times, "when", InvalidRows(2, "fail"), notes).to_pylist(), notes
        ([1704067200, 1704153600], ['The column `when` holds milliseconds since 1970.'])
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind):
        times = _from_text(column, name, notes)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        times = _from_numbers(column, name, notes)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = pa.chunked_array([_from_calendar(chunk) for chunk in column.chunks], pa.int64())
    elif pa.types.is_null(kind):
        times = column.cast(pa.int64())
    else:
        raise ValueError(f"`{name}` must hold times. Received: {kind}. {TIME_FORMS}")
    invalid.add(name, "values that are not times", pc.is_null(times), column, advice=TIME_FORMS)
    return pc.fill_null(times, 0)


def _from_calendar(values: pa.Array) -> pa.Array:
    """Converts dates and timestamps; those with a zone count from 1970 UTC already, whatever clocks show there."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s" if pa.types.is_date32(values.type) else "ms"))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
    numbers = values.cast(pa.int64())
    whole = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False) // per_second
    return pa.array(whole, mask=numbers.is_null().to_numpy(zero_copy_only=False))


def _from_text(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        # The distinct texts are read once.
        encoded = column.unify_dictionaries()
        if not encoded.num_chunks:
            return pa.chunked_array([], pa.int64())
        times = _from_text(pa.chunked_array([encoded.chunk(0).dictionary]), name, notes).combine_chunks()
        return pa.chunked_array([times.take(chunk.indices) for chunk in encoded.chunks], pa.int64())
    blocks = [column.slice(start, _BLOCK_ROWS).combine_chunks() for start in range(0, len(column), _BLOCK_ROWS)]
    digits = [pc.if_else(pc.match_substring_regex(block, _DIGITS), pc.utf8_trim_whitespace(block), None)
              for block in blocks]  # fmt: skip
    fractions = [pc.if_else(pc.match_substring_regex(block, _FRACTION), pc.utf8_trim_whitespace(block), None)
                 for block in blocks]  # fmt: skip
    if any(block.null_count < len(block) for block in fractions):
        both = [pc.coalesce(*pair).cast(pa.float64()) for pair in zip(digits, fractions, strict=True)]
        numbers = pa.chunked_array(both, pa.float64())
    else:
        numbers = pa.chunked_array([_cast_digits(block) for block in digits], pa.int64())
    read = _from_numbers(numbers, name, notes)
    if not read.null_count:
        return read
    order = _choose_day_order(blocks, name, notes)
    parsed = [
        pc.coalesce(read.slice(place * _BLOCK_ROWS, len(block)).combine_chunks(), parse_times(block, order))
        for place, block in enumerate(blocks)
    ]
    return pa.chunked_array(parsed, pa.int64())


def _cast_digits(digits: pa.Array) -> pa.Array:
    # 19 digits may exceed 64 bits; what does is later than the year 2200 in every unit.
    is_long = pc.and_(pc.equal(pc.utf8_length(digits), 19), pc.greater(digits, "9"))
    return pc.if_else(is_long, None, digits).cast(pa.int64())


def _choose_day_order(blocks: list[pa.Array], name: str, notes: list[str]) -> DayOrder | None:
    found = [find for find in map(find_day_order, blocks) if find.example is not None]
    if not found:
        return None
    told = {find.order for find in found if find.is_told}
    if len(told) == 1:
        example = next(find.example for find in found if find.is_told)
        order = next(iter(told))
        notes.append(f"Dates of `{name}` have the {order} first, as {example!r} shows.")
        return order
    if not told and all(find.order == "day" for find in found):
        notes.append(f"Dates of `{name}` such as {found[0].example!r} have the day first, as is usual with dots.")
        return "day"
    raise ValueError(
        f"`{name}` holds dates such as {found[0].example!r}, in which the day and the month cannot be told apart. "
        f"Write the dates as 2024-01-31. {TIME_FORMS}"
    )


def _from_numbers(column: pa.ChunkedArray, name: str, notes: list[str]) -> pa.ChunkedArray:
    """Converts numbers in the unit that their size tells."""
    kind = column.type
    numbers = column.cast(pa.float64()) if pa.types.is_floating(kind) else _whole(column)
    numbers = numbers.combine_chunks()

    def end(scale: int) -> pa.Scalar:
        """The first moment of the year 2200 in a unit."""
        return pa.scalar(_END * scale, pa.int64()).cast(numbers.type, safe=False)

    limit = end(_UNITS[-1][1])
    is_time = pc.fill_null(pc.and_(pc.less(numbers, limit), pc.greater(numbers, pc.negate(limit))), False)
    values = pc.if_else(is_time, numbers, None)
    if values.null_count == len(values):
        return pa.chunked_array([values.cast(pa.int64())])
    lowest, highest = (scalar.as_py() for scalar in pc.min_max(values).values())
    size = max(abs(lowest), abs(highest))
    if pa.types.is_floating(kind) and kind.bit_width < 64 and size >= 2**24:
        raise ValueError(
            f"`{name}` holds times as float{kind.bit_width}, which cannot tell times of this size apart: different "
            "times have become equal. Read them as int64 or float64."
        )
    dates = _from_dates(values, lowest, highest)
    if dates is not None:
        notes.append(f"Numbers of the column `{name}` such as {values.drop_null()[0].as_py():.0f} are read as dates.")
        return pa.chunked_array([dates])
    place = next(place for place, (_, scale) in enumerate(_UNITS) if size < _END * scale)
    unit, scale = _UNITS[place]
    if place:
        coarser, coarser_scale = _UNITS[place - 1]
        magnitude = pc.abs(values)
        is_coarser = pc.and_(pc.greater(magnitude, 0), pc.less(magnitude, end(coarser_scale)))
        if pc.any(is_coarser).as_py():
            row = pc.index(is_coarser, True).as_py()
            other = pc.index(pc.equal(magnitude, size), True).as_py()
            raise ValueError(
                f"`{name}` must hold times in one unit. Received: {values[row].as_py():.0f} in row {row} looks like "
                f"{coarser} or a coarser unit since 1970, {values[other].as_py():.0f} in row {other} like {unit}. "
                "Rows are counted from 0. Convert them to one unit."
            )
    notes.append(f"The column `{name}` holds {unit} since 1970.")
    mask = values.is_null().to_numpy(zero_copy_only=False)
    whole = np.floor_divide(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), scale)
    return pa.chunked_array([pa.array(whole.astype(np.int64), mask=mask)])


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_uint64(column.type):
        column = pc.if_else(pc.less(column, pa.scalar(2**63, pa.uint64())), column, None)
    return column.cast(pa.int64())


def _from_dates(values: pa.Array, lowest: float, highest: float) -> pa.Array | None:
    """Reads numbers such as 20240131 as dates, or returns None if not all are dates from 1900 to 2199."""
    if not (lowest >= 19_000_101 and highest <= 21_991_231):
        return None
    if pa.types.is_floating(values.type) and not pc.all(pc.equal(pc.floor(values), values)).as_py():
        return None
    digits = values.cast(pa.int64()).cast(pa.string())
    dates = parse_times(pc.replace_substring_regex(digits, r"^(....)(..)(..)$", r"\1-\2-\3"))
    return dates if dates.null_count == values.null_count else None
