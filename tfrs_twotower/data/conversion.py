"""Converting a user's table of ratings, and perhaps tables of queries and candidates, to `Interactions`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.cleaning import InvalidRows, OnInvalid
from tfrs_twotower.data.columns import plain_values
from tfrs_twotower.data.flat_features import Side, find_flat_features
from tfrs_twotower.data.ids import Ids, note_twins, read_ids
from tfrs_twotower.data.impression_ids import read_impressions
from tfrs_twotower.data.input_names import describe_names, input_names
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.normalization import number_rows, require_one_value
from tfrs_twotower.data.numbers import read_numbers
from tfrs_twotower.data.repeats import Repeats, merge_repeats, note_repeats
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.side_tables import SideTable, read_features
from tfrs_twotower.data.times import read_times

# The user's call of `load_ratings`, seen from where the warning about invalid rows is issued.
_STACK_LEVEL = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Participants:
    """The queries or the candidates of the ratings.

    Attributes:
        side: Which of the two.
        column: Name of the id column.
        ids: The id of each row of the ratings.
        listed: The separate table, or None if the features are columns of the ratings.
        declared: The features that the schema names; None if they are to be found.
    """

    side: Side
    column: str
    ids: Ids
    listed: SideTable | None
    declared: tuple[str, ...] | None


def convert_ratings(
    table: pa.Table,
    schema: Schema,
    *,
    queries: SideTable | None,
    candidates: SideTable | None,
    on_invalid: OnInvalid,
    repeats: Repeats,
) -> Interactions:
    """Converts a table of ratings to `Interactions`. Only `load_ratings` calls this, whose caller is warned.

    Args:
        table: One row per event, with the columns that the schema names.
        schema: The meaning of the columns.
        queries: The separate table of queries, if there is one.
        candidates: The separate table of candidates, if there is one.
        on_invalid: What to do with events that cannot be used.
        repeats: What becomes of pairs with several events.

    Raises:
        TypeError: If a column has a type that it must not have.
        ValueError: If rows cannot be used and `on_invalid` is "fail", or none is left, or the columns do not fit
            together.

    Example:
        >>> loaded = convert_ratings(
        ...     pa.table({"u": [7, 8], "m": ["a", "a"]}), Schema(query_id="u", candidate_id="m"),
        ...     queries=None, candidates=None, on_invalid="fail", repeats="keep",
        ... )
        >>> loaded.queries.to_pylist()
        [{'u': '7'}, {'u': '8'}]
    """
    notes: list[str] = []
    invalid = InvalidRows(table.num_rows, on_invalid)
    sides = tuple(
        _Participants(
            side=side,
            column=column,
            ids=_read_ids(table, column, invalid, notes),
            listed=listed,
            declared=declared,
        )
        for side, column, listed, declared in _sides_of(schema, queries, candidates)
    )
    for participants in sides:
        _find_unlisted(table, participants, invalid)
    values = _read_values(table, schema, invalid, notes)
    columns, notes_by_column = _read_features(table, schema, sides, notes)
    features = _choose_features(columns, sides, notes)
    notes += [note for side in features.values() for name in side for note in notes_by_column.get(name, ())]
    valid = invalid.valid_rows(stacklevel=_STACK_LEVEL)
    if valid is not None:
        columns, values = columns.take(valid), values.take(valid)
    if not values.num_rows:
        raise ValueError("`ratings` must have at least one row that can be used. Received: none.")
    located = [_locate(columns, participants, features[participants.side], valid) for participants in sides]
    for participants, (found, _) in zip(sides, located, strict=True):
        notes += participants.listed.notes if participants.listed is not None else ()
        notes += note_twins(found[participants.column].combine_chunks(), participants.column)
    (query_table, query_rows), (candidate_table, candidate_rows) = located
    names = input_names(
        [*query_table.column_names, *schema.event_features, *candidate_table.column_names],
        candidate_id=schema.candidate_id,
        event_features=schema.event_features,
    )
    own = values.column_names[: values.num_columns - len(schema.event_features)]
    events = values.rename_columns([*own, *(names[name] for name in schema.event_features)])
    events = events.add_column(0, "query_row", pa.array(query_rows))
    events = events.add_column(1, "candidate_row", pa.array(candidate_rows))
    if schema.impressions is not None:
        lists = table[schema.impressions] if valid is None else table[schema.impressions].take(valid)
        known = candidate_table[schema.candidate_id]
        read = read_impressions(lists, f"ratings.{schema.impressions}", known, candidate_rows, notes)
        events = events.append_column("impressions", read.to_column())
    notes += note_repeats(events, candidate_table.num_rows, repeats)
    return Interactions(
        queries=query_table.rename_columns([names[name] for name in query_table.column_names]),
        candidates=candidate_table.rename_columns([names[name] for name in candidate_table.column_names]),
        events=merge_repeats(events, candidate_table.num_rows, repeats),
        query_id=names[schema.query_id],
        candidate_id=names[schema.candidate_id],
        original_names={name: column for column, name in names.items() if name != column},
        notes=(*notes, *describe_names(names)),
        has_ratings=schema.rating is not None or repeats in ("sum", "count"),
    )


def _sides_of(
    schema: Schema, queries: SideTable | None, candidates: SideTable | None
) -> tuple[tuple[Side, str, SideTable | None, tuple[str, ...] | None], ...]:
    return (
        ("query", schema.query_id, queries, schema.query_features),
        ("candidate", schema.candidate_id, candidates, schema.candidate_features),
    )


def _read_ids(table: pa.Table, column: str, invalid: InvalidRows, notes: list[str]) -> Ids:
    ids = read_ids(table[column], f"ratings.{column}")
    notes += ids.notes
    invalid.add(column, "missing ids", ids.is_missing, table[column])
    return ids


def _find_unlisted(table: pa.Table, participants: _Participants, invalid: InvalidRows) -> None:
    """Finds the events whose id is not in the separate table of queries or candidates."""
    if participants.listed is None:
        return
    column, name = participants.column, "queries" if participants.side == "query" else "candidates"
    listed = participants.listed.table[column].combine_chunks()
    is_listed = pc.is_in(participants.ids.values, value_set=listed).to_numpy(zero_copy_only=False)
    # One more for the code of a missing id, -1.
    is_unlisted = np.append(~is_listed, False)[participants.ids.codes]
    invalid.add(column, f"ids that `{name}` does not have", is_unlisted, table[column])


def _read_values(table: pa.Table, schema: Schema, invalid: InvalidRows, notes: list[str]) -> pa.Table:
    """Reads the columns of `events` after the row numbers: rating, timestamp, weight and event features."""

    def column(name: str) -> pa.ChunkedArray:
        return plain_values(table[name], f"ratings.{name}")

    if schema.rating is None:
        values = {"rating": pa.chunked_array([pa.array(np.ones(table.num_rows, np.float32))])}
    else:
        values = {"rating": read_numbers(column(schema.rating), schema.rating, invalid, notes)}
    if schema.timestamp is not None:
        values["timestamp"] = read_times(column(schema.timestamp), schema.timestamp, invalid, notes)
    if schema.weight is not None:
        weights = read_numbers(column(schema.weight), schema.weight, invalid, notes)
        invalid.add(schema.weight, "negative numbers", pc.less(weights, 0), table[schema.weight])
        values["weight"] = weights
    features = read_features(table, schema.event_features, "ratings", notes)
    # An event feature may have the name of one of the columns before it, until the columns are renamed.
    return pa.Table.from_arrays([*values.values(), *features.values()], names=[*values, *features])


def _read_features(
    table: pa.Table, schema: Schema, sides: tuple[_Participants, ...], notes: list[str]
) -> tuple[pa.Table, dict[str, list[str]]]:
    """Reads the columns of the ratings that are features of queries or candidates, or may be.

    Returns:
        (columns, notes): the columns; what was assumed of those that may be features, by column.
    """
    flat = [participants.declared for participants in sides if participants.listed is None]
    declared = [name for features in flat for name in features or ()]
    used = {*schema.event_columns, *(schema.query_features or ()), *(schema.candidate_features or ())}
    others = [name for name in table.column_names if name not in used] if None in flat else []
    columns = read_features(table, declared, "ratings", notes)
    notes_by_column: dict[str, list[str]] = {name: [] for name in others}
    for name in others:
        columns |= read_features(table, [name], "ratings", notes_by_column[name], is_declared=False)
    return pa.table(columns), notes_by_column


def _choose_features(
    columns: pa.Table, sides: tuple[_Participants, ...], notes: list[str]
) -> dict[Side, tuple[str, ...]]:
    """Chooses the features of each side among the columns of the ratings: the declared ones, or else what is found."""
    chosen: dict[Side, tuple[str, ...]] = {
        participants.side: () if participants.listed is not None else participants.declared or ()
        for participants in sides
    }
    wanted = [
        participants.side for participants in sides if participants.listed is None and participants.declared is None
    ]
    others = [name for name in columns.column_names if name not in {*chosen["query"], *chosen["candidate"]}]
    if wanted and others:
        queries, candidates = (participants.ids for participants in sides)
        found = find_flat_features(columns, others, queries=queries, candidates=candidates, sides=wanted)
        notes += found.notes
        chosen["query"] += found.query
        chosen["candidate"] += found.candidate
    return chosen


def _locate(
    columns: pa.Table, participants: _Participants, features: tuple[str, ...], valid: pa.Array | None
) -> tuple[pa.Table, np.ndarray]:
    """Finds each event's row in the queries or candidates.

    Args:
        columns: The features of the events that can be used.
        participants: The side.
        features: The side's features among the columns.
        valid: Rows of the ratings that can be used; None if all can.

    Returns:
        (queries or candidates, rows): one row per id; int32 [num_events].
    """
    ids = participants.ids
    codes = ids.codes if valid is None else ids.codes[valid.to_numpy()]
    if participants.listed is not None:
        table = participants.listed.table
        places = pc.index_in(ids.values, value_set=table[participants.column].combine_chunks())
        return table, pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int32)[codes]
    first, rows = number_rows(codes, len(ids.values))
    values = ids.values.take(pa.array(codes[first]))
    require_one_value(columns, features, values, first, rows)
    taken = columns.select(features).take(pa.array(first))
    return pa.Table.from_arrays([pa.chunked_array([values]), *taken.columns], [participants.column, *features]), rows
