"""Columns of Arrow tables: their presence, one Arrow type for each meaning, and ids that identify the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NAMES = ("title", "name")


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


def name_column(table: pa.Table) -> str | None:
    """Returns the column of texts that people know the rows by: `title`, `name`, or one that ends with it.

    Args:
        table: Any table.

    Example:
        >>> name_column(pa.table({"sku": ["a"], "Product_Name": ["Spade"]}))
        'Product_Name'
    """
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    for name in _NAMES:
        found = next((column for column in texts if column.lower() == name), None)
        if found is not None:
            return found
    return next((column for column in texts if column.lower().endswith(tuple(f"_{name}" for name in _NAMES))), None)


def plain_table(table: pa.Table, name: str) -> pa.Table:
    """Converts a table to plain types: text becomes string, lists become list, dictionaries are decoded.

    pandas, Polars and Parquet files hold text as `large_string`, `string_view`, dictionaries or raw bytes, and lists as
    `large_list`; the values are the same. Decimal numbers become float64 and half precision becomes float32.

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
    return pa.table({column: plain_column(table[column], f"{name}.{column}") for column in table.column_names})


def plain_values(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Converts the values of a column to a plain type, but leaves a dictionary of them a dictionary.

    Args:
        column: Any column.
        name: What errors call it.

    Raises:
        ValueError: If it holds bytes that are not UTF-8 text, or values that have no plain type.

    Example:
        >>> plain_values(pa.chunked_array([pa.array([b"a"]).dictionary_encode()]), "items.kind").type
        DictionaryType(dictionary<values=string, indices=int32, ordered=0>)
    """
    if not pa.types.is_dictionary(column.type):
        return plain_column(column, name)
    values = [plain_column(pa.chunked_array([chunk.dictionary]), name).combine_chunks() for chunk in column.chunks]
    indices = [chunk.indices.cast(pa.int32()) for chunk in column.chunks]
    pairs = zip(indices, values, strict=True)
    kind = pa.dictionary(pa.int32(), _plain_type(column.type.value_type))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(places, found) for places, found in pairs], kind)


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


def is_feature_type(kind: pa.DataType) -> bool:
    """Tells whether a column of this plain type can be a feature: text, numbers, truth values, times, or lists of them.

    Args:
        kind: The type, as `plain_table` leaves it.

    Example:
        >>> is_feature_type(pa.list_(pa.string())), is_feature_type(pa.struct([("a", pa.int64())]))
        (True, False)
    """
    types = pa.types
    if types.is_list(kind):
        return is_feature_type(kind.value_type)
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return is_number or types.is_string(kind) or types.is_timestamp(kind) or types.is_date(kind)


def plain_column(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Converts a column to a plain type, as `plain_table` does.

    Args:
        column: Any column.
        name: What errors call it.

    Raises:
        ValueError: If it holds bytes that are not UTF-8 text, or values that have no plain type.

    Example:
        >>> plain_column(pa.chunked_array([[b"a"]]), "items.kind").type
        DataType(string)
    """
    if isinstance(column.type, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        column = pa.chunked_array(chunks, column.type.storage_type)
    if pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], column.type.value_type)
    wanted = _plain_type(column.type)
    if wanted == column.type:
        return column
    try:
        if pa.types.is_dictionary(column.type):
            value_type = column.type.value_type
            chunks = [
                _plain_values(chunk.dictionary, value_type, wanted).take(chunk.indices) for chunk in column.chunks
            ]
            return pa.chunked_array(chunks, wanted)
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = "it holds bytes that are not UTF-8 text" if wanted == pa.string() else f"its type is {column.type}"
        raise ValueError(f"`{name}` cannot be read as {wanted}: {reason}.") from error


def _plain_values(values: pa.Array, kind: pa.DataType, wanted: pa.DataType) -> pa.Array:
    return values if kind == wanted else values.cast(wanted)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    is_text = types.is_large_string(kind) or types.is_string_view(kind)
    if is_text or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.string()
    if types.is_decimal(kind):
        return pa.float64()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain_type(kind.value_type)
        return kind if types.is_list(kind) and inner == kind.value_type else pa.list_(inner)
    return kind


def number_rows(table: pa.Table, name: str) -> tuple[pa.Table, str]:
    """Adds a first column of ids, the numbers of the rows.

    Args:
        table: Any table.
        name: Name of the column; underscores are added while the table has a column of that name.

    Returns:
        (table, name): the table with the column, and the column's name.

    Example:
        >>> numbered, name = number_rows(pa.table({"request": ["x", "y"]}), "request")
        >>> name, numbered[name].to_pylist()
        ('request_', ['0', '1'])
    """
    while name in table.column_names:
        name += "_"
    return table.add_column(0, name, pa.array(np.arange(table.num_rows)).cast(pa.string())), name
