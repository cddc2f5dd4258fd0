"""Files that start TensorFlow Serving on published bundles.

Three choices, and their reasons:
- The stock image has no ScaNN: if a bundle's index needs its operations, the portable twin is served instead.
- Batching is off unless it is requested. TensorFlow Serving would pad lists of unequal length with the first element of
  a request's first row, so that another row of the request would exclude, or filter by, a value that it never named.
  Padding is therefore off, and with batching all clients must send lists of one agreed length, padded with "".
- Compose publishes the ports on this machine alone unless another address is given, since the server has no
  authentication.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrs_twotower._control_characters import require_no_control_characters
from tfrs_twotower._settings import whole_number
from tfrs_twotower.bundle.layout import portable_twin, versions
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.publishing.pairs import is_served_as_pair
from tfrs_twotower.publishing.serving_files import (
    Server,
    write_batching,
    write_compose,
    write_kubernetes,
    write_models,
)

#: A release of the stock image that serves bundles of TensorFlow 2.20's operations.
STOCK_IMAGE = "tensorflow/serving:2.19.1"

_MAX_PORT = 65_535


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Holds the files that start a server.

    Attributes:
        files: Name -> text.
        notes: Further notes for the user.

    Example:
        >>> config = ServingConfig(files={"models.config": "model_config_list {}"}, notes=())
        >>> sorted(config.files)
        ['models.config']
    """

    files: dict[str, str]
    notes: tuple[str, ...]


def serving_config(
    directories: Sequence[str | Path],
    *,
    image: str = STOCK_IMAGE,
    batching: bool = False,
    host: str = "127.0.0.1",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    num_threads: int = 4,
) -> ServingConfig:
    """Writes the texts of the files that start TensorFlow Serving on bundles.

    The server may take 1 GiB of memory and 4 times the size of the served versions on disk, rounded up to 256 MiB.

    Args:
        directories: `saved_models/<name>`, each with a published version; their names are the models' names.
        image: Image of TensorFlow Serving. With another image than the stock one, bundles that need ScaNN's operations
            are served, too: it must have them.
        batching: Whether the server joins requests to batches; all clients must then send lists of one length.
        host: IP address of the interface at which Compose publishes the ports. By default, only programs on the same
            machine reach the server, which has no authentication; "0.0.0.0" opens it to the network.
        grpc_port: Port of the host for gRPC.
        rest_port: Port of the host for REST.
        num_threads: Batches at a time, as many as there are cores.

    Returns:
        `models.config`, `batching.config`, `compose.yaml` and `kubernetes.yaml`, and notes.

    Raises:
        FileNotFoundError: If a folder holds no version of a bundle.
        ValueError: If two folders have the same name, a portable twin is behind its bundle, a path or the image
            contains control characters, the image contains spaces, the host is not an IP address, a port or a number is
            impossible, or nothing is left that the image can serve.
        TypeError: If a port or the number of threads is not a whole number.

    Example:
        >>> serving_config(["saved_models/nothing"])
        Traceback (most recent call last):
        FileNotFoundError: ...nothing holds no version of a bundle.
    """
    _check_image(image)
    address = _parse_host(host)
    _check_ports(grpc_port, rest_port)
    num_threads = whole_number(num_threads, "`num_threads`", 1)
    paths = {path.name: path for path in map(_absolute, directories)}
    if len(paths) < len(directories):
        raise ValueError(f"`directories` must have different names. Received: {[str(path) for path in directories]}.")
    served, notes = _choose_served(paths, image)
    if not served:
        raise ValueError(" ".join([f"There is no bundle that {image} can serve.", *notes]))
    options = ["--model_config_file=/config/models.config", "--file_system_poll_wait_seconds=5"]
    if batching:
        options += ["--enable_batching=true", "--batching_parameters_file=/config/batching.config"]
        notes.append('With batching all clients must send lists of one agreed length, padded with "".')
    if not address.is_loopback:
        notes.append(f"Anyone who can reach {address} can use the server, which has no authentication.")
    size_bytes = sum(map(_size_bytes, served.values()))
    server = Server(
        image=image,
        bundles=served,
        options=tuple(options),
        host=address,
        grpc_port=grpc_port,
        rest_port=rest_port,
        size_bytes=size_bytes,
    )
    return ServingConfig(
        files={
            "models.config": write_models(served),
            "batching.config": write_batching(num_threads),
            "compose.yaml": write_compose(server),
            "kubernetes.yaml": write_kubernetes(server),
        },
        notes=tuple(notes),
    )


def _check_image(image: str) -> None:
    require_no_control_characters(image, "`image`")
    if not image or any(map(str.isspace, image)):
        raise ValueError(f"`image` must name an image, such as {STOCK_IMAGE}, without spaces. Received: {image!r}.")


def _parse_host(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        if "%" in host:  # a zone, which may be any text, and which Docker does not take
            raise ValueError("it has a zone")
        return ipaddress.ip_address(host)
    except (ValueError, TypeError):
        raise ValueError(f"`host` must be an IP address, such as 127.0.0.1 or ::1. Received: {host!r}.") from None


def _check_ports(grpc_port: int, rest_port: int) -> None:
    for name, port in (("`grpc_port`", grpc_port), ("`rest_port`", rest_port)):
        if whole_number(port, name, 1) > _MAX_PORT:
            raise ValueError(f"{name} must be at most {_MAX_PORT}. Received: {port}.")
    if grpc_port == rest_port:
        raise ValueError(f"`grpc_port` and `rest_port` must differ. Received: {grpc_port} for both.")


def _absolute(directory: str | Path) -> Path:
    """Returns the absolute path of a folder, whose last part is the model's name: that of a link, if it is one."""
    path = Path(directory)
    path = path.resolve() if ".." in path.parts else path.absolute()
    require_no_control_characters(str(path), "A path in `directories`")
    if not path.name:
        raise ValueError(f"`directories` must be folders with names. Received: {str(directory)!r}.")
    return path


def _size_bytes(directory: Path) -> int:
    """Returns the size on disk of the version that is served."""
    served = directory / str(versions(directory)[-1])
    return sum(path.stat().st_size for path in served.rglob("*") if path.is_file())


def _choose_served(paths: Mapping[str, Path], image: str) -> tuple[dict[str, Path], list[str]]:
    """Returns the folders that an image can serve, by the models' names, and notes for the user."""
    notes, served = [], {}
    for name, path in paths.items():
        if not needs_scann(path):
            served[name] = path
        elif image != STOCK_IMAGE:
            served[name] = path
            notes.append(f"{name} needs ScaNN's operations: {image} must be built with them.")
        else:
            twin = portable_twin(path)
            notes.append(
                f"{name} needs ScaNN's operations, which the stock image does not have. An image of a server built "
                "with them, from the sources of TensorFlow and ScaNN of the manifest's versions, serves it."
            )
            if paths.get(twin.name, twin) != twin:
                raise ValueError(f"`directories` names another {twin.name} than the portable twin {twin}.")
            if versions(twin) and not is_served_as_pair(path):
                raise ValueError(
                    f"{twin} is behind {path}: their newest versions are not of one export. Publish again, which "
                    "renews both: tfrs-twotower train, or tfrs-twotower index."
                )
            if versions(twin):
                served[twin.name] = twin
                notes.append(f"{twin.name} is served in its place.")
            else:
                notes.append("Export it with its portable twin, or with the portable or the exact index.")
    return served, notes


def needs_scann(directory: Path) -> bool:
    """Tells whether the served version's index needs ScaNN's operations.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        FileNotFoundError: If there is no version, or it has no manifest.
        ValueError: If its manifest is damaged.
    """
    published = versions(directory)
    if not published:
        raise FileNotFoundError(f"{directory} holds no version of a bundle.")
    return Manifest.read(directory / str(published[-1])).needs_scann
