"""Reading dates and times that are written as text."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Which of the two numbers before the year is the day; None leaves such dates unread.
DayOrder = Literal["day", "month"]

#: The forms that are read, for errors.
TIME_FORMS = (
    "Times may be numbers of seconds, milliseconds, microseconds or nanoseconds since 1970, or text such as "
    "2024-01-31, 2024-01-31 17:30:00, 2024-01-31T17:30:00Z, 2024-01-31T17:30+01:00, 2024/01/31, 31.01.2024, "
    "31/01/2024, 01/31/2024 5:30 PM or 31-Jan-2024."
)

_CLOCK = (
    r"(?:(?:T|,? +)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
    r" ?(?P<half>[AaPp][Mm])?"
    r"\s*(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?)?)?\s*$"
)
_YEAR_FIRST = (
    r"^\s*(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})" + _CLOCK,
    r"^\s*(?P<year>[0-9]{4})[/.](?P<month>[0-9]{1,2})[/.](?P<day>[0-9]{1,2})" + _CLOCK,
)
_YEAR_LAST = r"^\s*(?P<first>[0-9]{1,2})[./-](?P<next>[0-9]{1,2})[./-](?P<year>[0-9]{4})" + _CLOCK
_WITH_DOTS = r"^\s*[0-9]{1,2}\.[0-9]{1,2}\."
_NAMED = (
    r"^\s*(?:[A-Za-z]{3},? )?(?P<day>[0-9]{1,2})[- ](?P<name>[A-Za-z]{3})[- ](?P<year>[0-9]{4})" + _CLOCK,
    r"^\s*(?P<name>[A-Za-z]{3}) (?P<day>[0-9]{1,2}),? (?P<year>[0-9]{4})" + _CLOCK,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DayOrderFound:
    """What the dates of a column tell about the order of day and month.

    Attributes:
        order: The order, or None if there are no such dates or it cannot be told.
        example: A date in question, or None if there are none.
        is_told: Whether a number above 12 tells the order; otherwise it is the usual one of dates with dots.
    """

    order: DayOrder | None
    example: str | None
    is_told: bool


def parse_times(text: pa.Array, order: DayOrder | None = None) -> pa.Array:
    """Reads dates and times as seconds since 1970-01-01 UTC, rounded down; UTC is assumed where no zone is given.

    Args:
        text: string [num_values].
        order: Which of the two numbers before a year is the day.

    Returns:
        int64 [num_values], null where the text is not an existing time in one of the forms of `TIME_FORMS`.

    Example:
        >>> parse_times(pa.array(["1970-01-02", "1970/01/01 00:00:05 UTC", "1970-02-31"])).to_pylist()
        [86400, 5, None]
        >>> parse_times(pa.array(["02.01.1970"]), "day").to_pylist()
        [86400]
    """
    result = _parse_plain(text)
    if result is not None:
        return result
    result = pa.nulls(len(text), pa.int64())
    for form in (*_YEAR_FIRST, _YEAR_LAST, *_NAMED):
        if form == _YEAR_LAST and order is None:
            continue
        if not result.null_count:
            break
        parts = pc.extract_regex(pc.if_else(pc.is_null(result), text, None), form)
        if parts.null_count < len(parts):
            result = pc.coalesce(result, _to_seconds(parts, order))
    return result


def find_day_order(text: pa.Array) -> DayOrderFound:
    """Finds out whether dates such as 31/01/2024 have the day or the month first.

    Args:
        text: string [num_values], a whole column.

    Example:
        >>> find_day_order(pa.array(["01/02/2024", "01/31/2024"])).order
        'month'
        >>> find_day_order(pa.array(["01/02/2024"])).order is None
        True
    """
    parts = pc.extract_regex(text, _YEAR_LAST)
    is_date = parts.is_valid()
    if not pc.any(is_date).as_py():
        return DayOrderFound(order=None, example=None, is_told=False)
    first, following = (pc.struct_field(parts.filter(is_date), name).cast(pa.int64()) for name in ("first", "next"))
    dates = text.filter(is_date)
    day_first, month_first = (pc.any(pc.greater(number, 12)).as_py() for number in (first, following))
    if day_first != month_first:
        telling = dates.filter(pc.greater(first if day_first else following, 12))
        order: DayOrder = "day" if day_first else "month"
        return DayOrderFound(order=order, example=telling[0].as_py(), is_told=True)
    example = dates[0].as_py()
    has_dots = pc.all(pc.match_substring_regex(dates, _WITH_DOTS)).as_py()
    return DayOrderFound(order="day" if has_dots and not day_first else None, example=example, is_told=False)


def _parse_plain(text: pa.Array) -> pa.Array | None:
    """Reads text of ISO 8601 alone, ten times as fast as a regular expression does; None if there is anything else."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            times = text.cast(kind).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
        whole = pc.fill_null(times, 0).to_numpy(zero_copy_only=False) // 10**6
        return pa.array(whole, mask=times.is_null().to_numpy(zero_copy_only=False))
    return None


def _to_seconds(parts: pa.Array, order: DayOrder | None) -> pa.Array:
    """Computes seconds from the parts of a date; null where they are null or no existing time."""
    names = [parts.type.field(place).name for place in range(parts.type.num_fields)]
    matched = parts.is_valid().to_numpy(zero_copy_only=False)

    def number(name: str) -> np.ndarray:
        field = pc.fill_null(pc.struct_field(parts, name), "")
        return pc.if_else(pc.equal(field, ""), "0", field).cast(pa.int64()).to_numpy(zero_copy_only=False)

    if "first" in names:
        day, month = (number("first"), number("next")) if order == "day" else (number("next"), number("first"))
    elif "name" in names:
        place = pc.index_in(pc.utf8_lower(pc.struct_field(parts, "name")), value_set=pa.array(_MONTHS))
        day, month = number("day"), pc.fill_null(place, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    else:
        day, month = number("day"), number("month")
    hour, minute, second = number("hour"), number("minute"), number("second")
    half = pc.utf8_lower(pc.fill_null(pc.struct_field(parts, "half"), ""))
    is_pm, has_half = (mask.to_numpy(zero_copy_only=False) for mask in (pc.equal(half, "pm"), pc.not_equal(half, "")))
    is_hour = np.where(has_half, (hour >= 1) & (hour <= 12), hour < 24)
    hour = np.where(has_half, hour % 12 + 12 * is_pm, hour)
    zone = number("zone_hour") * 3600 + number("zone_minute") * 60
    months = (number("year") - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    is_time = (month >= 1) & (month <= 12) & (day >= 1) & (day <= after - first)
    is_time &= is_hour & (minute < 60) & (second < 60) & (number("zone_minute") < 60)
    is_west = pc.fill_null(pc.equal(pc.struct_field(parts, "sign"), "-"), False).to_numpy(zero_copy_only=False)
    result = (first + day - 1) * 86_400 + hour * 3600 + minute * 60 + second + np.where(is_west, zone, -zone)
    return pa.array(result, mask=~(matched & is_time))
