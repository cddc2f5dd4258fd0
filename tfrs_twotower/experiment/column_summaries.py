"""Summaries of the columns of a data set, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """A column of one of the three tables.

    Attributes:
        table: "queries", "candidates" or "events".
        name: Its name in the user's files.
        type: Type of its values, in words.
        num_values: Number of different values; None for lists.
        num_missing: Number of missing values.
        example: A value, as text.
    """

    table: str
    name: str
    type: str
    num_values: int | None
    num_missing: int
    example: str


def summarise_columns(interactions: Interactions, names: Mapping[str, str | None]) -> list[ColumnSummary]:
    """Summarises the columns of the three tables, under the names that they have in the user's files.

    Args:
        interactions: The data.
        names: Column of the events -> its name in the user's files, where it is not among the original names.
    """
    tables = {"queries": interactions.queries, "candidates": interactions.candidates, "events": interactions.events}
    rows = {"query_row", "candidate_row"}
    return [
        _summarise(table, _name(field.name, table, interactions, names), columns[field.name])
        for table, columns in tables.items()
        for field in columns.schema
        if field.name not in rows and not (field.name == "rating" and not interactions.has_ratings)
    ]


def _name(column: str, table: str, interactions: Interactions, names: Mapping[str, str | None]) -> str:
    given = names.get(column) if table == "events" else None
    return given or interactions.original_names.get(column, column)


def _summarise(table: str, name: str, column: pa.ChunkedArray) -> ColumnSummary:
    is_list = pa.types.is_nested(column.type)
    example = next((value.as_py() for value in column.slice(0, 1000) if value.is_valid), None)
    return ColumnSummary(
        table=table,
        name=name,
        type=_describe_type(column.type),
        num_values=None if is_list else len(column.unique()) - bool(column.null_count),
        num_missing=column.null_count,
        example="" if example is None else str(example),
    )


def _describe_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list: {_describe_type(kind.value_type)}"
    for is_kind, words in (
        (pa.types.is_boolean, "true or false"),
        (pa.types.is_integer, "whole number"),
        (pa.types.is_floating, "number"),
        (pa.types.is_temporal, "time"),
    ):
        if is_kind(kind):
            return words
    return "text"
