"""Calls of a signature for several requests at once, inside a worker process."""

from __future__ import annotations

import os
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


def call_one_by_one(signature: Any) -> JoinedCall:
    """Makes a call that computes each request in its own shape, and so to the last bit what it would be alone.

    TensorFlow adds in an order that depends on the shape of a tensor. Joined to one tensor, a request would get other
    last digits than alone. Here, the graph loops over the requests: what they share is the way there and back through
    Python, which takes longer than the operations themselves.

    Args:
        signature: Concrete function from named tensors to named tensors.

    Returns:
        A function from each request's number of rows and the inputs of all requests to the outputs of all.
    """
    specs = _input_specs(signature)
    names = list(specs)
    outputs = signature.structured_outputs
    index_vector = tf.TensorSpec([None], tf.int32)

    @tf.function(
        autograph=False,
        input_signature=[
            [tf.TensorSpec([None], specs[name].dtype) for name in names],
            [index_vector] * len(names),
            [index_vector] * len(names),
            index_vector,
        ],
    )
    def loop(
        values: Sequence[tf.Tensor], starts: Sequence[tf.Tensor], widths: Sequence[tf.Tensor], num_rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        num_requests = tf.size(num_rows)
        arrays = {
            name: tf.TensorArray(output.dtype, num_requests, element_shape=output.shape, infer_shape=False)
            for name, output in outputs.items()
        }

        def step(request: tf.Tensor, arrays: dict[str, tf.TensorArray]) -> tuple[tf.Tensor, dict[str, tf.TensorArray]]:
            inputs = {}
            for place, name in enumerate(names):
                flat = values[place][starts[place][request] : starts[place][request + 1]]
                inner = [] if len(specs[name].shape) == 1 else [widths[place][request]]
                inputs[name] = tf.ensure_shape(tf.reshape(flat, [num_rows[request], *inner]), specs[name].shape)
            found = signature(**inputs)
            return request + 1, {name: array.write(request, found[name]) for name, array in arrays.items()}

        _, arrays = tf.while_loop(
            lambda request, _: request < num_requests, step, (0, arrays), parallel_iterations=os.cpu_count() or 1
        )
        return {name: array.concat() for name, array in arrays.items()}

    concrete = loop.get_concrete_function()

    def call(num_rows: Sequence[int], received: Mapping[str, Received]) -> Outputs:
        if len(num_rows) == 1:  # a loop would only cost time
            return _to_arrays(signature(**_joined(specs, num_rows, received)))
        values, starts, widths = [], [], []
        for name in names:
            given = received[name]
            widths_or_ones = given.widths or [1] * len(num_rows)
            sizes = [rows * width for rows, width in zip(num_rows, widths_or_ones, strict=True)]
            values.append(tf.constant(given.values, specs[name].dtype))
            starts.append(tf.constant(np.cumsum([0, *sizes]), tf.int32))
            widths.append(tf.constant(given.widths, tf.int32))
        return _to_arrays(concrete(values, starts, widths, tf.constant(num_rows, tf.int32)))

    return call


def call_as_one(signature: Any) -> JoinedCall:
    """Makes a call that joins the requests' rows to one tensor per input, with lists padded by missing values.

    Args:
        signature: Concrete function from named tensors to named tensors.

    Returns:
        A function as in `call_one_by_one`.
    """
    specs = _input_specs(signature)

    def call(num_rows: Sequence[int], received: Mapping[str, Received]) -> Outputs:
        return _to_arrays(signature(**_joined(specs, num_rows, received)))

    return call


def _joined(
    specs: Mapping[str, tf.TensorSpec], num_rows: Sequence[int], received: Mapping[str, Received]
) -> dict[str, tf.Tensor]:
    """Makes one tensor per input of all requests."""
    inputs = {}
    for name, spec in specs.items():
        values, widths = received[name].values, received[name].widths
        if len(spec.shape) == 1:
            inputs[name] = tf.constant(values, spec.dtype)
        else:
            inputs[name] = tf.constant(_padded(spec.dtype, num_rows, widths, values), spec.dtype)
    return inputs


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


def _input_specs(signature: Any) -> dict[str, tf.TensorSpec]:
    specs: dict[str, tf.TensorSpec] = signature.structured_input_signature[1]
    return specs


def _to_arrays(outputs: Mapping[str, tf.Tensor]) -> Outputs:
    return {name: values.numpy() for name, values in outputs.items()}
