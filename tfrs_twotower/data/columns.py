"""Columns of Arrow tables: their presence, one Arrow type for each meaning, and ids that identify the rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def require_columns(table: pa.Table, columns: Sequence[str], name: str = "The table") -> None:
    """Checks that a table has certain columns.

    Args:
        table: Any table.
        columns: Names of the columns that must be there.
        name: What errors call the table.

    Raises:
        ValueError: If a column is missing. The message names it and lists the columns that are there.

    Example:
        >>> require_columns(pa.table({"sku": ["a"]}), ["sku", "price"], "`candidates`")
        Traceback (most recent call last):
        ValueError: `candidates` has no column price. Its columns: sku.
    """
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}. Its columns: {', '.join(table.column_names)}.")


def plain_table(table: pa.Table, name: str) -> pa.Table:
    """Converts a table to plain types: text becomes string, lists become list, dictionaries are decoded.

    pandas, Polars and Parquet files hold text as `large_string`, `string_view`, dictionaries or raw bytes, and lists as
    `large_list`; the values are the same.

    Args:
        table: Any table.
        name: What errors call the table.

    Returns:
        The same columns with the same values.

    Raises:
        ValueError: If two columns share a name, or a column of bytes is not UTF-8 text (the column is named).

    Example:
        >>> table = pa.table({"kind": pa.array(["a", "b"]).dictionary_encode(), "size": [1, 2]})
        >>> plain_table(table, "items").schema.types
        [DataType(string), DataType(int64)]
    """
    repeated = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    if repeated:
        raise ValueError(f"`{name}` must have each column only once. Received twice: {', '.join(repeated)}.")
    if all(_plain_type(kind) == kind for kind in table.schema.types):
        return table
    return pa.table({column: _plain_column(table[column], f"{name}.{column}") for column in table.column_names})


def check_ids(table: pa.Table, column: str, name: str) -> None:
    """Checks that a column identifies the rows of a table.

    Args:
        table: A table of queries or candidates.
        column: Name of its id column.
        name: What errors call the table.

    Raises:
        ValueError: If the column is missing, an id is null or empty, or an id occurs twice.
        TypeError: If the ids are not strings.

    Example:
        >>> check_ids(pa.table({"sku": ["a", "b", "a"]}), "sku", "candidates")
        Traceback (most recent call last):
        ValueError: `candidates.sku` must identify a row. Received 1 repeated ids, the first ['a'].
    """
    if column not in table.column_names:
        raise ValueError(f"`{name}` must have the id column {column!r}. Received: {', '.join(table.column_names)}.")
    ids = table[column]
    if not pa.types.is_string(ids.type):
        raise TypeError(f"`{name}.{column}` must hold strings. Received: {ids.type}. Cast the ids to string first.")
    if ids.null_count:
        raise ValueError(f"`{name}.{column}` must not hold nulls. Received: {ids.null_count}.")
    if pc.any(pc.equal(ids, "")).as_py():
        raise ValueError(f'`{name}.{column}` must not hold an empty id: "" stands for a missing id and an empty slot.')
    counts = pc.value_counts(ids.combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise ValueError(
            f"`{name}.{column}` must identify a row. Received {len(repeated)} repeated ids, "
            f"the first {repeated.field('values')[:5].to_pylist()}."
        )


def _plain_column(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
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
