"""A worker process: it loads one version, answers the server through a socket, and ends with its version.

TensorFlow keeps what it has loaded until its process ends. With a process for each version, a retired version's memory
is given back, and a version that crashes takes no other with it.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower.server.frames import PREFIX_BYTES, pack, pack_output, sizes_of, unpack, unpack_texts
from tfrs_twotower.server.tensors import NUMBERS

if TYPE_CHECKING:
    from tfrs_twotower.bundle.load import LoadedBundle
    from tfrs_twotower.server.exploration import Exploration
    from tfrs_twotower.server.joined_calls import JoinedCall, Received

_IDS_OUTPUT = "candidate_ids"


def main(descriptor: str, folder: str) -> None:
    """Serves a version until the other end of the socket is closed.

    Args:
        descriptor: Number of a connected socket.
        folder: The version's folder.
    """
    # Ctrl+C in a terminal reaches all its processes; the server says when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with socket.socket(fileno=int(descriptor)) as connection:
        try:
            model = _load(Path(folder))
        except Exception as error:
            _send(connection, {"problem": _message_of(error)}, [])
            return
        _send(connection, {"query_id": model.query_id}, [model.signature_defs])
        _serve(connection, model)


def _serve(connection: socket.socket, model: _Model) -> None:
    """Answers calls one after the other, and questions of the explorer beside them, so that no call waits for those."""
    sending = threading.Lock()
    exploring = ThreadPoolExecutor(1)

    def send(header: dict[str, Any], buffers: list[bytes | memoryview]) -> None:
        with sending:
            _send(connection, header, buffers)

    try:
        while (frame := _receive(connection)) is not None:
            if "question" in frame[0]:
                exploring.submit(lambda header: send(*_answer(model, header)), frame[0])
            else:
                send(*_reply(model, *frame))
    finally:
        exploring.shutdown(wait=False, cancel_futures=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Model:
    """A loaded version.

    Attributes:
        bundle: The bundle.
        calls: Signature -> what computes it for several requests.
        signature_defs: A serialized `SignatureDefMap`.
        query_id: Name of the input by which queries are known; None if there is none.
        exploration: Answers questions of the explorer.
    """

    bundle: LoadedBundle
    calls: Mapping[str, JoinedCall]
    signature_defs: bytes
    query_id: str | None
    exploration: Exploration


def _load(folder: Path) -> _Model:
    from tfrs_twotower.bundle.load import load_bundle
    from tfrs_twotower.server.exploration import Exploration
    from tfrs_twotower.server.joined_calls import joined_call
    from tfrs_twotower.server.withdrawn import WITHDRAWN_FILE, Withdrawn, leave_out

    bundle = load_bundle(folder)
    histories_of = bundle.manifest.model.query.histories_of
    calls = {name: joined_call(signature, histories_of) for name, signature in bundle.module.signatures.items()}
    calls = leave_out(calls, Withdrawn(folder.parent / WITHDRAWN_FILE))
    model = _Model(
        bundle=bundle,
        calls=calls,
        signature_defs=_signature_defs(folder),
        query_id=_query_id_of_known(bundle),
        exploration=Exploration(bundle),
    )
    _warm_up(model, folder)
    gc.collect()
    gc.freeze()  # TensorFlow's objects stay: there is no need to look through them again and again
    return model


def _warm_up(model: _Model, folder: Path) -> None:
    """Makes the calls that the version brings with it: the first ones take long, and show whether it works."""
    from tfrs_twotower.bundle.layout import WARMUP_FILE
    from tfrs_twotower.bundle.warmup import read_warmup
    from tfrs_twotower.server.joined_calls import Received

    if not (folder / WARMUP_FILE).is_file():
        return
    for request in read_warmup(folder):
        num_rows = next(iter(request.inputs.values())).shape[0]
        received = {}
        for name, tensor in request.inputs.items():
            array = tensor.numpy()
            received[name] = Received([array.shape[1]] if array.ndim > 1 else [], array.ravel().tolist())
        model.calls[request.signature]([num_rows], received)


def _signature_defs(folder: Path) -> bytes:
    """Returns what the SavedModel says about its signatures, as TensorFlow Serving passes it on."""
    from tensorflow.core.protobuf import saved_model_pb2

    from tfrs_twotower.bundle.layout import MODEL_FILE
    from tfrs_twotower.server.protos import get_model_metadata_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((folder / MODEL_FILE).read_bytes())
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, declared in saved_model.meta_graphs[0].signature_def.items():
        found.signature_def[name].CopyFrom(declared)
    serialized: bytes = found.SerializeToString()
    return serialized


def _query_id_of_known(bundle: LoadedBundle) -> str | None:
    """Returns the input whose ids the bundle can tell apart from unknown ones."""
    try:
        bundle.knows([""])
    except ValueError:
        return None
    return bundle.manifest.model.query.id


def _answer(model: _Model, header: dict[str, Any]) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """Answers a question of the explorer."""
    try:
        return {"id": header["id"]}, [model.exploration.reply(header["question"])]
    except Exception as error:
        return {"id": header["id"], "problem": _message_of(error)}, []


def _reply(
    model: _Model, header: dict[str, Any], buffers: list[memoryview]
) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """Computes what the requests of a message ask for."""
    num_rows: list[int] = header["num_rows"]
    received = _read_inputs(header["inputs"], buffers)
    errors: dict[str, str] = {}
    call = model.calls[header["signature"]]
    try:
        results = [call(num_rows, received)]
    except Exception as error:
        if len(num_rows) == 1:
            errors["0"] = _message_of(error)
            results = []
        else:  # one request must not be an error of the others
            results = _call_each(call, num_rows, received, errors)
    outputs = _concatenated(results)
    described, parts = [], []
    for name in sorted(outputs):  # TensorFlow's order differs from one loading of a version to the next
        description, its_parts = pack_output(name, outputs[name])
        described.append(description)
        parts += its_parts
    counts = _count(model, received, outputs)
    return {"id": header["id"], "errors": errors, "outputs": described, "counts": counts}, parts


def _call_each(
    call: JoinedCall, num_rows: Sequence[int], received: Mapping[str, Received], errors: dict[str, str]
) -> list[dict[str, Any]]:
    """Calls a signature for each request alone; an error is noted under the request's number."""
    from tfrs_twotower.server.joined_calls import Received

    results, starts = [], dict.fromkeys(received, 0)
    for request, rows in enumerate(num_rows):
        own = {}
        for name, (widths, values) in received.items():
            own_widths = widths[request : request + 1]
            size = rows * (own_widths[0] if own_widths else 1)
            own[name] = Received(own_widths, values[starts[name] : starts[name] + size])
            starts[name] += size
        try:
            results.append(call([rows], own))
        except Exception as error:
            errors[str(request)] = _message_of(error)
    return results


def _concatenated(results: list[dict[str, Any]]) -> dict[str, Any]:
    import numpy as np

    if len(results) < 2:
        return results[0] if results else {}
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


def _read_inputs(described: Sequence[Any], buffers: Sequence[memoryview]) -> dict[str, Received]:
    import numpy as np

    from tfrs_twotower.server.joined_calls import Received

    received, left = {}, iter(buffers)
    for name, dtype, widths in described:
        values: Any
        if dtype == "string":
            values = unpack_texts(next(left), next(left)).to_list()
        else:
            values = np.frombuffer(next(left), NUMBERS[dtype])
        received[name] = Received(widths, values)
    return received


def _count(model: _Model, received: Mapping[str, Received], outputs: Mapping[str, Any]) -> dict[str, int]:
    """Counts what a server's owner wants to know: slots without a candidate, and queries that are not known."""
    counts = {}
    ids = outputs.get(_IDS_OUTPUT)
    if ids is not None:
        counts["slots"] = ids.size
        counts["empty_slots"] = int((ids == b"").sum())
    if model.query_id is not None and model.query_id in received:
        query_ids = received[model.query_id].values
        counts["queries"] = len(query_ids)
        counts["unknown_queries"] = len(query_ids) - int(model.bundle.knows(query_ids).sum())
    return counts


def _message_of(error: Exception) -> str:
    """Returns an error's message without TensorFlow's list of operations."""
    return str(error).split("\n\t [[", 1)[0].strip() or type(error).__name__


def _send(connection: socket.socket, header: dict[str, Any], buffers: list[bytes | memoryview]) -> None:
    for part in pack(header, buffers):
        connection.sendall(part)


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[memoryview]] | None:
    """Receives a message; None if the server has closed the socket."""
    prefix = _read(connection, PREFIX_BYTES)
    if prefix is None:
        return None
    header_bytes, body_bytes = sizes_of(prefix)
    header, body = _read(connection, header_bytes), _read(connection, body_bytes)
    return None if header is None or body is None else unpack(header, body)


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        received = connection.recv_into(view)
        if not received:
            return None
        view = view[received:]
    return bytes(data)
