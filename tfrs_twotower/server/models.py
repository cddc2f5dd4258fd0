"""All models of a server: they are found by name, watched for new versions, and configured anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from tfrs_twotower.server.config import ServerConfig, require_models
from tfrs_twotower.server.errors import MAX_SHOWN, Code, RequestError, invalid
from tfrs_twotower.server.metrics import Metrics
from tfrs_twotower.server.models_config import ModelConfig
from tfrs_twotower.server.served_versions import ServedModel, ServedVersion
from tfrs_twotower.server.tensors import Inputs, Outputs, SignatureSpec

_DEFAULT_SIGNATURE = "serving_default"


class Models:
    """The models of a server.

    Args:
        config: The server.
        metrics: What is measured.
        log: Called with an event and its details.

    Attributes:
        config: The server.
        metrics: What is measured.
        is_stopping: Whether new requests are refused.
    """

    def __init__(self, config: ServerConfig, *, metrics: Metrics, log: Callable[..., None]) -> None:
        self.config, self.metrics = config, metrics
        self.is_stopping = False
        self._log = log
        self._loading = asyncio.Semaphore(1)
        self._closing: set[asyncio.Future[None]] = set()
        # Requests may change which of these are served, and how, but never name another folder.
        self._directories = {model.name: model.directory for model in config.models}
        self._following: asyncio.Task[None] | None = None
        self._models: dict[str, ServedModel] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    @property
    def by_name(self) -> Mapping[str, ServedModel]:
        """Name -> model."""
        return self._models

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers, and the server goes on."""
        return not self.is_stopping and all(model.available for model in self._models.values())

    def start(self) -> None:
        """Begins to load and watch the models."""
        for model in self.config.models:
            self._add(model)
        if self.config.read_models is not None:
            self._following = asyncio.create_task(self._follow(self.config.read_models))

    async def wait_until_ready(self) -> None:
        """Waits until every model has a version that answers; returns early if none can be loaded.

        Raises:
            ValueError: If a model has no version that can be loaded; says why.
        """
        for model in list(self._models.values()):
            await model.update()
            if not model.available:
                problems = [f"version {version.number}: {version.problem}" for version in model.listed]
                reason = "; ".join(problems) or f"{model.model.directory} holds no version of a bundle"
                raise ValueError(f"{model.model.name!r} cannot be served: {reason}.")

    async def close(self) -> None:
        """Stops watching, and retires all versions after their last requests."""
        tasks = [*self._watching.values(), *([] if self._following is None else [self._following])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*self._closing, *(model.close() for model in self._models.values()))

    async def wait_for_update(self) -> None:
        """Waits until the versions that are there are loaded, or refused."""
        await asyncio.gather(*(model.update() for model in self._models.values()))

    def find(self, name: str, version: int | None, label: str | None) -> ServedVersion:
        """Returns the version that a request asks for.

        Args:
            name: Name of the model.
            version: Number of the version, or None.
            label: Label of the version, or None.

        Raises:
            RequestError: If there is no such model or version.
        """
        return self.model(name).find(version, label)

    def model(self, name: str) -> ServedModel:
        """Returns a model by its name.

        Args:
            name: From a request.

        Raises:
            RequestError: If there is none.
        """
        if name not in self._models:
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: Latest({name[:MAX_SHOWN]})")
        return self._models[name]

    def configure(self, models: tuple[ModelConfig, ...]) -> None:
        """Replaces which models are served, and their policies and labels.

        Args:
            models: As a request declares them.

        Raises:
            RequestError: If a model or its folder is not one that the server was started with.
        """
        for model in models:
            if self._directories.get(model.name) != model.directory:
                raise invalid(
                    f"The server was not started with {model.name!r} in that folder. A request can change policies and "
                    "labels, and leave models out; other folders need another start."
                )
        self._serve(models)

    def _serve(self, models: tuple[ModelConfig, ...]) -> None:
        wanted = {model.name: model for model in models}
        gone = [
            name
            for name, served in self._models.items()
            if name not in wanted or wanted[name].directory != served.model.directory
        ]
        for name in gone:
            self._watching.pop(name).cancel()
            closing = asyncio.ensure_future(self._models.pop(name).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        for name, model in wanted.items():
            if name in self._models:
                self._models[name].model = model
            else:
                self._add(model)

    def _add(self, model: ModelConfig) -> None:
        served = ServedModel(model, self.config, loading=self._loading, metrics=self.metrics, log=self._log)
        self._models[model.name] = served
        self._watching[model.name] = asyncio.create_task(self._watch(served))

    async def _follow(self, read_models: Callable[[], tuple[ModelConfig, ...]]) -> None:
        declared, problem = self.config.models, ""
        while True:
            await asyncio.sleep(self.config.poll_s)
            try:
                models = await asyncio.to_thread(read_models)
                require_models(models)
            except (OSError, ValueError) as error:
                if str(error) != problem:  # once, and not every second
                    problem = str(error)
                    self._log("models_refused", problem=problem)
                continue
            problem = ""
            if models != declared:
                declared = models
                self._directories = {model.name: model.directory for model in models}
                self._serve(models)
                self._log("models_changed", models=[model.name for model in models])

    async def _watch(self, model: ServedModel) -> None:
        while True:
            try:
                await model.update()
            except OSError as error:  # no process or no file handle is left: it may be otherwise the next time
                self._log("watch_failed", model=model.model.name, problem=str(error))
            await asyncio.sleep(self.config.poll_s)


async def predict(version: ServedVersion, signature: SignatureSpec, num_rows: int, inputs: Inputs) -> Outputs:
    """Computes a request.

    Args:
        version: The version.
        signature: One of its signatures.
        num_rows: Rows of the request.
        inputs: Its inputs.

    Raises:
        RequestError: If it cannot be computed.
    """
    if version.batcher is None:
        raise RequestError(Code.UNAVAILABLE, "The version is being loaded. Try again later.")
    return await version.batcher.predict(signature, num_rows, inputs)


def find_signature(version: ServedVersion, name: str) -> SignatureSpec:
    """Returns a signature of a version.

    Args:
        version: The version.
        name: Its name; "" is the default one.

    Raises:
        RequestError: If there is none of that name.
    """
    signatures = {} if version.worker is None else version.worker.signatures
    signature = signatures.get(name or _DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid(
            f'Serving signature name: "{name[:MAX_SHOWN] or _DEFAULT_SIGNATURE}" not found in signature def. '
            f"There are: {', '.join(signatures)}."
        )
    return signature
