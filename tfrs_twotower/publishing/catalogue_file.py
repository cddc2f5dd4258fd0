"""Reads a catalogue from a file, with the column types that a bundle needs, and ids of candidates from a text."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.list_text import parse_lists
from tfrs_twotower.data.numbers import read_decimal_commas


def read_catalogue(path: str | os.PathLike[str], bundle: LoadedBundle) -> pa.Table:
    r"""Reads a catalogue for `refresh_bundle`: ids and texts stay text, lists and filters have the types that they had.

    Numbers may have a decimal comma if all of a column are written so.

    A text file writes a list with bars, such as Action|Comedy, or as JSON or Python do, such as ["Action", "Comedy"],
    in all rows of the column. An empty text is an empty list, or a missing vector.

    Args:
        path: A file or a folder of files, as `read_files` takes it. Its columns have the names that they had in the
            user's table, or those of the bundle's inputs.
        bundle: The bundle whose catalogue is to be replaced.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is of an unknown kind or damaged, or a column cannot have the type that it had.

    Example:
        A stand-in for a loaded bundle, whose catalogue has ids that are made of digits:

        >>> import tempfile
        >>> from pathlib import Path
        >>> from types import SimpleNamespace
        >>> side = SimpleNamespace(id="sku", inputs=())
        >>> bundle = SimpleNamespace(
        ...     candidates=pa.table({"sku": ["007"], "shelf": ["A"]}),
        ...     manifest=SimpleNamespace(
        ...         filter_by=("shelf",), model=SimpleNamespace(candidate=side, original_names={})
        ...     ),
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "catalogue.csv"
        ...     _ = path.write_text("sku,shelf\n008,12\n")
        ...     read_catalogue(path, bundle).to_pylist()
        [{'sku': '008', 'shelf': '12'}]
    """
    model, lists = bundle.manifest.model, _list_columns(bundle)
    text_columns = {model.candidate.id, *lists}
    text_columns.update(spec.name for spec in model.candidate.inputs if spec.dtype == "string")
    text_columns.update(field.name for field in bundle.candidates.schema if field.type == "string")
    text_columns.update(original for name, original in model.original_names.items() if name in text_columns)
    table = read_files(path, text_columns=sorted(text_columns))
    names = {original: name for name, original in model.original_names.items() if name not in table.column_names}
    table = table.rename_columns([names.get(column, column) for column in table.column_names])
    for name in table.column_names:
        if name not in text_columns:
            table = _with(table, name, read_decimal_commas(table[name], name, []))
    for name, kind in lists.items():
        if name in table.column_names and pa.types.is_string(table[name].type):
            table = _with(table, name, _to_lists(table[name], kind, name))
    for name in bundle.manifest.filter_by:
        if name in table.column_names:  # `refresh_bundle` names what is missing
            table = _with(table, name, _to_filter(table[name], bundle.candidates.schema.field(name).type, name))
    return table


def read_ids(path: str | os.PathLike[str]) -> list[str]:
    r"""Reads ids of candidates from a text in UTF-8 with one id in a line; empty lines are left out.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "ids.txt"
        ...     _ = path.write_text("007\n\n008\n")
        ...     read_ids(path)
        ['007', '008']
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text in UTF-8 with one id in a line. {error}.") from error
    return [line for line in text.split("\n") if line]


def _list_columns(bundle: LoadedBundle) -> dict[str, pa.DataType]:
    """Returns the columns of lists with their types: those of the catalogue, and features that it did without."""
    values = {"string": pa.string(), "float32": pa.float32(), "int64": pa.int64()}
    inputs = [spec for spec in bundle.manifest.model.candidate.inputs if spec.is_list]
    columns = {spec.name: pa.list_(values[spec.dtype]) for spec in inputs}
    columns.update((field.name, field.type) for field in bundle.candidates.schema if pa.types.is_list(field.type))
    return columns


def _to_lists(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    lists = parse_lists(column)
    if pa.types.is_floating(kind.value_type):
        # A vector that is missing is a null: it has no length.
        lists = pc.if_else(pc.equal(pc.list_value_length(lists), 0), pa.scalar(None, lists.type), lists)
    if pa.types.is_null(kind.value_type):  # all lists of the bundle's catalogue are empty
        return lists
    try:
        return lists.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"`{name}` must hold {kind}, as the bundle's catalogue does, written as 1|2 or [1, 2]. It cannot be read: "
            f"{error}."
        ) from error


def _to_filter(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"`{name}` must hold {kind}, by which the bundle filters. It holds {column.type}.") from error


def _with(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
