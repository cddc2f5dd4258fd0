"""What a bundle remembers of known queries: their rows, and their events in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.histories import Timeline
from tfrs_twotower.index.tables import build_table

#: Row of a query that is not known.
UNKNOWN = 0


class KnownQueries(tf.Module):
    """The queries that a bundle knows, and the candidates that each has seen. Row 0 is any unknown query.

    Args:
        timeline: The events of the known queries.
        id_input: Name of the input by which a query is recognised; None if there is none.
    """

    def __init__(self, timeline: Timeline, id_input: str | None) -> None:
        super().__init__(name="known_queries")
        known = timeline.interactions
        self.id_input = id_input
        ids = known.queries[known.query_id].to_pylist()
        self.table = build_table(ids, np.arange(1, len(ids) + 1), default=UNKNOWN)
        # The last one is the padding: the number of candidates, where tables of candidates hold the padding's entry.
        seen = np.append(timeline.candidate_rows, known.num_candidates).astype(np.int32)
        self.seen = tf.Variable(seen, trainable=False, name="seen_rows")
        self.starts = tf.Variable(np.concatenate([[0], timeline.starts]), trainable=False, name="seen_starts")
        self.max_seen = int(np.max(np.diff(timeline.starts), initial=0))

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns int32 [batch], each query's row, 0 if it is unknown.

        Args:
            features: Input name -> tensor.
        """
        if self.id_input is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int32)
        return self.table.lookup(features[self.id_input])


def are_known(table: Any, ids: tf.Tensor) -> np.ndarray:
    """Tells which ids are those of known queries, as bool [num_ids].

    Args:
        table: That of `KnownQueries`, also as TensorFlow loads it, without the methods of its class.
        ids: string [num_ids].
    """
    default = tf.constant(UNKNOWN, tf.int32)
    rows = tf.raw_ops.LookupTableFindV2(table_handle=table.resource_handle, keys=ids, default_value=default)
    known: np.ndarray = rows.numpy() != UNKNOWN
    return known


def list_known(table: Any) -> np.ndarray:
    """Lists the ids of the known queries, as bytes [num_known], in the order in which they were exported.

    Args:
        table: As in `are_known`.
    """
    ids, rows = tf.raw_ops.LookupTableExportV2(table_handle=table.resource_handle, Tkeys=tf.string, Tvalues=tf.int32)
    is_known = rows.numpy() != UNKNOWN
    known: np.ndarray = ids.numpy()[is_known][np.argsort(rows.numpy()[is_known])]
    return known


class PastEvents:
    """The candidates that some queries have seen, each lookup of which is done once.

    Args:
        queries: The known queries.
        rows: int32 [batch], rows of known queries.
    """

    def __init__(self, queries: KnownQueries, rows: tf.Tensor) -> None:
        self._queries, self._rows = queries, rows
        self._places: dict[int, tf.Tensor] = {}
        self._candidates: dict[int, tf.Tensor] = {}

    def places(self, length: int | None) -> tf.Tensor:
        """Returns int64 [batch, any], where the latest `length` events of each query lie, in order; None for all.

        Args:
            length: Maximum number of events.
        """
        length = self._longest(length)
        if length not in self._places:
            starts = tf.gather(self._queries.starts, self._rows)
            ends = tf.gather(self._queries.starts, self._rows + 1)
            if length < self._queries.max_seen:
                starts = tf.maximum(starts, ends - length)
            columns = tf.range(
                tf.maximum(tf.reduce_max(ends - starts), 0)
            )  # the maximum over no query is the lowest number
            places = tf.expand_dims(starts, 1) + columns
            padding = self._queries.seen.shape[0] - 1
            self._places[length] = tf.where(places < tf.expand_dims(ends, 1), places, padding)
        return self._places[length]

    def candidates(self, length: int | None) -> tf.Tensor:
        """Returns int32 [batch, any], the candidates of these events, padded with the number of candidates.

        Args:
            length: Maximum number of events; None for all.
        """
        length = self._longest(length)
        if length not in self._candidates:
            self._candidates[length] = tf.gather(self._queries.seen, self.places(length))
        return self._candidates[length]

    def _longest(self, length: int | None) -> int:
        """Returns one length for all lengths that truncate no history."""
        max_seen = self._queries.max_seen
        return max_seen if length is None else min(length, max_seen)
