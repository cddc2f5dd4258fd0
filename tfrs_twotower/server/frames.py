"""Messages between the server and its worker processes: a header in JSON, then the bytes of arrays.

Nothing in them is executed on reading, as pickle would be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from tfrs_twotower.server.tensors import NUMBERS, Output, Texts

_PREFIX = struct.Struct("<IQ")
#: Bytes that go before a header.
PREFIX_BYTES = _PREFIX.size


def pack(header: dict[str, Any], buffers: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Packs a message.

    Args:
        header: Plain values.
        buffers: Bytes that follow it.

    Returns:
        Parts to send one after the other.
    """
    sizes = [len(buffer) for buffer in buffers]
    text = orjson.dumps({**header, "sizes": sizes})
    return [_PREFIX.pack(len(text), sum(sizes)), text, *buffers]


def sizes_of(prefix: bytes) -> tuple[int, int]:
    """Returns the sizes of a message's header and of its buffers together.

    Args:
        prefix: The first `PREFIX_BYTES` bytes.
    """
    header_bytes, body_bytes = _PREFIX.unpack(prefix)
    return header_bytes, body_bytes


def unpack(header: bytes, body: bytes) -> tuple[dict[str, Any], list[memoryview]]:
    """Reads a message.

    Args:
        header: Its header.
        body: Its buffers.
    """
    content = orjson.loads(header)
    view, start, buffers = memoryview(body), 0, []
    for size in content["sizes"]:
        buffers.append(view[start : start + size])
        start += size
    return content, buffers


def pack_texts(values: Sequence[bytes]) -> list[bytes | memoryview]:
    """Packs texts as two buffers: their lengths and their bytes.

    Args:
        values: The texts.
    """
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return [as_bytes(lengths), b"".join(values)]


def unpack_texts(lengths: memoryview, data: memoryview) -> Texts:
    """Reads texts.

    Args:
        lengths: The first buffer.
        data: The second one.
    """
    numbers = np.frombuffer(lengths, np.int64)
    ends = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(numbers, out=ends[1:])
    return Texts(data=bytes(data), ends=ends)


def pack_output(name: str, values: np.ndarray) -> tuple[list[Any], list[bytes | memoryview]]:
    """Packs an output of a signature.

    Args:
        name: Its name.
        values: Its values.

    Returns:
        (description for the header, buffers).
    """
    if values.dtype == object:
        return [name, "string", list(values.shape)], pack_texts(values.ravel().tolist())
    return [name, values.dtype.name, list(values.shape)], [as_bytes(np.ascontiguousarray(values))]


def unpack_outputs(described: Sequence[Any], buffers: Sequence[memoryview]) -> dict[str, Output]:
    """Reads outputs.

    Args:
        described: Descriptions from the header.
        buffers: Their buffers.
    """
    outputs, left = {}, iter(buffers)
    for name, dtype, shape in described:
        values: Any
        if dtype == "string":
            values = unpack_texts(next(left), next(left))
        else:
            values = np.frombuffer(next(left), NUMBERS[dtype])
        outputs[name] = Output(tuple(shape), values)
    return outputs


def as_bytes(values: np.ndarray) -> memoryview:
    """Returns the bytes of an array without copying them.

    Args:
        values: Contiguous, of numbers.
    """
    return values.reshape(-1).view(np.uint8).data
