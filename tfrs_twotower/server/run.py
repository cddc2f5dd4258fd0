"""A server from its start to its end: in the foreground, as the command runs it, or in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator

from tfrs_twotower.server.access_log import log_nothing
from tfrs_twotower.server.addresses import Addresses
from tfrs_twotower.server.config import ServerConfig

# A connection is a file handle, and many systems allow a process 1,024 of them unless it asks for more.
_WANTED_FILES = 65_536


def serve(
    config: ServerConfig,
    *,
    log: Callable[..., None] = log_nothing,
    on_ready: Callable[[Addresses], None] | None = None,
) -> None:
    """Serves bundles until the process gets SIGTERM or SIGINT; then it finishes what runs, and refuses what is new.

    For the main thread of a program; `run_in_background` serves beside other code.

    Args:
        config: What is served, and where.
        log: Called with the name of an event and its details as keyword arguments, such as each request.
        on_ready: Called when every model has a version that answers.

    Raises:
        ImportError: If the packages of the extra `server` are not installed.
        OSError: If a port is taken, or a file of TLS cannot be read.
        ValueError: If a model has no version that can be loaded.

    Example:
        >>> from tfrs_twotower.server import ModelConfig
        >>> shop = ModelConfig(name="shop", directory="saved_models/nothing")
        >>> serve(ServerConfig(models=(shop,), rest_port=0, grpc_port=0))
        Traceback (most recent call last):
        ValueError: 'shop' cannot be served: saved_models/nothing holds no version of a bundle.
    """
    _raise_file_limit()

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await _run(config, log, stop, on_ready or (lambda addresses: None))

    asyncio.run(run())


@contextlib.contextmanager
def run_in_background(config: ServerConfig, *, log: Callable[..., None] = log_nothing) -> Iterator[Addresses]:
    """Serves bundles in a thread, for as long as a `with` block runs.

    Args:
        config: What is served, and where; port 0 takes a free one.
        log: As in `serve`; it is called in that thread.

    Yields:
        Where the server listens, when every model has a version that answers.

    Raises:
        ImportError: As in `serve`.
        OSError: As in `serve`.
        ValueError: As in `serve`.

    Example:
        >>> from tfrs_twotower.server import ModelConfig
        >>> shop = ModelConfig(name="shop", directory="saved_models/nothing")
        >>> with run_in_background(ServerConfig(models=(shop,), rest_port=0, grpc_port=0)) as addresses:
        ...     print(addresses.rest_port)
        Traceback (most recent call last):
        ValueError: 'shop' cannot be served: saved_models/nothing holds no version of a bundle.
    """
    ready, problems, found = threading.Event(), [], []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def note(addresses: Addresses) -> None:
        found.append(addresses)
        ready.set()

    def run() -> None:
        try:
            loop.run_until_complete(_run(config, log, stop, note))
        except BaseException as error:
            problems.append(error)
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="tfrs_twotower.server", daemon=True)
    thread.start()
    try:
        ready.wait()
        if found:
            yield found[0]
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed if the server has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join()
    if problems:
        raise problems[0]


async def _run(
    config: ServerConfig, log: Callable[..., None], stop: asyncio.Event, on_ready: Callable[[Addresses], None]
) -> None:
    # The packages of the extra are imported here, so that a configuration can be made without them.
    try:
        from tfrs_twotower.server.listeners import start_listeners
        from tfrs_twotower.server.metrics import Metrics
        from tfrs_twotower.server.models import Models
    except ModuleNotFoundError as error:
        raise ImportError(f'The server needs {error.name}. Run: pip install "tfrs-twotower[server]"') from error

    models = Models(config, metrics=Metrics(), log=log)
    async with contextlib.AsyncExitStack() as stack:
        # Worker processes end last: what listens hands its last requests to them.
        stack.push_async_callback(models.close)
        addresses = await start_listeners(models, stack, log=log)
        models.start()
        starting, stopping = asyncio.ensure_future(models.wait_until_ready()), asyncio.ensure_future(stop.wait())
        stack.callback(starting.cancel)
        stack.callback(stopping.cancel)
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # it is stopped before it is ready
            return
        starting.result()
        log("ready", **addresses._asdict())
        on_ready(addresses)
        await stopping
        log("stopping")
        models.is_stopping = True


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
