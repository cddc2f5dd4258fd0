"""Converting times of every form to seconds since 1970-01-01 UTC."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_INTEGER = r"^-?[0-9]{1,18}$"
_ISO_8601 = (
    r"^\s*(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)?"
    r"\s*(?:Z|(?P<sign>[+-])(?P<zone_hour>[0-9]{2}):?(?P<zone_minute>[0-9]{2}))?)?\s*$"
)
_MAX_SECONDS = 2.0**63

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
        return pc.coalesce(digits, _parse(values))
    if types.is_timestamp(values.type) or types.is_date(values.type):
        return pc.floor_temporal(values, unit="second").cast(pa.timestamp("s"), safe=False).cast(pa.int64())
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


def _parse(text: pa.Array) -> pa.Array:
    """Reads ISO 8601 text; null where it is not an existing time."""
    parts = pc.extract_regex(text, _ISO_8601)
    matched = parts.is_valid().to_numpy(zero_copy_only=False)

    def number(name: str) -> np.ndarray:
        field = pc.fill_null(pc.struct_field(parts, name), "")
        return pc.if_else(pc.equal(field, ""), "0", field).cast(pa.int64()).to_numpy(zero_copy_only=False)

    month, day = number("month"), number("day")
    hour, minute, second = number("hour"), number("minute"), number("second")
    zone = number("zone_hour") * 3600 + number("zone_minute") * 60
    months = (number("year") - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    is_time = (month >= 1) & (month <= 12) & (day >= 1) & (day <= after - first)
    is_time &= (hour < 24) & (minute < 60) & (second < 60) & (number("zone_minute") < 60)
    is_west = pc.fill_null(pc.equal(pc.struct_field(parts, "sign"), "-"), False).to_numpy(zero_copy_only=False)
    result = (first + day - 1) * 86_400 + hour * 3600 + minute * 60 + second + np.where(is_west, zone, -zone)
    return pa.array(result, mask=~(matched & is_time))
