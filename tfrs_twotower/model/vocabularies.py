"""What is learnt from the training split before any training: which values get a vector of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower.model.features import Categorical, Feature, MultiCategorical

#: Feature name -> its known values, most frequent first, ties by value.
Vocabularies = Mapping[str, tuple[str, ...]]


def learn_vocabularies(features: Sequence[Feature], table: pa.Table, event_counts: np.ndarray) -> Vocabularies:
    """Collects the values that occur in the training split.

    Args:
        features: Those of one tower, with columns of their types; kinds without a vocabulary are passed over.
        table: Queries or candidates, one row per id.
        event_counts: int [num_rows], training events of each row. A row without any teaches nothing.

    Returns:
        For each feature the values that reach its `min_count`, by descending count, then by value.

    Example:
        >>> table = pa.table({"movie_id": ["m1", "m2", "m3"], "genres": [["War"], ["War", "Drama"], ["Western"]]})
        >>> features = [Categorical(name="movie_id"), MultiCategorical(name="genres")]
        >>> learn_vocabularies(features, table, np.array([1, 2, 0]))
        {'movie_id': ('m2', 'm1'), 'genres': ('War', 'Drama')}
    """
    vocabularies = {}
    for feature in features:
        if not isinstance(feature, Categorical | MultiCategorical):
            continue
        column = table[feature.name].combine_chunks()
        counts = event_counts
        if isinstance(feature, MultiCategorical):
            counts = counts[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)]
            column = column.flatten()
        vocabularies[feature.name] = _frequent(column, counts, feature.min_count)
    return vocabularies


def _frequent(values: pa.Array, counts: np.ndarray, min_count: int) -> tuple[str, ...]:
    values = values.cast(pa.string())  # of integers the digits, as in the raw features
    totals = pa.table({"value": values, "count": counts}).group_by("value").aggregate([("count", "sum")])
    known = pc.and_(pc.greater_equal(totals["count_sum"], min_count), pc.not_equal(totals["value"], ""))
    ordered = totals.filter(known).sort_by([("count_sum", "descending"), ("value", "ascending")])
    return tuple(ordered["value"].to_pylist())
