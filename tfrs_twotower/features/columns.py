"""The columns that features come from: checks of their types and values, and their values as raw inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.feature import ColumnFeature, Feature
from tfrs_twotower.features.tensors import raw_tensors

#: Dtype of a raw input -> its missing value.
MISSING = {tf.string: "", tf.float32: float("nan"), tf.int64: NO_TIME}


def missing_input(spec: tf.TensorSpec, num_rows: int = 1) -> tf.Tensor:
    """Returns a raw input in which every value is missing; a list of any length has one missing value.

    Args:
        spec: Shape and dtype of the raw input.
        num_rows: Number of rows.

    Example:
        >>> missing_input(tf.TensorSpec([None, None], tf.string), 2).numpy().tolist()
        [[b''], [b'']]
    """
    return tf.fill([num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(MISSING[spec.dtype], spec.dtype))


def column_features(features: Sequence[Feature]) -> list[ColumnFeature]:
    """Returns the features that come from a column; the others come from events."""
    return [feature for feature in features if isinstance(feature, ColumnFeature)]


def read_columns(features: Sequence[Feature], table: pa.Table) -> dict[str, tf.Tensor]:
    """Reads the raw inputs of a table's rows, for all features except histories, which come from events.

    Args:
        features: Those of one tower.
        table: Queries or candidates.

    Returns:
        Input name -> tensor, as `Feature.raw_specs` describe it.

    Raises:
        ValueError: If a column is missing, or holds a value that its feature cannot take (column and row named).
        TypeError: If a column's type does not suit its feature.
    """
    table = plain_table(table, "table")
    require_suitable_columns(features, table)
    return raw_tensors(table, [spec for feature in column_features(features) for spec in feature.raw_specs])


def require_suitable_columns(features: Sequence[Feature], table: pa.Table) -> None:
    """Checks that a table has a suitable column for every feature except histories.

    A missing value is a null. NaN is refused: it usually comes from a mistake in arithmetic.

    Args:
        features: Those of one tower.
        table: Queries or candidates.

    Raises:
        ValueError: If a column is missing, or holds a value that its feature cannot take (column and row named).
        TypeError: If a column has another type.
    """
    features = column_features(features)
    require_columns(table, [feature.name for feature in features])
    for feature in features:
        column = table[feature.name].combine_chunks()
        if pa.types.is_null(column.type):
            continue
        if not feature.accepts(column.type):
            raise TypeError(
                f"`{feature.name}` must hold {feature.wanted_values} to be {type(feature).__name__}. "
                f"Received a column of: {column.type}."
            )
        feature.require_possible_values(column)


def is_number(kind: pa.DataType) -> bool:
    """Tells whether an Arrow type is of integers or floats."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_any_list(kind: pa.DataType) -> bool:
    """Tells whether an Arrow type is of lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def list_rows(column: pa.Array) -> np.ndarray:
    """Returns the row of each value of a column of lists.

    Args:
        column: Lists; a null has no values.

    Returns:
        int64 [num_values], in the order of `column.flatten()`.

    Example:
        >>> list_rows(pa.array([["a", "b"], None, ["c"]])).tolist()
        [0, 0, 2]
    """
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(column)), lengths)


def as_float32(column: pa.Array) -> np.ndarray:
    """Returns numbers as the raw input holds them, float32 with NaN for null."""
    with np.errstate(over="ignore"):
        numbers: np.ndarray = as_float64(column).astype(np.float32)
    return numbers


def as_float64(column: pa.Array) -> np.ndarray:
    """Returns numbers as float64 with NaN for null."""
    numbers: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def require_not(is_bad: np.ndarray, column: pa.Array, name: str, rule: str) -> None:
    """Raises an error for values that break a rule.

    Args:
        is_bad: bool [num_rows], the rows that break it.
        column: The values.
        name: Name of the column.
        rule: The rule, in words that follow "must".

    Raises:
        ValueError: If there is such a row; names the column and the first row.
    """
    bad = np.flatnonzero(is_bad)
    if bad.size:
        raise ValueError(
            f"`{name}` must {rule}. Received {bad.size} other values, first in row {bad[0]}: "
            f"{column[int(bad[0])].as_py()!r}."
        )


def require_no_nan(column: pa.Array, name: str) -> None:
    """Raises an error for NaN among numbers: a missing value is null.

    Args:
        column: Numbers.
        name: Name of the column.

    Raises:
        ValueError: If there is one; names the column and the row.
    """
    is_given = column.is_valid().to_numpy(zero_copy_only=False)
    require_not(is_given & np.isnan(as_float32(column)), column, name, "have no NaN; a missing value is null")


def to_raw_tensor(values: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns a raw input as a dense tensor of the dtype that its feature wants, and of no other.

    Args:
        values: Tensor or array, or a ragged tensor of lists.
        spec: Name, shape and dtype of the input.

    Raises:
        ValueError: If it is no tensor, or has another shape.
        TypeError: If it has another dtype: whole numbers of any width serve as integers, and all numbers as float32.
    """
    is_ragged = isinstance(values, tf.RaggedTensor)
    if is_ragged and spec.shape.as_list() != [None, None]:
        raise ValueError(f"`{spec.name}` must have the shape {spec.shape}. Received a ragged tensor: {values.shape}.")
    try:
        values = values if is_ragged else tf.convert_to_tensor(values)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(f"`{spec.name}` cannot be made a {spec.dtype.name} tensor: {error}") from error
    is_whole = values.dtype.is_integer and values.dtype != tf.uint64
    if (spec.dtype == tf.int64 and is_whole) or (spec.dtype == tf.float32 and (is_whole or values.dtype.is_floating)):
        values = tf.cast(values, spec.dtype)
    if is_ragged:
        values = values.to_tensor(MISSING.get(values.dtype))
    if values.dtype != spec.dtype:
        raise TypeError(f"`{spec.name}` must be {spec.dtype.name}. Received: {values.dtype.name}.")
    if not spec.shape.is_compatible_with(values.shape):
        raise ValueError(f"`{spec.name}` must have the shape {spec.shape}. Received: {values.shape}.")
    return values
