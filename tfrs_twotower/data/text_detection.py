"""Finding out how a text file is written: its encoding, its delimiter and its columns."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from tfrs_twotower.data.text_format import TextFormat
from tfrs_twotower.data.text_stream import TextStream, is_single_byte

_DELIMITERS = (",", ";", "\t", "::", "|")
_SAMPLE_BYTES = 2**16
_MAX_LINES = 100
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What Arrow takes as the end of a line; `str.splitlines` knows others.
_LINE_END = re.compile(r"\r\n|\n|\r")
_VALUE = re.compile(r"\s*([-+]?[0-9]+([.,][0-9]+)?([eE][-+]?[0-9]+)?|[0-9]{4}-[0-9]{2}-[0-9]{2}.*)\s*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundFormat:
    """How a file is written, with nothing left open.

    Attributes:
        encoding: Name of the encoding.
        delimiter: Characters between two values.
        column_names: Names of the columns.
        num_header_lines: Number of lines before the first row.
        has_quotes: Whether a value may be enclosed in double quotes.
    """

    encoding: str
    delimiter: str
    column_names: tuple[str, ...]
    num_header_lines: int
    has_quotes: bool


def find_format(
    path: Path, text_format: TextFormat, *, usual_delimiter: str, expected: Collection[str] = ()
) -> FoundFormat:
    r"""Looks at the beginning of a file to find out how it is written.

    The encoding is UTF-8 unless the file begins with another byte order mark. The delimiter is the one of comma,
    semicolon, tab, `::` and `|` that divides all lines into the same number of values, two or more; if several do, it
    is the one with which the expected columns are there, or else the usual one.

    Args:
        path: The file.
        text_format: What the user says.
        usual_delimiter: Delimiter that the file's name suggests.
        expected: Columns that the file should have.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is empty or damaged, or the format cannot be told (the option to give is named).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.csv")
        ...     _ = path.write_text("sku;stars\n7;4,5\n")
        ...     found = find_format(path, TextFormat(), usual_delimiter=",")
        >>> found.delimiter, found.column_names
        (';', ('sku', 'stars'))
    """
    encoding = text_format.encoding or _find_encoding(path)
    with TextStream(path, encoding=encoding, is_given=text_format.encoding is not None) as stream:
        sample = stream.read(_SAMPLE_BYTES)
        is_whole = not stream.read(1)
    # The sample may end within a character.
    lines = _LINE_END.split(sample.decode("utf-8", "ignore"))
    lines = [line for line in (lines if is_whole else lines[:-1] or lines) if line.strip()][:_MAX_LINES]
    if not lines:
        raise ValueError(f"{path} is empty. It must have a line for each row, and usually a first line of names.")
    delimiter = text_format.delimiter or _find_delimiter(path, lines, usual_delimiter, expected)
    has_quotes = is_single_byte(delimiter)
    if text_format.column_names is not None:
        return FoundFormat(
            encoding=encoding,
            delimiter=delimiter,
            column_names=text_format.column_names,
            num_header_lines=0,
            has_quotes=has_quotes,
        )
    if not is_whole and _LINE_END.search(sample.decode("utf-8", "ignore")) is None:
        raise ValueError(
            f"{path} has a first line of more than {_SAMPLE_BYTES:,} bytes. It must have a line of the names of "
            "its columns, and a line for each row."
        )
    names, num_lines = _read_header(sample.decode("utf-8", "ignore"), delimiter)
    if len(set(names)) < len(names):
        if looks_like_values(names):
            raise ValueError(f"{path} {describe_missing_header(names)}")
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"`{path.name}` must have each column only once. Received twice: {', '.join(repeated)}.")
    return FoundFormat(
        encoding=encoding,
        delimiter=delimiter,
        column_names=tuple(names),
        num_header_lines=num_lines,
        has_quotes=has_quotes,
    )


def looks_like_values(names: Sequence[str]) -> bool:
    """Tells whether the names of columns look like the values of a row, as they do in a file without a header.

    Args:
        names: Names of the columns.

    Example:
        >>> looks_like_values(["196", "242", "3", "881250949"]), looks_like_values(["user", "2024"])
        (True, False)
    """
    return sum(_VALUE.fullmatch(name) is not None for name in names) * 2 > len(names)


def describe_missing_header(names: Sequence[str]) -> str:
    """Says what to do about a file whose first line holds values.

    Args:
        names: The values in its first line.

    Example:
        >>> describe_missing_header(["196", "242"])
        'has values instead of names in its first line: 196, 242. Name its columns ...'
    """
    return (
        f"has values instead of names in its first line: {', '.join(names)}. Name its columns with "
        f"text_format=TextFormat(column_names=(...)), one name for each of the {len(names)} columns."
    )


def split_line(line: str, delimiter: str) -> list[str]:
    """Divides one line into its values.

    Args:
        line: The line, without its end.
        delimiter: Characters between two values.

    Example:
        >>> split_line('7,"a, b"', ",")
        ['7', 'a, b']
    """
    return next(csv.reader([line], delimiter=delimiter), []) if len(delimiter) == 1 else line.split(delimiter)


def _find_encoding(path: Path) -> str:
    """Finds the encoding by the byte order mark; anything else must be UTF-8, because no other can be told safely."""
    with TextStream(path, encoding="latin-1") as stream:
        start = stream.read(2 * 256).decode().encode("latin-1", "ignore")
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    num_even, num_odd = start[0::2].count(0), start[1::2].count(0)
    if start and max(num_even, num_odd) * 4 > len(start):
        guess = "utf-16-le" if num_odd >= num_even else "utf-16-be"
        raise ValueError(
            f"{path} is not UTF-8 text: it has zero bytes between its characters. Name its encoding, probably with "
            f"text_format=TextFormat(encoding={guess!r}), or save it as UTF-8."
        )
    return "utf-8"


def _find_delimiter(path: Path, lines: Sequence[str], usual: str, expected: Collection[str]) -> str:
    headers = {delimiter: _split_safely(lines[0], delimiter) for delimiter in _DELIMITERS}
    complete = [d for d in _DELIMITERS if expected and set(expected) <= {name.strip() for name in headers[d]}]
    if len(complete) == 1 and len(headers[complete[0]]) > 1:
        return complete[0]
    fitting = [d for d in _DELIMITERS if len(headers[d]) > 1 and _divides_evenly(lines, d)]
    if len(fitting) == 1:
        return fitting[0]
    if usual in fitting or (not fitting and len(headers[usual]) > 1):
        return usual
    occurring = [d for d in _DELIMITERS if len(headers[d]) > 1]
    if len(fitting or occurring) <= 1:
        return (fitting or occurring or [usual])[0]
    shown = " and ".join(repr(delimiter) for delimiter in fitting or occurring)
    raise ValueError(
        f"{path} can be divided into columns by {shown}. Name the right one with text_format=TextFormat(delimiter=...)."
    )


def _divides_evenly(lines: Sequence[str], delimiter: str) -> bool:
    # A value with a line break has its quotes on several lines, which say nothing about the number of values.
    return len({len(_split_safely(line, delimiter)) for line in lines if line.count('"') % 2 == 0}) == 1


def _split_safely(line: str, delimiter: str) -> list[str]:
    try:
        return split_line(line, delimiter)
    except csv.Error:
        return [line]


def _read_header(text: str, delimiter: str) -> tuple[list[str], int]:
    """Reads the first line that is not empty.

    Returns:
        (names, num_lines): the names of the columns without white space around them; the number of lines up to and
        including the header, more if a name has a line break.
    """
    lines = _LINE_END.split(text)
    if len(delimiter) > 1:
        place = next(number for number, line in enumerate(lines) if line.strip())
        return [name.strip() for name in lines[place].split(delimiter)], place + 1
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
    try:
        names = next(row for row in reader if any(name.strip() for name in row))
    except (csv.Error, StopIteration):
        return [lines[0]], 1
    return [name.strip() for name in names], reader.line_num
