"""Calls of a signature for several requests at once, inside a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_twotower.server.tensors import MISSING


class Received(NamedTuple):
    """One input of several requests.

    Attributes:
        widths: Values per row, of each request; empty if the input has one axis.
        values: Flat, of all requests: a list of bytes, or an array of numbers.
    """

    widths: Sequence[int]
    values: Any


Outputs = dict[str, np.ndarray]
JoinedCall = Callable[[Sequence[int], Mapping[str, Received]], Outputs]


def joined_call(signature: Any, histories_of: Mapping[str, str]) -> JoinedCall:
    """Makes a call that computes the rows of several requests as rows of one tensor per input.

    Lists are padded by missing values. A row of a bundle is to the last bit what it is alone, whatever else is in the
    batch (see `with_whole_packets`), and so is each request.

    Args:
        signature: Concrete function from named tensors to named tensors.
        histories_of: Name of an input of ratings or times -> name of its history.

    Returns:
        A function from each request's number of rows and the inputs of all requests to the outputs of all. It raises
        ValueError for several requests of which one may be wrong alone: each must then be computed alone.
    """
    specs: dict[str, tf.TensorSpec] = signature.structured_input_signature[1]
    pairs = [(number_name, name) for number_name, name in histories_of.items() if number_name in specs]

    def call(num_rows: Sequence[int], received: Mapping[str, Received]) -> Outputs:
        if len(num_rows) > 1:
            for number_name, name in pairs:  # the padding of others would hide what the graph looks for
                if list(received[number_name].widths) != list(received[name].widths):
                    raise ValueError(f"Lists of `{number_name}` are not as long as those of `{name}`.")
        inputs = {}
        for name, spec in specs.items():
            values, widths = received[name].values, received[name].widths
            if len(spec.shape) > 1:
                values = _padded(spec.dtype, num_rows, widths, values)
            inputs[name] = tf.constant(values, spec.dtype)
        return {name: values.numpy() for name, values in signature(**inputs).items()}

    return call


def _padded(dtype: tf.DType, num_rows: Sequence[int], widths: Sequence[int], values: Any) -> np.ndarray:
    """Joins lists of unequal length, as [rows of all requests, greatest width]."""
    width = max(widths, default=0)
    flat = np.empty(len(values), object) if dtype == tf.string else np.asarray(values)
    if dtype == tf.string:
        flat[:] = values
    if len(set(widths)) <= 1:
        return flat.reshape(sum(num_rows), width)
    padded = np.full((sum(num_rows), width), MISSING[dtype.name], flat.dtype)
    row = start = 0
    for rows, own_width in zip(num_rows, widths, strict=True):
        size = rows * own_width
        padded[row : row + rows, :own_width] = flat[start : start + size].reshape(rows, own_width)
        row, start = row + rows, start + size
    return padded
