"""Impressions: the candidates that were shown with each event and not chosen, as a column of lists."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.data.rows import NO_ROW


class Impressions(NamedTuple):
    """The candidates that were shown with each event and not chosen, those of one event after those of another.

    Attributes:
        starts: int64 [num_events + 1], where those of each event start.
        candidate_rows: int32 [n], their rows in the catalogue.

    Example:
        >>> impressions = Impressions.of_column(pa.chunked_array([[[3, 0], [], [1]]]))
        >>> impressions.starts.tolist(), impressions.candidate_rows.tolist()
        ([0, 2, 2, 3], [3, 0, 1])
    """

    starts: np.ndarray
    candidate_rows: np.ndarray

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> Impressions:
        """Reads a column of lists.

        Args:
            column: Lists of integers, without nulls.
        """
        items = [chunk.flatten().to_numpy().astype(np.int32, copy=False) for chunk in column.chunks]
        rows = items[0] if len(items) == 1 else np.concatenate([np.zeros(0, np.int32), *items])
        return cls(np.concatenate([[0], np.cumsum(pc.list_value_length(column).to_numpy(), dtype=np.int64)]), rows)

    def to_column(self) -> pa.Array:
        """Makes a column of lists of int32."""
        return pa.ListArray.from_arrays(pa.array(self.starts, pa.int32()), pa.array(self.candidate_rows, pa.int32()))

    def where(self, is_kept: np.ndarray) -> Impressions:
        """Leaves out some candidates of the lists.

        Args:
            is_kept: bool [n], one for each candidate.
        """
        return Impressions(np.concatenate([[0], np.cumsum(is_kept)])[self.starts], self.candidate_rows[is_kept])

    def renumbered(self, rows: np.ndarray) -> Impressions:
        """Gives the candidates the rows that they have in another catalogue, and leaves out those that are not in it.

        Args:
            rows: int [num_candidates], the new row of each candidate, or `NO_ROW`.
        """
        renumbered = Impressions(self.starts, rows[self.candidate_rows].astype(np.int32))
        return renumbered.where(renumbered.candidate_rows != NO_ROW)
