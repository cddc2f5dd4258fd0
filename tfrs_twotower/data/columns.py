"""One Arrow type for each meaning, whatever wrote the table: text, lists of text, numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def require_columns(table: pa.Table, columns: Sequence[str], name: str = "The table") -> None:
    """Checks that a table has columns.

    Args:
        table: Any table.
        columns: Their names.
        name: What to call the table in errors.

    Raises:
        ValueError: If one is missing; names it, and those that are there.
    """
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}. Its columns: {', '.join(table.column_names)}.")


def plain_table(table: pa.Table, name: str) -> pa.Table:
    """The same values in plain types: text as string, lists as list, dictionaries decoded.

    pandas, Polars and Parquet files bring `large_string`, `string_view`, `large_list`, dictionaries and raw bytes for
    what is text to all of them.

    Args:
        table: Any table.
        name: What to call it in errors.

    Raises:
        ValueError: If two columns share a name, or bytes are no UTF-8 text (column named).

    Example:
        >>> table = pa.table({"kind": pa.array(["a", "b"]).dictionary_encode(), "size": [1, 2]})
        >>> plain_table(table, "items").schema.types
        [DataType(string), DataType(int64)]
    """
    repeated = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if repeated:
        raise ValueError(f"`{name}` must have each column once. Received twice: {', '.join(repeated)}.")
    if all(_plain_type(kind) == kind for kind in table.schema.types):
        return table
    return pa.table({column: _plain(table[column], f"{name}.{column}") for column in table.column_names})


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    wanted = _plain_type(column.type)
    if wanted == column.type:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"`{name}` cannot be read as {wanted}: {str(error).splitlines()[0]}") from error


def _plain_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    is_text = types.is_large_string(kind) or types.is_string_view(kind)
    if is_text or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.string()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain_type(kind.value_type)
        return kind if types.is_list(kind) and inner == kind.value_type else pa.list_(inner)
    return kind
