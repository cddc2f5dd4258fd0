"""The candidates that a bundle serves: their ids, their index, and the values that they are filtered by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.filters import CandidateFilters
from tfrs_twotower.index.index import Index
from tfrs_twotower.index.tables import build_table
from tfrs_twotower.index.vectors import CandidateVectors


class Catalogue(tf.Module):
    """The candidates that are served.

    Args:
        candidates: The catalogue, in the order of the index's rows.
        id_column: Its ids.
        index: Index of the retrieval embeddings.
        rating: float32 [num_candidates, dim], the rating embeddings; None if they are the retrieval embeddings.
        filter_by: Columns that recommendations may be filtered by.
        known_ids: string [num_known], the candidates as `QuerySide.recall` counts them.
    """

    def __init__(
        self,
        candidates: pa.Table,
        id_column: str,
        index: Index,
        rating: np.ndarray | None,
        *,
        filter_by: Sequence[str],
        known_ids: tf.Variable,
    ) -> None:
        super().__init__(name="catalogue")
        ids = candidates[id_column].to_pylist()
        self.index = index
        self.rating = None
        if rating is not None:
            self.rating = CandidateVectors(tf.Variable(rating, trainable=False, name="rating_embeddings"))
        self.filters = CandidateFilters(candidates, filter_by)
        self.ids = tf.Variable([*ids, ""], trainable=False, name="ids")  # the last one names an empty slot
        self.table = build_table(ids, np.arange(len(ids)), default=NO_ROW)
        row_of_known = tf.concat([self.table.lookup(known_ids), [NO_ROW]], axis=0)  # the last one is the padding's
        self.row_of_known = tf.Variable(row_of_known, trainable=False, name="row_of_known")

    def names(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the string ids of rows, "" for an empty slot."""
        return tf.gather(self.ids, tf.where(rows == NO_ROW, tf.size(self.ids) - 1, rows))

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the int32 rows of ids, `NO_ROW` for ids that are not in the catalogue."""
        return self.table.lookup(ids)

    def rows_of_known(self, places: tf.Tensor) -> tf.Tensor:
        """Returns the int32 rows of seen candidates, as `QuerySide.recall` gives them; `NO_ROW` for removed ones."""
        return tf.gather(self.row_of_known, places)

    def rating_vectors(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the rating embeddings of rows, float32 [..., dim]; arbitrary for an empty slot."""
        vectors = self.index.vectors if self.rating is None else self.rating
        return vectors.take(tf.maximum(rows, 0))
