"""Connections that bring no whole request are closed, and others are not."""

import asyncio

import pytest
from aiohttp import web

from tfrs_twotower.server.connections import Connections

IDLE_TIMEOUT_S = 0.2


async def exchange(sent: bytes, *, takes_s: float = 0.0) -> bytes:
    """Returns all that a server sends until it closes the connection, for what a client sends and then waits."""

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(takes_s)
        return web.Response(text="answered")

    connections = Connections(IDLE_TIMEOUT_S)
    app = web.Application(middlewares=[connections.middleware])
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    closing = asyncio.create_task(connections.close_idle(runner.server))
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(sent)
    received = b""
    try:
        while part := await reader.read(4096):
            received += part
    except ConnectionError:  # it was closed hard
        pass
    writer.close()
    closing.cancel()
    await runner.cleanup()
    return received


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HT"],
)
def test_a_connection_without_a_whole_request_is_closed(sent):
    assert asyncio.run(exchange(sent)) == b""


def test_a_connection_is_closed_after_its_response():
    assert asyncio.run(exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"answered")


def test_a_request_that_is_being_answered_is_not_idle():
    received = asyncio.run(exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", takes_s=4 * IDLE_TIMEOUT_S))
    assert received.endswith(b"answered")
