"""What the scripts that measure or attack a server share: a server process, and what it takes."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil


@contextlib.contextmanager
def running(command: Sequence[str], url: str, *, log: Path | None = None) -> Iterator[psutil.Process]:
    """Runs a server until the block ends, from when it answers at a URL; its standard error can go to a file."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (log or Path(os.devnull)).open("wb") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url):
                break
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with exit code {process.returncode}.")
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def free_port() -> int:
    """Returns a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


def memory_mib(process: psutil.Process) -> dict[int, float]:
    """Returns the memory of a process and of each that it has started: id -> MiB that no other process uses."""
    found = {}
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[each.pid] = each.memory_full_info().uss / 2**20
    return found
