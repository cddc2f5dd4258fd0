"""Reading files into Arrow tables: text, Parquet, Arrow and TFRecord, one file or a folder of shards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.columns import plain_table
from tfrs_twotower.data.compact import decode_table, join_blocks
from tfrs_twotower.data.text_detection import describe_missing_header, find_format, looks_like_values
from tfrs_twotower.data.text_files import read_text_file
from tfrs_twotower.data.text_format import TextFormat

#: Suffix of a text file -> the delimiter that it suggests.
_DELIMITERS = {
    ".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": ",", ".dat": "::", ".data": "\t", ".item": "|",
    ".user": "|", ".inter": "\t",
}  # fmt: skip
#: Suffixes of files that may be something else than data, such as README.txt: shards only where there are no others.
_DOUBTFUL = (".txt", ".dat", ".data", ".item", ".user", ".inter")


def read_files(
    path: str | os.PathLike[str],
    *,
    text_columns: Sequence[str] = (),
    text_format: TextFormat | None = None,
    progress: Progress = no_progress,
) -> pa.Table:
    r"""Reads a file, or all files of a folder in the order of their names.

    Args:
        path: A text file (`.csv`, `.tsv`, `.tab`, `.psv`, `.txt`, `.dat`, `.data`, `.item`, `.user` or `.inter`, also
            with `.gz` after it), a `.parquet`, `.feather`, `.arrow` or `.tfrecord` file (also
            `.tfrecord-00000-of-00010`), or a folder of such files, all of one kind.
        text_columns: Columns of a text file that stay text whatever they look like. Any other column becomes numeric if
            every value is a number without a leading zero and with at most 18 digits: 007 and 1.10.2 stay text, 1.10
            becomes the number 1.1. Empty values and the words NA, N/A, NULL and None are missing numbers.
        text_format: How text files are written. By default the encoding is UTF-8 or what a byte order mark says, the
            delimiter is found by looking at the first lines, and the first line holds the names of the columns.
        progress: Called with the number of bytes read.

    Returns:
        The rows of all files, with the columns of the first. From TFRecord files come the features that occur in the
        first 1,000 examples: a column of scalars if every example has exactly one value, otherwise a column of lists.

    Raises:
        TypeError: If an argument has the wrong type.
        FileNotFoundError: If there is nothing at `path`, or the folder holds no file of a supported kind.
        ValueError: If the kind is not supported, kinds are mixed, the files differ in their columns, the text format
            cannot be told, or a file is damaged (the file is named).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.csv").write_text("sku;stars\n007;4\n")
        ...     read_files(folder).to_pylist()
        [{'sku': '007', 'stars': 4}]
    """
    table = read_compact(path, text_columns=text_columns, text_format=text_format, progress=progress)
    return plain_table(decode_table(table), Path(path).name)


def read_compact(
    path: str | os.PathLike[str],
    *,
    text_columns: Sequence[str] = (),
    text_format: TextFormat | None = None,
    expected: Sequence[str] = (),
    progress: Progress = no_progress,
) -> pa.Table:
    r"""Reads files as `read_files` does, but keeps columns in the form in which they take the least memory.

    Args:
        path: As `read_files` takes it.
        text_columns: Columns of a text file that stay text.
        text_format: How text files are written.
        expected: Columns that the files must have.
        progress: Called with the number of bytes read.

    Returns:
        The rows of all files. Text may be a dictionary.

    Raises:
        TypeError: If an argument has the wrong type.
        FileNotFoundError: If there is nothing at `path`, or the folder holds no file of a supported kind.
        ValueError: If an expected column is missing, or for the reasons that `read_files` has.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.csv").write_text("sku,stars\n007,4\n007,5\n")
        ...     read_compact(folder).schema.field("sku").type
        DictionaryType(dictionary<values=string, indices=int32, ordered=0>)
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"`path` must be the path of a file or a folder. Received: a {type(path).__name__}.")
    if text_format is not None and not isinstance(text_format, TextFormat):
        raise TypeError(f"`text_format` must be a `TextFormat`. Received: a {type(text_format).__name__}.")
    location = Path(path)
    shards = _find_shards(location)
    kind = _kind_of_all(location, shards)
    sizes = [shard.stat().st_size for shard in shards]
    task = f"Reading {location.name}"
    progress(task, 0, sum(sizes))
    if kind in _DELIMITERS:
        table = _read_text(location, shards, sizes, text_columns, text_format or TextFormat(), expected, progress)
    else:
        tables = []
        for number, shard in enumerate(shards):
            tables.append(_read_binary(shard, _READERS[kind]))
            progress(task, sum(sizes[: number + 1]), sum(sizes))
        table = _concatenate(location, shards, tables)
    progress(task, sum(sizes), sum(sizes))
    return table


def _read_text(
    location: Path,
    shards: Sequence[Path],
    sizes: Sequence[int],
    text_columns: Sequence[str],
    text_format: TextFormat,
    expected: Sequence[str],
    progress: Progress,
) -> pa.Table:
    blocks: dict[str, list[pa.Array]] = {}
    for number, shard in enumerate(shards):
        found = find_format(shard, text_format, usual_delimiter=_DELIMITERS[_kind(shard) or ".csv"], expected=expected)
        missing = set(expected) - set(found.column_names)
        if missing and text_format.column_names is None and looks_like_values(found.column_names):
            raise ValueError(f"{shard} {describe_missing_header(found.column_names)}")
        if number and set(found.column_names) != set(blocks):
            raise _difference(location, shards[0], list(blocks), shard, found.column_names)
        done = sum(sizes[:number])

        def report(num_bytes: int, done: int = done) -> None:
            progress(f"Reading {location.name}", min(done + num_bytes, sum(sizes)), sum(sizes))

        for name, column in read_text_file(shard, found, on_bytes=report).blocks.items():
            blocks.setdefault(name, []).extend(column)
    joined = {}
    for name in list(blocks):
        joined[name] = join_blocks(blocks.pop(name), is_text=name in text_columns)
    return pa.table(joined)


def _read_binary(shard: Path, read: Callable[[Path], pa.Table]) -> pa.Table:
    try:
        table = read(shard)
        table.validate(full=True)  # a reader takes text that is not UTF-8, which fails much later
        return table
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{shard} cannot be read: it is damaged, or not of the kind that its name says.") from error


def _concatenate(location: Path, shards: Sequence[Path], tables: Sequence[pa.Table]) -> pa.Table:
    first = tables[0]
    for shard, table in zip(shards, tables, strict=True):
        repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        if repeated:
            raise ValueError(f"`{shard.name}` must have each column only once. Received twice: {', '.join(repeated)}.")
        if set(table.column_names) != set(first.column_names):
            raise _difference(location, shards[0], first.column_names, shard, table.column_names)
    if len(tables) == 1:
        return first
    ordered = [plain_table(table.select(first.column_names), s.name) for s, table in zip(shards, tables, strict=True)]
    try:
        return pa.concat_tables(ordered, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        kinds = {name: {str(table.schema.field(name).type) for table in ordered} for name in first.column_names}
        different = [f"{name} is {' and '.join(sorted(found))}" for name, found in kinds.items() if len(found) > 1]
        raise ValueError(
            f"The files of {location} must have the same column types. Received: {'; '.join(different)}."
        ) from error


def _difference(
    location: Path, first: Path, columns: Sequence[str], other: Path, other_columns: Sequence[str]
) -> ValueError:
    return ValueError(
        f"The files of {location} must have the same columns. {first.name} has {', '.join(columns)}; "
        f"{other.name} has {', '.join(other_columns)}."
    )


def _find_shards(location: Path) -> list[Path]:
    try:
        exists = location.exists()
    except (OSError, ValueError):  # no path at all, such as one with a zero byte
        exists = False
    if not exists:
        raise FileNotFoundError(f"There is nothing at {location}. Name a file or a folder of files.")
    if location.is_file():
        return [location]
    found = sorted(path for path in location.iterdir() if _is_shard(path))
    shards = [path for path in found if _kind(path) not in _DOUBTFUL] or found
    if not shards:
        raise FileNotFoundError(f"{location} holds no file of a supported kind. Supported: {', '.join(_kinds())}.")
    return shards


def _kind_of_all(location: Path, shards: Sequence[Path]) -> str:
    kinds = [_kind(shard) for shard in shards]
    if kinds[0] is None or any(kind != kinds[0] for kind in kinds):
        names = ", ".join(shard.name for shard in shards[:5])
        raise ValueError(
            f"{location} must be of one supported kind. Supported: {', '.join(_kinds())}. Received: {names}."
        )
    return kinds[0]


def _is_shard(path: Path) -> bool:
    """Tells data files from other programs' notes, whose names begin with a dot or an underscore, such as _SUCCESS."""
    return path.is_file() and not path.name.startswith((".", "_")) and _kind(path) is not None


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    text = name.removesuffix(".gz")
    name = text if text.endswith(tuple(_DELIMITERS)) else name
    name = re.sub(r"\.tfrecords?(-\d+-of-\d+)?$", ".tfrecord", name)
    return next((kind for kind in _kinds() if name.endswith(kind)), None)


def _kinds() -> tuple[str, ...]:
    return (*_DELIMITERS, *_READERS)


def _read_parquet(path: Path) -> pa.Table:
    # Opened as one file: a folder's name such as `year=2024` adds no column.
    return pyarrow.parquet.ParquetFile(path).read()


def _read_tfrecords(path: Path) -> pa.Table:
    # Imported here because it loads TensorFlow, which takes seconds and no other kind of file needs.
    from tfrs_twotower.data.tfrecords import read_tfrecords

    return read_tfrecords(path)


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": _read_parquet,
    ".feather": pyarrow.feather.read_table,
    ".arrow": pyarrow.feather.read_table,
    ".tfrecord": _read_tfrecords,
}
