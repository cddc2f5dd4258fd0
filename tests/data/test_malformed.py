"""Malformed tables: whatever comes, the result is `Interactions` or an error that this package raised on purpose."""

import datetime
import decimal
import gzip
import linecache
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfrs_twotower
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.tables import load_ratings

SCHEMA = Schema(query_id="customer", candidate_id="sku", rating="stars", timestamp="when", weight="weight")
PACKAGE = str(Path(tfrs_twotower.__file__).parent)
TABLE = {
    "customer": ["7", "8", "7", "9"],
    "sku": ["a", "b", "b", "a"],
    "stars": [5.0, 1.0, 3.0, 2.0],
    "when": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
    "weight": [1, 2, 1, 2],
    "kinds": ["x|y", "y", "y", "x|y"],
}
CSV = "customer,sku,stars,when,weight,kinds\n" + "".join(
    ",".join(str(values[row]) for values in TABLE.values()) + "\n" for row in range(4)
)


def check_outcome(ratings, schema=SCHEMA, **options) -> None:
    """Loads a table, and checks that an error comes from a `raise` of this package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            outcome = load_ratings(ratings, schema, **options)
        except (ValueError, TypeError, FileNotFoundError) as error:
            outcome = error
    if isinstance(outcome, Interactions):
        return
    # The innermost frame, where the error began.
    frame = traceback.extract_tb(outcome.__traceback__)[-1]
    assert frame.filename.startswith(PACKAGE), (frame, outcome)
    # What NumPy and Arrow raise in C has our frame, but not at a `raise`.
    assert linecache.getline(frame.filename, frame.lineno).strip().startswith("raise"), (frame, outcome)
    assert len(str(outcome)) > 20


ON_INVALID = st.sampled_from(["fail", "drop"])
SUFFIXES = [".csv", ".tsv", ".txt", ".dat", ".data", ".csv.gz", ".parquet", ".feather", ".arrow"]
FEW = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(content=st.binary(max_size=300), suffix=st.sampled_from(SUFFIXES), on_invalid=ON_INVALID)
def test_any_bytes(tmp_path, content, suffix, on_invalid):
    (tmp_path / f"ratings{suffix}").write_bytes(content)
    check_outcome(tmp_path / f"ratings{suffix}", on_invalid=on_invalid)


@st.composite
def mutilated(draw, content: bytes) -> bytes:
    """Bytes of which some are replaced, removed or repeated."""
    result = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(result) - 1)))
        length = draw(st.integers(0, 12))
        new = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b'"', b"\r", b"\n", b",", b";", b"\t", b"::", b""]))
        )
        result[place : place + length] = new
    return bytes(result)


@FEW
@given(content=mutilated(CSV.encode()), suffix=st.sampled_from(SUFFIXES[:6]), on_invalid=ON_INVALID)
def test_mutilated_text(tmp_path, content, suffix, on_invalid):
    content = gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content
    (tmp_path / f"ratings{suffix}").write_bytes(content)
    check_outcome(tmp_path / f"ratings{suffix}", on_invalid=on_invalid)


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".feather"])
@FEW
@given(data=st.data())
def test_mutilated_binary_files(tmp_path, suffix, data):
    path = tmp_path / f"ratings{suffix}"
    if suffix == ".csv.gz":
        path.write_bytes(gzip.compress(CSV.encode(), mtime=0))
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(TABLE), path)
    else:
        pyarrow.feather.write_feather(pa.table(TABLE), path)
    path.write_bytes(data.draw(mutilated(path.read_bytes())))
    check_outcome(path)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-1000, max_value=1000),
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.text(max_size=2), max_size=3),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
    st.uuids(),
    st.complex_numbers(),
    st.just(pandas.NA),
    st.just(pandas.NaT),
    st.just(object()),
    st.sampled_from(["NULL", "nan", "12.0", "9007199254740993.0", "01/02/2024", "31.01.2024", "yes", "1,5", " 7"]),
)


@FEW
@given(
    columns=st.fixed_dictionaries({name: st.lists(VALUES, min_size=3, max_size=4) for name in TABLE}),
    form=st.sampled_from(["columns", "rows", "frame", "arrays"]),
    on_invalid=ON_INVALID,
)
def test_any_values_of_python(columns, form, on_invalid):
    rows = min(map(len, columns.values()))
    if form == "rows":
        table = [{name: values[row] for name, values in columns.items()} for row in range(rows)]
    elif form == "frame":
        table = pandas.DataFrame({name: pandas.Series(values[:rows], dtype=object) for name, values in columns.items()})
    elif form == "arrays":
        table = {name: np.array([*values, None], dtype=object)[:-1] for name, values in columns.items()}
    else:
        table = columns
    check_outcome(table, on_invalid=on_invalid)


ARRAYS = [
    pa.array([1, 2, None, 2], pa.uint64()),
    pa.array([2**64 - 1, 2, 3, 2], pa.uint64()),
    pa.array([1, 2, None, 2], pa.int8()),
    pa.array([1.5, float("nan"), 2.0, float("inf")], pa.float32()),
    pa.array([1.0, 2.0, 2.0, 1.0], pa.float16()),
    pa.array([2.0**60, 2.0, 2.0, 1.0]),
    pa.array([True, None, False, True]),
    pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.00"), decimal.Decimal("1.00")]),
    pa.array([decimal.Decimal("1"), None, decimal.Decimal("2"), decimal.Decimal("1")], pa.decimal256(60, 2)),
    pa.array(["a", None, "b", "a"], pa.large_string()),
    pa.array(["a", None, "b", "a"], pa.string_view()),
    pa.array([b"a", None, b"\xff", b"a"]),
    pa.array([b"a", None, b"b", b"a"], pa.binary_view()),
    pa.array([b"ab", None, b"cd", b"ab"], pa.binary(2)),
    pa.array(["a", None, "b", "a"]).dictionary_encode(),
    pa.array(["a", None, "b", "a"], pa.large_string()).dictionary_encode(),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.uint8()), pa.array(["a", "b"], pa.string_view())),
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.uint32()), pa.array([10, 20])),
    pa.array([datetime.date(2024, 1, 1), None, datetime.date(1, 1, 1), datetime.date(9999, 1, 1)]),
    pa.array([0, 1, None, 2**40], pa.timestamp("ns", "Europe/Berlin")),
    pa.array([0, 1, None, 2**62], pa.timestamp("s")),
    pa.array([0, 1, None, 2], pa.date64()),
    pa.array([0, 1, None, 2], pa.time64("us")),
    pa.array([0, 1, None, 2], pa.duration("s")),
    pa.array([[1], [], None, [2]]),
    pa.array([["a"], [], None, ["b"]], pa.large_list(pa.large_string())),
    pa.array([[1, 2], [3, 4], None, [1, 2]], pa.list_(pa.int32(), 2)),
    pa.array([[1, 2], [3, 4], None, [1, 2]], pa.list_view(pa.int32())),
    pa.array([{"a": 1}, None, {"a": 2}, {"a": 1}]),
    pa.array([[("a", 1)], None, [], [("b", 2)]], pa.map_(pa.string(), pa.int32())),
    pa.nulls(4),
    pa.RunEndEncodedArray.from_arrays([2, 4], ["a", "b"]),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, b"1" * 16, None, b"0" * 16], pa.binary(16))),
    pa.ExtensionArray.from_storage(pa.json_(pa.utf8()), pa.array(['{"a": 1}', "[1]", None, "2"])),
    pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None, 1], pa.int8())),
    pa.UnionArray.from_dense(
        pa.array([0, 1, 0, 0], pa.int8()), pa.array([0, 0, 1, 2], pa.int32()), [pa.array([1, 2, 3]), pa.array(["a"])]
    ),
]


@pytest.mark.parametrize("column", list(TABLE))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type)[:30])
@pytest.mark.parametrize("on_invalid", ["fail", "drop"])
def test_any_arrow_type_in_any_column(array, column, on_invalid):
    table = pa.table({**TABLE, column: array})
    declared = Schema(
        query_id="customer", candidate_id="sku", rating="stars", timestamp="when", weight="weight",
        event_features=("kinds",),
    )  # fmt: skip
    check_outcome(table, on_invalid=on_invalid)
    check_outcome(table, declared, on_invalid=on_invalid)
    if column == "sku":
        check_outcome(TABLE, candidates=pa.table({"sku": array, "price": [1, 2, 3, 4]}), on_invalid=on_invalid)
    if column == "kinds":
        check_outcome(TABLE, candidates=pa.table({"sku": ["a", "b", "c", "d"], "kinds": array}))


@pytest.mark.parametrize(
    "source",
    [
        None, 7, 1.5, b"ratings.csv", "", ".", "no\0path", object(), Schema, SCHEMA, [], {}, (), [1], ["a"], [{}],
        [None], {"customer": 1}, {"customer": "7"}, {"customer": [1], "sku": [1, 2]}, {1: [2]}, {"customer": {"a": 1}},
        iter([]), range(3), np.zeros(3), np.zeros((2, 2)), np.array("a"), pa.array([1]), pa.schema([]),
        pa.table({}), pandas.Series([1]), pandas.DataFrame(), pandas.DataFrame([[1, 2]]),
        pandas.DataFrame([[1, 2]], columns=["a", "a"]), {"customer": np.zeros((2, 2, 2))}, {"customer": np.array(3)},
        {"customer": [[[1]], "a"]}, {"customer": iter([1])},
    ],
    ids=lambda source: f"{type(source).__name__}-{source!r:.20}",
)  # fmt: skip
def test_what_is_no_table(source):
    check_outcome(source)
    if source is not None:
        check_outcome(TABLE, queries=source)
        check_outcome(TABLE, candidates=source)
        check_outcome(TABLE, schema=source)
        check_outcome(TABLE, text_format=source)
