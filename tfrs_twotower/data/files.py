"""Reading files into Arrow tables: CSV, Parquet, Arrow and TFRecord, one file or a folder of shards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from tfrs_twotower.data.columns import plain_table

# 007 is text, not a number, and so is an integer that float64 does not hold exactly.
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})?$"
_FLOAT = r"^(-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]+)?|[nN]a[nN]|-?inf)?$"


def read_files(path: str | os.PathLike[str], *, text_columns: Sequence[str] = ()) -> pa.Table:
    r"""Reads a file, or all files of a folder in the order of their names.

    Args:
        path: A `.csv`, `.tsv`, `.parquet`, `.feather`, `.arrow` or `.tfrecord` file (also
            `.tfrecord-00000-of-00010`), a `.csv.gz` or `.tsv.gz` file, or a folder of such files, all of one kind.
        text_columns: Columns of a CSV file that stay text whatever they look like. Any other column becomes numeric if
            every value is a number without a leading zero and with at most 18 digits: 007 and 1.10.2 stay text, 1.10
            becomes the number 1.1.

    Returns:
        The rows of all files, with the columns of the first. From TFRecord files come the features that occur in the
        first 1,000 examples: a column of scalars if every example has exactly one value, otherwise a column of lists.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or the folder holds no file of a supported kind.
        ValueError: If the kind is not supported, kinds are mixed, the files differ in their columns, or a file is
            damaged (the file is named).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.csv").write_text("sku,stars\n007,4\n")
        ...     read_files(folder).to_pylist()
        [{'sku': '007', 'stars': 4}]
    """
    location = Path(path)
    shards = _find_shards(location)
    read = _READERS[_kind_of_all(location, shards)]
    tables: list[pa.Table] = []
    for shard in shards:
        try:
            table = plain_table(read(shard), shard.name)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ValueError(f"{shard} cannot be read: {str(error).splitlines()[0]}") from error
        if tables and set(table.column_names) != set(tables[0].column_names):
            raise ValueError(
                f"The files of {location} must have the same columns. {shards[0].name} has "
                f"{', '.join(tables[0].column_names)}; {shard.name} has {', '.join(table.column_names)}."
            )
        tables.append(table.select(tables[0].column_names) if tables else table)
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"The files of {location} must have the same column types: {error}") from error
    if _is_text(shards[0]):
        columns = {name: table[name] for name in table.column_names}
        table = pa.table({n: column if n in text_columns else _infer(column) for n, column in columns.items()})
    return table


def _find_shards(location: Path) -> list[Path]:
    if not location.exists():
        raise FileNotFoundError(f"There is nothing at {location}. Name a file or a folder of files.")
    shards = [location] if location.is_file() else sorted(p for p in location.iterdir() if _is_shard(p))
    if not shards:
        raise FileNotFoundError(f"{location} holds no file of a supported kind. Supported: {', '.join(_READERS)}.")
    return shards


def _kind_of_all(location: Path, shards: Sequence[Path]) -> str:
    kinds = [_kind(shard) for shard in shards]
    if kinds[0] is None or any(kind != kinds[0] for kind in kinds):
        names = ", ".join(shard.name for shard in shards[:5])
        raise ValueError(
            f"{location} must be of one supported kind. Supported: {', '.join(_READERS)}. Received: {names}."
        )
    return kinds[0]


def _is_shard(path: Path) -> bool:
    """Tells data files from other programs' notes, whose names begin with a dot or an underscore, such as _SUCCESS."""
    return path.is_file() and not path.name.startswith((".", "_")) and _kind(path) is not None


def _is_text(path: Path) -> bool:
    """Tells whether a file's values are text, so that their types have to be inferred."""
    return _kind(path) in (".csv", ".tsv")


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    name = name.removesuffix(".gz") if name.endswith((".csv.gz", ".tsv.gz")) else name
    name = re.sub(r"\.tfrecords?(-\d+-of-\d+)?$", ".tfrecord", name)
    return next((kind for kind in _READERS if name.endswith(kind)), None)


def _read_separated(path: Path, delimiter: str) -> pa.Table:
    """Reads all columns as text; types are inferred from all shards together."""
    options = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=options) as reader:
        names = reader.schema.names
    return pa.csv.read_csv(
        path,
        parse_options=options,
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _infer(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turns text into numbers if every value is one."""
    values = pc.if_else(pc.equal(column, ""), None, column)
    if values.null_count == len(values):
        return column
    for pattern, kind in ((_INTEGER, pa.int64()), (_FLOAT, pa.float64())):
        if pc.all(pc.match_substring_regex(column, pattern)).as_py():
            return values.cast(kind)
    return column


def _read_tfrecords(path: Path) -> pa.Table:
    # Imported here because it loads TensorFlow, which takes seconds and no other kind of file needs.
    from tfrs_twotower.data.tfrecords import read_tfrecords

    return read_tfrecords(path)


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": lambda path: _read_separated(path, ","),
    ".tsv": lambda path: _read_separated(path, "\t"),
    ".parquet": pyarrow.parquet.read_table,
    ".feather": pyarrow.feather.read_table,
    ".arrow": pyarrow.feather.read_table,
    ".tfrecord": _read_tfrecords,
}
