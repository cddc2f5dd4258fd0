"""Reading impressions: lists of candidate ids in any form become lists of rows of the catalogue."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.columns import plain_column
from tfrs_twotower.data.ids import read_ids
from tfrs_twotower.data.impressions import Impressions
from tfrs_twotower.data.list_text import parse_lists
from tfrs_twotower.data.rows import NO_ROW

_NUM_SHOWN = 3


def read_impressions(
    column: pa.ChunkedArray, name: str, candidates: pa.ChunkedArray, chosen: np.ndarray, notes: list[str]
) -> Impressions:
    """Reads the candidates that were shown with each event.

    Ids that are not in the catalogue are left out, and so is the candidate that the event has chosen. A candidate
    counts once for each event.

    Args:
        column: Lists of ids, strings or whole numbers, or text that shows lists; a missing list is an empty one.
        name: What errors and notes call the column.
        candidates: string, the ids of the catalogue.
        chosen: int32 [num_events], the row of the candidate that each event has chosen.
        notes: Receives what was found.

    Raises:
        TypeError: If the column holds anything else.
        ValueError: If there are ids and none is in the catalogue.

    Example:
        >>> notes = []
        >>> column, catalogue = pa.chunked_array([["a|b", "b|x", None]]), pa.chunked_array([["a", "b", "c"]])
        >>> read_impressions(column, "ratings.shown", catalogue, np.array([0, 2, 1]), notes).to_column().to_pylist()
        [[1], [1], []]
        >>> notes
        ['`ratings.shown` names 2 candidates that were shown and not chosen, 0.7 for each event.',
         'In `ratings.shown`, 1 of 4 ids is not in the catalogue, such as x: it is left out.']
    """
    lists = _as_lists(column, name)
    items = [chunk.flatten() for chunk in lists.chunks]
    ids = read_ids(pa.chunked_array(items, lists.type.value_type), name)
    places = pc.fill_null(pc.index_in(ids.values, value_set=candidates.combine_chunks()), NO_ROW)
    # One more for the code of a missing id, -1.
    rows = np.append(places.to_numpy(zero_copy_only=False), NO_ROW)[ids.codes].astype(np.int32)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    events = np.repeat(np.arange(len(lengths)), lengths)
    is_known = rows != NO_ROW
    if len(rows) and not is_known.any():
        raise ValueError(
            f"`{name}` must list ids of candidates. Received {len(rows)} ids, of which none is in the catalogue, such "
            f'as {_examples(ids.values)}. Text is read as a list if it is written a|b, or ["a", "b"].'
        )
    everything = Impressions(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), rows)
    kept = everything.where(is_known & (rows != chosen[events]) & _is_first(events, rows))
    share = len(kept.candidate_rows) / max(1, len(lengths))
    notes.append(
        f"`{name}` names {len(kept.candidate_rows)} candidates that were shown and not chosen, {share:.1f} for each "
        "event."
    )
    num_unknown = len(rows) - int(is_known.sum())
    if num_unknown:
        unknown = ids.values.filter(pc.equal(places, NO_ROW))
        such_as = f", such as {_examples(unknown)}" if len(unknown) else ", but missing"
        are, they = ("is", "it is") if num_unknown == 1 else ("are", "they are")
        notes.append(
            f"In `{name}`, {num_unknown} of {len(rows)} ids {are} not in the catalogue{such_as}: {they} left out."
        )
    return kept


def _as_lists(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Returns a column of lists, which may be missing."""
    values = plain_column(column, name)
    if pa.types.is_null(values.type):
        return values.cast(pa.list_(pa.string()))
    if pa.types.is_string(values.type):
        encoded = pc.fill_null(values, "").dictionary_encode().unify_dictionaries()
        if not encoded.num_chunks:
            return values.cast(pa.list_(pa.string()))
        parsed = parse_lists(pa.chunked_array([encoded.chunk(0).dictionary])).combine_chunks()
        return pa.chunked_array([parsed.take(chunk.indices) for chunk in encoded.chunks], parsed.type)
    if not pa.types.is_list(values.type):
        raise TypeError(
            f'`{name}` must hold lists of candidate ids, or text that is written a|b or ["a", "b"]. '
            f"Received: {values.type}."
        )
    return values


def _is_first(events: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Tells which candidates are the first of their kind in their event's list, bool [n]."""
    order = np.lexsort((rows, events))
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (np.diff(events[order]) != 0) | (np.diff(rows[order]) != 0)
    is_first = np.empty(len(rows), bool)
    is_first[order] = is_new
    return is_first


def _examples(ids: pa.Array) -> str:
    return ", ".join(ids[:_NUM_SHOWN].to_pylist())
