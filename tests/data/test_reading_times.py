import datetime

import numpy as np
import pandas
import pyarrow as pa
import pytest

from tests.data.reading import DROP, FORMS, TIMED, exactly, load_column

# 2024-01-01 is 19,723 days after 1970-01-01, and 2024-01-31 is 30 days later.
NEW_YEAR = 19_723 * 86_400
LAST_OF_JANUARY = NEW_YEAR + 30 * 86_400
HOLDS = "The column `t` holds {} since 1970."
NOT_TOLD = (
    "`t` holds dates such as {!r}, in which the day and the month cannot be told apart. Write the dates as 2024-01-31. "
    + FORMS
)
MIXED = (
    "`t` must hold times in one unit. Received: {} in row {} looks like {} or a coarser unit since 1970, {} in row {} "
    "like {}. Rows are counted from 0. Convert them to one unit."
)


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize(
    ("unit", "scale"), [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)]
)
def test_the_size_of_numbers_tells_their_unit(unit, scale, kind):
    # A float64 of nanoseconds is exact to 256 ns.
    values = [kind(time * scale + scale // 2) for time in (NEW_YEAR, NEW_YEAR + 1, 86_400 * 365)]
    ratings = load_column(TIMED, "t", [*values, kind(0)])
    assert ratings.timestamps.tolist() == [NEW_YEAR, NEW_YEAR + 1, 86_400 * 365, 0]
    assert list(ratings.notes) == [HOLDS.format(unit)]


@pytest.mark.parametrize("unit", ["M", "W", "D", "h", "m", "5m", "s", "ms", "us", "ns"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_times_of_numpy_may_have_any_unit_and_byte_order(unit, order):
    # 2024-02-01 was a Thursday, on which NumPy's weeks begin, as 1970-01-01 was.
    times = np.array(["2024-02-01", "2024-03-01"], "datetime64[D]").astype(f"{order}M8[{unit}]")
    first = LAST_OF_JANUARY + 86_400
    second = first + (28 if unit == "W" else 29) * 86_400
    assert load_column(TIMED, "t", times).timestamps.tolist() == [first, second]


def test_the_year_2200_is_the_limit_of_a_unit():
    # 2200-01-01 is 84,006 days after 1970-01-01: 230 years of 365 days, and 56 leap days (2100 is no leap year).
    end = 84_006 * 86_400
    assert load_column(TIMED, "t", [end - 1]).timestamps.tolist() == [end - 1]
    assert load_column(TIMED, "t", [end]).timestamps.tolist() == [end // 1000]
    assert load_column(TIMED, "t", [-5, 5]).timestamps.tolist() == [-5, 5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([NEW_YEAR, NEW_YEAR * 1000], MIXED.format(NEW_YEAR, 0, "seconds", NEW_YEAR * 1000, 1, "milliseconds")),
        (
            [NEW_YEAR * 10**9, NEW_YEAR * 1000],
            MIXED.format(NEW_YEAR * 1000, 1, "microseconds", NEW_YEAR * 10**9, 0, "nanoseconds"),
        ),
        (
            np.array([NEW_YEAR], np.float32),
            "`t` holds times as float32, which cannot tell times of this size apart: different times have become "
            "equal. Read them as int64 or float64.",
        ),
        ([True, False], f"`t` must hold times. Received: bool. {FORMS}"),
        (pandas.to_timedelta([1]), f"`t` must hold times. Received: duration[ns]. {FORMS}"),
        (
            ["2024-01-01", "soon"],
            "`t` holds values that are not times in 1 of 2 rows, the first in rows [1], counted from 0: "
            f"['soon']. {FORMS} {DROP}",
        ),
        (
            [1.0, 1e30],
            "`t` holds values that are not times in 1 of 2 rows, the first in rows [1], counted from 0: "
            f"[1e+30]. {FORMS} {DROP}",
        ),
        (["01/02/2024", "02/03/2024"], NOT_TOLD.format("01/02/2024")),
        (["31/01/2024", "01/31/2024"], NOT_TOLD.format("31/01/2024")),
        (["01-02-2024"], NOT_TOLD.format("01-02-2024")),
    ],
)
def test_times_that_cannot_be_told_are_refused(values, message):
    with exactly(ValueError, message):
        load_column(TIMED, "t", values)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-01 00:00:00 UTC", NEW_YEAR),
        ("2024-01-01 00:00:00 GMT", NEW_YEAR),
        ("2024-01-01T00:00:00Z", NEW_YEAR),
        ("2024-01-01 00:00:00+00", NEW_YEAR),
        ("2024-01-01 00:00:00 +0000", NEW_YEAR),
        ("2024-01-01 01:00+01:00", NEW_YEAR),
        ("2024-01-01 9:30", NEW_YEAR + 9 * 3600 + 1800),
        ("2024-01-01 00:00:01.9", NEW_YEAR + 1),
        ("2024/01/31", LAST_OF_JANUARY),
        ("2024/1/31 17:30", LAST_OF_JANUARY + 17 * 3600 + 1800),
        ("2024.01.31", LAST_OF_JANUARY),
        ("31-Jan-2024", LAST_OF_JANUARY),
        ("31 jan 2024 01:00", LAST_OF_JANUARY + 3600),
        ("Jan 31, 2024", LAST_OF_JANUARY),
        ("Wed, 31 Jan 2024 00:00:00 GMT", LAST_OF_JANUARY),
    ],
)
def test_text_in_the_usual_forms_is_read(text, seconds):
    ratings = load_column(TIMED, "t", [text])
    assert ratings.timestamps.tolist() == [seconds]
    assert ratings.notes == ()


@pytest.mark.parametrize(
    ("values", "seconds", "note"),
    [
        (
            ["31.01.2024", "01.01.2024"],
            [LAST_OF_JANUARY, NEW_YEAR],
            "Dates of `t` have the day first, as '31.01.2024' shows.",
        ),
        (
            ["01.02.2024 00:00:05"],
            [LAST_OF_JANUARY + 86_405],
            "Dates of `t` such as '01.02.2024 00:00:05' have the day first, as is usual with dots.",
        ),
        (
            ["01/01/2024", "31/01/2024"],
            [NEW_YEAR, LAST_OF_JANUARY],
            "Dates of `t` have the day first, as '31/01/2024' shows.",
        ),
        (
            ["1/1/2024 12:00 AM", "1/31/2024 5:30 PM"],
            [NEW_YEAR, LAST_OF_JANUARY + 17 * 3600 + 1800],
            "Dates of `t` have the month first, as '1/31/2024 5:30 PM' shows.",
        ),
        (
            [20240101, 20240131],
            [NEW_YEAR, LAST_OF_JANUARY],
            "Numbers of the column `t` such as 20240101 are read as dates.",
        ),
        (["20240101"], [NEW_YEAR], "Numbers of the column `t` such as 20240101 are read as dates."),
        ([20240101, 20240132], [20240101, 20240132], HOLDS.format("seconds")),
        (["2024-01-01", str(NEW_YEAR)], [NEW_YEAR, NEW_YEAR], HOLDS.format("seconds")),
    ],
)
def test_what_is_assumed_of_dates_is_said(values, seconds, note):
    ratings = load_column(TIMED, "t", values)
    assert ratings.timestamps.tolist() == seconds
    assert list(ratings.notes) == [note]


def test_the_hour_in_which_clocks_go_back_is_read():
    # In Berlin 2:30 occurs twice on 27 October 2024: at 0:30 UTC and at 1:30 UTC.
    start = int(datetime.datetime(2024, 10, 27, tzinfo=datetime.timezone.utc).timestamp())
    utc = pandas.to_datetime([start + 1800, start + 5400], unit="s", utc=True)
    assert load_column(TIMED, "t", utc.tz_convert("Europe/Berlin")).timestamps.tolist() == [start + 1800, start + 5400]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_timestamps_of_every_unit_are_rounded_down(unit, zone):
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    values = pa.array([5 * per_second, -1, NEW_YEAR * per_second + per_second // 2], pa.timestamp(unit, zone))
    assert load_column(TIMED, "t", values).timestamps.tolist() == [5, -1, NEW_YEAR]
