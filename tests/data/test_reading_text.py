import gzip

import numpy as np
import pyarrow as pa
import pytest

from tests.data.reading import DROP, IDS, RATED, exactly, load_column, query_ids
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.tables import load_ratings
from tfrs_twotower.data.text_format import TextFormat

NAMES = ("u", "m", "r", "t")
CUT = "{path} is damaged: its compressed data is cut off or is not gzip. Copy or make the file again."
UNEVEN = (
    "{{path}} must have {} values in every line, divided by {!r}. Line {} has {}: {!r}. Correct the line: a value that "
    "holds the delimiter must be in quotes."
)
DECODED = (
    "{{path}} is not utf-8 text: line 2 cannot be decoded. Name its encoding, probably with "
    "text_format=TextFormat(encoding={!r}), or save it as UTF-8."
)
ZEROS = (
    "{{path}} is not UTF-8 text: it has zero bytes between its characters. Name its encoding, probably with "
    "text_format=TextFormat(encoding={!r}), or save it as UTF-8."
)
NO_HEADER = (
    "{{path}} has values instead of names in its first line: {}. Name its columns with "
    "text_format=TextFormat(column_names=(...)), one name for each of the {} columns."
)
EMPTY = "{path} is empty. It must have a line for each row, and usually a first line of names."
ONLY_NAMES = "`ratings` must have at least one row. {path} has only the names of its columns."
TWO_DELIMITERS = (
    "{path} can be divided into columns by ';' and '|'. Name the right one with text_format=TextFormat(delimiter=...)."
)
MANY_ROWS = "u,m\n" + "1,a\n" * 10_000


@pytest.mark.parametrize(
    ("name", "content", "text_format", "ids"),
    [
        ("r.csv", "u,m\n1,a\n2,b\n", None, ["1", "2"]),
        ("r.csv", "u;m\n1;a\n2;b\n", None, ["1", "2"]),
        ("r.csv", "u|m\n1|a\n2|b\n", None, ["1", "2"]),
        ("r.txt", "u\tm\n1\ta\n2\tb\n", None, ["1", "2"]),
        ("r.dat", "u::m\n1::a\n2::b\n", None, ["1", "2"]),
        # The genres of the rows do not make `|` the delimiter, and the expected columns decide for a semicolon.
        ("r.csv", "u,m,kinds\n1,a,x|y\n2,b,y|z\n", None, ["1", "2"]),
        ("r.csv", "u;m;a, b\n1;a;x, y\n2;b;y, z\n", None, ["1", "2"]),
        ("r.csv", "u, m\n1, a\n2, b\n", None, ["1", "2"]),
        ("r.csv", "\ufeffu,m\n1,a\n", None, ["1"]),
        ("r.csv", "\n\nu,m\n\n1,a\n\n2,b\n", None, ["1", "2"]),
        ("r.csv", "u,m\r\n1,a\r\n2,b\r\n", None, ["1", "2"]),
        ("r.csv", "u,m\r1,a\r2,b\r", None, ["1", "2"]),
        ("r.csv", 'u,m\n"1\n2","a, b"\n3,b\n', None, ["1\n2", "3"]),
        ("r.csv", 'u,"m"\n1,"say ""a"""\n', None, ["1"]),
        ("r.csv", "u,m\nJosé,a\n".encode("utf-16"), None, ["José"]),
        ("r.csv", "u,m\nJosé,a\n".encode("utf-16-be"), TextFormat(encoding="utf-16-be"), ["José"]),
        ("r.csv", "u,m\nJosé,a\n".encode("latin-1"), TextFormat(encoding="latin-1"), ["José"]),
        ("r.csv", b"u,m\n\x93x\x94,a\n", TextFormat(encoding="cp1252"), ["\u201cx\u201d"]),
        ("r.csv", "u#m\n1#a\n", TextFormat(delimiter="#"), ["1"]),
        ("r.txt", "u;a|m;b\n1;2|3;4\n", TextFormat(delimiter="|", column_names=("u", "m")), ["u;a", "1;2"]),
        ("u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n", TextFormat(column_names=NAMES), ["196", "186"]),
        ("r.dat", "1::a::5::978300760\n2::b::3::978300761\n", TextFormat(column_names=NAMES), ["1", "2"]),
        ("u.item", '1|"Toy, Story"|x\n2|Golden, Eye|y\n', TextFormat(column_names=("u", "m", "z")), ["1", "2"]),
        ("r.csv.gz", gzip.compress(b"u;m\n1;a\n", mtime=0), None, ["1"]),
        ("r.txt.gz", gzip.compress("u\tm\n1\ta\n".encode("utf-16"), mtime=0), None, ["1"]),
    ],
)
def test_text_of_every_form_is_read(tmp_path, name, content, text_format, ids):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert query_ids(load_ratings(tmp_path / name, IDS, text_format=text_format)) == ids


@pytest.mark.parametrize(
    ("name", "content", "text_format", "message"),
    [
        ("r.csv", "u,m\nJosé,a\n".encode("latin-1"), None, DECODED.format("latin-1")),
        ("r.csv", b"u,m\n\x93x\x94,a\n", None, DECODED.format("cp1252")),
        ("r.csv", "u,m\n1,a\n".encode("utf-16-le"), None, ZEROS.format("utf-16-le")),
        ("r.csv", "u,m\n1,a\n".encode("utf-16-be"), None, ZEROS.format("utf-16-be")),
        (
            "r.csv",
            "u,m\nJosé,a\n",
            TextFormat(encoding="ascii"),
            "{path} is not ascii text: line 2 cannot be decoded. Give another `encoding`, or save the file as UTF-8.",
        ),
        ("u.data", "196\t242\t3\t881250949\n", None, NO_HEADER.format("196, 242, 3, 881250949", 4)),
        ("r.csv", "1,1,5\n2,1,4\n", None, NO_HEADER.format("1, 1, 5", 3)),
        ("r.dat", "1::a::5\n2::b::3\n", None, NO_HEADER.format("1, a, 5", 3)),
        ("r.txt", "u;a|m;b\n1;2|3;4\n", None, TWO_DELIMITERS),
        ("r.csv", "a,b\n1,2\n", None, "`ratings` has no column u, m. Its columns: a, b."),
        ("r.csv.gz", gzip.compress(MANY_ROWS.encode(), mtime=0)[:-12], None, CUT),
        ("r.csv.gz", MANY_ROWS, None, CUT),
        ("r.csv", "u,m\n1,a\n2,b,c\n", None, UNEVEN.format(2, ",", 3, 3, "2,b,c")),
        ("r.csv", "u;m;r\n1;a;5\n2;b\n", None, UNEVEN.format(3, ";", 3, 2, "2;b")),
        ("r.dat", "u::m\n1::a\n2::b::c\n", None, UNEVEN.format(2, "::", 3, 3, "2::b::c")),
        (
            "r.csv",
            'u,m\n1,a\n2,"b\n3,c\n',
            None,
            "{path} has a quoted value that is not closed. It begins with 'b\\n3,c\\n'. Close the quote, or double a "
            "quotation mark that is part of a value.",
        ),
        ("r.csv", "", None, EMPTY),
        ("r.csv", "\n \n", None, EMPTY),
        ("r.csv", "u,m\n", None, ONLY_NAMES),
        ("r.csv", "u,m", None, ONLY_NAMES),
        ("r.csv", "u,u,m\n1,2,a\n", None, "`r.csv` must have each column only once. Received twice: u."),
        (
            "r.dat",
            "u::m\n1\x1f::a\n",
            None,
            "{path} holds the control character U+001F, which cannot be read with the delimiter '::'. Remove it, or "
            "use a delimiter of one character.",
        ),
        ("r.parquet", "no", None, "{path} cannot be read: it is damaged, or not of the kind that its name says."),
    ],
)
def test_text_that_cannot_be_read_is_an_error_that_names_the_file_or_the_option(
    tmp_path, name, content, text_format, message
):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with exactly(ValueError, message.format(path=path)):
        load_ratings(path, IDS, text_format=text_format)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"encoding": "latin-99"},
            ValueError,
            "`encoding` must be an encoding that Python knows, such as 'utf-8', 'utf-16', 'latin-1' or 'cp1252'. "
            "Received: 'latin-99'.",
        ),
        (
            {"encoding": "base64"},
            ValueError,
            "`encoding` must be an encoding that Python knows, such as 'utf-8', 'utf-16', 'latin-1' or 'cp1252'. "
            "Received: 'base64'.",
        ),
        ({"encoding": 8}, TypeError, "`encoding` must be a name such as 'latin-1'. Received: 8."),
        ({"delimiter": 8}, TypeError, "`delimiter` must be a string such as ';'. Received: 8."),
        (
            {"delimiter": ""},
            ValueError,
            "`delimiter` must be one or more characters other than quotes and line breaks. Received: ''.",
        ),
        (
            {"column_names": "u"},
            TypeError,
            "`column_names` must be a tuple of names. Received: 'u'.",
        ),
        (
            {"column_names": ["u", "u"]},
            ValueError,
            "`column_names` must have a name for each column, and no name twice. Received: ['u', 'u'].",
        ),
    ],
)
def test_a_text_format_is_checked_when_it_is_made(fields, error, message):
    with exactly(error, message):
        TextFormat(**fields)


def test_a_multi_byte_delimiter_of_one_character_is_read(tmp_path):
    (tmp_path / "r.csv").write_text("u§m\n1§a\n", encoding="utf-8")
    assert query_ids(load_ratings(tmp_path / "r.csv", IDS, text_format=TextFormat(delimiter="§"))) == ["1"]


def test_delimiters_are_found_across_the_blocks_of_a_long_file(tmp_path):
    # 5 MB, so that the file is read in several chunks, which cut delimiters and characters.
    rows = [f"é{row % 977}::m{row % 13}::{row % 5}" for row in range(350_000)]
    (tmp_path / "r.dat").write_text("u::m::r\n" + "\n".join(rows) + "\n", encoding="utf-8")
    table = read_files(tmp_path / "r.dat")
    assert table.num_rows == 350_000
    assert table.slice(349_990).to_pylist() == [
        {"u": f"é{row % 977}", "m": f"m{row % 13}", "r": row % 5} for row in range(349_990, 350_000)
    ]


def test_a_column_is_a_number_only_if_it_is_one_in_every_block(tmp_path):
    # 17 MiB, so that there are two blocks, and the last row alone shows that the ids are text.
    rows = "".join(f"{row % 1000},{row % 7}.5,x{'-' * 40}\n" for row in range(350_000))
    (tmp_path / "r.csv").write_text(f"a,b,c\n{rows}007,,\n")
    table = read_files(tmp_path / "r.csv")
    assert table.schema.types == [pa.string(), pa.float64(), pa.string()]
    assert table["a"].slice(349_998).to_pylist() == ["998", "999", "007"]
    assert table["b"].slice(349_999).to_pylist() == [349_999 % 7 + 0.5, None]
    (tmp_path / "r.csv").write_text(f"a,b,c\n{rows}7,8,\n")
    assert read_files(tmp_path / "r.csv").schema.types == [pa.int64(), pa.float64(), pa.string()]


@pytest.mark.parametrize("names", [["README.txt", "r.csv"], ["r.txt"], ["r.data", "notes.md"]])
def test_texts_of_a_folder_are_data_only_where_there_are_no_other_files(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("Read me." if name.startswith(("README", "notes")) else "u,m\n1,a\n")
    assert query_ids(load_ratings(tmp_path, IDS)) == ["1"]


def test_reading_reports_its_progress(tmp_path):
    (tmp_path / "r.csv").write_text(MANY_ROWS)
    calls = []
    load_ratings(tmp_path / "r.csv", IDS, progress=lambda *call: calls.append(call))
    size = len(MANY_ROWS)
    assert calls[0] == ("Reading r.csv", 0, size)
    assert ("Reading r.csv", size, size) in calls
    assert calls[-2:] == [("Converting the ratings", 0, 10_000), ("Converting the ratings", 10_000, 10_000)]
    for task in dict.fromkeys(call[0] for call in calls):
        done = [call[1] for call in calls if call[0] == task]
        assert done == sorted(done)


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (["yes", "No", "Y"], [1, 0, 1], "The words in `r` are read as numbers: no as 0, y as 1, yes as 1."),
        (["true", "false", "TRUE"], [1, 0, 1], "The words in `r` are read as numbers: false as 0, true as 1."),
        (["t", "f", "1"], [1, 0, 1], "The words in `r` are read as numbers: f as 0, t as 1."),
        ([True, False, True], [1, 0, 1], "The truth values in `r` are read as numbers: true as 1, false as 0."),
        (["4,5", "3", "-1,25"], [4.5, 3, -1.25], "The comma in numbers of `r` such as 4,5 is read as a decimal comma."),
        (
            ["1.299,95", "12", "8,5"],
            [np.float32(1299.95), 12, 8.5],
            "The comma in numbers of `r` such as 1.299,95 is read as a decimal comma.",
        ),
        (
            ["4,500", "3,25", "1"],
            [4.5, 3.25, 1],
            "The comma in numbers of `r` such as 4,500 is read as a decimal comma.",
        ),
        ([" 4.5 ", "+3", "1e1"], [4.5, 3, 10], None),
        ([4, 3, 2], [4, 3, 2], None),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_ratings_are_numbers_however_they_are_written(tmp_path, values, expected, note, in_file):
    source = {"u": ["a", "b", "c"], "m": ["x", "y", "z"], "r": values}
    if in_file:
        lines = [";".join(map(str, row)) for row in zip(*source.values(), strict=True)]
        (tmp_path / "r.csv").write_text("\n".join(["u;m;r", *lines]) + "\n")
        source = tmp_path / "r.csv"
        note = (
            note
            if note is None or "truth" not in note
            else "The words in `r` are read as numbers: false as 0, true as 1."
        )
    ratings = load_ratings(source, RATED)
    assert ratings.ratings.tolist() == expected
    assert list(ratings.notes) == ([] if note is None else [note])
    assert ratings.has_ratings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1,234", "2,345"],
            "`r` holds numbers such as 1,234, whose comma may divide a fraction or thousands. Write them with a "
            "decimal point, or without a comma.",
        ),
        (
            ["yes", "no", "perhaps"],
            "`r` holds values that are not finite numbers in 1 of 3 rows, the first in rows [2], counted from 0: "
            "['perhaps']. The words in `r` are read as numbers: no as 0, yes as 1. Correct them, or leave "
            "them out with on_invalid='drop'.",
        ),
        (
            ["yes", "5"],
            "`r` holds values that are not finite numbers in 1 of 2 rows, the first in rows [0], counted from 0: "
            "['yes']. Correct them, or leave them out with on_invalid='drop'.",
        ),
        ([[1], [2]], "`r` must hold numbers. Received: list<item: int64>."),
    ],
)
def test_ratings_that_cannot_be_told_are_refused(values, message):
    with exactly(ValueError, message):
        load_ratings({"u": ["a", "b", "c"][: len(values)], "m": ["x", "y", "z"][: len(values)], "r": values}, RATED)


COMMAS = "The comma in numbers of `r` such as 4,0 is read as a decimal comma."


@pytest.mark.parametrize(
    ("usual", "odd", "numbers", "note"),
    [
        (["4,0", "3"], ["sehr gut"], [4, 3, None], COMMAS),
        (["4,0", "3"], ["4.5", "9,25", ""], [4, 3, None, 9.25, None], COMMAS),
        (["4,0", "3"], ["1.299", "1.299,5", "1.29,5", "yes"], [4, 3, None, 1299.5, None, None], COMMAS),
        (["4.0", "3"], ["4,5", "1e1", "perhaps"], [4, 3, None, 10, None], None),
        (["4.0", "3"], ["yes", "0"], [4, 3, None, 0], None),
        (["yes", "No"], ["5", "1", "4,5"], [1, 0, None, 1, None], "no as 0, yes as 1"),
        (["t", "0"], ["2"], [1, 0, None], "t as 1"),
    ],
)
@pytest.mark.parametrize("form", ["memory", "dictionary", "file"])
def test_a_few_odd_cells_do_not_change_how_a_column_is_read(tmp_path, usual, odd, numbers, note, form):
    values, expected = [*usual * 20, *odd], [*numbers[:2] * 20, *numbers[2:]]
    bad = [row for row, number in enumerate(expected) if number is None]
    ids = list(map(str, range(len(values))))
    table = {"u": ids, "m": ids, "r": pa.array(values).dictionary_encode() if form == "dictionary" else values}
    if form == "file":
        lines = [f"{row};{row};{value}" for row, value in enumerate(values)]
        (tmp_path / "r.csv").write_text("\n".join(["u;m;r", *lines]) + "\n")
        table = tmp_path / "r.csv"
    notes = [] if note is None else [note if note == COMMAS else f"The words in `r` are read as numbers: {note}."]
    found = (
        f"`r` holds values that are not finite numbers in {len(bad)} of {len(values)} rows, the first in rows {bad}, "
        f"counted from 0: {[values[row] for row in bad]}."
    )
    with exactly(ValueError, " ".join([found, *notes, DROP])):
        load_ratings(table, RATED)
    with pytest.warns(UserWarning, match=f"Left out {len(bad)} of {len(values)} rows"):
        ratings = load_ratings(table, RATED, on_invalid="drop")
    assert ratings.ratings.tolist() == [number for number in expected if number is not None]
    assert list(ratings.notes) == notes


def test_a_column_of_which_half_is_written_in_each_way_is_read_with_points():
    with exactly(
        ValueError,
        "`r` holds values that are not finite numbers in 1 of 2 rows, the first in rows [0], counted from 0: "
        f"['4,5']. {DROP}",
    ):
        load_column(RATED, "r", ["4,5", "4.5"])
