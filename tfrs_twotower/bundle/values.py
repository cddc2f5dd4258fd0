"""Converts plain Python values to raw inputs of a bundle, and reports mistakes before TensorFlow sees them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle.model_entry import InputSpec
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.features.columns import MISSING
from tfrs_twotower.index.filters import as_text


def ids_tensor(name: str, ids: list[Any]) -> tf.Tensor:
    """Makes string [batch] of ids.

    Args:
        name: Name of the argument, for errors.
        ids: Strings.

    Raises:
        TypeError: If one is not a string.
    """
    return to_tensor(InputSpec(name=name, dtype="string", shape=(None,)), ids, len(ids))


def lists_tensor(name: str, lists: Any, batch: int) -> tf.Tensor:
    """Makes string [batch, any], padded, of a list for each query.

    Args:
        name: Name of the argument, for errors.
        lists: A list of strings for each query.
        batch: Number of queries.

    Raises:
        ValueError: If there is not a list for each query.
        TypeError: If a value is not a string.
    """
    rows = to_list(lists)
    if any(isinstance(row, str | bytes) for row in rows) or len(rows) != batch:
        raise ValueError(f"`{name}` must be a list of strings for each of {batch} queries. Received: {lists!r}.")
    return to_tensor(InputSpec(name=name, dtype="string", shape=(None, None)), rows, batch)


def filter_values(value: Any) -> Any:
    """Returns values of a filter as the signature takes them; values of a wrong type are refused later.

    Args:
        value: One value, or a list of them.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return [filter_values(item) for item in to_list(value)]
    return as_text(value) if isinstance(value, bool | int) else value


def require_features(values: Any, name: str) -> None:
    """Checks that values come by feature: a mapping, or a data frame, whose columns are features.

    Args:
        values: What a user gave.
        name: Name of the argument, for errors.

    Raises:
        TypeError: If they do not.
    """
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        raise TypeError(
            f"`{name}` must map features to values, such as {{'user_id': '42'}}. Received: a {type(values).__name__}."
        )


def by_input_names(values: Any, names: Mapping[str, str], name: str) -> dict[str, Any]:
    """Returns values by the names of inputs; unknown names stay as they are.

    Args:
        values: What `require_features` accepts.
        names: What an input may be called -> its name.
        name: Name of the argument, for errors.

    Raises:
        ValueError: If two names are of one input.

    Example:
        >>> by_input_names({"Customer ID": "c7"}, {"Customer ID": "customer_id"}, "queries")
        {'customer_id': 'c7'}
    """
    renamed: dict[str, Any] = {}
    for given, value in values.items():
        own = names.get(given, given)
        if own in renamed:
            raise ValueError(f"`{name}` must give each feature once. Received {own!r} twice, also as {given!r}.")
        renamed[own] = value
    return renamed


def require_equal_lists(columns: Mapping[str, list[Any]], histories_of: Mapping[str, str]) -> None:
    """Checks that each rating or time of a history belongs to one of its candidates.

    Args:
        columns: Input name -> one value per query.
        histories_of: Name of an input of ratings or times -> name of its history.

    Raises:
        ValueError: If two lists differ in length.
    """
    for number_name, name in histories_of.items():
        numbers = columns.get(number_name)
        if numbers is None:
            continue
        ids = columns.get(name, [[]] * len(numbers))
        for row, (of_ids, of_numbers) in enumerate(zip(ids, numbers, strict=True)):
            if len(to_list(of_ids)) != len(to_list(of_numbers)):
                raise ValueError(
                    f"`{number_name}` must be as long as `{name}`. Received in row {row}: lists of "
                    f"{len(to_list(of_numbers))} and {len(to_list(of_ids))}."
                )


def to_list(values: Any) -> list[Any]:
    """Returns one value, a sequence, or a column of Arrow, pandas, TensorFlow or NumPy as a list of plain values."""
    for convert in ("to_pylist", "as_py", "to_list", "numpy"):
        if hasattr(values, convert):
            values = getattr(values, convert)()
    if isinstance(values, np.ndarray | np.generic):
        values = _to_plain(values)
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        return [values]
    return [_to_plain(value) if isinstance(value, np.generic) else value for value in values]


def _to_plain(values: np.ndarray | np.generic) -> Any:
    # NumPy turns nanoseconds into plain integers, which would pass for seconds.
    return values.astype("datetime64[s]").tolist() if values.dtype.kind == "M" else values.tolist()


def to_tensor(spec: InputSpec, values: list[Any] | None, batch: int) -> tf.Tensor:
    """Makes a raw input of plain values.

    Args:
        spec: The input.
        values: One value, or list of values, per row; None if all are missing.
        batch: Number of rows.

    Raises:
        ValueError: If a list has a wrong length, or the dtype cannot hold a value.
        TypeError: If a value has a wrong type.
    """
    name, dtype, (_, *inner) = spec.name, tf.as_dtype(spec.dtype), spec.shape
    if values is None:
        return tf.constant(MISSING[dtype], dtype, [batch, *(size or 1 for size in inner)])
    rows = [to_list(value) for value in values] if inner else [[value] for value in values]
    for row, items in enumerate(rows):
        rows[row] = [_to_item(name, dtype, item, row) for item in items]
        if inner and inner[0] is not None and len(items) != inner[0]:
            raise ValueError(f"`{name}` must be lists of {inner[0]} numbers. Received in row {row}: {len(items)}.")
    if not inner:
        return tf.constant([items[0] for items in rows], dtype)
    lists = tf.ragged.constant(rows, dtype, ragged_rank=1)
    return lists.to_tensor(default_value=MISSING[dtype], shape=[batch, inner[0]])


def _to_item(name: str, dtype: tf.DType, item: Any, row: int) -> Any:
    """Checks one value of an input."""
    # pandas's NaT is a datetime that is unequal to itself, and not a time.
    if dtype == tf.int64 and isinstance(item, datetime.datetime) and item == item:
        aware = item if item.tzinfo is not None else item.replace(tzinfo=datetime.timezone.utc)
        return int(aware.timestamp() // 1)
    wanted, kinds = _WANTED[dtype]
    if isinstance(item, bool) or not isinstance(item, kinds):
        raise TypeError(
            f"`{name}` must be {wanted}. Received in row {row}: {item!r} ({type(item).__name__}).{_advice(dtype, item)}"
        )
    if not _is_possible(dtype, item):
        shown = item if len(repr(item)) < 50 else f"{repr(item)[:20]}..."
        raise ValueError(f"`{name}` must be {_POSSIBLE[dtype]}. Received in row {row}: {shown!r}.")
    return item


def _advice(dtype: tf.DType, item: Any) -> str:
    """Says what to write instead of a value of a wrong type, if that is clear."""
    # NaN is what pandas makes of a missing text, NaT of a missing time. Both differ from themselves.
    if item is None or (isinstance(item, float | datetime.datetime) and item != item):
        return f" A missing value is {_WRITTEN[dtype]}."
    if dtype == tf.string and isinstance(item, int | float) and not isinstance(item, bool):
        is_whole = isinstance(item, int) or item.is_integer()
        return f" Write {str(int(item) if is_whole else item)!r}."
    return ""


def _is_possible(dtype: tf.DType, item: Any) -> bool:
    if dtype == tf.string:
        # Half of a surrogate pair is a Python string, but no text.
        return isinstance(item, bytes) or item.isascii() or not any("\ud800" <= char <= "\udfff" for char in item)
    if dtype == tf.int64:
        return -(2**63) <= item < 2**63
    # Infinity counts as missing, as NaN does. A large number must not become infinity.
    return not _MAX_FLOAT32 < abs(item) < math.inf


_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_WRITTEN = {tf.string: '""', tf.float32: "NaN", tf.int64: str(NO_TIME)}
_WANTED: dict[tf.DType, tuple[str, tuple[type, ...]]] = {
    tf.string: ("strings", (str, bytes)),
    tf.float32: ("numbers", (int, float)),
    tf.int64: ("whole seconds since 1970 or datetimes", (int,)),
}
_POSSIBLE: dict[tf.DType, str] = {
    tf.string: "strings of valid Unicode",
    tf.float32: "numbers that float32 can hold",
    tf.int64: "whole seconds since 1970 or datetimes that int64 can hold",
}
