"""Conditions on candidates in the graph: any of the given values of each feature, and all features at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.columns import require_columns

# A value that is not in the table, and the padding of a list of values.
_UNKNOWN, _NOTHING = -1, 0


class CandidateFilters(tf.Module):
    """Which candidates have which values of the features that may be filtered by.

    Candidates with the same values of a feature are one set of values: a condition is decided once per set.

    Args:
        candidates: The catalogue.
        features: Columns of strings, whole numbers or truth values, or lists of them. Numbers are asked for as they
            are written in decimal, truth values as `true` and `false`; a missing value is never asked for.

    Raises:
        ValueError: If a column is missing or of another type.

    Example:
        >>> movies = pa.table({"genres": [["Drama"], ["Comedy", "Drama"], []], "year": [1994, 1995, 1995]})
        >>> filters = CandidateFilters(movies, ["genres", "year"])
        >>> given = {"genres": tf.constant([["Drama", "War"], ["", ""]]), "year": tf.constant([["1995"], ["1995"]])}
        >>> filters.only(given).allowed().numpy().tolist()
        [[False, True, False], [False, True, True]]
    """

    def __init__(self, candidates: pa.Table, features: Sequence[str]) -> None:
        super().__init__(name="candidate_filters")
        self.features = tuple(features)
        self.num_candidates = candidates.num_rows
        self.tables, self.postings, self.starts, self.num_sets, self.set_of_row = {}, {}, {}, {}, {}
        for feature in self.features:
            require_filterable(candidates, feature)
            values, sets, set_of_row = _encode(values_of(candidates, feature))
            keys = tf.lookup.KeyValueTensorInitializer(
                tf.constant(["", *values]), tf.range(len(values) + 1, dtype=tf.int32)
            )
            self.tables[feature] = tf.lookup.StaticHashTable(keys, _UNKNOWN)
            codes = np.array([code for codes in sets for code in codes], np.int32)
            numbers = np.repeat(np.arange(len(sets), dtype=np.int32), [len(codes) for codes in sets])
            # The sets of each value: padding, code 0, is in none.
            starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(values) + 1))])
            postings = numbers[np.argsort(codes, kind="stable")]
            self.postings[feature] = tf.Variable(postings, trainable=False, name=f"{feature}_postings")
            self.starts[feature] = tf.Variable(starts, trainable=False, name=f"{feature}_starts")
            self.num_sets[feature] = len(sets)
            self.set_of_row[feature] = tf.Variable(set_of_row, trainable=False, name=f"{feature}_set_of_row")

    def only(self, values: Mapping[str, tf.Tensor]) -> Condition:
        """The condition of some queries.

        Args:
            values: Feature -> string [batch, any], values of which a candidate must have one, padded with ""; of a
                query that gives none of a feature every candidate will do.
        """
        return Condition(filters=self, codes={name: self.tables[name].lookup(given) for name, given in values.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """What the candidates of some queries must be.

    Attributes:
        filters: What the candidates are.
        codes: Feature -> int32 [batch, any], codes of the values, 0 for padding, -1 for values that no candidate has.
    """

    filters: CandidateFilters
    codes: Mapping[str, tf.Tensor]

    def take(self, take: Callable[[tf.Tensor], tf.Tensor]) -> Condition:
        """The condition of some of the queries, whose rows `take` takes of what has a row for each."""
        return dataclasses.replace(self, codes={name: take(codes) for name, codes in self.codes.items()})

    def allowed(self) -> tf.Tensor:
        """Bool [batch, num_candidates]."""
        allowed = [self._allowed(name, codes) for name, codes in self.codes.items()]
        return tf.reduce_all(tf.stack(allowed), axis=0)

    def batch_sizes(self) -> list[tf.Tensor]:
        """int32 [] for each feature, the number of queries; it should be the same."""
        return [tf.shape(codes)[0] for codes in self.codes.values()]

    def _allowed(self, feature: str, codes: tf.Tensor) -> tf.Tensor:
        filters = self.filters
        postings = tf.RaggedTensor.from_row_splits(
            filters.postings[feature].read_value(), filters.starts[feature], validate=False
        )
        # One row for each value of each query, the sets that have it.
        sets = tf.gather(postings, tf.reshape(tf.maximum(codes, _NOTHING), [-1]))
        queries = sets.value_rowids() // tf.cast(tf.maximum(tf.shape(codes)[1], 1), tf.int64)
        places = tf.stack([queries, tf.cast(sets.values, tf.int64)], axis=1)
        none = tf.zeros([tf.shape(codes)[0], filters.num_sets[feature]], tf.bool)
        set_is_allowed = tf.tensor_scatter_nd_update(none, places, tf.ones(tf.shape(places)[:1], tf.bool))
        asks_nothing = tf.reduce_all(codes == _NOTHING, axis=1, keepdims=True)
        return tf.gather(set_is_allowed, filters.set_of_row[feature], axis=1) | asks_nothing


def require_filterable(candidates: pa.Table, feature: str) -> None:
    """Checks that candidates can be filtered by a column.

    Raises:
        ValueError: If the column is missing or of a type that is not filtered by.
    """
    require_columns(candidates, [feature], "The catalogue, which is to be filtered by it,")
    kind = candidates[feature].type
    inner = kind.value_type if _is_list(kind) else kind
    if not (
        pa.types.is_null(inner)
        or pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_integer(inner)
        or pa.types.is_boolean(inner)
    ):
        raise ValueError(
            f"`filter_by` must name columns of strings, whole numbers or truth values. Received: {feature!r} ({inner})."
        )


def values_of(candidates: pa.Table, feature: str) -> list[tuple[str, ...]]:
    """What each candidate may be filtered by.

    Args:
        candidates: The catalogue.
        feature: One of its columns that `require_filterable` allows.

    Returns:
        For each candidate its values as text, sorted.
    """
    column = candidates[feature]
    rows = column.to_pylist() if _is_list(column.type) else [[value] for value in column.to_pylist()]
    # "" is padding, and no value.
    return [tuple(sorted({as_text(value) for value in values or [] if value not in (None, "")})) for values in rows]


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def as_text(value: str | int | bool) -> str:
    """A value as it is asked for: numbers in decimal, truth values as `true` and `false`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encode(rows: list[tuple[str, ...]]) -> tuple[list[str], list[list[int]], np.ndarray]:
    """(values, sets, set of each row): sets list codes, which count the values from 1."""
    values = sorted({value for row in rows for value in row})
    code_of = {value: code for code, value in enumerate(values, start=1)}
    set_of: dict[tuple[str, ...], int] = {}
    set_of_row = np.array([set_of.setdefault(row, len(set_of)) for row in rows], np.int32)
    return values, [[code_of[value] for value in row] for row in set_of], set_of_row
