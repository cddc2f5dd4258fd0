"""Converts plain Python values to raw inputs of a bundle, and reports mistakes before TensorFlow sees them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.bundle.manifest import InputSpec
from tfrs_twotower.features.columns import MISSING
from tfrs_twotower.index.filters import as_text


def ids_tensor(ids: list[Any]) -> tf.Tensor:
    """Makes string [batch] of candidate ids.

    Args:
        ids: At least one string.

    Raises:
        ValueError: If there is none.
        TypeError: If one is not a string.
    """
    if not ids:
        raise ValueError("`candidate_ids` must be at least one.")
    return to_tensor(InputSpec(name="candidate_ids", dtype="string", shape=(None,)), ids, len(ids))


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


def require_equal_lists(columns: Mapping[str, list[Any]], ratings_of: Mapping[str, str]) -> None:
    """Checks that each rating of a history belongs to one of its candidates.

    Args:
        columns: Input name -> one value per query.
        ratings_of: Name of an input of ratings -> name of its history.

    Raises:
        ValueError: If two lists differ in length.
    """
    for rating_name, name in ratings_of.items():
        ratings = columns.get(rating_name)
        if ratings is None:
            continue
        ids = columns.get(name, [[]] * len(ratings))
        for row, (of_ids, of_ratings) in enumerate(zip(ids, ratings, strict=True)):
            if len(to_list(of_ids)) != len(to_list(of_ratings)):
                raise ValueError(
                    f"`{rating_name}` must be as long as `{name}`. Received in row {row}: {len(to_list(of_ratings))} "
                    f"ratings for {len(to_list(of_ids))} candidates."
                )


def to_list(values: Any) -> list[Any]:
    """Returns one value, a sequence, or a column of Arrow, pandas, TensorFlow or NumPy as a list of plain values."""
    for convert in ("to_pylist", "to_list", "numpy"):
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
        ValueError: If a list has a wrong length.
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
    return tf.ragged.constant(rows, dtype, ragged_rank=1).to_tensor(default_value=MISSING[dtype])


def _to_item(name: str, dtype: tf.DType, item: Any, row: int) -> Any:
    """Checks one value of an input."""
    # pandas's NaT is a datetime that is unequal to itself, and not a time.
    if dtype == tf.int64 and isinstance(item, datetime.datetime) and item == item:
        aware = item if item.tzinfo is not None else item.replace(tzinfo=datetime.timezone.utc)
        return int(aware.timestamp() // 1)
    wanted, kinds = _WANTED[dtype]
    if isinstance(item, bool) or not isinstance(item, kinds):
        raise TypeError(f"`{name}` must be {wanted}. Received in row {row}: {item!r} ({type(item).__name__}).")
    return item


_WANTED: dict[tf.DType, tuple[str, tuple[type, ...]]] = {
    tf.string: ("strings", (str, bytes)),
    tf.float32: ("numbers", (int, float)),
    tf.int64: ("whole seconds since 1970 or datetimes", (int,)),
}
