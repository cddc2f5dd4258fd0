"""Latency of `tfrs-twotower serve` over a long time, at a steady rate, while new versions take over again and again.

A copy of the bundle is published as the next version every half minute. No request may fail, all must get the answer
that the same query got before, every version must take over, and in the end the processes must take the memory that
they took with the first version. Latency is measured from the moment at which a request was due, so that it includes
the time that it waited for others. The client shares the machine's cores with the server.

    python scripts/soak_server.py BUNDLE [--json FILE] [--seconds S] [--rate R] [--publish-every S]
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from _benchmark import Row, show
from _serving import free_port, memory_mib, running
from benchmark_serving import ask, bodies

from tfrs_twotower.bundle.layout import find_version
from tfrs_twotower.publishing.publish import Publication, publish

_CALIBRATION_S = 5.0
_CALIBRATION_CLIENTS = 16
_AFTER_S = 5.0
_LOOK_S = 0.1
_SETTLE_S = 120.0
_MAX_GROWTH = 1.1
_LOADING, _AFTER, _BETWEEN = "while a version is loaded", f"up to {_AFTER_S:g} s after it took over", "between"


@dataclasses.dataclass(frozen=True)
class Takeover:
    """A version that took over, in seconds of `time.perf_counter`."""

    published: float
    available: float


class Clients:
    """Connections over which requests go, each as soon as it is due.

    Attributes:
        latencies: Moment at which a request was due -> seconds until its response was there.
        problems: What went wrong.
    """

    def __init__(self, port: int, name: str, version: Path) -> None:
        self._port, self._path = port, f"/v1/models/{name}:predict"
        self._bodies = list(bodies(version))
        self._answers: dict[int, bytes] = {}
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: dict[float, float] = {}
        self.problems: list[str] = []

    async def run(self, rate: float, seconds: float) -> None:
        """Sends requests at a steady rate, and waits for all responses."""
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = start + number / rate
                if (left := due - time.perf_counter()) > 0:
                    await asyncio.sleep(left)
                group.create_task(self._ask(number % len(self._bodies), due))
        for _, writer in self._free:
            writer.close()

    async def _ask(self, query: int, due: float) -> None:
        try:
            status, answer = await self._exchange(self._bodies[query])
        except (OSError, asyncio.IncompleteReadError) as error:
            self.problems.append(f"A request failed: {error!r}")
            return
        self.latencies[due] = time.perf_counter() - due
        if status != 200:
            self.problems.append(f"A request got {status}: {answer[:200]!r}")
        elif (before := self._answers.setdefault(query, answer)) != answer:
            self.problems.append(f"Query {query} got {answer[:1000]!r}, and before {before[:1000]!r}.")

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        reader, writer = await self._connection()
        writer.write(f"POST {self._path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        self._free.append((reader, writer))
        return int(head.split(b" ", 2)[1]), answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns a free connection. As every client does, it leaves those that the server has ended as idle."""
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof() and reader.exception() is None:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def publish_copies(folder: Path, port: int, every_s: float, seconds: float) -> list[Takeover]:
    """Publishes copies of the newest version, and notes when each has taken over."""
    stop = time.perf_counter() + seconds
    takeovers = []
    await asyncio.sleep(every_s / 2)
    while time.perf_counter() + every_s / 2 < stop:
        begin = time.perf_counter()
        number = await asyncio.to_thread(_publish_copy, folder)
        published = time.perf_counter()
        while number not in await asyncio.to_thread(_available, port, folder.name):
            await asyncio.sleep(_LOOK_S)
        takeovers.append(Takeover(published, time.perf_counter()))
        await asyncio.sleep(max(0.0, begin + every_s - time.perf_counter()))
    return takeovers


def _publish_copy(folder: Path) -> int:
    newest = find_version(folder)

    def write(aside: Path) -> None:
        shutil.copytree(newest, aside, dirs_exist_ok=True)

    (path,) = publish([Publication(directory=folder, write=write)], lambda paths: None, keep=2)
    return int(path.name)


def _available(port: int, name: str) -> set[int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/{name}") as response:
        states = json.load(response)["model_version_status"]
    return {int(state["version"]) for state in states if state["state"] == "AVAILABLE"}


def _phase(due: float, takeovers: list[Takeover]) -> str:
    for takeover in takeovers:
        if takeover.published <= due < takeover.available:
            return _LOADING
        if takeover.available <= due < takeover.available + _AFTER_S:
            return _AFTER
    return _BETWEEN


async def soak(
    arguments: argparse.Namespace, folder: Path, port: int, process: psutil.Process
) -> tuple[list[Row], list[str]]:
    """Runs everything; returns figures, and what went wrong."""
    version = find_version(folder)
    path = f"/v1/models/{folder.name}:predict"
    await ask(port, path, version, _CALIBRATION_CLIENTS, 1.0)
    rate = arguments.rate
    if rate is None:
        rate = (await ask(port, path, version, _CALIBRATION_CLIENTS, _CALIBRATION_S))["requests"] / 2
    before = sum(memory_mib(process).values())
    clients = Clients(port, folder.name, version)
    highest = before

    async def watch_memory() -> None:
        nonlocal highest
        while True:
            highest = max(highest, sum((await asyncio.to_thread(memory_mib, process)).values()))
            await asyncio.sleep(1.0)

    watching = asyncio.create_task(watch_memory())
    start_load = os.getloadavg()[0]
    _, takeovers = await asyncio.gather(
        clients.run(rate, arguments.seconds),
        publish_copies(folder, port, arguments.publish_every, arguments.seconds),
    )
    settled = time.perf_counter() + _SETTLE_S
    while len(process.children()) > 1 and time.perf_counter() < settled:
        await asyncio.sleep(_LOOK_S)
    watching.cancel()
    after = sum(memory_mib(process).values())
    problems = list(clients.problems)
    if not takeovers:
        problems.append("No version took over.")
    if after > _MAX_GROWTH * before:
        problems.append(f"Memory has grown from {before:,.0f} to {after:,.0f} MiB.")
    phases: dict[str, list[float]] = {_BETWEEN: [], _LOADING: [], _AFTER: []}
    for due, latency_s in clients.latencies.items():
        phases[_phase(due, takeovers)].append(latency_s * 1e3)
    case = f"{rate:,.0f} requests/s for {arguments.seconds:g} s, {len(takeovers)} takeovers"
    rows = [Row(case=case, metric="requests", value=len(clients.latencies), unit="")]
    rows += [Row(case=case, metric="failed requests", value=len(clients.problems), unit="")]
    found = {}
    for phase, latencies_ms in phases.items():
        if len(latencies_ms) > 1:
            percentiles = statistics.quantiles(latencies_ms, n=100)
            found[phase] = {"p50": percentiles[49], "p99": percentiles[98]}
            rows += [Row(case=phase, metric=name, value=value, unit="ms") for name, value in found[phase].items()]
    rows += [
        Row(case=f"{phase} / {_BETWEEN}", metric=name, value=value / found[_BETWEEN][name], unit="x")
        for phase, values in found.items()
        if phase != _BETWEEN
        for name, value in values.items()
    ]
    if takeovers:
        loading = statistics.median(takeover.available - takeover.published for takeover in takeovers)
        rows.append(Row(case="from publication to takeover", metric="median", value=loading, unit="s"))
    rows += [
        Row(case="memory of all processes", metric=name, value=value, unit="MiB")
        for name, value in {"one version, before": before, "highest": highest, "one version, after": after}.items()
    ]
    rows += [
        Row(case="load of the machine", metric=name, value=value, unit="")
        for name, value in {"before": start_load, "after": os.getloadavg()[0]}.items()
    ]
    return rows, problems


def main() -> None:
    """Serves a copy of the bundle, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a version's folder, or the folder of all versions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--seconds", type=float, default=600.0, help="seconds of the measurement (default 600)")
    parser.add_argument("--rate", type=float, help="requests per second (default half of what the server can answer)")
    parser.add_argument("--publish-every", type=float, default=30.0, help="seconds between two versions (default 30)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary).resolve() / "soak"
        shutil.copytree(find_version(arguments.bundle), folder / "1")
        ports = free_port(), free_port()
        command = [sys.executable, "-m", "tfrs_twotower.cli", "serve", str(folder), "--no-access-log"]
        command += ["--rest-port", str(ports[0]), "--grpc-port", str(ports[1])]
        process: Any = stack.enter_context(running(command, f"http://127.0.0.1:{ports[0]}/readyz"))
        rows, problems = asyncio.run(soak(arguments, folder, ports[0], process))
    show("Soak", rows, arguments.json)
    if problems:
        print(*problems[:40], sep="\n")
        sys.exit(f"{len(problems)} problems.")
    print("No request failed, and all answers stayed the same.")


if __name__ == "__main__":
    main()
