"""Requests are joined while a call runs, with a worker that answers when the test says so."""

import asyncio

import pytest

from tfrs_twotower.server.batching import Batcher
from tfrs_twotower.server.errors import Code, RequestError
from tfrs_twotower.server.tensors import SignatureSpec
from tfrs_twotower.server.worker_client import Reply

A, B = (SignatureSpec(name=name, inputs={}, outputs={}) for name in "ab")


class Worker:
    """Notes calls; the test answers them."""

    def __init__(self) -> None:
        self.calls = []

    def call(self, signature, requests):
        future = asyncio.get_running_loop().create_future()
        self.calls.append((signature.name, [inputs for _, inputs in requests], future))
        return future

    def answer(self, number: int) -> None:
        """Gives every request its own inputs as outputs."""
        _, inputs, future = self.calls[number]
        future.set_result(Reply([{"out": value} for value in inputs], {}))

    @property
    def asked(self):
        return [(name, inputs) for name, inputs, _ in self.calls]


def batcher(worker: Worker, *, max_rows=4, max_queued=10) -> Batcher:
    return Batcher(worker, max_rows=max_rows, max_queued=max_queued, on_call=lambda *arguments: None)


async def started(*coroutines):
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_what_queues_while_the_worker_is_busy_is_one_call():
    async def main():
        worker = Worker()
        joined = batcher(worker)
        tasks = await started(*(joined.predict(A, 1, value) for value in range(5)))
        assert worker.asked == [("a", [0]), ("a", [1])]
        worker.answer(0)
        await started()
        assert worker.asked[2:] == [("a", [2, 3, 4])]
        worker.answer(1)
        worker.answer(2)
        assert await asyncio.gather(*tasks) == [{"out": value} for value in range(5)]
        await joined.wait_until_idle()

    asyncio.run(main())


def test_signatures_are_not_mixed_and_the_longest_waiting_comes_first():
    async def main():
        worker = Worker()
        joined = batcher(worker)
        requests = [(A, 0), (A, 1), (B, 2), (A, 3), (B, 4)]
        await started(*(joined.predict(signature, 1, value) for signature, value in requests))
        worker.answer(0)
        await started()
        worker.answer(1)
        await started()
        assert worker.asked[2:] == [("b", [2, 4]), ("a", [3])]

    asyncio.run(main())


@pytest.mark.parametrize(("rows", "expected"), [([3, 1, 1], [[2, 3], [4]]), ([5, 1], [[2], [3]]), ([1, 5], [[2], [3]])])
def test_a_call_has_at_most_max_rows_unless_one_request_has_more(rows, expected):
    async def main():
        worker = Worker()
        joined = batcher(worker)
        await started(joined.predict(A, 1, 0), joined.predict(A, 1, 1))
        await started(*(joined.predict(A, count, 2 + number) for number, count in enumerate(rows)))
        worker.answer(0)
        worker.answer(1)
        await started()
        assert [inputs for _, inputs in worker.asked[2:]] == expected

    asyncio.run(main())


def test_a_full_queue_refuses():
    async def main():
        joined = batcher(Worker(), max_queued=2)
        await started(*(joined.predict(A, 1, value) for value in range(4)))
        assert joined.num_waiting == 2
        with pytest.raises(RequestError) as raised:
            await joined.predict(A, 1, 4)
        assert raised.value.code is Code.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_a_request_that_gives_up_leaves_the_queue():
    async def main():
        worker = Worker()
        joined = batcher(worker)
        tasks = await started(*(joined.predict(A, 1, value) for value in range(4)))
        tasks[2].cancel()
        tasks[0].cancel()
        await started()
        assert joined.num_waiting == 1
        worker.answer(0)
        worker.answer(1)
        await started()
        assert worker.asked[2:] == [("a", [3])]
        worker.answer(2)
        assert await tasks[3] == {"out": 3}
        await joined.wait_until_idle()

    asyncio.run(main())


def test_errors_reach_those_they_belong_to():
    async def main():
        worker = Worker()
        joined = batcher(worker)
        tasks = await started(*(joined.predict(A, 1, value) for value in range(4)))
        ended = RequestError(Code.UNAVAILABLE, "ended")
        worker.calls[0][2].set_exception(ended)
        worker.answer(1)
        await started()
        wrong = RequestError(Code.INVALID_ARGUMENT, "wrong")
        worker.calls[2][2].set_result(Reply([wrong, {"out": 3}], {}))
        assert await asyncio.gather(*tasks, return_exceptions=True) == [ended, {"out": 1}, wrong, {"out": 3}]

    asyncio.run(main())
