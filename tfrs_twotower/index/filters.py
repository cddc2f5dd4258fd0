"""Filters of candidates in the graph: a candidate must have one of the given values of every given feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.data.columns import require_columns
from tfrs_twotower.data.input_names import require_input_name

# Codes of values: a value that no candidate has, and padding. The values themselves are numbered from 1.
_UNKNOWN, _PADDING = -1, 0
# Maximum number of different values of a column that is a filter by default: people can choose among that many.
_MAX_DEFAULT_VALUES = 1_000


class CandidateFilters(tf.Module):
    """The values that each candidate has, for the features by which recommendations may be filtered.

    Candidates with the same values of a feature share a value set, and a condition is evaluated once per value set.

    Args:
        candidates: The catalogue.
        features: Columns of strings, whole numbers or truth values, or lists of them. A condition gives numbers in
            decimal and truth values as `true` and `false`. A candidate whose value is missing meets no condition on the
            feature.

    Attributes:
        features: The columns.
        num_candidates: Size of the catalogue.

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
        self.tables, self.postings, self.starts = {}, {}, {}
        self.num_value_sets, self.value_set_of_row = {}, {}
        for feature in self.features:
            require_filterable(candidates, feature)
            distinct, number_of_row = _distinct(candidates[feature])
            values, value_sets, value_set_of_number = _encode(filter_values(pa.table({feature: distinct}), feature))
            value_set_of_row = value_set_of_number[number_of_row]
            keys = tf.lookup.KeyValueTensorInitializer(
                tf.constant(["", *values]), tf.range(len(values) + 1, dtype=tf.int32)
            )
            self.tables[feature] = tf.lookup.StaticHashTable(keys, _UNKNOWN)
            codes = np.array([code for value_set in value_sets for code in value_set], np.int32)
            numbers = np.repeat(np.arange(len(value_sets), dtype=np.int32), [len(codes) for codes in value_sets])
            # Postings list the value sets that contain each value. Padding, code 0, is in none.
            starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(values) + 1))])
            postings = numbers[np.argsort(codes, kind="stable")]
            self.postings[feature] = tf.Variable(postings, trainable=False, name=f"{feature}_postings")
            self.starts[feature] = tf.Variable(starts, trainable=False, name=f"{feature}_starts")
            self.num_value_sets[feature] = len(value_sets)
            self.value_set_of_row[feature] = tf.Variable(
                value_set_of_row, trainable=False, name=f"{feature}_value_set_of_row"
            )

    def only(self, values: Mapping[str, tf.Tensor]) -> Condition:
        """Makes the condition that a batch of queries sets.

        Args:
            values: Feature -> string [batch, any], padded with "". A candidate must have one of the query's values of
                every feature. A query that gives no value of a feature accepts every value of it.

        Returns:
            The condition.
        """
        return Condition(filters=self, codes={name: self.tables[name].lookup(given) for name, given in values.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition that the candidates for a batch of queries must meet; `CandidateFilters.only` makes it.

    Attributes:
        filters: The values that each candidate has.
        codes: Feature -> int32 [batch, any], codes of the values, 0 for padding, -1 for values that no candidate has.

    Example:
        >>> filters = CandidateFilters(pa.table({"year": [1994, 1995]}), ["year"])
        >>> condition = filters.only({"year": tf.constant([["1995", ""]])})
        >>> condition.codes["year"].numpy().tolist(), condition.allowed().numpy().tolist()
        ([[2, 0]], [[False, True]])
    """

    filters: CandidateFilters
    codes: Mapping[str, tf.Tensor]

    def take(self, take: Callable[[tf.Tensor], tf.Tensor]) -> Condition:
        """Returns the condition for some of the queries.

        Args:
            take: Selects the rows of those queries from a tensor with one row per query.
        """
        return dataclasses.replace(self, codes={name: take(codes) for name, codes in self.codes.items()})

    def allowed(self) -> tf.Tensor:
        """Returns bool [batch, num_candidates], whether a candidate meets the condition of a query."""
        allowed = [self._allowed(name, codes) for name, codes in self.codes.items()]
        return tf.reduce_all(tf.stack(allowed), axis=0)

    def batch_sizes(self) -> list[tf.Tensor]:
        """Returns the number of queries for which each feature has values, int32 []; a caller checks that all agree."""
        return [tf.shape(codes)[0] for codes in self.codes.values()]

    def _allowed(self, feature: str, codes: tf.Tensor) -> tf.Tensor:
        filters = self.filters
        postings = tf.RaggedTensor.from_row_splits(
            filters.postings[feature].read_value(), filters.starts[feature], validate=False
        )
        # A row for each value of each query, once however often it is given, with the value sets that contain it.
        num_codes = tf.shape(filters.starts[feature], tf.int64)[0]
        queries = tf.range(tf.shape(codes, tf.int64)[0])
        pairs = queries[:, tf.newaxis] * num_codes + tf.cast(tf.maximum(codes, _PADDING), tf.int64)
        pairs, _ = tf.unique(tf.reshape(pairs, [-1]))
        value_sets = tf.gather(postings, pairs % num_codes)
        queries = tf.gather(pairs // num_codes, value_sets.value_rowids())
        places = tf.stack([queries, tf.cast(value_sets.values, tf.int64)], axis=1)
        none = tf.zeros([tf.shape(codes)[0], filters.num_value_sets[feature]], tf.bool)
        is_allowed = tf.tensor_scatter_nd_update(none, places, tf.ones(tf.shape(places)[:1], tf.bool))
        accepts_all = tf.reduce_all(codes == _PADDING, axis=1, keepdims=True)
        return tf.gather(is_allowed, filters.value_set_of_row[feature], axis=1) | accepts_all


def require_filterable(candidates: pa.Table, feature: str) -> None:
    """Checks that candidates can be filtered by a column.

    Args:
        candidates: The catalogue.
        feature: Name of the column.

    Raises:
        ValueError: If the column is missing, or its values are not strings, whole numbers or truth values.
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


def default_filters(candidates: pa.Table, id_column: str) -> tuple[str, ...]:
    """Names the columns by which a catalogue is filtered if nobody says otherwise: those whose values are categories.

    Args:
        candidates: The catalogue.
        id_column: Column of the ids.

    Returns:
        The columns that filters can take, whose values are few and repeat: at most 1,000, each in two rows or more on
        average.

    Example:
        >>> movies = pa.table({
        ...     "movie_id": ["a", "b", "c", "d"], "title": ["A", "B", "C", "D"], "year": [1994, 1995, 1995, 1994],
        ...     "genres": [["War"], ["Drama", "War"], ["Drama"], []], "length": [1.5, 2.0, 2.0, 1.5],
        ... })
        >>> default_filters(movies, "movie_id")
        ('year', 'genres')
    """
    return tuple(name for name in candidates.column_names if name != id_column and _holds_categories(candidates, name))


def filter_values(candidates: pa.Table, feature: str) -> list[tuple[str, ...]]:
    """Lists the values by which each candidate can be filtered.

    Args:
        candidates: The catalogue.
        feature: One of its columns that `require_filterable` accepts.

    Returns:
        For each candidate its values as text, sorted.

    Example:
        >>> filter_values(pa.table({"genres": [["War", "Drama"], None]}), "genres")
        [('Drama', 'War'), ()]
    """
    column = candidates[feature]
    rows = column.to_pylist() if _is_list(column.type) else [[value] for value in column.to_pylist()]
    # The empty string is padding, not a value.
    return [tuple(sorted({as_text(value) for value in values or [] if value not in (None, "")})) for values in rows]


def _holds_categories(candidates: pa.Table, feature: str) -> bool:
    try:
        require_input_name(feature)
        require_filterable(candidates, feature)
    except ValueError:
        return False
    column = candidates[feature].combine_chunks()
    values = pc.list_flatten(column) if _is_list(column.type) else column
    num_distinct = pc.count_distinct(values).as_py()
    return 0 < num_distinct <= min(_MAX_DEFAULT_VALUES, (len(values) - values.null_count) / 2)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def as_text(value: str | int | bool) -> str:
    """Returns a value as conditions give it: a number in decimal, a truth value as `true` or `false`.

    Example:
        >>> as_text(1995), as_text(True), as_text("Drama")
        ('1995', 'true', 'Drama')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Numbers the distinct values of a column in the order in which they first occur.

    Returns:
        (distinct, numbers): the distinct values, and int [num_rows], the number of each row's value.
    """
    if not _is_list(column.type) and not pa.types.is_null(column.type):
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        return encoded.dictionary, encoded.indices.to_numpy()
    number_of: dict[tuple[str | int | bool, ...] | None, int] = {}
    rows = (None if row is None else tuple(row) for row in column.to_pylist())
    numbers = np.fromiter((number_of.setdefault(row, len(number_of)) for row in rows), np.int32, len(column))
    return pa.array(number_of, column.type), numbers


def _encode(rows: list[tuple[str, ...]]) -> tuple[list[str], list[list[int]], np.ndarray]:
    """Numbers values and value sets.

    Args:
        rows: The values of each candidate.

    Returns:
        (values, value_sets, value_set_of_row): the values, sorted; the codes in each value set, a value's code being
        its position from 1; int32 [num_candidates], the value set of each candidate.
    """
    values = sorted({value for row in rows for value in row})
    code_of = {value: code for code, value in enumerate(values, start=1)}
    value_set_of: dict[tuple[str, ...], int] = {}
    value_set_of_row = np.array([value_set_of.setdefault(row, len(value_set_of)) for row in rows], np.int32)
    return values, [[code_of[value] for value in row] for row in value_set_of], value_set_of_row
