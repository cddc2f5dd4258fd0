"""Files that start TensorFlow Serving on published bundles.

Two choices, and their reasons:
- The stock image has no ScaNN: if a bundle's index needs its operations, the portable twin is served instead.
- Batching is off unless it is requested. TensorFlow Serving would pad lists of unequal length with the first element of
  a request's first row, so that another row of the request would exclude, or filter by, a value that it never named.
  Padding is therefore off, and with batching all clients must send lists of one agreed length, padded with "".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tfrs_twotower.bundle.layout import portable_twin, versions
from tfrs_twotower.bundle.manifest import Manifest

#: A release of the stock image that serves bundles of TensorFlow 2.20's operations.
STOCK_IMAGE = "tensorflow/serving:2.19.1"

_HEADER = "# Written by tfrs-twotower serving-config.\n"

_COMPOSE = """{header}# docker compose up
# curl http://localhost:{rest_port}{path}
services:
  serving:
    image: {image}
    command:
{arguments}
    ports:
      - "{grpc_port}:8500"
      - "{rest_port}:8501"
    volumes:
      - {{type: bind, source: ., target: /config, read_only: true}}
{volumes}
    restart: unless-stopped
"""

_KUBERNETES = """{header}# kubectl create configmap {name} --from-file=models.config --from-file=batching.config
# kubectl apply -f kubernetes.yaml
# The claim `models` holds the folders of the bundles: {folders}.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
        - name: serving
          image: {image}
          args:
{arguments}
          ports:
            - containerPort: 8500
            - containerPort: 8501
          # Ready once the bundle is loaded and warmed up.
          readinessProbe:
            httpGet:
              path: {probe}
              port: 8501
            periodSeconds: 5
          volumeMounts:
            - name: models
              mountPath: /models
              readOnly: true
            - name: config
              mountPath: /config
              readOnly: true
      volumes:
        - name: models
          persistentVolumeClaim:
            claimName: models
            readOnly: true
        - name: config
          configMap:
            name: {name}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
    - name: grpc
      port: 8500
    - name: rest
      port: 8501
"""

_BATCHING = """{header}# Takes effect with --enable_batching. Lists are not padded: the server would pad them
# with a request's first element.
max_batch_size {{ value: 64 }}
batch_timeout_micros {{ value: 500 }}
num_batch_threads {{ value: {num_threads} }}
max_enqueued_batches {{ value: 100 }}
pad_variable_length_inputs: false
"""


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
    grpc_port: int = 8500,
    rest_port: int = 8501,
    num_threads: int = 4,
) -> ServingConfig:
    """Writes the texts of the files that start TensorFlow Serving on bundles.

    Args:
        directories: `saved_models/<name>`, each with a published version; their names are the models' names.
        image: Image of TensorFlow Serving. With another image than the stock one, bundles that need ScaNN's operations
            are served, too: it must have them.
        batching: Whether the server joins requests to batches; all clients must then send lists of one length.
        grpc_port: Port of the host for gRPC.
        rest_port: Port of the host for REST.
        num_threads: Batches at a time, as many as there are cores.

    Returns:
        `models.config`, `batching.config`, `compose.yaml` and `kubernetes.yaml`, and notes.

    Raises:
        FileNotFoundError: If a folder holds no version of a bundle.
        ValueError: If two folders have the same name, or nothing is left that the image can serve.

    Example:
        >>> serving_config(["saved_models/nothing"])
        Traceback (most recent call last):
        FileNotFoundError: ...nothing holds no version of a bundle.
    """
    paths = {path.name: path for path in (Path(directory).absolute() for directory in directories)}
    if len(paths) < len(directories):
        raise ValueError(f"`directories` must have different names. Received: {[str(path) for path in directories]}.")
    served, notes = _choose_served(paths, image)
    if not served:
        raise ValueError(" ".join([f"There is no bundle that {image} can serve.", *notes]))
    arguments = ["--model_config_file=/config/models.config", "--file_system_poll_wait_seconds=5"]
    if batching:
        arguments += ["--enable_batching=true", "--batching_parameters_file=/config/batching.config"]
        notes.append('With batching all clients must send lists of one agreed length, padded with "".')
    first = next(iter(served))
    values = {
        "header": _HEADER,
        "image": image,
        "path": f"/v1/models/{quote(first)}",
        "probe": _quoted(f"/v1/models/{quote(first)}"),
        "name": _label(f"{first}-serving"),
        "folders": ", ".join(served),
        "grpc_port": grpc_port,
        "rest_port": rest_port,
        "num_threads": num_threads,
        "volumes": _volumes(served),
    }
    return ServingConfig(
        files={
            "models.config": _models_config(served),
            "batching.config": _BATCHING.format(**values),
            "compose.yaml": _COMPOSE.format(arguments=_listed(arguments, 6), **values),
            "kubernetes.yaml": _KUBERNETES.format(arguments=_listed(arguments, 12), **values),
        },
        notes=tuple(notes),
    )


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
            if versions(twin):
                served[twin.name] = twin
                notes.append(f"{twin.name} is served in its place.")
            else:
                notes.append("Export it with its portable twin, or with the portable or the exact index.")
    return served, notes


def _models_config(served: Mapping[str, Path]) -> str:
    models = "".join(
        f"  config {{\n    name: {_quoted(name)}\n    base_path: {_quoted(f'/models/{name}')}\n"
        '    model_platform: "tensorflow"\n  }\n'
        for name in served
    )
    return f"{_HEADER}model_config_list {{\n{models}}}\n"


def _volumes(served: Mapping[str, Path]) -> str:
    """Returns the lines of compose.yaml that mount the bundles; Compose reads `$$` as a dollar sign."""
    return "\n".join(
        f"      - {{type: bind, source: {_quoted(str(path).replace('$', '$$'))}, "
        f"target: {_quoted(f'/models/{name}'.replace('$', '$$'))}, read_only: true}}"
        for name, path in served.items()
    )


def _listed(arguments: Sequence[str], indentation: int) -> str:
    return "\n".join(f"{' ' * indentation}- {argument}" for argument in arguments)


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


def _label(text: str) -> str:
    """Returns a name as Kubernetes takes it: at most 63 of a-z, 0-9 and -, the first a letter."""
    label = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return (label if label[:1].isalpha() else f"bundle-{label}")[:63].rstrip("-")


def _quoted(text: str) -> str:
    """Quotes text for YAML and for protobuf's text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
