"""Reading features: the separate tables of queries and candidates, and columns of a flat table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tfrs_twotower.data.columns import is_feature_type, plain_column
from tfrs_twotower.data.ids import read_ids
from tfrs_twotower.data.list_text import read_lists
from tfrs_twotower.data.normalization import distinct_rows
from tfrs_twotower.data.numbers import read_decimal_commas
from tfrs_twotower.data.rows import first_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideTable:
    """A separate table of queries or candidates.

    Attributes:
        table: One row per id, with its features.
        notes: What was assumed, as sentences.
    """

    table: pa.Table
    notes: tuple[str, ...]


def read_side_table(table: pa.Table, name: str, id_column: str, features: Sequence[str] | None) -> SideTable:
    """Reads a separate table of queries or candidates: merges exact duplicates and refuses contradictions.

    Args:
        table: The user's table.
        name: What errors call it.
        id_column: Column that identifies the rows.
        features: Columns to take; None takes all that can be features.

    Raises:
        TypeError: If the ids are neither strings nor integers, or a feature has a type that no feature can have.
        ValueError: If an id is missing, or has two values for one feature.

    Example:
        >>> table = pa.table({"sku": [1, 2, 1], "kind": ["a", "b", "a"]})
        >>> read_side_table(table, "candidates", "sku", None).table.to_pylist()
        [{'sku': '1', 'kind': 'a'}, {'sku': '2', 'kind': 'b'}]
    """
    ids = read_ids(table[id_column], f"{name}.{id_column}")
    missing = np.flatnonzero(ids.is_missing)
    if missing.size:
        raise ValueError(
            f"`{name}.{id_column}` holds missing ids in {missing.size} rows, {first_rows(missing)}. "
            "Remove these rows, or give them an id."
        )
    notes = list(ids.notes)
    wanted = [column for column in table.column_names if column != id_column] if features is None else list(features)
    columns = read_features(table, wanted, name, notes, is_declared=features is not None)
    if features is None:
        unused = [column for column in wanted if column not in columns]
        if unused:
            shown = ", ".join(f"`{column}`" for column in unused)
            notes.append(f"Left out of `{name}`, because they have no values that a feature can have: {shown}.")
    flat = pa.table({id_column: ids.values.take(pa.array(ids.codes)), **columns})
    distinct, _ = distinct_rows(flat, id_column, list(columns))
    return SideTable(table=distinct, notes=tuple(notes))


def read_features(
    table: pa.Table, columns: Sequence[str], name: str, notes: list[str], *, is_declared: bool = True
) -> dict[str, pa.ChunkedArray]:
    """Reads columns of features: plain types, and lists or numbers where text shows lists or decimal commas.

    Args:
        table: The user's table.
        columns: Columns to read.
        name: What errors call the table.
        notes: Receives what was assumed.
        is_declared: Whether the user named the columns. If not, those that cannot be features are left out.

    Returns:
        Column -> its values.

    Raises:
        TypeError: If a declared column has a type that no feature can have.
        ValueError: If a declared column holds bytes that are not UTF-8 text.

    Example:
        >>> read_features(pa.table({"tags": ["['a', 'b']"]}), ["tags"], "items", [])["tags"].to_pylist()
        [['a', 'b']]
    """
    read = {}
    for column in columns:
        label = f"{name}.{column}"
        try:
            values = plain_column(table[column], label)
        except ValueError:
            if is_declared:
                raise
            continue
        is_empty = pa.types.is_null(values.type)
        if not (is_feature_type(values.type) or is_empty):
            if is_declared:
                raise TypeError(
                    f"`{label}` must hold text, numbers, truth values, times, or lists of these. "
                    f"Received: {values.type}."
                )
            continue
        if is_empty and not is_declared:
            continue
        read[column] = read_decimal_commas(read_lists(values, column, notes), column, notes)
    return read
