"""JSON of TensorFlow Serving's REST API to tensors, and back.

Lists of unequal length are padded with missing values, where TensorFlow Serving refuses them. All else that it refuses
is refused here, too.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from tfrs_twotower.server.config import Limits
from tfrs_twotower.server.errors import RequestError, invalid
from tfrs_twotower.server.request_limits import require_rows, require_width
from tfrs_twotower.server.tensors import MISSING, NUMBERS, Input, Inputs, Output, Outputs, SignatureSpec, Spec, Texts

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
# Integers above it are not all floats.
_MAX_WHOLE_FLOAT32 = 2**24 - 1
_MAX_SHOWN = 60


class Body(NamedTuple):
    """The body of a prediction's request.

    Attributes:
        signature: Name of the signature; "" for the default one.
        is_rows: Whether the inputs come by row ("instances"), or by name ("inputs").
        content: The inputs.
    """

    signature: str
    is_rows: bool
    content: Any


def read_body(data: bytes) -> Body:
    """Reads the body of a request, up to its inputs.

    Args:
        data: The body.

    Raises:
        RequestError: If it is not JSON, or not a request.
    """
    content = _parse(data)
    if not isinstance(content, dict):
        raise invalid(f"JSON Value: {_shown(content)} Is not object")
    signature = content.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid("JSON Value: not formatted correctly. 'signature_name' key must be a string value.")
    forms = [form for form in ("instances", "inputs") if form in content]
    if len(forms) == 2:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if not forms:
        raise invalid("Missing 'inputs' or 'instances' key")
    return Body(signature, forms[0] == "instances", content[forms[0]])


def read_inputs(body: Body, signature: SignatureSpec, limits: Limits) -> tuple[int, Inputs]:
    """Reads the inputs of a request.

    Args:
        body: The request's body.
        signature: The signature that it asks for.
        limits: What is refused.

    Returns:
        (number of rows, inputs).

    Raises:
        RequestError: If they do not fit the signature, or exceed a limit.
    """
    columns = _columns_of_rows(body.content, signature) if body.is_rows else _columns_by_name(body.content, signature)
    num_rows = {name: len(values) for name, values in columns.items()}
    if len(set(num_rows.values())) > 1:
        raise invalid(f"All inputs must have equally many rows. Received: {num_rows}.")
    rows = next(iter(num_rows.values()))
    require_rows(rows, limits)
    return rows, {name: _to_input(spec, columns[name], limits) for name, spec in signature.inputs.items()}


def write_outputs(outputs: Outputs, *, is_rows: bool) -> bytes:
    """Writes the body of a response, in the form in which the request came.

    Numbers are written with as many digits as it takes to read the same float32.

    Args:
        outputs: Name -> values.
        is_rows: Whether the response is by row.
    """
    plain = {name: _to_plain(output) for name, output in outputs.items()}
    content: Any
    if not is_rows:
        content = {"outputs": next(iter(plain.values())) if len(plain) == 1 else plain}
    elif len(plain) == 1:
        content = {"predictions": next(iter(plain.values()))}
    else:
        names = list(plain)
        content = {"predictions": [dict(zip(names, row, strict=True)) for row in zip(*plain.values(), strict=True)]}
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def write_error(message: str) -> bytes:
    """Writes the body of an error's response.

    Args:
        message: What is wrong.
    """
    return json.dumps({"error": message}).encode("ascii")


def _parse(data: bytes) -> Any:
    if not data:
        raise invalid("JSON Parse error: The document is empty")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        problem = error
    # Strict JSON has no NaN, by which TensorFlow Serving's clients say that a number is missing.
    if b"NaN" not in data and b"Infinity" not in data:
        raise invalid(f"JSON Parse error: {problem}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error


def _columns_of_rows(instances: Any, signature: SignatureSpec) -> dict[str, Sequence[Any]]:
    if not isinstance(instances, list):
        raise invalid("Expecting 'instances' to be a list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    names = signature.inputs.keys()
    if not _is_object(instances[0]):
        return _column_of_values(instances, list(names))
    for number, row in enumerate(instances):
        if not _is_object(row):
            raise invalid(f"Expecting object but got {_kind(row)} at item {number} of input list")
        if row.keys() != names:
            unknown = next((name for name in row if name not in names), None)
            if unknown is not None:
                raise invalid(
                    f"Failed to process element: {number} key: {_shown(unknown)} of 'instances' list. "
                    f"JSON object: does not have named input: {_shown(unknown)}"
                )
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: keys must be equal to: "
                f"{','.join(names)}. Missing: {','.join(name for name in names if name not in row)}."
            )
    return {name: [row[name] for row in instances] for name in names}


def _column_of_values(instances: list[Any], names: list[str]) -> dict[str, Sequence[Any]]:
    """Reads plain values, which a signature of one input may have in place of objects."""
    if len(names) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map. The inputs are: {','.join(names)}."
        )
    for number, row in enumerate(instances):
        if _is_object(row):
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
    return {names[0]: instances}


def _columns_by_name(inputs: Any, signature: SignatureSpec) -> dict[str, Sequence[Any]]:
    names = list(signature.inputs)
    if not _is_object(inputs):
        if len(names) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map. The inputs are: {','.join(names)}."
            )
        inputs = {names[0]: inputs}
    columns = {}
    for name in names:  # as in TensorFlow Serving, other keys are ignored
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        if not isinstance(inputs[name], list):
            raise invalid(f"{name!r} must be a list, with one entry for each row. Received: {_shown(inputs[name])}.")
        columns[name] = inputs[name]
    return columns


def _to_input(spec: Spec, rows: Sequence[Any], limits: Limits) -> Input:
    if len(spec.shape) == 1:
        return Input(len(rows), 1, _to_values(spec, rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list):
            raise invalid(f"{spec.name!r} must be lists. Received in row {number}: {_shown(row)}.")
    width = max(map(len, rows), default=0)
    require_width(spec.name, len(rows), width, limits)
    fixed = spec.shape[1]
    padding = [MISSING[spec.dtype]]
    flat: list[Any] = []
    for number, row in enumerate(rows):
        if fixed is not None and len(row) != fixed:
            raise invalid(f"{spec.name!r} must be lists of {fixed} values. Received in row {number}: {len(row)}.")
        flat += row
        if len(row) < width:
            flat += padding * (width - len(row))
    return Input(len(rows), width if fixed is None else fixed, _to_values(spec, flat))


def _to_values(spec: Spec, values: Sequence[Any]) -> Any:
    """Converts values to a list of bytes or an array of numbers."""
    if spec.dtype == "string":
        try:
            return [value.encode() if type(value) is str else _to_bytes(spec, value) for value in values]
        except UnicodeEncodeError as error:  # of what the reader of NaN lets pass
            raise invalid(f"JSON Parse error: a text of {spec.name!r} has half of a surrogate pair.") from error
    if spec.dtype == "float32":
        for value in values:
            if type(value) is not float or not -_MAX_FLOAT32 <= value <= _MAX_FLOAT32:
                _require_float(spec, value)
    else:
        for value in values:
            if type(value) is not int or not -(2**63) <= value < 2**63:
                raise _type_error(spec, value)
    return np.array(values, NUMBERS[spec.dtype])


def _to_bytes(spec: Spec, value: Any) -> bytes:
    if type(value) is bytes:  # padding
        return value
    if not (isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)):
        raise _type_error(spec, value)
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"Unable to base64 decode {spec.name!r}: {error}.") from error


def _require_float(spec: Spec, value: Any) -> None:
    if type(value) is float:
        if math.isfinite(value):
            raise invalid(f"Cannot convert JSON value: {value!r} to float without loss of precision.")
    elif type(value) is not int:
        raise _type_error(spec, value)
    elif abs(value) > _MAX_WHOLE_FLOAT32:
        raise invalid(f"Cannot convert JSON value: {_shown(value)} to float without loss of precision.")


_TYPE_NAMES = {"string": "string", "float32": "float", "int64": "int64"}
_ADVICE = {"string": ' A missing value is "".', "float32": " A missing value is NaN.", "int64": ""}


def _type_error(spec: Spec, value: Any) -> RequestError:
    return invalid(
        f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: {_TYPE_NAMES[spec.dtype]}, which "
        f"{spec.name!r} has.{_ADVICE[spec.dtype]}"
    )


def _is_object(value: Any) -> bool:
    """Tells an object with names from bytes, which are written as an object with the one key b64."""
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


_KINDS: Mapping[type, str] = {
    type(None): "Null",
    bool: "Bool",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _shown(value: Any) -> str:
    """Returns the beginning of a value as JSON, in ASCII."""
    if isinstance(value, int | float):
        text = repr(value) if abs(value) < 2**64 or isinstance(value, float) else "a number of many digits"
    elif isinstance(value, str):
        text = json.dumps(value[:_MAX_SHOWN])
    elif isinstance(value, list | dict):
        return f"{_kind(value)} of {len(value)}"
    else:
        text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _to_plain(output: Output) -> Any:
    """Converts an output to something that can be written, and that has one entry for each row."""
    if not isinstance(output.values, Texts):
        return output.values.reshape(output.shape)
    texts = output.values.to_strings()
    if len(output.shape) == 1:
        return texts
    width = math.prod(output.shape[1:])
    return [texts[start : start + width] for start in range(0, output.shape[0] * width, width)]
