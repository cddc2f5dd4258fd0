"""The server's end of a worker process: it starts it, calls signatures in it, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_twotower.server.errors import Code, RequestError, invalid
from tfrs_twotower.server.frames import PREFIX_BYTES, as_bytes, pack, pack_texts, sizes_of, unpack, unpack_outputs
from tfrs_twotower.server.signatures import read_signatures
from tfrs_twotower.server.tensors import Inputs, Output, Outputs, SignatureSpec, split_rows

_END_S = 5.0
# The explorer asks one question at a time for each person. A search among millions takes a part of a second.
_MAX_QUESTIONS = 32
# The process imports what this one imports. With `-m`, modules in the current folder would come first.
_START = "import sys; sys.path[:] = sys.argv[3:]; from tfrs_twotower.server.worker import main; main(*sys.argv[1:3])"


class Reply(NamedTuple):
    """What a call gave.

    Attributes:
        results: Outputs of each request, or its error.
        counts: What was counted: slots, empty_slots, queries, unknown_queries.
    """

    results: list[Outputs | RequestError]
    counts: Mapping[str, int]


class _Call(NamedTuple):
    future: asyncio.Future[Reply]
    num_rows: list[int]
    timeout: asyncio.TimerHandle


class WorkerClient:
    """A running worker process; made by `start_worker`.

    Attributes:
        signatures: Name -> signature of the version.
        signature_defs: A serialized `SignatureDefMap`.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        call_timeout_s: float,
    ) -> None:
        self.signatures: Mapping[str, SignatureSpec] = {}
        self.signature_defs = b""
        self._process, self._reader, self._writer = process, reader, writer
        self._call_timeout_s = call_timeout_s
        self._calls: dict[int, _Call] = {}
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count()
        self._reading: asyncio.Task[None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._has_ended = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def wait_until_loaded(self, on_end: Callable[[], None]) -> None:
        """Waits until the version is loaded and warmed up.

        Args:
            on_end: Called when the process ends, for whatever reason, after this returned.

        Raises:
            ValueError: If the version cannot be loaded, or the process ends before it is.
        """
        try:
            header, buffers = await self._receive()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            code = await self._process.wait()
            raise ValueError(f"its process ended with exit code {code} while loading") from error
        if "problem" in header:
            raise ValueError(header["problem"])
        self.signature_defs = bytes(buffers[0])
        self.signatures = read_signatures(self.signature_defs)
        self._on_end = on_end
        self._reading = asyncio.create_task(self._read_replies())

    def call(self, signature: SignatureSpec, requests: Sequence[tuple[int, Inputs]]) -> asyncio.Future[Reply]:
        """Calls a signature for several requests.

        Args:
            signature: The signature.
            requests: Number of rows and inputs of each.

        Returns:
            A future of the reply; its error is a `RequestError` if the process ends.
        """
        loop = asyncio.get_running_loop()
        number, future = next(self._numbers), loop.create_future()
        if self._has_ended:
            future.set_exception(_ended())
            return future
        num_rows = [rows for rows, _ in requests]
        described, buffers = _pack_inputs(signature, requests)
        # A process that computes nothing any more is replaced by a new one.
        timeout = loop.call_later(self._call_timeout_s, self.kill)
        self._calls[number] = _Call(future, num_rows, timeout)
        header = {"id": number, "signature": signature.name, "num_rows": num_rows, "inputs": described}
        self._writer.writelines(pack(header, buffers))
        return future

    def ask(self, question: Mapping[str, Any]) -> asyncio.Future[bytes]:
        """Asks a question of the explorer.

        Args:
            question: As `Exploration.reply` takes it.

        Returns:
            A future of the answer in JSON; its error is a `RequestError` if there is none.
        """
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        if self._has_ended:
            future.set_exception(_ended())
        elif len(self._questions) >= _MAX_QUESTIONS:
            future.set_exception(RequestError(Code.RESOURCE_EXHAUSTED, "Too many questions are waiting. Try again."))
        else:
            self._questions[number] = future
            self._writer.writelines(pack({"id": number, "question": question}, []))
        return future

    def kill(self) -> None:
        """Ends the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """Ends the process, and waits until it has."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except asyncio.TimeoutError:
            self.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def _receive(self) -> tuple[dict[str, Any], list[memoryview]]:
        header_bytes, body_bytes = sizes_of(await self._reader.readexactly(PREFIX_BYTES))
        return unpack(await self._reader.readexactly(header_bytes), await self._reader.readexactly(body_bytes))

    async def _read_replies(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header, buffers = await self._receive()
                if header["id"] in self._questions:
                    _settle(self._questions.pop(header["id"]), header, buffers)
                    continue
                call = self._calls.pop(header["id"])
                call.timeout.cancel()
                if not call.future.done():
                    call.future.set_result(_read_reply(call.num_rows, header, buffers))
        self._has_ended = True
        self.kill()
        self._writer.close()
        for call in self._calls.values():
            call.timeout.cancel()
            if not call.future.done():
                call.future.set_exception(_ended())
        for question in self._questions.values():
            if not question.done():
                question.set_exception(_ended())
        self._calls.clear()
        self._questions.clear()
        if self._on_end is not None:
            self._on_end()


async def start_worker(folder: Path, *, call_timeout_s: float) -> WorkerClient:
    """Starts a worker process, which begins to load a version.

    Args:
        folder: The version's folder.
        call_timeout_s: Seconds after which a call that has no reply ends the process.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _START,
            str(theirs.fileno()),
            str(folder),
            *sys.path,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    reader, writer = await asyncio.open_connection(sock=ours, limit=2**20)
    return WorkerClient(process, reader, writer, call_timeout_s=call_timeout_s)


def _ended() -> RequestError:
    return RequestError(Code.UNAVAILABLE, "The process that serves this version has ended. It is started again.")


def _settle(question: asyncio.Future[bytes], header: Mapping[str, Any], buffers: list[memoryview]) -> None:
    """Gives a question its answer, unless nobody waits for it any more."""
    if question.done():
        return
    if "problem" in header:
        question.set_exception(RequestError(Code.INTERNAL, header["problem"]))
    else:
        question.set_result(bytes(buffers[0]))


def _pack_inputs(
    signature: SignatureSpec, requests: Sequence[tuple[int, Inputs]]
) -> tuple[list[Any], list[bytes | memoryview]]:
    import numpy as np

    described: list[Any] = []
    buffers: list[bytes | memoryview] = []
    for name, spec in signature.inputs.items():
        given = [inputs[name] for _, inputs in requests]
        widths = [values.width for values in given] if len(spec.shape) > 1 else []
        described.append([name, spec.dtype, widths])
        if spec.dtype == "string":
            buffers += pack_texts([text for values in given for text in values.values])
        else:
            buffers.append(as_bytes(np.concatenate([values.values for values in given])))
    return described, buffers


def _read_reply(num_rows: Sequence[int], header: Mapping[str, Any], buffers: list[memoryview]) -> Reply:
    errors: Mapping[str, str] = header["errors"]
    starts = [0]
    for number, rows in enumerate(num_rows):
        if str(number) not in errors:
            starts.append(starts[-1] + rows)
    columns: dict[str, list[Output]] = {
        name: split_rows(output, starts) for name, output in unpack_outputs(header["outputs"], buffers).items()
    }
    successes = iter(range(len(starts) - 1))
    results: list[Outputs | RequestError] = []
    for number in range(len(num_rows)):
        message = errors.get(str(number))
        if message is None:
            place = next(successes)
            results.append({name: parts[place] for name, parts in columns.items()})
        else:
            results.append(invalid(message))
    return Reply(results, header["counts"])
