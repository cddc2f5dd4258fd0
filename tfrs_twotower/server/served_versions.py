"""The versions of one model: each is loaded into a process of its own, served, and retired."""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tfrs_twotower.bundle.layout import MODEL_FILE, versions
from tfrs_twotower.server.batching import Batcher
from tfrs_twotower.server.config import ServerConfig
from tfrs_twotower.server.errors import MAX_SHOWN, Code, RequestError
from tfrs_twotower.server.metrics import Metrics
from tfrs_twotower.server.models_config import ModelConfig
from tfrs_twotower.server.worker_client import Reply, WorkerClient, start_worker

_MAX_BACKOFF_S = 60.0


class State(enum.Enum):
    """States of a version, with TensorFlow Serving's numbers."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Found(NamedTuple):
    """A version on disk. One that was withdrawn and published again differs in more than its number.

    Attributes:
        number: Its number.
        identity: Identifies its file.
    """

    number: int
    identity: tuple[int, int, int]


class ServedVersion:
    """One version, from its discovery to its end.

    Attributes:
        found: What was found on disk.
        state: Its state.
        problem: Reason why it could not be loaded; "" if there is none.
        worker: Its process, while it is available.
        batcher: What joins its requests, while it is available.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.state = State.START
        self.problem = ""
        self.worker: WorkerClient | None = None
        self.batcher: Batcher | None = None

    @property
    def number(self) -> int:
        """Its number."""
        return self.found.number


class ServedModel:
    """A model and its versions.

    New versions are loaded before old ones are retired, one at a time among all models: memory never holds more than
    what is served and one version beside it, and those that finish their last requests.

    Args:
        model: What is served.
        config: The server.
        loading: Held while a version is loaded.
        metrics: What is measured.
        log: Called with an event and its details.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: ServerConfig,
        *,
        loading: asyncio.Semaphore,
        metrics: Metrics,
        log: Callable[..., None],
    ) -> None:
        self.model = model
        self._config, self._loading, self._metrics, self._log = config, loading, metrics, log
        self._versions: dict[Found, ServedVersion] = {}
        self._changing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._crashes: dict[Found, int] = {}
        self._not_before: dict[Found, float] = {}

    @property
    def listed(self) -> list[ServedVersion]:
        """All versions that it knows of, the newest first."""
        return sorted(self._versions.values(), key=lambda version: version.found, reverse=True)

    @property
    def available(self) -> list[ServedVersion]:
        """Versions that answer, the newest first."""
        return [version for version in self.listed if version.state is State.AVAILABLE]

    def find(self, version: int | None, label: str | None) -> ServedVersion:
        """Returns the version that a request asks for.

        Args:
            version: Its number; None for the newest, unless there is a label.
            label: Its label; None if the request has none.

        Raises:
            RequestError: If there is no such version, or none at the moment.
        """
        if label is not None:
            if label not in self.model.labels:
                raise RequestError(
                    Code.NOT_FOUND, f"{self.model.name!r} has no version labelled {label[:MAX_SHOWN]!r}."
                )
            version = self.model.labels[label]
        available = [found for found in self.available if version in (None, found.number)]
        if available:
            return available[0]
        known = [found for found in self.listed if version in (None, found.number)]
        died = any(version in (None, found.number) for found in self._crashes)
        if died or any(found.state in (State.START, State.LOADING) for found in known):
            raise RequestError(Code.UNAVAILABLE, f"Servable {self._shown(version)} is being loaded. Try again later.")
        raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {self._shown(version)}")

    def _shown(self, version: int | None) -> str:
        return f"Latest({self.model.name})" if version is None else f"Specific({self.model.name}, {version})"

    async def update(self) -> None:
        """Looks for versions, loads those that shall be served, and then retires others."""
        async with self._changing:
            found = await asyncio.to_thread(find_versions, self.model.directory)
            self._forget_refused(found)
            wanted = self._wanted(found)
            for version in sorted(wanted - set(self._versions), reverse=True):
                await self._load(version)
            if wanted != (chosen := self._wanted(found)):  # a refused version leaves its place to another
                for version in sorted(chosen - set(self._versions), reverse=True):
                    await self._load(version)
                wanted = chosen
            served = {version.found for version in self.available}
            if wanted and wanted <= served:
                for version in served - wanted:
                    self._retire(self._versions[version])

    async def close(self) -> None:
        """Retires all versions, and waits until their processes have ended."""
        async with self._changing:
            for version in self.available:
                self._retire(version)
            await asyncio.gather(*self._retiring)

    def _forget_refused(self, found: set[Found]) -> None:
        """Lets go of what was refused or died and is no longer there, so that what takes its place is tried."""
        self._crashes = {version: count for version, count in self._crashes.items() if version in found}
        for version in list(self._versions.values()):
            if version.state is State.END and version.found not in found:
                del self._versions[version.found]

    def _wanted(self, found: set[Found]) -> set[Found]:
        refused = {version.found for version in self._versions.values() if version.problem}
        usable = {version for version in found if version not in refused}
        numbers = self.model.policy.choose({version.number for version in usable})
        return {version for version in usable if version.number in numbers}

    async def _load(self, found: Found) -> None:
        if asyncio.get_running_loop().time() < self._not_before.get(found, 0.0):
            return
        version = self._versions[found] = ServedVersion(found)
        folder = self.model.directory / str(found.number)
        async with self._loading:
            version.state = State.LOADING
            try:
                worker = await self._start(version, folder)
            except ValueError as error:
                if not folder.is_dir():  # removed while it was loaded: nothing to remember
                    del self._versions[found]
                    return
                version.state, version.problem = State.END, str(error)
                self._metrics.count_refused(self.model.name)
                self._log("version_refused", model=self.model.name, version=found.number, problem=version.problem)
                return
            except BaseException:
                del self._versions[found]
                raise
        version.worker = worker
        version.batcher = Batcher(
            worker,
            max_rows=self._config.max_batch_rows,
            max_queued=self._config.limits.max_queued,
            on_call=self._note_call,
        )
        version.state = State.AVAILABLE
        self._log("version_available", model=self.model.name, version=found.number, pid=worker.pid)

    async def _start(self, version: ServedVersion, folder: Path) -> WorkerClient:
        """Starts the process of a version, and waits until it is loaded."""
        limits = self._config.limits
        worker = await start_worker(folder, call_timeout_s=limits.call_timeout_s)
        try:
            await asyncio.wait_for(worker.wait_until_loaded(lambda: self._note_end(version)), limits.load_timeout_s)
        except BaseException as error:
            worker.kill()
            await worker.close()
            if isinstance(error, asyncio.TimeoutError):
                raise ValueError(f"it was not loaded within {limits.load_timeout_s:g} s") from error
            raise
        return worker

    def _note_call(self, signature: str, num_requests: int, num_rows: int, reply: Reply) -> None:
        self._metrics.count_call(self.model.name, signature, num_requests, num_rows, reply.counts)

    def _note_end(self, version: ServedVersion) -> None:
        """Notes that a process has ended; if nobody asked for that, the next look for versions starts it again."""
        if version.state is not State.AVAILABLE:
            return
        found = version.found
        del self._versions[found]
        self._crashes[found] = self._crashes.get(found, 0) + 1
        backoff_s = min(_MAX_BACKOFF_S, 2.0 ** (self._crashes[found] - 2)) if self._crashes[found] > 1 else 0.0
        self._not_before[found] = asyncio.get_running_loop().time() + backoff_s
        self._log("worker_ended", model=self.model.name, version=found.number, started_again_after_s=backoff_s)

    def _retire(self, version: ServedVersion) -> None:
        version.state = State.UNLOADING
        task = asyncio.create_task(self._end(version))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end(self, version: ServedVersion) -> None:
        if version.batcher is None or version.worker is None:
            return
        try:
            await asyncio.wait_for(version.batcher.wait_until_idle(), self._config.limits.drain_timeout_s)
        except asyncio.TimeoutError:
            self._log("version_cut_off", model=self.model.name, version=version.number)
        await version.worker.close()
        version.state = State.END
        self._versions.pop(version.found, None)
        self._log("version_retired", model=self.model.name, version=version.number)


def find_versions(directory: Path) -> set[Found]:
    """Returns the versions in a folder; one that vanishes at the moment is left out.

    Args:
        directory: `saved_models/<name>`.
    """
    found: set[Found] = set()
    try:
        numbers = versions(directory)
    except OSError:
        return found
    for number in numbers:
        try:
            status = os.stat(directory / str(number) / MODEL_FILE)
        except OSError:
            continue
        found.add(Found(number, (status.st_ino, status.st_mtime_ns, status.st_size)))
    return found
