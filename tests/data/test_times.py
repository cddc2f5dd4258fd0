import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.data.times import seconds

TIMES = st.datetimes(
    min_value=datetime.datetime(1, 1, 2),
    max_value=datetime.datetime(9999, 12, 30),
    timezones=st.sampled_from(
        [datetime.timezone.utc] + [datetime.timezone(datetime.timedelta(minutes=m)) for m in (-570, 60, 345)]
    ),
)


@given(times=st.lists(TIMES, min_size=1))
def test_iso_text_agrees_with_pythons_datetime_arithmetic(times):
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    # A fraction of a second is dropped, in the time's own zone.
    expected = [(time.replace(microsecond=0) - epoch) // datetime.timedelta(seconds=1) for time in times]
    assert seconds(pa.array([time.isoformat() for time in times])).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01 00:01", 60),
        ("1970-01-01T00:00:01.999Z", 1),
        ("1970-01-01T01:00:00+0100", 0),
        (" 1970-01-01T00:00:07 ", 7),
        ("2024-02-29", 1_709_164_800),
        ("-5", -5),
        ("2023-02-29", None),
        ("2024-02-31", None),
        ("2024-13-01", None),
        ("2024-00-10", None),
        ("2024-01-00", None),
        ("2024-01-01 24:00", None),
        ("2024-01-01 10:60", None),
        ("2024-1-1", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_text_is_a_time_or_null(text, expected):
    assert seconds(pa.array([text], pa.string())).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1.9, -0.5, float("nan"), float("inf"), 1e30, None]), [1, -1, None, None, None, None]),
        (pa.array([2**64 - 1, 5], pa.uint64()), [None, 5]),
        (pa.array([5, None], pa.int32()), [5, None]),
        (pa.nulls(2), [None, None]),
        (pa.array([datetime.date(1970, 1, 3), None]), [172_800, None]),
        (pa.array([-1, 1999, None], pa.timestamp("ms")), [-1, 1, None]),
        (pa.array([3_600_000], pa.timestamp("ms", "Europe/Berlin")), [3600]),
    ],
)
def test_times_of_other_types_are_converted(values, expected):
    assert seconds(values).to_pylist() == expected


def test_a_column_without_times_is_refused():
    with pytest.raises(TypeError, match="Times must be numbers, dates, timestamps or text. Received: bool"):
        seconds(pa.array([True]))
