"""Sends malformed requests to a server, and checks that it refuses each and harms no other.

    python scripts/fuzz_server.py BUNDLE [--rest N] [--grpc N] [--connections N] [--seed N]

`tests/server/malformed.py` makes the requests. Every one must be answered in time with success, with a client's error,
or with an error that says that the server has too much to do. A connection may be closed instead only if what came over
it is no whole request. All the while, a good request must get the same answer to the last bit; no process may end, no
connection or file may be left open, and memory must stay within a stated bound. At last, many connections are held that
bring nothing, while good requests are answered.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
import psutil
from _serving import free_port, memory_mib, running

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import find_version
from tfrs_twotower.server.access_log import JsonLog
from tfrs_twotower.server.protos import get_model_metadata_pb2, predict_pb2
from tfrs_twotower.server.signatures import read_signatures
from tfrs_twotower.server.tensors import SignatureSpec

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.server.malformed import GrpcRequest, HttpRequest, MalformedRequests

_LIMITS = tt.server.Limits(
    max_body_bytes=2**20, max_rows=1000, max_list_length=1000, max_values=20_000, timeout_s=5, idle_timeout_s=8
)
# All that a server may take to answer or to close a connection, on a busy machine.
_CLIENT_TIMEOUT_S = 60.0
_CONCURRENCY = 32
_OVERLOAD = {503, 504}
_GRPC_CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
# Memory is measured after some requests, which make the server's and TensorFlow's pools as large as they get.
_WARM_UP = 500
_MAX_GROWTH_MIB = 64.0
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"


class Target:
    """The server, and the good request whose answer must never change."""

    def __init__(self, name: str, rest_port: int, channel: grpc.aio.Channel) -> None:
        self.name, self.rest_port, self.channel = name, rest_port, channel
        self.signatures: dict[str, SignatureSpec] = {}
        self.expected: tuple[bytes, Any] | None = None
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Reads the signatures, and remembers the answer to the good request."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.name
        data = await self.channel.unary_unary(_METADATA)(request.SerializeToString())
        found = get_model_metadata_pb2.GetModelMetadataResponse.FromString(data).metadata["signature_def"]
        self.signatures = read_signatures(found.value)
        self.expected = await self.ask()

    async def ask(self) -> tuple[bytes, Any]:
        """Sends the good request by both ways."""
        inputs = self.signatures["serving_default"].inputs
        rows = {name: [[]] if len(spec.shape) > 1 else [_NOTHING[spec.dtype]] for name, spec in inputs.items()}
        data = json.dumps({"inputs": rows}).encode()
        head = f"POST /v1/models/{self.name}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        status, body = await self._exchange(HttpRequest(kind="good", parts=[head.encode() + data]))
        if status != 200:
            raise RuntimeError(f"The good request is answered with {status}: {body[:300]!r}")
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.name
        for name, spec in inputs.items():
            tensor = request.inputs[name]
            tensor.dtype = {"string": 7, "float32": 1, "int64": 9}[spec.dtype]
            for size in [1, 0][: len(spec.shape)]:
                tensor.tensor_shape.dim.add().size = size
            if len(spec.shape) == 1:
                field = {"string": tensor.string_val, "float32": tensor.float_val, "int64": tensor.int64_val}
                value = _NOTHING[spec.dtype]
                field[spec.dtype].append(value.encode() if isinstance(value, str) else value)
        response = await self.channel.unary_unary(_PREDICT)(request.SerializeToString(), timeout=_CLIENT_TIMEOUT_S)
        return body, predict_pb2.PredictResponse.FromString(response)

    async def check_good(self) -> None:
        """Requires the remembered answer to the good request."""
        try:
            is_same = await self.ask() == self.expected
        except (RuntimeError, OSError, TimeoutError, asyncio.TimeoutError, grpc.aio.AioRpcError) as error:
            self.problems.append(f"good request: {error!r}")
            return
        self.counts["good request: same answer"] += is_same
        if not is_same:
            self.problems.append("good request: another answer")

    async def send(self, request: HttpRequest) -> None:
        """Sends a malformed request, and notes what is wrong with its answer."""
        try:
            status, body = await self._exchange(request)
        except (TimeoutError, asyncio.TimeoutError):
            self.problems.append(f"no answer in {_CLIENT_TIMEOUT_S:g} s: {_shown(request)}")
            return
        self.counts[f"REST {request.kind}: {status or 'closed'}"] += 1
        if request.leaves or (status is None and not request.is_whole):
            return
        if status is None or not (200 <= status < 500 or status in {501, *_OVERLOAD}):
            self.problems.append(f"{status} {body[-300:]!r}: {_shown(request)}")

    async def call(self, request: GrpcRequest) -> None:
        """Makes a malformed call, and notes what is wrong with its answer."""
        call = self.channel.unary_unary(request.method)(request.message, timeout=request.timeout_s)
        if request.cancelled_after_s is not None:
            await asyncio.sleep(request.cancelled_after_s)
            call.cancel()
        try:
            await call
            code, details = "OK", ""
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details() or ""
        except asyncio.CancelledError:
            code, details = "CANCELLED", ""
        self.counts[f"gRPC {request.kind}: {code}"] += 1
        if code not in _GRPC_CODES and not (code == "CANCELLED" and request.cancelled_after_s is not None):
            self.problems.append(f"{code} {details[:300]!r}: {request.kind} {request.method} {request.message[:100]!r}")
        elif code == "DEADLINE_EXCEEDED" and request.timeout_s > 1:
            self.problems.append(f"no answer in time: {request.kind} {request.method} {request.message[:100]!r}")

    async def _exchange(self, request: HttpRequest) -> tuple[int | None, bytes]:
        """Returns the status, None without a response, and the content."""
        async with asyncio.timeout(_CLIENT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.rest_port)
            try:
                for part in request.parts:
                    writer.write(part)
                    with contextlib.suppress(ConnectionError):  # the response may lie there already
                        await writer.drain()
                    if request.pause_s:
                        await asyncio.sleep(request.pause_s)
                if request.leaves:
                    return None, b""
                return await _read_response(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                return None, b""
            finally:
                writer.transport.abort()


async def _read_response(reader: asyncio.StreamReader) -> tuple[int | None, bytes]:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != 100:
            break
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    with contextlib.suppress(asyncio.IncompleteReadError):  # the response to HEAD has a length, but no content
        async with asyncio.timeout(0.5 if status == 200 and not lengths else _CLIENT_TIMEOUT_S):
            return status, await reader.readexactly(int(lengths[0])) if lengths else b""
    return status, b""


async def fuzz(arguments: argparse.Namespace, name: str, ports: tuple[int, int], process: psutil.Process) -> Target:
    """Sends all requests, and checks the server's processes, files and memory."""
    rest_port, grpc_port = ports
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=options) as channel:
        target = Target(name, rest_port, channel)
        await target.prepare()
        requests = MalformedRequests(
            target.signatures,
            name=name,
            max_body_bytes=_LIMITS.max_body_bytes,
            max_rows=_LIMITS.max_rows,
            seed=arguments.seed,
        )
        await _in_turns([target.send(requests.http()) for _ in range(_WARM_UP)])
        await _in_turns([target.call(requests.grpc()) for _ in range(_WARM_UP)])
        await asyncio.sleep(2 * _LIMITS.idle_timeout_s)
        before, files = memory_mib(process), process.num_fds()
        asking = asyncio.create_task(_ask_again_and_again(target))
        for number in range(0, arguments.rest, 1000):
            await _in_turns([target.send(requests.http()) for _ in range(min(1000, arguments.rest - number))])
        for number in range(0, arguments.grpc, 1000):
            await _in_turns([target.call(requests.grpc()) for _ in range(min(1000, arguments.grpc - number))])
        asking.cancel()
        await _hold_connections(target, arguments.connections)
        await asyncio.sleep(2 * _LIMITS.idle_timeout_s)
        await target.check_good()
    after = memory_mib(process)
    for pid, memory in before.items():
        kind = "server" if pid == process.pid else "worker"
        if pid not in after:
            target.problems.append(f"The {kind} {pid} has ended.")
            continue
        print(f"Memory of the {kind}: {memory:,.0f} MiB before, {after[pid]:,.0f} MiB after.")
        if after[pid] - memory > _MAX_GROWTH_MIB:
            target.problems.append(f"The {kind} has grown by more than {_MAX_GROWTH_MIB:g} MiB.")
    if set(after) - set(before):
        target.problems.append("A worker was started again.")
    print(f"Open files of the server: {files} before, {process.num_fds()} after.")
    if process.num_fds() > files + 2:
        target.problems.append("Files or connections stay open.")
    return target


async def _in_turns(requests: list[Coroutine[Any, Any, None]]) -> None:
    free = asyncio.Semaphore(_CONCURRENCY)

    async def run(request: Coroutine[Any, Any, None]) -> None:
        async with free:
            await request

    await asyncio.gather(*map(run, requests))


async def _ask_again_and_again(target: Target) -> None:
    while True:
        await target.check_good()
        await asyncio.sleep(0.2)


async def _hold_connections(target: Target, number: int) -> None:
    """Holds connections that bring nothing, asks good requests, and waits until the server has closed them all."""
    opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", target.rest_port) for _ in range(number)))
    start = time.perf_counter()
    for _ in range(20):
        await target.check_good()
    held_s = time.perf_counter() - start
    closed = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLIENT_TIMEOUT_S):
            for reader, _ in opened:
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                closed += 1
    for _, writer in opened:
        writer.transport.abort()
    print(f"{number:,} idle connections: 20 good requests by each way in {held_s:.2f} s; then {closed:,} were closed.")
    if closed < number:
        target.problems.append(f"{number - closed} idle connections were not closed.")


def _shown(request: HttpRequest) -> str:
    return f"{request.kind} {[part[:1500] for part in request.parts[:3]]}"


_NOTHING: dict[str, Any] = {"string": "", "float32": float("nan"), "int64": -(2**63)}


def serve(folder: Path, rest_port: int, grpc_port: int) -> None:
    """Serves a bundle with the limits of this script."""
    models = (tt.server.ModelConfig(name=folder.resolve().name, directory=folder),)
    config = tt.server.ServerConfig(models=models, rest_port=rest_port, grpc_port=grpc_port, limits=_LIMITS)
    tt.server.serve(config, log=JsonLog(sys.stderr))


def main() -> None:
    """Starts a server, sends the requests, and prints what was answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a version's folder, or the folder of all versions")
    parser.add_argument("--rest", type=int, default=10_000, help="number of REST requests (default 10,000)")
    parser.add_argument("--grpc", type=int, default=2000, help="number of gRPC calls (default 2,000)")
    parser.add_argument("--connections", type=int, default=1000, help="number of idle connections (default 1,000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the requests (default 0)")
    arguments = parser.parse_args()
    print(f"Seed: {arguments.seed}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * arguments.connections + 1000)), hard))
    folder = find_version(arguments.bundle).parent
    ports = (free_port(), free_port())
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        command = [sys.executable, __file__, "--serve", str(folder), *map(str, ports)]
        with running(command, f"http://127.0.0.1:{ports[0]}/readyz", log=log) as process:
            target = asyncio.run(fuzz(arguments, folder.resolve().name, ports, process))
        # Anything but a request's line, such as a defect or a stack trace, is something that nobody has foreseen.
        unexpected = Counter(
            line[line.find('"event"') :][:500]
            for line in log.read_text(errors="replace").splitlines()
            if '"event": "request"' not in line
        )
    target.problems += [f"log: {line}" for line in unexpected if '"defect"' in line or '"event"' not in line]
    for answer, count in sorted(target.counts.items()):
        print(f"{answer:45} {count:>8,}")
    for line, count in unexpected.most_common(40):
        print(f"log, {count} times: {line}")
    if target.problems:
        print(*target.problems[:60], sep="\n")
        sys.exit(f"{len(target.problems)} problems.")
    print("Every answer is right.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
