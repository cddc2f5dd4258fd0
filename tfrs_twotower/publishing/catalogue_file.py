"""Reads a catalogue from a file, with the column types that a bundle needs."""

from __future__ import annotations

import os

import pyarrow as pa

from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.list_text import parse_lists


def read_catalogue(path: str | os.PathLike[str], bundle: LoadedBundle) -> pa.Table:
    r"""Reads a catalogue for `refresh_bundle`: ids and texts stay text, and filters have the types that they had.

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
    schema = bundle.candidates.schema
    text_columns = {bundle.manifest.model.candidate.id}
    text_columns.update(spec.name for spec in bundle.manifest.model.candidate.inputs if spec.dtype == "string")
    text_columns.update(field.name for field in schema if field.type == "string")
    original_names = bundle.manifest.model.original_names
    text_columns.update(original for name, original in original_names.items() if name in text_columns)
    table = read_files(path, text_columns=sorted(text_columns))
    names = {original: name for name, original in original_names.items() if name not in table.column_names}
    table = table.rename_columns([names.get(column, column) for column in table.column_names])
    for place, column in enumerate(table.column_names):
        is_list = column in schema.names and pa.types.is_list(schema.field(column).type)
        if is_list and pa.types.is_string(table[column].type):
            table = table.set_column(place, column, parse_lists(table[column]))
    for name in bundle.manifest.filter_by:
        table = _with_type(table, name, schema.field(name).type)
    return table


def _with_type(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    if name not in table.column_names:
        return table  # `refresh_bundle` names what is missing
    place = table.column_names.index(name)
    try:
        return table.set_column(place, name, table[name].cast(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"`{name}` must hold {kind}, by which the bundle filters. It holds {table[name].type}."
        ) from error
