import datetime
import decimal

import numpy as np
import pandas
import pyarrow as pa
import pytest

from tests.data.reading import DROP, IDS, exactly, load_column, query_ids
from tfrs_twotower.data.tables import load_ratings

WORDS_ARE_MISSING = "In `ratings.u` {} is read as a missing id, because most other ids are not words of letters."
LOST = "a float has lost digits there, so that different ids may have become one. Read the ids as text or as integers."
CONVERT = "Convert the ids to text or integers first."
FORMS = (
    "`ratings` must be a path, an Arrow table, a data frame, a dictionary of columns, or a list of dictionaries with "
    "one dictionary for each row."
)


@pytest.mark.parametrize(
    ("values", "ids", "notes"),
    [
        ([12.0, 13.0], ["12", "13"], []),
        (np.array([12, 13], np.float32), ["12", "13"], []),
        ([2.0**53 - 1, 1.0], ["9007199254740991", "1"], []),
        ([2**63, 1], ["9223372036854775808", "1"], []),
        ([2**70, 1], ["1180591620717411303424", "1"], []),
        ([decimal.Decimal("12.00"), decimal.Decimal("7.00")], ["12", "7"], []),
        ([decimal.Decimal("0.00"), decimal.Decimal("0.00")], ["0", "0"], []),
        (
            ["12.0", "13.00", "7"],
            ["12", "13", "7"],
            ["2 ids of `ratings.u` are whole numbers that are written with a fraction, such as 12.0: they are read "
             "as 12."],
        ),
        (["12.0", "1.10"], ["12.0", "1.10"], []),
        (["007.0", "1.0"], ["007.0", "1.0"], []),
        (
            [" 1", "1", "2\t"],
            ["1", "1", "2"],
            ["White space around ids of `ratings.u` was removed: 2 different ids had some."],
        ),
        (["a b", "c"], ["a b", "c"], []),
        (
            ["NA", "DE", "FR"],
            ["NA", "DE", "FR"],
            ["In `ratings.u` 'NA' is read as an id and not as a missing one, because most other ids there are words of "
             "letters, too. Remove these rows if the id is missing."],
        ),
        ([1, "x", 2], ["1", "x", "2"], []),
        (np.array(["x", 7, np.int64(8)], object), ["x", "7", "8"], []),
        ([b"x", b"y"], ["x", "y"], []),
        (pandas.Series(["x", "y", "x"], dtype="category"), ["x", "y", "x"], []),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"], []),
        (
            ["Caf\u00e9", "Cafe\u0301", "Tea"],
            ["Caf\u00e9", "Cafe\u0301", "Tea"],
            ["2 ids of `u` look the same as another id, such as 'Caf\u00e9', but are spelt by other Unicode "
             "characters. They stay different ids."],
        ),
    ],
)  # fmt: skip
def test_ids_of_every_form_become_strings(values, ids, notes):
    ratings = load_column(IDS, "u", values)
    assert query_ids(ratings) == ids
    assert list(ratings.notes) == notes


@pytest.mark.parametrize("word", ["NULL", "null", "NA", "nan", "NaN", "None", "N/A", "n/a", "<NA>", "#N/A", "", "  "])
def test_a_word_for_a_missing_value_is_a_missing_id(word):
    with exactly(
        ValueError, f"`u` holds missing ids in 1 of 3 rows, the first in rows [1], counted from 0: ['{word}']. {DROP}"
    ):
        load_column(IDS, "u", ["1", word, "2"])
    with pytest.warns(UserWarning, match="Left out 1 of 3 rows"):
        ratings = load_column(IDS, "u", ["1", word, "2"], on_invalid="drop")
    assert query_ids(ratings) == ["1", "2"]
    expected = [WORDS_ARE_MISSING.format(repr(word))] if word.strip() else []
    assert list(ratings.notes) == expected


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (
            [2.0**53, 1.0],
            ValueError,
            f"`ratings.u` holds whole numbers beyond 9,007,199,254,740,992 in a column of float64, such as "
            f"9007199254740992: {LOST}",
        ),
        (
            np.array([2**24, 1], np.float32),
            ValueError,
            f"`ratings.u` holds whole numbers beyond 16,777,216 in a column of float32, such as 16777216: {LOST}",
        ),
        (
            ["9007199254740993.0", "1.0"],
            ValueError,
            f"`ratings.u` holds whole numbers beyond 9,007,199,254,740,992 in the form of floats, such as "
            f"9007199254740993.0: {LOST}",
        ),
        (
            [1.5, 2.0],
            TypeError,
            "`ratings.u` must hold strings or integers. Received: float64 with fractions, such as 1.5. Is it the right "
            "column?",
        ),
        (
            [decimal.Decimal("12.50"), decimal.Decimal("7.00")],
            TypeError,
            "`ratings.u` must hold strings or integers. Received: decimal128(4, 2) with fractions, such as 12.50. Is "
            "it the right column?",
        ),
        ([True, False], TypeError, f"`ratings.u` must hold strings or integers. Received: bool. {CONVERT}"),
        (
            [datetime.date(2024, 1, 1)] * 2,
            TypeError,
            f"`ratings.u` must hold strings or integers. Received: date32[day]. {CONVERT}",
        ),
        ([[1], [2]], TypeError, f"`ratings.u` must hold strings or integers. Received: list<item: int64>. {CONVERT}"),
        (
            ["x", 1.5],
            TypeError,
            "`ratings.u` must hold values of one type. Received: str in row 0, float in row 1, counted from 0. "
            "Convert the column to one type.",
        ),
        (
            ["x", object()],
            TypeError,
            "`ratings.u` must hold values of one type. Received: str in row 0, object in row 1, counted from 0. "
            "Convert the column to one type.",
        ),
        (
            [1j, 2j],
            TypeError,
            "`ratings.u` must hold text, numbers, times or lists of one kind. Received: complex, such as row 0, "
            "counted from 0.",
        ),
        (
            [b"\xff", b"a"],
            ValueError,
            "`ratings.u` cannot be read as string: it holds bytes that are not UTF-8 text.",
        ),
    ],
)
def test_what_cannot_be_an_id_is_refused(values, error, message):
    with exactly(error, message):
        load_column(IDS, "u", values)


def test_ids_of_two_tables_that_are_written_differently_meet():
    ratings = load_ratings({"u": ["1", "2"], "m": ["12.0", "13.0"]}, IDS, candidates={"m": [12, 13]})
    assert ratings.candidate_rows.tolist() == [0, 1]


def test_a_column_of_whole_floats_in_a_csv_holds_integers(tmp_path):
    (tmp_path / "r.csv").write_text("u,m\n12.0,a\n13.0,a\n,b\n")
    with pytest.warns(
        UserWarning, match=r"`u` holds missing ids in 1 of 3 rows, the first in rows \[2\], counted from 0: \[''\]"
    ):
        assert query_ids(load_ratings(tmp_path / "r.csv", IDS, on_invalid="drop")) == ["12", "13"]


class Stream:
    """Stands for a data frame of Polars, which exports Arrow data as a stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class Lazy:
    """Stands for a `LazyFrame` of Polars, which computes its rows when `collect` is called."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def collect(self) -> Stream:
        return Stream(self.table)


class Convertible:
    """Stands for a data set that has `to_arrow` alone."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def to_arrow(self) -> pa.Table:
        return self.table


class Inconvertible:
    """Stands for a data frame of a library that cannot convert it."""

    def collect(self) -> None:
        raise NotImplementedError("not here")


# The types in which Polars exports a Categorical and an Enum.
CATEGORICAL = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.uint32()), pa.array(["x", "y"], pa.string_view()))
ENUM = pa.DictionaryArray.from_arrays(pa.array([1, 1, 0], pa.uint8()), pa.array(["a", "b"], pa.large_string()))


@pytest.mark.parametrize("form", [Stream, Lazy, Convertible])
def test_frames_of_other_libraries_are_read_through_arrow(form):
    ratings = load_ratings(form(pa.table({"u": CATEGORICAL, "m": ENUM})), IDS)
    assert query_ids(ratings) == ["x", "y", "x"]
    assert ratings.candidates["m"].take(ratings.candidate_rows).to_pylist() == ["b", "b", "a"]


def test_a_list_of_dictionaries_has_a_row_for_each():
    ratings = load_ratings([{"u": 1, "m": "a"}, {"u": 2, "m": "b"}], IDS)
    assert query_ids(ratings) == ["1", "2"]


def test_a_named_index_of_a_data_frame_is_a_column():
    frame = pandas.DataFrame({"m": ["a", "b"]}, index=pandas.Index([7, 8], name="u"))
    assert query_ids(load_ratings(frame, IDS)) == ["7", "8"]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (7, TypeError, f"{FORMS} Received: a int."),
        (None, TypeError, f"{FORMS} Received: a NoneType."),
        (IDS, TypeError, f"{FORMS} Received: a Schema."),
        ([("1", "a")], TypeError, f"{FORMS} Received: a list with a tuple."),
        (np.zeros((2, 2)), TypeError, f"{FORMS} Received: a ndarray."),
        (
            Inconvertible(),
            TypeError,
            f"{FORMS} Received: a Inconvertible, which could not be converted to an Arrow table. Convert it yourself, "
            "or save it as Parquet.",
        ),
        ({"u": 1, "m": ["a"]}, TypeError, "`ratings.u` must be a column of values. Received: a int, 1."),
        (
            {"u": [1, 2], "m": ["a"]},
            ValueError,
            "The columns of `ratings` must have the same number of rows. Received: u has 2, m has 1.",
        ),
        ([], ValueError, "`ratings` must have at least one row. Received: none."),
        (
            pandas.DataFrame([[1, 2]], columns=["u", "u"]),
            ValueError,
            "`ratings` must have each column only once. Received twice: u.",
        ),
    ],
)
def test_what_is_no_table_is_refused(source, error, message):
    with exactly(error, message):
        load_ratings(source, IDS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"schema": {"query_id": "u"}},
            TypeError,
            "`schema` must be a `Schema`, which names the columns. Received: a dict.",
        ),
        ({"text_format": ";"}, TypeError, "`text_format` must be a `TextFormat`. Received: a str."),
        (
            {"repeats": "first"},
            ValueError,
            "`repeats` must be 'keep', 'last', 'mean', 'sum' or 'count'. Received: 'first'.",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(options, error, message):
    with exactly(error, message):
        load_ratings({"u": [1], "m": [1]}, **{"schema": IDS, **options})
