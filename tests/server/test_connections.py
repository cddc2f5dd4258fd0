"""Connections that bring no whole request are closed, and others are not."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from tfrs_twotower.server.access_log import log_nothing
from tfrs_twotower.server.config import Limits, ServerConfig
from tfrs_twotower.server.connections import Connections, Entrance
from tfrs_twotower.server.grpc_services import build_server
from tfrs_twotower.server.models_config import ModelConfig

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


def test_connections_over_the_limit_are_refused_until_others_are_closed():
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="answered")

    async def first_lines() -> list[bytes]:
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: Entrance(runner.server, 3), "127.0.0.1", 0)
        address = listening.sockets[0].getsockname()
        # All are accepted in one turn of the loop.
        opened = await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(5)))
        for _, writer in opened:
            writer.write(request)
        lines = sorted([await reader.readline() for reader, _ in opened])
        for _, writer in opened:
            writer.close()
        while runner.server.connections:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        lines.append(await reader.readline())
        writer.close()
        listening.close()
        await runner.cleanup()
        return lines

    full, answered = b"HTTP/1.1 503 Service Unavailable\r\n", b"HTTP/1.1 200 OK\r\n"
    assert asyncio.run(first_lines()) == [answered] * 3 + [full] * 2 + [answered]


def test_grpc_refuses_connections_over_the_limit_and_ends_those_that_bring_nothing():
    shop = ModelConfig(name="shop", directory=Path("shop"))
    config = ServerConfig(models=(shop,), limits=Limits(max_connections=2, idle_timeout_s=IDLE_TIMEOUT_S))

    async def received() -> list[bytes]:
        server = build_server(SimpleNamespace(config=config), log=log_nothing)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        found = [await reader.read() for reader, _ in opened]  # until the server closes them
        for _, writer in opened:
            writer.close()
        await server.stop(None)
        return found

    found = asyncio.run(received())
    assert found.count(b"") == 3
    assert sum(data.endswith(b"before handshake timeout") for data in found) == 2
