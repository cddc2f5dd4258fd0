"""Numbers that are not finite: found and named in batches, in codes and in weights."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.batches.pipeline import epochs_of

if TYPE_CHECKING:
    from tfrs_twotower.model.recommender import Recommender

# A number further from 0 makes infinity of a product with another one.
_MAX_NUMBER = 1e18
_MARK = "NUMBERS_MUST_BE_FINITE"
_FOUND = re.compile(_MARK + r"\] \[([^\]]*)\] \[(\d+)\]")


def with_checked_numbers(batches: Any) -> Any:
    """Returns the same batches, whose numbers are checked as they are read; see `naming_numbers`.

    The library's own batches are of tables that were checked, and stay as they are.

    Args:
        batches: Whatever was given to `fit`.
    """
    if not isinstance(batches, tf.data.Dataset) or epochs_of(batches) is not None:
        return batches

    def check(number: tf.Tensor, batch: Any) -> Any:
        for name, values in _numbers(batch):
            # Infinity is not below any number, and neither is NaN.
            tf.debugging.Assert(tf.reduce_all(tf.abs(values) <= _MAX_NUMBER), [_MARK, name, number])
        return batch

    return batches.enumerate().map(check)


@contextlib.contextmanager
def naming_numbers() -> Iterator[None]:
    """Makes an error that names the batch and the column of what `with_checked_numbers` found.

    Raises:
        FloatingPointError: Instead of TensorFlow's error.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _FOUND.search(error.message)
        if found is None:
            raise
        name, number = found.groups()
        raise FloatingPointError(
            f"`{name}` must be finite numbers in ±{_MAX_NUMBER:g}. Received NaN, infinity or a larger number in batch "
            f"{number} of the data set. The likely cause is a division by zero or an overflow where the column is "
            "computed. A number that is missing is NaN in what is given to the model's `lookup`, which marks it."
        ) from None


def require_finite_codes(codes: Mapping[str, np.ndarray]) -> None:
    """Checks what a table's rows were looked up as: the lookup of a kind of one's own may give anything.

    Args:
        codes: Input name -> codes [num_rows, ...].

    Raises:
        ValueError: If a number is not finite; names the column and the row.
    """
    for name, values in codes.items():
        if values.dtype.kind != "f":
            continue
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if bad.size:
            raise ValueError(
                f"`{name}` must be looked up as finite numbers. Received NaN or infinity in {bad.size} rows, first in "
                f"row {bad[0]}. Check the lookup of its feature."
            )


def not_finite(variables: Sequence[tf.Variable]) -> list[str]:
    """Names the variables that have NaN or infinity.

    Args:
        variables: Weights of a model.

    Example:
        >>> not_finite([tf.Variable([1.0, 2.0], name="good"), tf.Variable([[1.0], [float("nan")]], name="bad")])
        ['bad:0 (row 1)']
    """
    named: dict[str, None] = {}
    for variable in variables:
        values = variable.numpy()
        if values.dtype.kind in "OSU":
            continue
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            named[f"{variable.name} (row {bad[0][0]})" if values.ndim > 1 else variable.name] = None
    return list(named)


def require_finite_weights(model: Recommender) -> None:
    """Checks the weights that a bundle would have.

    Args:
        model: A trained model.

    Raises:
        ValueError: If one is NaN or infinite; names the variables.
    """
    towers = [tower for part in model.models for tower in (part.query_tower, part.candidate_tower)]
    named = [f"{name} of the {tower.name} tower" for tower in towers for name in not_finite(tower.variables)]
    named += [name for part in model.models for name in not_finite(part.task.score_variables)]
    if named:
        raise ValueError(
            f"`model` must have finite weights to be exported. Received NaN or infinity in: {', '.join(named)}. "
            "The likely cause is a learning rate that is too high; train the model again, or load earlier weights."
        )


def _numbers(batch: Any) -> Iterator[tuple[str, tf.Tensor]]:
    """Yields the floating numbers of a batch, by the names of their columns or fields."""
    fields = batch.items() if isinstance(batch, Mapping) else zip(batch._fields, batch, strict=True)
    for name, values in fields:
        if isinstance(values, Mapping | tuple):
            yield from _numbers(values)
        elif values is not None and values.dtype.is_floating:
            yield name, values
