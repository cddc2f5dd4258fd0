"""Files into Arrow tables: CSV, Parquet, Arrow and TFRecord, one file or a folder of shards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import tensorflow as tf
from google.protobuf.message import DecodeError

from tfrs_twotower.data.columns import plain_table

_PARSE_BATCH_SIZE = 8192
_NUM_INSPECTED = 1000
_READ_BYTES = 2**23
# 007 is no number but text, and so is an integer that no number holds exactly.
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})?$"
_FLOAT = r"^(-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]+)?|[nN]a[nN]|-?inf)?$"


def read_files(path: str | os.PathLike[str], *, text_columns: Sequence[str] = ()) -> pa.Table:
    r"""Reads a file, or a folder of shards of one kind in the order of their names.

    Args:
        path: `.csv`, `.tsv`, `.parquet`, `.feather`, `.arrow`, `.tfrecord` (also `.tfrecord-00000-of-00010`), CSV also
            with `.gz`; or a folder that holds such files.
        text_columns: Columns of a CSV that are text whatever they look like. Any other is of numbers if every value is
            one, without a leading zero and of at most 18 digits: 007 and 1.10.2 stay text, 1.10 is the number 1.1.

    Returns:
        The rows of all shards, with the columns of the first. From TFRecords, the features that occur in the first
        1,000 examples; one that every example has once is a column of scalars, any other one of lists.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or no such file in the folder.
        ValueError: If the kind is unknown, kinds are mixed, or a file is damaged (named).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.csv").write_text("sku,stars\n007,4\n")
        ...     read_files(folder).to_pylist()
        [{'sku': '007', 'stars': 4}]
    """
    location = Path(path)
    if not location.exists():
        raise FileNotFoundError(f"Nothing at {location}. Name a file or a folder of files.")
    shards = [location] if location.is_file() else sorted(p for p in location.iterdir() if _is_shard(p))
    if not shards:
        raise FileNotFoundError(f"{location} holds no file of a known kind. Known: {', '.join(_READERS)}.")
    kinds = {_kind(shard) for shard in shards}
    if len(kinds) > 1 or None in kinds:
        names = ", ".join(shard.name for shard in shards[:5])
        raise ValueError(f"{location} must be of one known kind. Known: {', '.join(_READERS)}. Received: {names}.")
    read = _READERS[kinds.pop() or ""]
    tables: list[pa.Table] = []
    for shard in shards:
        try:
            table = plain_table(read(shard), shard.name)
        except (pa.ArrowException, UnicodeDecodeError, tf.errors.OpError, DecodeError) as error:
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
        raise ValueError(f"The files of {location} must agree in their types: {error}") from error
    if _is_text(shards[0]):
        table = pa.table({name: _infer(table[name], name in text_columns) for name in table.column_names})
    return table


def parse_tfrecords(paths: Sequence[str], spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parses files of `tf.train.Example` in bulk.

    Args:
        paths: Files, read in this order.
        spec: Feature name -> how to parse it, as `tf.io.parse_example` takes it.

    Returns:
        Batches of parsed tensors.
    """
    options = tf.data.Options()
    # Left on, it is as likely to halve the rate as to raise it: a file is read through before it has tuned anything.
    options.autotune.enabled = False
    batches = (
        tf.data.TFRecordDataset(list(paths), buffer_size=_READ_BYTES)
        .batch(_PARSE_BATCH_SIZE)
        .map(lambda serialized: tf.io.parse_example(serialized, spec), num_parallel_calls=os.cpu_count())
        .prefetch(2)
        .with_options(options)
    )
    return list(batches)


def _is_shard(path: Path) -> bool:
    """Names that begin with a dot or an underscore are other programs' notes: ._part.csv, _SUCCESS."""
    return path.is_file() and not path.name.startswith((".", "_")) and _kind(path) is not None


def _is_text(path: Path) -> bool:
    """Whether a file's values are text, whose types have to be inferred."""
    return _kind(path) in (".csv", ".tsv")


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    name = name.removesuffix(".gz") if name.endswith((".csv.gz", ".tsv.gz")) else name
    name = re.sub(r"\.tfrecords?(-\d+-of-\d+)?$", ".tfrecord", name)
    return next((kind for kind in _READERS if name.endswith(kind)), None)


def _read_separated(path: Path, delimiter: str) -> pa.Table:
    """All columns as text; types are inferred over all shards together."""
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


def _infer(column: pa.ChunkedArray, is_text: bool) -> pa.ChunkedArray:
    if is_text:
        return column
    values = pc.if_else(pc.equal(column, ""), None, column)
    if values.null_count == len(values):
        return column
    for pattern, kind in ((_INTEGER, pa.int64()), (_FLOAT, pa.float64())):
        if pc.all(pc.match_substring_regex(column, pattern)).as_py():
            return values.cast(kind)
    return column


def _read_tfrecords(path: Path) -> pa.Table:
    files = tf.data.TFRecordDataset([str(path)])
    first = next(iter(files.take(1)), None)
    if first is None:
        if path.stat().st_size:  # TensorFlow takes a stump shorter than a record's header for the end
            raise pa.ArrowInvalid("it holds no whole record")
        return pa.table({})
    kinds = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}
    spec = {}
    for record in files.take(_NUM_INSPECTED).as_numpy_iterator():
        for name, value in tf.train.Example.FromString(record).features.feature.items():
            if value.WhichOneof("kind") is not None:
                spec[name] = tf.io.RaggedFeature(kinds[value.WhichOneof("kind")])
    batches = parse_tfrecords([str(path)], spec)
    tables = [pa.table({name: _list_array(batch[name]) for name in sorted(spec)}) for batch in batches]
    table = pa.concat_tables(tables).combine_chunks()
    return pa.table({name: _scalars_if_possible(table[name].combine_chunks()) for name in table.column_names})


def _list_array(ragged: tf.RaggedTensor) -> pa.Array:
    values = ragged.values.numpy()
    items = pa.array(values, pa.binary()).cast(pa.string()) if values.dtype == object else pa.array(values)
    return pa.ListArray.from_arrays(pa.array(ragged.row_splits.numpy(), pa.int32()), items)


def _scalars_if_possible(lists: pa.ListArray) -> pa.Array:
    return lists.flatten() if np.all(lists.value_lengths().to_numpy() == 1) else lists


_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": lambda path: _read_separated(path, ","),
    ".tsv": lambda path: _read_separated(path, "\t"),
    ".parquet": pyarrow.parquet.read_table,
    ".feather": pyarrow.feather.read_table,
    ".arrow": pyarrow.feather.read_table,
    ".tfrecord": _read_tfrecords,
}
