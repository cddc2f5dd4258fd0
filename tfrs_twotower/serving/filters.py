"""Conditions on candidates in the graph: any of the given values of each feature, and all features at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

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
        self.tables, self.sets, self.set_of_row = {}, {}, {}
        for feature in self.features:
            values, sets, set_of_row = _encode(values_of(candidates, feature))
            keys = tf.lookup.KeyValueTensorInitializer(
                tf.constant(["", *values]), tf.range(len(values) + 1, dtype=tf.int32)
            )
            self.tables[feature] = tf.lookup.StaticHashTable(keys, _UNKNOWN)
            self.sets[feature] = tf.Variable(sets, trainable=False, name=f"{feature}_sets")
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

    def take(self, start: tf.Tensor, stop: tf.Tensor) -> Condition:
        """The condition of the queries from `start` to before `stop`."""
        return dataclasses.replace(self, codes={name: codes[start:stop] for name, codes in self.codes.items()})

    def allowed(self) -> tf.Tensor:
        """Bool [batch, num_candidates]."""
        allowed = [self._allowed(name, codes) for name, codes in self.codes.items()]
        return tf.reduce_all(tf.stack(allowed), axis=0)

    def _allowed(self, feature: str, codes: tf.Tensor) -> tf.Tensor:
        sets = self.filters.sets[feature]
        batch, num_codes = tf.shape(codes)[0], tf.cast(self.filters.tables[feature].size(), tf.int32)
        is_given = codes > _NOTHING
        queries = tf.broadcast_to(tf.range(batch)[:, tf.newaxis], tf.shape(codes))
        # Padding and unknown values mark code 0, which then is unmarked: it is no value.
        places = tf.stack([queries, tf.where(is_given, codes, _NOTHING)], axis=2)
        marked = tf.tensor_scatter_nd_update(tf.zeros([batch, num_codes], tf.bool), places, is_given)
        set_is_allowed = tf.reduce_any(tf.gather(marked, sets, axis=1), axis=2)
        asks_nothing = tf.reduce_all(codes == _NOTHING, axis=1, keepdims=True)
        return tf.gather(set_is_allowed, self.filters.set_of_row[feature], axis=1) | asks_nothing


def values_of(candidates: pa.Table, feature: str) -> list[tuple[str, ...]]:
    """What each candidate may be filtered by.

    Args:
        candidates: The catalogue.
        feature: One of its columns.

    Returns:
        For each candidate its values as text, sorted.

    Raises:
        ValueError: If the column is missing or of a type that is not filtered by.
    """
    if feature not in candidates.column_names:
        raise ValueError(f"Unknown candidate feature {feature!r}. Known: {', '.join(candidates.column_names)}.")
    column = candidates[feature].combine_chunks()
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    inner = column.type.value_type if is_list else column.type
    if not (
        pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_integer(inner)
        or pa.types.is_boolean(inner)
    ):
        raise ValueError(
            f"`filter_by` must name columns of strings, whole numbers or truth values. Received: {feature!r} ({inner})."
        )
    rows = [values or [] for values in column.to_pylist()] if is_list else [[value] for value in column.to_pylist()]
    # "" is padding, and no value.
    return [tuple(sorted({_text(value) for value in values if value not in (None, "")})) for values in rows]


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encode(rows: list[tuple[str, ...]]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(values, sets, set of each row): codes count from 1, sets are int32 [num_sets, most], padded with 0."""
    values = sorted({value for row in rows for value in row})
    code_of = {value: code for code, value in enumerate(values, start=1)}
    set_of: dict[tuple[str, ...], int] = {}
    set_of_row = np.array([set_of.setdefault(row, len(set_of)) for row in rows], np.int32)
    sets = np.zeros((len(set_of), max(1, *map(len, set_of))) if set_of else (1, 1), np.int32)
    for row, number in set_of.items():
        sets[number, : len(row)] = [code_of[value] for value in row]
    return values, sets, set_of_row
