"""Reading text files block by block into compact columns."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.data.compact import compact
from tfrs_twotower.data.text_detection import FoundFormat
from tfrs_twotower.data.text_stream import UNIT_SEPARATOR, TextStream, is_single_byte

_BLOCK_BYTES = 2**24
# Arrow lets go of a file within milliseconds; whatever happens, reading does not hang.
_RELEASE_S = 1.0
_NUM_SHOWN = 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextColumns:
    """The columns of one text file.

    Attributes:
        blocks: Column -> its blocks in the order of the file, each as `compact` gives it.
    """

    blocks: dict[str, list[pa.Array]]


def read_text_file(path: Path, found: FoundFormat, *, on_bytes: Callable[[int], None] | None = None) -> TextColumns:
    """Reads a text file block by block, so that memory grows with the compact columns and not with the text.

    Args:
        path: The file.
        found: How it is written.
        on_bytes: Called with the number of bytes read so far.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is damaged, is written in another way, or a line has too few or too many values (the
            file and the line are named).
    """
    blocks: dict[str, list[pa.Array]] = {name: [] for name in found.column_names}
    for batch in _read_batches(path, found, on_bytes):
        for name, column in zip(found.column_names, batch.columns, strict=True):
            blocks[name].append(compact(column))
    return TextColumns(blocks=blocks)


def _read_batches(path: Path, found: FoundFormat, on_bytes: Callable[[int], None] | None) -> Iterator[pa.RecordBatch]:
    uneven: list[pa.csv.InvalidRow] = []

    def stop(row: pa.csv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    # Columns are numbered here: a name may be anything.
    names = [str(number) for number in range(len(found.column_names))]
    last: pa.RecordBatch | None = None
    with TextStream(path, encoding=found.encoding, delimiter=found.delimiter, on_bytes=on_bytes) as stream:
        source: _Source | None = _Source(stream)
        reader: pa.csv.CSVStreamingReader | None = None
        # Arrow reads ahead in a thread of its own. One that is still in Python when the process ends would abort it.
        is_released = threading.Event()
        weakref.finalize(source, is_released.set)
        try:
            reader = pa.csv.open_csv(
                pa.PythonFile(source, mode="r"),
                # Without threads, so that the number of an uneven row is known.
                read_options=pa.csv.ReadOptions(
                    block_size=_BLOCK_BYTES, column_names=names, skip_rows=found.num_header_lines, use_threads=False
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=found.delimiter if is_single_byte(found.delimiter) else UNIT_SEPARATOR,
                    quote_char='"' if found.has_quotes else False,
                    newlines_in_values=found.has_quotes,
                    invalid_row_handler=stop,
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                last = batch if batch.num_rows else last
                yield batch
        except pa.ArrowException as error:
            if "Empty CSV file" in str(error) or "Could not skip" in str(error):
                return  # there is nothing after the header
            raise ValueError(_describe(path, found, uneven)) from error
        finally:
            reader = source = None
            is_released.wait(_RELEASE_S)
        if found.has_quotes and last is not None:
            _check_closed(path, stream, last)


class _Source:
    """What Arrow reads a stream from. It holds this, and nothing else does, until it reads no more."""

    closed = False

    def __init__(self, stream: TextStream) -> None:
        self.read = stream.read

    def close(self) -> None:
        """Leaves the stream open: its owner closes it."""


def _check_closed(path: Path, stream: TextStream, last: pa.RecordBatch) -> None:
    """Checks that no quote is left open, which would make one value of the rest of the file."""
    values = [column[-1].as_py() for column in last.columns]
    if stream.num_quotes % 2 and any("\n" in value or "\r" in value for value in values):
        start = next(value for value in values if "\n" in value or "\r" in value)[:_NUM_SHOWN]
        raise ValueError(
            f"{path} has a quoted value that is not closed. It begins with {start!r}. Close the quote, or double a "
            "quotation mark that is part of a value."
        )


def _describe(path: Path, found: FoundFormat, uneven: Sequence[pa.csv.InvalidRow]) -> str:
    if not uneven:
        return (
            f"{path} cannot be divided into rows by {found.delimiter!r}: a quoted value may not be closed, or a row is "
            f"longer than {_BLOCK_BYTES >> 20} MiB. Correct the file, or name another delimiter with "
            "text_format=TextFormat(delimiter=...)."
        )
    row = uneven[0]
    shown = row.text.replace(UNIT_SEPARATOR, found.delimiter)
    shown = shown if len(shown) <= _NUM_SHOWN else f"{shown[:_NUM_SHOWN]}..."
    place = "A line" if row.number is None else f"Line {row.number}"
    return (
        f"{path} must have {row.expected_columns} values in every line, divided by {found.delimiter!r}. {place} has "
        f"{row.actual_columns}: {shown!r}. Correct the line: a value that holds the delimiter must be in quotes."
    )
