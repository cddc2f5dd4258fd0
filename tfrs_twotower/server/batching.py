"""Requests that wait for a version are joined: what has queued while the worker was busy becomes its next call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tfrs_twotower.server.errors import Code, RequestError
from tfrs_twotower.server.tensors import Inputs, Outputs, SignatureSpec
from tfrs_twotower.server.worker_client import Reply

# While the worker computes one call, the next one already lies in its socket.
_MAX_CALLS = 2


class Calls(Protocol):
    """What calls signatures: a `WorkerClient`."""

    def call(self, signature: SignatureSpec, requests: list[tuple[int, Inputs]]) -> asyncio.Future[Reply]:
        """Calls a signature for several requests."""


class _Waiting(NamedTuple):
    num_rows: int
    inputs: Inputs
    future: asyncio.Future[Outputs]


class Batcher:
    """Joins requests of one version, a signature at a time.

    No request waits for others to come: a call begins as soon as the worker can take one, with the signature that has
    waited longest and all that wait for it.

    Args:
        calls: What calls the signatures.
        max_rows: Rows up to which requests are joined. A request with more rows is a call of its own.
        max_queued: Requests that may wait; others are refused.
        on_call: Called with signature, number of requests, number of rows and counts after each call.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        max_rows: int,
        max_queued: int,
        on_call: Callable[[str, int, int, Reply], None],
    ) -> None:
        self._calls, self._max_rows, self._max_queued, self._on_call = calls, max_rows, max_queued, on_call
        # A dictionary keeps the order in which its keys came, and lets one that has given up go.
        self._queues: dict[str, dict[int, _Waiting]] = {}
        self._specs: dict[str, SignatureSpec] = {}
        self._next_number = 0
        self._num_calls = 0
        self._running: set[asyncio.Future[None]] = set()
        self._num_waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a call."""
        return self._num_waiting

    async def predict(self, signature: SignatureSpec, num_rows: int, inputs: Inputs) -> Outputs:
        """Computes one request, together with others if they wait, too.

        Args:
            signature: The signature.
            num_rows: Rows of the request.
            inputs: Its inputs.

        Raises:
            RequestError: If it is wrong, too many wait, or the worker ends.
        """
        if self._num_waiting >= self._max_queued:
            raise RequestError(Code.RESOURCE_EXHAUSTED, f"{self._num_waiting} requests are waiting. Try again later.")
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        number, self._next_number = self._next_number, self._next_number + 1
        self._specs[signature.name] = signature
        queue = self._queues.setdefault(signature.name, {})
        queue[number] = _Waiting(num_rows, inputs, future)
        self._num_waiting += 1
        self._idle.clear()
        self._start_calls()
        try:
            return await future
        finally:
            if queue.pop(number, None) is not None:  # its time is up before its call began
                self._num_waiting -= 1
                self._note_idleness()

    async def wait_until_idle(self) -> None:
        """Waits until nothing waits and nothing is computed."""
        await self._idle.wait()

    def _start_calls(self) -> None:
        while self._num_calls < _MAX_CALLS and self._num_waiting:
            name = min(
                (name for name, queue in self._queues.items() if queue), key=lambda name: next(iter(self._queues[name]))
            )
            batch = self._take(self._queues[name])
            self._num_calls += 1
            call = asyncio.ensure_future(self._call(self._specs[name], batch))
            self._running.add(call)
            call.add_done_callback(self._running.discard)

    def _take(self, queue: dict[int, _Waiting]) -> list[_Waiting]:
        batch: list[_Waiting] = []
        num_rows = 0
        while queue:
            number = next(iter(queue))
            if batch and num_rows + queue[number].num_rows > self._max_rows:
                break
            waiting = queue.pop(number)
            num_rows += waiting.num_rows
            batch.append(waiting)
        self._num_waiting -= len(batch)
        return batch

    async def _call(self, signature: SignatureSpec, batch: list[_Waiting]) -> None:
        try:
            reply = await self._calls.call(signature, [(waiting.num_rows, waiting.inputs) for waiting in batch])
        except RequestError as error:
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        finally:
            self._num_calls -= 1
            self._start_calls()
            self._note_idleness()
        self._on_call(signature.name, len(batch), sum(waiting.num_rows for waiting in batch), reply)
        for waiting, result in zip(batch, reply.results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, RequestError):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)

    def _note_idleness(self) -> None:
        if not self._num_calls and not self._num_waiting:
            self._idle.set()
