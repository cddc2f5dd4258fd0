"""Signatures as a SavedModel declares them."""

from __future__ import annotations

from typing import Any

from tfrs_twotower.server.protos import get_model_metadata_pb2, types_pb2
from tfrs_twotower.server.tensors import SignatureSpec, Spec

_DTYPES = {
    types_pb2.DT_STRING: "string",
    types_pb2.DT_FLOAT: "float32",
    types_pb2.DT_INT64: "int64",
    types_pb2.DT_INT32: "int32",
}


def read_signatures(serialized: bytes) -> dict[str, SignatureSpec]:
    """Reads the signatures that can be called.

    Args:
        serialized: A serialized `SignatureDefMap`.

    Raises:
        ValueError: If a signature takes or gives tensors of another dtype.
    """
    declared = get_model_metadata_pb2.SignatureDefMap.FromString(serialized).signature_def
    return {
        name: SignatureSpec(
            name=name,
            inputs={key: _read_spec(key, declared[name].inputs[key]) for key in sorted(declared[name].inputs)},
            outputs={key: _read_spec(key, declared[name].outputs[key]) for key in sorted(declared[name].outputs)},
        )
        for name in sorted(declared)
        if declared[name].inputs  # the others are TensorFlow's own, which initialise tables
    }


def _read_spec(name: str, info: Any) -> Spec:
    if info.dtype not in _DTYPES:
        raise ValueError(f"{name} has the dtype {types_pb2.DataType.Name(info.dtype)}, which no bundle has.")
    sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return Spec(name, _DTYPES[info.dtype], sizes)
