"""HTTP connections that are too many, or bring no whole request in time, are closed: they cost others nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

from aiohttp import web

_CHECK_S = 1.0
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Entrance(asyncio.Protocol):
    """Hands a new connection to a server, or closes it if too many are open.

    It decides when the connection is made. When a protocol is asked for, others may have been accepted that the server
    does not know yet.

    Args:
        server: The server.
        max_connections: Connections that may be open.
    """

    def __init__(self, server: web.Server, max_connections: int) -> None:
        self._server, self._max_connections = server, max_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decides.

        Args:
            transport: The connection.
        """
        if len(self._server.connections) < self._max_connections:
            protocol = self._server()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        else:
            cast(asyncio.Transport, transport).write(_FULL)
            transport.close()


class Connections:
    """Knows since when each connection has been idle.

    A connection is idle from its beginning or the end of a response until the header of its next request is complete. A
    request's body has a time limit of its own.

    Args:
        idle_timeout_s: Seconds that a connection may be idle.
    """

    def __init__(self, idle_timeout_s: float) -> None:
        self._idle_timeout_s = idle_timeout_s
        self._idle_since: dict[Any, float] = {}
        self._busy_with: dict[Any, int] = {}

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Notes which connections have a request that is being answered."""

        @web.middleware
        async def note(
            request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            with self._busy(request.protocol):
                return await handler(request)

        return note

    async def close_idle(self, server: web.Server) -> None:
        """Closes idle connections until it is cancelled.

        Args:
            server: The server whose connections they are.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            idle = [connection for connection in server.connections if connection not in self._busy_with]
            self._idle_since = {connection: self._idle_since.get(connection, now) for connection in idle}
            for connection, since in self._idle_since.items():
                if now - since > self._idle_timeout_s and connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(min(_CHECK_S, self._idle_timeout_s))

    @contextlib.contextmanager
    def _busy(self, connection: Any) -> Iterator[None]:
        self._busy_with[connection] = self._busy_with.get(connection, 0) + 1
        self._idle_since.pop(connection, None)
        try:
            yield
        finally:
            self._busy_with[connection] -= 1
            if not self._busy_with[connection]:
                del self._busy_with[connection]
