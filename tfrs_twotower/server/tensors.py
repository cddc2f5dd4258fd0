"""Named tensors of requests and responses, and the signatures that declare them, without TensorFlow.

Values are flat, in row-major order. Those of numbers are NumPy arrays; texts are lists of bytes in requests, and one
block of bytes with its boundaries in responses, so that a hundred ids are one object until they are written.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tfrs_twotower.data.times import NO_TIME

#: What a missing value is, which also pads lists of unequal length.
MISSING: Mapping[str, Any] = {"string": b"", "float32": math.nan, "int64": NO_TIME}
NUMBERS: Mapping[str, Any] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8"), "int32": np.dtype("<i4")}


class Spec(NamedTuple):
    """Declares a tensor of a signature.

    Attributes:
        name: Its name.
        dtype: "string", "float32", "int64" or "int32".
        shape: Sizes of the axes, None for an axis of any length; the first is the batch.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignatureSpec:
    """Declares a signature.

    Attributes:
        name: Its name.
        inputs: Name -> declaration.
        outputs: Name -> declaration.
    """

    name: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts:
    """Texts, one after the other.

    Attributes:
        data: Their bytes.
        ends: int64 [n + 1], where each ends; the first entry is where the first begins.
    """

    data: bytes
    ends: np.ndarray

    def to_list(self) -> list[bytes]:
        """Returns each text's bytes."""
        ends = self.ends.tolist()
        return [self.data[start:end] for start, end in itertools.pairwise(ends)]

    def to_strings(self) -> list[Any]:
        """Returns each text as a string, or as TensorFlow Serving writes bytes if it is not UTF-8."""
        ends = self.ends.tolist()
        part = self.data[ends[0] : ends[-1]]
        if part.isascii():
            text, first = part.decode("ascii"), ends[0]
            return [text[start - first : end - first] for start, end in itertools.pairwise(ends)]
        return [_to_string(value) for value in self.to_list()]


def _to_string(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


class Input(NamedTuple):
    """Values of one input of a request.

    Attributes:
        num_rows: Rows.
        width: Values per row; 1 if the input has one axis.
        values: Flat, num_rows * width: a list of bytes, or an array of numbers.
    """

    num_rows: int
    width: int
    values: Any


class Output(NamedTuple):
    """Values of one output for one request.

    Attributes:
        shape: The tensor's shape.
        values: Flat: `Texts`, or an array of numbers.
    """

    shape: tuple[int, ...]
    values: Any


Inputs: TypeAlias = dict[str, Input]
Outputs: TypeAlias = dict[str, Output]


def split_rows(output: Output, starts: list[int]) -> list[Output]:
    """Splits an output of several requests.

    Args:
        output: Rows of all requests.
        starts: Row at which each request begins, and the number of all rows.
    """
    shape, values = output
    size = math.prod(shape[1:])
    parts = []
    for start, end in itertools.pairwise(starts):
        if isinstance(values, Texts):
            part: Any = Texts(data=values.data, ends=values.ends[start * size : end * size + 1])
        else:
            part = values[start * size : end * size]
        parts.append(Output((end - start, *shape[1:]), part))
    return parts
