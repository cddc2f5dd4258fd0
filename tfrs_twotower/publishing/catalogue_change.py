"""Changes a catalogue: candidates are added, replaced and removed, and the others keep their order."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import check_ids, require_columns
from tfrs_twotower.data.rows import NO_ROW

# Ids that a message names.
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangedCatalogue:
    """A catalogue after a change.

    Attributes:
        table: The candidates: those that stay, in their order, and then those that were added, in theirs. A replaced
            candidate keeps its place.
        earlier_rows: int64 [num_candidates], the row in the earlier catalogue of each candidate that stays as it was,
            and `NO_ROW` for an added or replaced one.
    """

    table: pa.Table
    earlier_rows: np.ndarray


def change_catalogue(
    catalogue: pa.Table, id_column: str, *, add: pa.Table | None, remove: Iterable[str]
) -> ChangedCatalogue:
    """Changes a catalogue.

    Args:
        catalogue: One row per candidate.
        id_column: Column of the ids.
        add: Candidates to add, with all columns of the catalogue and perhaps others, which are missing for the
            candidates that stay. A candidate whose id the catalogue has is replaced.
        remove: Ids to remove. A warning names those that the catalogue does not have.

    Raises:
        ValueError: If a column is missing or its values are not of the catalogue's type, an id occurs twice in `add`,
            or also in `remove`, nothing would change, or nothing would be left.
        TypeError: If ids are not strings.

    Example:
        >>> shop = pa.table({"sku": ["a", "b", "c"], "price": [1.0, 2.0, 3.0]})
        >>> changed = change_catalogue(
        ...     shop, "sku", add=pa.table({"sku": ["d", "c"], "price": [4.0, 3.5]}), remove=["a"]
        ... )
        >>> changed.table.to_pydict(), changed.earlier_rows.tolist()
        ({'sku': ['b', 'c', 'd'], 'price': [2.0, 3.5, 4.0]}, [1, -1, -1])
    """
    removed = _check_removed(remove)
    added = catalogue.slice(0, 0) if add is None else _like(add, catalogue, id_column)
    in_both = pc.index_in(removed, added[id_column].combine_chunks())
    if in_both.null_count < len(removed):
        named = removed.filter(pc.is_valid(in_both))[:_NUM_NAMED].to_pylist()
        raise ValueError(f"`add` and `remove` must have no id in common. Received in both: {named}.")
    ids = catalogue[id_column].combine_chunks()
    row_of_removed = pc.index_in(removed, ids)
    unknown = removed.filter(pc.is_null(row_of_removed))
    if not added.num_rows and len(unknown) == len(removed):
        raise ValueError(
            "`add` and `remove` must change something. Received no candidate to add, and to remove "
            + (f"only ids that the catalogue does not have: {_named(unknown)}." if len(removed) else "none.")
        )
    if len(unknown):
        warnings.warn(
            f"The catalogue does not have {len(unknown)} of the {len(removed)} ids to remove: {_named(unknown)}.",
            stacklevel=2,
        )
    is_kept = np.ones(len(ids), bool)
    is_kept[row_of_removed.drop_null().to_numpy()] = False
    row_of_added = pc.fill_null(pc.index_in(added[id_column].combine_chunks(), ids), NO_ROW).to_numpy()
    # The rows of both tables, one below the other, in the order of the changed catalogue.
    places = np.arange(len(ids))
    replaces = row_of_added != NO_ROW
    places[row_of_added[replaces]] = len(ids) + np.flatnonzero(replaces)
    places = np.concatenate([places[is_kept], len(ids) + np.flatnonzero(~replaces)])
    if not len(places):
        raise ValueError(f"`remove` must leave at least one candidate. Received all {len(ids)} ids of the catalogue.")
    table = pa.concat_tables([catalogue, added], promote_options="default").take(places)
    return ChangedCatalogue(table=table, earlier_rows=np.where(places < len(ids), places, NO_ROW))


def _check_removed(remove: Iterable[str]) -> pa.StringArray:
    """Returns the ids, each once."""
    if isinstance(remove, str):
        raise TypeError(f"`remove` must be a sequence of ids. Received one text: {remove!r}.")
    ids = list(remove)
    for place, name in enumerate(ids):
        if not isinstance(name, str):
            raise TypeError(f"`remove` must hold strings. Received in place {place}: {name!r} ({type(name).__name__}).")
    return pa.array(dict.fromkeys(ids), pa.string())


def _like(add: pa.Table, catalogue: pa.Table, id_column: str) -> pa.Table:
    """Returns added candidates with the types that the columns of the catalogue have."""
    check_ids(add, id_column, "add")
    require_columns(add, catalogue.column_names, "`add`, which needs all columns of the bundle's catalogue,")
    for field in catalogue.schema:
        column = add[field.name]
        try:
            if {_sort_of(column.type), _sort_of(field.type)} == {"text", "number"}:
                raise pa.ArrowInvalid("numbers and text are not converted into each other")
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"`add.{field.name}` must hold {field.type}, as the bundle's catalogue does. Received: {column.type} "
                f"({error})."
            ) from error
        add = add.set_column(add.column_names.index(field.name), field.name, column)
    return add


def _sort_of(kind: pa.DataType) -> str | None:
    if pa.types.is_string(kind):
        return "text"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return "number" if is_number else None


def _named(ids: pa.StringArray) -> str:
    named = ", ".join(map(repr, ids[:_NUM_NAMED].to_pylist()))
    return f"{named}, ..." if len(ids) > _NUM_NAMED else named
