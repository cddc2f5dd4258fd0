"""Turns Arrow columns into the raw tensors that a tower takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.times import NO_TIME, seconds


def raw_tensors(table: pa.Table, specs: Sequence[tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """Turns Arrow columns into tensors.

    Args:
        table: Queries or candidates.
        specs: Name, shape and dtype of each wanted tensor.

    Returns:
        string [None]: text, null as "", integers as their digits, booleans as true and
            false. string [None, None]: lists of these, padded with "".
        float32 [None]: numbers, null as NaN. int64 [None]: times, seconds since 1970-01-01 UTC, null as `NO_TIME`.
        float32 [None, dim]: lists of `dim` numbers, null as NaN. float32 [None, None]: lists of numbers, padded with
            NaN. int64 [None, None]: lists of times, padded with `NO_TIME`.

    Raises:
        ValueError: If a column is missing, or a list of numbers has another length (row named).
        TypeError: If a column holds values of another type.

    Example:
        >>> table = pa.table({"genres": [["War"], ["Drama", "War"]]})
        >>> raw_tensors(table, [tf.TensorSpec([None, None], tf.string, name="genres")])["genres"].numpy().tolist()
        [[b'War', b''], [b'Drama', b'War']]
    """
    table = plain_table(table, "table")
    require_columns(table, [spec.name for spec in specs])
    return {spec.name: _raw_tensor(table[spec.name].combine_chunks(), spec) for spec in specs}


def _raw_tensor(column: pa.Array, spec: tf.TensorSpec) -> tf.Tensor:
    types, is_list = pa.types, spec.shape.rank == 2
    kind = column.type
    if types.is_null(kind):
        inner = pa.string() if spec.dtype == tf.string else pa.float32()
        kind = pa.list_(inner) if is_list else inner
        column = column.cast(kind)
    value_type = kind.value_type if types.is_list(kind) else kind
    if types.is_null(value_type):  # a column of empty lists
        value_type = pa.string() if spec.dtype == tf.string else pa.float32()
        column = column.cast(pa.list_(value_type))
    is_number = types.is_integer(value_type) or types.is_floating(value_type)
    if types.is_list(kind) == is_list:
        is_value = types.is_string(value_type) or types.is_integer(value_type) or types.is_boolean(value_type)
        if spec.dtype == tf.string and is_value:
            return _padded_lists(column) if is_list else _text(column)
        if spec.dtype == tf.float32 and is_number:
            if not is_list:
                return tf.constant(_numbers(column, pa.float32()), tf.float32)
            return _padded_numbers(column) if spec.shape[1] is None else _vectors(column, spec)
        is_time = (
            is_number or types.is_string(value_type) or types.is_timestamp(value_type) or types.is_date(value_type)
        )
        if spec.dtype == tf.int64 and is_time:
            return _padded_times(column) if is_list else tf.constant(_times(column), tf.int64)
    wanted = {
        (tf.string, False): "strings, integers or booleans",
        (tf.string, True): "lists of strings, integers or booleans",
        (tf.float32, False): "numbers",
        (tf.float32, True): "lists of numbers" if spec.shape[-1] is None else f"lists of {spec.shape[-1]} numbers",
        (tf.int64, False): "times",
        (tf.int64, True): "lists of times",
    }[spec.dtype, is_list]
    raise TypeError(f"`{spec.name}` must hold {wanted}. Received: {column.type}.")


def _text(column: pa.Array) -> tf.Tensor:
    text = column.cast(pa.string()).fill_null("")
    return tf.constant(text.to_numpy(zero_copy_only=False), tf.string, shape=(len(text),))


def _numbers(column: pa.Array, kind: pa.DataType) -> np.ndarray:
    numbers: np.ndarray = column.cast(kind, safe=False).to_numpy(zero_copy_only=False)
    return numbers


def _padded_lists(column: pa.Array) -> tf.Tensor:
    return tf.RaggedTensor.from_row_lengths(_text(column.flatten()), _lengths(column)).to_tensor("")


def _padded_numbers(column: pa.Array) -> tf.Tensor:
    numbers = _numbers(column.flatten(), pa.float32())
    return tf.RaggedTensor.from_row_lengths(numbers, _lengths(column)).to_tensor(float("nan"))


def _padded_times(column: pa.Array) -> tf.Tensor:
    times = tf.constant(_times(column.flatten()), tf.int64)
    return tf.RaggedTensor.from_row_lengths(times, _lengths(column)).to_tensor(NO_TIME)


def _times(column: pa.Array) -> np.ndarray:
    times: np.ndarray = seconds(column).fill_null(NO_TIME).to_numpy(zero_copy_only=False)
    return times


def _lengths(column: pa.Array) -> np.ndarray:
    lengths: np.ndarray = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _vectors(column: pa.Array, spec: tf.TensorSpec) -> tf.Tensor:
    dim = spec.shape[-1]
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)  # NaN for null
    bad = np.flatnonzero((lengths != dim) & ~np.isnan(lengths))
    if bad.size:
        raise ValueError(
            f"`{spec.name}` must hold lists of {dim} numbers. Received {bad.size} others, first in row {bad[0]}: "
            f"{int(lengths[bad[0]])} numbers."
        )
    vectors = np.full((len(column), dim), np.nan, np.float32)
    vectors[~np.isnan(lengths)] = _numbers(column.flatten(), pa.float32()).reshape(-1, dim)
    return tf.constant(vectors)
