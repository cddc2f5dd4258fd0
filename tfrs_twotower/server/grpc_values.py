"""Tensors of TensorFlow's messages to those of the server, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_twotower.server.config import Limits
from tfrs_twotower.server.errors import invalid
from tfrs_twotower.server.protos import types_pb2
from tfrs_twotower.server.request_limits import require_rows, require_width
from tfrs_twotower.server.tensors import NUMBERS, Input, Inputs, Outputs, SignatureSpec, Spec, Texts

_DTYPES = {
    "string": types_pb2.DT_STRING,
    "float32": types_pb2.DT_FLOAT,
    "int64": types_pb2.DT_INT64,
    "int32": types_pb2.DT_INT32,
}
# Where a message has the values, unless they are in `tensor_content`.
_FIELDS = {"string": "string_val", "float32": "float_val", "int64": "int64_val", "int32": "int_val"}


def read_inputs(given: Mapping[str, Any], signature: SignatureSpec, limits: Limits) -> tuple[int, Inputs]:
    """Reads the inputs of a `PredictRequest`.

    Args:
        given: Name -> `TensorProto`.
        signature: The signature that it asks for.
        limits: What is refused.

    Returns:
        (number of rows, inputs).

    Raises:
        RequestError: If they do not fit the signature, or exceed a limit.
    """
    unknown = sorted(name for name in given if name not in signature.inputs)
    names = ",".join(signature.inputs)
    if unknown:
        raise invalid(
            f"input tensor alias not found in signature: {unknown[0][:60]!a}. "
            f"Inputs expected to be in the set {{{names}}}."
        )
    missing = [name for name in signature.inputs if name not in given]
    if missing:
        raise invalid(f"The request lacks the input {missing[0]!r}. Inputs expected: {{{names}}}.")
    inputs = {name: _read_input(given[name], spec, limits) for name, spec in signature.inputs.items()}
    num_rows = {name: values.num_rows for name, values in inputs.items()}
    if len(set(num_rows.values())) > 1:
        raise invalid(f"All inputs must have equally many rows. Received: {num_rows}.")
    return next(iter(num_rows.values())), inputs


def write_outputs(outputs: Outputs, tensors: Any) -> None:
    """Writes outputs into a `PredictResponse`.

    Args:
        outputs: Name -> values.
        tensors: The map of its outputs.
    """
    for name, (shape, values) in outputs.items():
        tensor = tensors[name]
        for size in shape:
            tensor.tensor_shape.dim.add().size = size
        if isinstance(values, Texts):
            tensor.dtype = types_pb2.DT_STRING
            tensor.string_val.extend(values.to_list())
        else:
            dtype = values.dtype.name
            tensor.dtype = _DTYPES[dtype]
            getattr(tensor, _FIELDS[dtype]).extend(values.tolist())


def _read_input(tensor: Any, spec: Spec, limits: Limits) -> Input:
    if tensor.dtype != _DTYPES[spec.dtype]:
        given = types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in types_pb2.DataType.values() else tensor.dtype
        raise invalid(f"{spec.name!r} must be {types_pb2.DataType.Name(_DTYPES[spec.dtype])}. Received: {given}.")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    fits = len(shape) == len(spec.shape) and all(
        size >= 0 and wanted in (None, size) for size, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits or tensor.tensor_shape.unknown_rank:
        wanted = ["any" if size is None else size for size in spec.shape]
        raise invalid(f"{spec.name!r} must have the shape {wanted}. Received: {shape}.")
    num_rows, width = shape[0], math.prod(shape[1:])
    require_rows(num_rows, limits)
    if len(shape) > 1:
        require_width(spec.name, num_rows, width, limits)
    return Input(num_rows, width, _read_values(tensor, spec, num_rows * width, limits))


def _read_values(tensor: Any, spec: Spec, size: int, limits: Limits) -> Any:
    if tensor.tensor_content:
        if spec.dtype == "string":
            raise invalid(f"The strings of {spec.name!r} must be in `string_val`.")
        dtype = NUMBERS[spec.dtype]
        if len(tensor.tensor_content) != size * dtype.itemsize:
            raise invalid(
                f"{spec.name!r} must have {size * dtype.itemsize} bytes of `tensor_content`. Received: "
                f"{len(tensor.tensor_content)}."
            )
        return np.frombuffer(tensor.tensor_content, dtype)
    values: list[Any] = list(getattr(tensor, _FIELDS[spec.dtype]))
    if len(values) > size or (size and not values):
        raise invalid(f"{spec.name!r} must have {size} values. Received: {len(values)}.")
    num_left = size - len(values)
    if num_left:  # the last value stands for all that follow, as TensorFlow has it
        if spec.dtype == "string" and num_left * len(values[-1]) > limits.max_body_bytes:
            raise invalid(
                f"The last of the strings of {spec.name!r} stands for {num_left} more, which must have at most "
                f"{limits.max_body_bytes} bytes together. Received: {len(values[-1])} bytes each. Split the request."
            )
        values += values[-1:] * num_left
    return values if spec.dtype == "string" else np.array(values, NUMBERS[spec.dtype])
