"""Which models a server serves, and which of their versions: as declared in Python, or in a file `models.config`."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import text_format

from tfrs_twotower._control_characters import require_no_control_characters
from tfrs_twotower._settings import whole_number

# A file of thousands of models has kilobytes.
_MAX_BYTES = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatestVersions:
    """Serves the newest versions.

    Attributes:
        num: How many, >= 1.

    Example:
        >>> sorted(LatestVersions(num=2).choose([1, 2, 3]))
        [2, 3]
    """

    num: int = 1

    def __post_init__(self) -> None:
        whole_number(self.num, "`num`", 1)

    def choose(self, found: Collection[int]) -> set[int]:
        """Returns which of the versions that were found are served.

        Args:
            found: Their numbers.
        """
        return set(sorted(found)[-self.num :])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecificVersions:
    """Serves versions by their number.

    Attributes:
        versions: The numbers; at least one.

    Example:
        >>> sorted(SpecificVersions(versions=(1, 9)).choose([1, 2, 3]))
        [1]
    """

    versions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("`versions` must name at least one version.")
        for version in self.versions:
            whole_number(version, "`versions`", 0)

    def choose(self, found: Collection[int]) -> set[int]:
        """Returns which of the versions that were found are served.

        Args:
            found: Their numbers.
        """
        return set(self.versions) & set(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllVersions:
    """Serves every version in the folder.

    Example:
        >>> sorted(AllVersions().choose([1, 2, 3]))
        [1, 2, 3]
    """

    def choose(self, found: Collection[int]) -> set[int]:
        """Returns which of the versions that were found are served.

        Args:
            found: Their numbers.
        """
        return set(found)


VersionPolicy: TypeAlias = LatestVersions | SpecificVersions | AllVersions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model that is served.

    Attributes:
        name: Its name in requests, without "/" and ":".
        directory: `saved_models/<name>`, the folder of its versions.
        policy: Which versions are served.
        labels: Label -> version, for requests that name a version by its label.

    Raises:
        ValueError: If the name cannot stand in a request's path, or a label is empty.

    Example:
        >>> ModelConfig(name="shop", directory=Path("saved_models/shop"), labels={"stable": 3}).policy
        LatestVersions(num=1)
    """

    name: str
    directory: Path
    policy: VersionPolicy = LatestVersions()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_no_control_characters(self.name, "`name`")
        if not self.name or "/" in self.name or ":" in self.name:
            raise ValueError(f'`name` must not be empty, and must not contain "/" or ":". Received: {self.name!r}.')
        for label, version in self.labels.items():
            if not label or "/" in label or ":" in label:
                raise ValueError(f'A label must not be empty, and must not contain "/" or ":". Received: {label!r}.')
            whole_number(version, f"`labels` of {label!r}", 0)
        object.__setattr__(self, "directory", Path(self.directory))
        object.__setattr__(self, "labels", types.MappingProxyType(dict(self.labels)))


def read_models_config(path: str | Path, *, models_folder: str | Path | None = None) -> tuple[ModelConfig, ...]:
    """Reads a file `models.config`, which `tfrs-twotower serving-config` writes and TensorFlow Serving reads.

    Args:
        path: The file.
        models_folder: Folder that takes the place of all but the last part of each `base_path`, for a file that names
            folders inside a container; None takes the paths as they are, relative ones from the file's folder.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a file, or declares something impossible.

    Example:
        >>> read_models_config("nothing/models.config")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'nothing/models.config'
    """
    from tfrs_twotower.server.protos import model_server_config_pb2

    path = Path(path)
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{path} must have at most {_MAX_BYTES:,} bytes.")
    try:
        message = text_format.Parse(data.decode("utf-8"), model_server_config_pb2.ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file of TensorFlow Serving's models: {error}") from error
    try:
        models = models_of_message(message)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return tuple(
        dataclasses.replace(model, directory=_resolved(model.directory, path, models_folder)) for model in models
    )


def models_of_message(message: Any) -> tuple[ModelConfig, ...]:
    """Reads TensorFlow Serving's message; paths stay as they are.

    Args:
        message: A `ModelServerConfig`.

    Raises:
        ValueError: If it declares something that this server does not have.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise ValueError("The configuration must be a `model_config_list`.")
    models = tuple(map(_model_of_message, message.model_config_list.config))
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"A `model_config_list` must name at least one model, and each once. Received: {names}.")
    return models


def _model_of_message(message: Any) -> ModelConfig:
    if message.model_platform not in ("", "tensorflow"):
        raise ValueError(f"`model_platform` must be tensorflow. Received: {message.model_platform!r}.")
    if not message.base_path:
        raise ValueError(f"`base_path` of {message.name!r} is missing.")
    return ModelConfig(
        name=message.name,
        directory=Path(message.base_path),
        policy=_policy_of_message(message.model_version_policy),
        labels=dict(message.version_labels),
    )


def _policy_of_message(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "specific":
        return SpecificVersions(versions=tuple(message.specific.versions))
    if choice == "all":
        return AllVersions()
    return LatestVersions(num=message.latest.num_versions or 1)


def _resolved(directory: Path, file: Path, models_folder: str | Path | None) -> Path:
    return file.parent / directory if models_folder is None else Path(models_folder) / directory.name
