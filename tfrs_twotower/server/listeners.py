"""What listens: HTTP and gRPC on their ports, with or without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable

import grpc
from aiohttp import web

from tfrs_twotower.server.access_log import EventHandler
from tfrs_twotower.server.addresses import Addresses
from tfrs_twotower.server.config import ServerConfig
from tfrs_twotower.server.connections import Connections, Entrance
from tfrs_twotower.server.explorer import Pages, explorer_pages
from tfrs_twotower.server.grpc_services import build_server
from tfrs_twotower.server.http_app import build_app
from tfrs_twotower.server.models import Models

_BACKLOG = 1024
# A client that goes on sending a body that was refused gets this time to read why.
_LINGERING_S = 1.0


async def start_listeners(models: Models, stack: contextlib.AsyncExitStack, *, log: Callable[..., None]) -> Addresses:
    """Begins to listen.

    Args:
        models: The models that are served.
        stack: Gets what stops listening again, after the last requests.
        log: Called with an event and its details.

    Raises:
        OSError: If a port is taken or cannot be had, or a file of TLS cannot be read.
    """
    config = models.config
    rest_port = None if config.rest_port is None else await _start_http(models, stack, config.rest_port, log)
    grpc_port = None if config.grpc_port is None else await _start_grpc(models, stack, config.grpc_port, log)
    return Addresses(config.host, rest_port, grpc_port)


async def _start_http(models: Models, stack: contextlib.AsyncExitStack, port: int, log: Callable[..., None]) -> int:
    limits = models.config.limits
    connections = Connections(limits.idle_timeout_s)
    pages = explorer_pages(models) if models.config.serves_explorer else Pages([], [])
    app = build_app(models, log=log, pages=pages.routes, open_paths=pages.open_paths)
    app.middlewares.insert(0, connections.middleware)
    # aiohttp writes a stack trace for each connection that brings no HTTP.
    logger = logging.Logger("tfrs_twotower.server.http", logging.WARNING)
    logger.addHandler(EventHandler(log, "bad_connection"))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=logger,
        keepalive_timeout=limits.idle_timeout_s,
        lingering_time=_LINGERING_S,
        shutdown_timeout=limits.drain_timeout_s,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    closing = asyncio.create_task(connections.close_idle(runner.server))
    stack.callback(closing.cancel)
    server = runner.server
    context = _ssl_context(models.config)
    try:
        listening = await asyncio.get_running_loop().create_server(
            lambda: Entrance(server, limits.max_connections),
            models.config.host,
            port,
            ssl=context,
            backlog=_BACKLOG,
        )
    except OSError as error:
        place = f"{_in_url(models.config.host)}:{port}"
        raise OSError(f"REST cannot listen at {place}: {_reason(error, '--rest-port')}") from error
    stack.callback(listening.close)
    found: int = listening.sockets[0].getsockname()[1]
    return found


async def _start_grpc(models: Models, stack: contextlib.AsyncExitStack, port: int, log: Callable[..., None]) -> int:
    config = models.config
    server = build_server(models, log=log)
    host = _in_url(config.host)
    try:
        if config.tls_certificate is None or config.tls_key is None:
            found = server.add_insecure_port(f"{host}:{port}")
        else:
            pair = (config.tls_key.read_bytes(), config.tls_certificate.read_bytes())
            found = server.add_secure_port(f"{host}:{port}", grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        reason = _reason(_why_unbound(config.host, port) or error, "--grpc-port")
        raise OSError(f"gRPC cannot listen at {host}:{port}: {reason}") from error
    await server.start()
    stack.push_async_callback(server.stop, config.limits.drain_timeout_s)
    return found


def _reason(error: Exception, option: str) -> str:
    """Says why a port cannot be listened at, and what to do.

    Args:
        error: From binding the port.
        option: The option that gives the port.
    """
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"another program listens there. Stop it, or choose another port with `{option}` (in Python, "
            f"`{option.lstrip('-').replace('-', '_')}`)."
        )
    return f"{error}. `--host` and `{option}` choose another place."


def _why_unbound(host: str, port: int) -> OSError | None:
    """Returns the system's error when a port is bound, which gRPC does not tell; None if there is none."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
                probe.bind(address)
    except OSError as error:
        return error
    return None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _ssl_context(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_certificate, config.tls_key)
    return context
