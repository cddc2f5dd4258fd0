"""Taking a table in any form in which people have one: a path, a data frame, columns, rows, or Arrow data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.columns import require_columns
from tfrs_twotower.data.files import read_compact
from tfrs_twotower.data.text_format import TextFormat

_FORMS = (
    "a path, an Arrow table, a data frame, a dictionary of columns, or a list of dictionaries with one dictionary for "
    "each row"
)
_NUM_SHOWN = 5
# Units of NumPy's times, and how many of them one is.
_TIMES_OF_ARROW = frozenset((unit, 1) for unit in ("D", "s", "ms", "us", "ns"))


def read_source(
    source: Any,
    name: str,
    *,
    text_columns: Sequence[str] = (),
    required: Sequence[str] = (),
    text_format: TextFormat | None = None,
    progress: Progress = no_progress,
) -> pa.Table:
    """Reads a table in any form.

    Args:
        source: A path that `read_files` takes, an Arrow table or stream, a data frame (pandas, Polars, and others that
            export Arrow data or have `to_arrow`, `collect` or `to_pandas`), a dictionary of columns, or a list of
            dictionaries.
        name: What errors call the table.
        text_columns: Columns that stay text in a text file, such as ids. Elsewhere they may mix text and integers.
        required: Columns that must be there.
        text_format: How a text file is written.
        progress: Called while files are read.

    Returns:
        The table; text may be a dictionary.

    Raises:
        TypeError: If `source` is no table, or a column mixes values of several types.
        ValueError: If a column is missing or named twice, columns differ in length, or there are no rows.
        OSError: If a file cannot be read.

    Example:
        >>> read_source([{"sku": "a", "stars": 4}, {"sku": "b"}], "ratings").to_pydict()
        {'sku': ['a', 'b'], 'stars': [4, None]}
    """
    if isinstance(source, str | os.PathLike):
        table = read_compact(
            source, text_columns=text_columns, text_format=text_format, expected=required, progress=progress
        )
    else:
        table = _read_memory(source, name, text_columns)
    repeated = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if repeated:
        raise ValueError(f"`{name}` must have each column only once. Received twice: {', '.join(repeated)}.")
    if table.num_columns:
        require_columns(table, required, f"`{name}`")
    if not table.num_rows and isinstance(source, str | os.PathLike):
        raise ValueError(f"`{name}` must have at least one row. {source} has only the names of its columns.")
    if not table.num_rows:
        raise ValueError(f"`{name}` must have at least one row. Received: none.")
    return table


def describe_source(source: Any) -> str:
    """Says where data came from, in a few words.

    Args:
        source: As `read_source` takes it.

    Example:
        >>> describe_source("shop/ratings.csv"), describe_source({})
        ('ratings.csv', 'a builtins dict in memory')
    """
    if isinstance(source, str | os.PathLike):
        return str(source).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return f"a {type(source).__module__.partition('.')[0]} {type(source).__name__} in memory"


def _read_memory(source: Any, name: str, text_columns: Sequence[str]) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, Mapping):
        return _from_columns(list(source.items()), name, text_columns)
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray | memoryview):
        return _from_rows(source, name, text_columns)
    if isinstance(source, np.ndarray) and source.dtype.names:
        return _from_columns([(column, source[column]) for column in source.dtype.names], name, text_columns)
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        return _from_columns(_pandas_columns(source), name, text_columns)
    table = _export(source, name)
    if table is None:
        raise TypeError(f"`{name}` must be {_FORMS}. Received: a {type(source).__name__}.")
    return table


def _export(source: Any, name: str) -> pa.Table | None:
    """Asks an object of another library for Arrow data; a lazy frame computes its rows first."""
    if isinstance(source, type | pa.Array | pa.ChunkedArray | pa.Schema):
        return None
    try:
        if isinstance(source, pa.RecordBatch) or _has(source, "__arrow_c_stream__"):
            return pa.table(source)
        for method in ("to_arrow", "to_table", "collect", "to_pandas"):
            if _has(source, method):
                made = getattr(source, method)()
                return None if made is source or made is None else _read_memory(made, name, ())
    except (pa.ArrowException, ImportError, NotImplementedError) as error:
        raise TypeError(
            f"`{name}` must be {_FORMS}. Received: a {type(source).__name__}, which could not be converted to an Arrow "
            "table. Convert it yourself, or save it as Parquet."
        ) from error
    return None


def _has(source: Any, method: str) -> bool:
    return callable(getattr(source, method, None))


def _pandas_columns(frame: Any) -> list[tuple[Any, Any]]:
    """Lists the columns of a pandas data frame, those of a named index included."""
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    return [(name, frame.iloc[:, place]) for place, name in enumerate(frame.columns)]


def _from_rows(rows: Sequence[Any], name: str, text_columns: Sequence[str]) -> pa.Table:
    others = [type(row).__name__ for row in rows if not isinstance(row, Mapping)]
    if others:
        raise TypeError(f"`{name}` must be {_FORMS}. Received: a {type(rows).__name__} with a {others[0]}.")
    columns = dict.fromkeys(key for row in rows for key in row)
    return _from_columns([(key, [row.get(key) for row in rows]) for key in columns], name, text_columns)


def _from_columns(columns: Sequence[tuple[Any, Any]], name: str, text_columns: Sequence[str]) -> pa.Table:
    labels = [label if isinstance(label, str) else str(label) for label, _ in columns]
    arrays = [
        _to_array(values, f"{name}.{label}", mixes_integers=label in text_columns)
        for label, (_, values) in zip(labels, columns, strict=True)
    ]
    if len({len(array) for array in arrays}) > 1:
        shown = ", ".join(f"{label} has {len(array)}" for label, array in zip(labels, arrays, strict=True))
        raise ValueError(f"The columns of `{name}` must have the same number of rows. Received: {shown}.")
    return pa.Table.from_arrays(arrays, names=labels)


def _to_array(values: Any, label: str, *, mixes_integers: bool) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise TypeError(f"`{label}` must be a column of values. Received: a {type(values).__name__}, {values!r}.")
    if isinstance(values, np.ndarray) and values.ndim != 1:
        if values.ndim != 2:
            raise TypeError(f"`{label}` must have one or two dimensions. Received: {values.ndim}.")
        values = list(values)
    if isinstance(values, np.ndarray):
        values = _as_arrow_takes_it(values)
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        if mixes_integers and all(_is_missing(value) or _is_text_or_integer(value) for value in values):
            return pa.array([None if _is_missing(value) else str(value) for value in values], pa.string())
        raise TypeError(_describe_mixture(values, label)) from error


def _as_arrow_takes_it(values: np.ndarray) -> np.ndarray:
    """Converts times in units and numbers in a byte order that Arrow does not have."""
    if values.dtype.kind == "M" and np.datetime_data(values.dtype) not in _TIMES_OF_ARROW:
        return values.astype("datetime64[s]")
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ == "NAType"


def _is_text_or_integer(value: Any) -> bool:
    return isinstance(value, str | int | np.integer) and not isinstance(value, bool)


def _describe_mixture(values: Any, label: str) -> str:
    kinds: dict[str, tuple[int, Any]] = {}
    for row, value in enumerate(values):
        if not _is_missing(value):
            kinds.setdefault(re.sub(r"^numpy\.", "", type(value).__name__), (row, value))
    if len(kinds) == 1:
        kind, (row, value) = next(iter(kinds.items()))
        return (
            f"`{label}` must hold text, numbers, times or lists of one kind. Received: {kind}, such as row {row}, "
            "counted from 0."
        )
    shown = ", ".join(f"{kind} in row {row}" for kind, (row, _) in list(kinds.items())[:_NUM_SHOWN])
    return f"`{label}` must hold values of one type. Received: {shown}, counted from 0. Convert the column to one type."
