"""Parquet files of queries: finding them, telling them from others, and reading ranges of their rows."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower._progress import Progress
from tfrs_twotower._sha256 import sha256_of

# Bytes of a column that are read from a file at once, and rows that are decoded at once. Without them, a row group is
# read as a whole, and many writers make a single one.
_BUFFER_BYTES = 2**20
_ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryFile:
    """A Parquet file of queries.

    Attributes:
        path: Where it lies.
        schema: Its columns.
        num_rows: Number of its rows.
        sha256: SHA-256 of its content, in hexadecimal.
    """

    path: Path
    schema: pa.Schema
    num_rows: int
    sha256: str

    def blocks(self, ranges: Iterable[range], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Reads ranges of rows, without holding more of the file in memory than one of them.

        Args:
            ranges: Ranges of rows, none empty, in ascending order and without an overlap.
            columns: Names of the columns to read.

        Yields:
            A table for each range.

        Raises:
            ValueError: If the file is damaged.
        """
        ranges = list(ranges)
        batches = self._batches(ranges, columns)
        first, batch = next(batches)
        for rows in ranges:
            pieces, row = [], rows.start
            while row < rows.stop:
                while row >= first + batch.num_rows:
                    first, batch = next(batches)
                piece = batch.slice(row - first, rows.stop - row)
                pieces.append(piece)
                row += piece.num_rows
            yield pa.Table.from_batches(pieces)

    def _batches(self, ranges: Sequence[range], columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads the row groups that hold some of the ranges, in batches with the numbers of their first rows."""
        try:
            with pq.ParquetFile(self.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                stop = 0
                for group in range(file.num_row_groups):
                    first, stop = stop, stop + file.metadata.row_group(group).num_rows
                    if not any(rows.start < stop and first < rows.stop for rows in ranges):
                        continue
                    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=list(columns)):
                        yield first, batch
                        first += batch.num_rows
        except pa.ArrowException as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error


def read_query_files(path: str | os.PathLike[str], progress: Progress) -> list[QueryFile]:
    """Finds Parquet files of queries, and computes their fingerprints.

    Args:
        path: A file, a folder of which all files `*.parquet` are taken in the order of their names, or a pattern such
            as `queries/day=*/*.parquet`.
        progress: Told how many bytes have been read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is not Parquet, or they differ in their columns.
    """
    paths = _find_paths(Path(path))
    sizes = [found.stat().st_size for found in paths]
    progress("Reading the queries", 0, sum(sizes))
    files = []
    for number, found in enumerate(paths):
        files.append(_read_query_file(found))
        if not files[-1].schema.equals(files[0].schema):
            raise ValueError(
                f"Files of queries must have the same columns. {paths[0]} has {_describe(files[0].schema)}; {found} "
                f"has {_describe(files[-1].schema)}."
            )
        progress("Reading the queries", sum(sizes[: number + 1]), sum(sizes))
    return files


def _find_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        # Names that begin in this way are those of files that are not data, here and in Arrow and Spark.
        found = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(("_", ".")))
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    if not found:
        raise FileNotFoundError(f"There are no Parquet files of queries at {path}.")
    return found


def _read_query_file(path: Path) -> QueryFile:
    try:
        with pq.ParquetFile(path) as file:
            schema, num_rows = file.schema_arrow, file.metadata.num_rows
    except pa.ArrowException as error:
        raise ValueError(f"{path} is not a Parquet file that can be read: {error}") from error
    with path.open("rb") as content:
        return QueryFile(path=path, schema=schema, num_rows=num_rows, sha256=sha256_of(content))


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
