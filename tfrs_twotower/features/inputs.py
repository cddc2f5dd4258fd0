"""The raw inputs of each kind of feature: their tensors, and the columns that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.times import NO_TIME, seconds
from tfrs_twotower.features.features import (
    Bucketized,
    Categorical,
    Embedding,
    Feature,
    Hashed,
    History,
    MultiCategorical,
    Numeric,
    Text,
    Timestamp,
    columns,
)
from tfrs_twotower.features.tensors import raw_tensors

#: Inputs of the signatures beside the query's features: the candidate that they are asked about, those that are left
#: out, and before a candidate's feature that is filtered by.
CANDIDATE_INPUT = "candidate_id"
EXCLUDE_INPUT = "exclude_ids"
FILTER_PREFIX = "filter_"


def require_free_inputs(names: Iterable[str]) -> None:
    """Checks that query features leave the signatures' other inputs their names.

    Raises:
        ValueError: If one does not.
    """
    for name in names:
        if name in (CANDIDATE_INPUT, EXCLUDE_INPUT) or name.startswith(FILTER_PREFIX):
            raise ValueError(f"No query feature may be called {name!r}: signatures have an input of that name.")


#: What stands for a missing value in a raw input, by its dtype.
MISSING = {tf.string: "", tf.float32: float("nan"), tf.int64: NO_TIME}


def raw_specs(feature: Feature) -> tuple[tf.TensorSpec, ...]:
    """Name, shape and dtype of a feature's raw inputs: one, and for a history by rating two."""
    match feature:
        case Categorical() | Hashed() | Text():
            return (tf.TensorSpec([None], tf.string, name=feature.name),)
        case MultiCategorical():
            return (tf.TensorSpec([None, None], tf.string, name=feature.name),)
        case Numeric() | Bucketized():
            return (tf.TensorSpec([None], tf.float32, name=feature.name),)
        case Timestamp():
            # float32 would tell times apart by two minutes, and Keras turns NumPy's float64 into it.
            return (tf.TensorSpec([None], tf.int64, name=feature.name),)
        case Embedding():
            return (tf.TensorSpec([None, feature.dim], tf.float32, name=feature.name),)
        case History():
            ids = tf.TensorSpec([None, None], tf.string, name=feature.name)
            if not feature.by_rating:
                return (ids,)
            return (ids, tf.TensorSpec([None, None], tf.float32, name=feature.rating_name))


def read_columns(features: Sequence[Feature], table: pa.Table) -> dict[str, tf.Tensor]:
    """The raw tensors of a table, for all features but histories, which come from events.

    Raises:
        ValueError: If a column is missing, or holds a number that its feature cannot take (column and row named).
        TypeError: If a column's type does not suit its feature.
    """
    table = plain_table(table, "table")
    require_suitable_columns(features, table)
    return raw_tensors(table, [spec for feature in columns(features) for spec in raw_specs(feature)])


def require_suitable_columns(features: Sequence[Feature], table: pa.Table) -> None:
    """Checks that a table has a column for every feature but histories, of the right type, with possible values.

    A missing value is a null. NaN is no number and refused: it usually comes from a mistake in arithmetic.

    Args:
        features: Those of one tower.
        table: Queries or candidates.

    Raises:
        ValueError: If a column is missing, or holds a number that its feature cannot take (column and row named).
        TypeError: If a column has another type.
    """
    features = columns(features)
    require_columns(table, [feature.name for feature in features])
    for feature in features:
        column = table[feature.name].combine_chunks()
        wanted, fits = _wanted_type(feature)
        if not (pa.types.is_null(column.type) or fits(column.type)):
            raise TypeError(
                f"`{feature.name}` must hold {wanted} to be {type(feature).__name__}. "
                f"Received a column of: {column.type}."
            )
        _require_possible_values(feature, column)


def _wanted_type(feature: Feature) -> tuple[str, Callable[[pa.DataType], bool]]:
    match feature:
        case Categorical() | Hashed():
            return "strings or integers", lambda kind: pa.types.is_string(kind) or pa.types.is_integer(kind)
        case Text():
            return "strings", pa.types.is_string
        case MultiCategorical():
            return (
                "lists of strings or integers",
                lambda kind: (
                    pa.types.is_list(kind)
                    and (
                        pa.types.is_string(kind.value_type)
                        or pa.types.is_integer(kind.value_type)
                        or pa.types.is_null(kind.value_type)
                    )
                ),
            )
        case Embedding():
            return (
                "lists of numbers",
                lambda kind: _is_any_list(kind) and (_is_number(kind.value_type) or pa.types.is_null(kind.value_type)),
            )
        case Timestamp():
            return (
                "times",
                lambda kind: (
                    _is_number(kind)
                    or pa.types.is_string(kind)
                    or pa.types.is_timestamp(kind)
                    or pa.types.is_date(kind)
                ),
            )
        case _:
            return "numbers", _is_number


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_any_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def _require_possible_values(feature: Feature, column: pa.Array) -> None:
    if pa.types.is_null(column.type):
        return
    is_given = column.is_valid().to_numpy(zero_copy_only=False)
    if isinstance(feature, Numeric | Bucketized | Timestamp) and _is_number(column.type):
        numbers = _float32(column)
        _refuse(feature, is_given & np.isnan(numbers), column, "have no NaN; a missing value is null")
        if isinstance(feature, Numeric):
            _refuse(feature, np.isinf(numbers), column, "be finite in float32")
            if feature.log:
                _refuse(feature, numbers < 0, column, "be at least 0 for its logarithm")
    if isinstance(feature, Timestamp):
        is_time = seconds(column).is_valid().to_numpy(zero_copy_only=False)
        _refuse(
            feature,
            is_given & ~is_time,
            column,
            "hold times, as ISO 8601 text or seconds since 1970; a missing one is null",
        )
    if isinstance(feature, Embedding):
        is_bad = np.zeros(len(column), bool)
        is_bad[list_rows(column)[~np.isfinite(_float32(column.flatten()))]] = True
        _refuse(feature, is_bad, column, "hold finite vectors; a missing one is null")


def list_rows(column: pa.Array) -> np.ndarray:
    """int64 [num_values], the row of each value of a column of lists, as `flatten` gives them: none of a null's."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(column)), lengths)


def _float32(column: pa.Array) -> np.ndarray:
    """What the raw input holds."""
    with np.errstate(over="ignore"):
        numbers: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float32)
    return numbers


def _refuse(feature: Feature, is_bad: np.ndarray, column: pa.Array, rule: str) -> None:
    bad = np.flatnonzero(is_bad)
    if bad.size:
        raise ValueError(
            f"`{feature.name}` must {rule}. Received {bad.size} other values, first in row {bad[0]}: "
            f"{column[int(bad[0])].as_py()!r}."
        )
