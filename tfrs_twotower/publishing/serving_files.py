"""The texts of the files that start TensorFlow Serving, written by the libraries of their formats.

Names, paths and the image come from the user. They stand in the files as text of protocol buffers or of YAML, quoted by
the library that writes it, and in comments without anything that could end the comment.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfrs_twotower._control_characters import show_control_characters

# The ports inside the container, which are the image's.
_GRPC_PORT, _REST_PORT = 8500, 8501

_MIB = 2**20
# What the server takes without a model, the multiple of a bundle's size on disk that it takes with it, and the step
# that the limit is rounded up to.
_BASE_MIB, _MEMORY_PER_SIZE, _MEMORY_STEP_MIB = 1024, 4, 256

# The package tensorflow-serving-api has no message for this file, which holds nothing but numbers.
_BATCHING = """\
max_batch_size {{ value: 64 }}
batch_timeout_micros {{ value: 500 }}
num_batch_threads {{ value: {num_threads} }}
max_enqueued_batches {{ value: 100 }}
pad_variable_length_inputs: false
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A server and what it serves.

    Attributes:
        image: Image of TensorFlow Serving.
        bundles: Name of a model -> the folder of its versions, absolute; at least one.
        options: Options of the server.
        host: Address at which Compose publishes the ports.
        grpc_port: Port of the host for gRPC.
        rest_port: Port of the host for REST.
        size_bytes: Size of the served versions on disk.
    """

    image: str
    bundles: Mapping[str, Path]
    options: tuple[str, ...]
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    grpc_port: int
    rest_port: int
    size_bytes: int

    @property
    def status_path(self) -> str:
        """The path under which REST says whether the first model is loaded."""
        return f"/v1/models/{quote(next(iter(self.bundles)))}"

    @property
    def memory_mib(self) -> int:
        """Maximum memory that the server may take.

        While a new version is loaded, the old one is still served. In a process with TensorFlow, loading a SavedModel
        of 202 MiB and then another beside it took 941 MiB at most, and with 788 MiB each, 2,145 MiB.
        """
        needed = _BASE_MIB + _MEMORY_PER_SIZE * self.size_bytes / _MIB
        return math.ceil(needed / _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB

    @property
    def memory_comment(self) -> tuple[str, str]:
        """Lines that say where the limit of memory comes from."""
        return (
            f"The limit of memory is {_BASE_MIB:,} MiB and {_MEMORY_PER_SIZE} times the size of the bundles, which is "
            f"{math.ceil(self.size_bytes / _MIB):,} MiB, in steps of {_MEMORY_STEP_MIB} MiB: a new",
            "version is loaded before the old one is dropped. Write this file again when the bundles have grown.",
        )


def write_models(names: Iterable[str]) -> str:
    """Writes `models.config`, which names the models.

    Args:
        names: The models' names, which are also those of their folders.
    """
    configs = [
        model_server_config_pb2.ModelConfig(name=name, base_path=f"/models/{name}", model_platform="tensorflow")
        for name in names
    ]
    models = model_server_config_pb2.ModelConfigList(config=configs)
    message = model_server_config_pb2.ModelServerConfig(model_config_list=models)
    return _comment() + str(text_format.MessageToString(message, as_utf8=True))


def write_batching(num_threads: int) -> str:
    """Writes `batching.config`.

    Args:
        num_threads: Batches at a time.
    """
    comment = _comment(
        "Takes effect with --enable_batching. Lists are not padded: the server would pad them",
        "with a request's first element.",
    )
    return comment + _BATCHING.format(num_threads=num_threads)


def write_compose(server: Server) -> str:
    """Writes `compose.yaml`.

    Args:
        server: The server.
    """
    host = _bracketed(server.host)
    volumes = [{"type": "bind", "source": ".", "target": "/config", "read_only": True}]
    volumes += [
        {"type": "bind", "source": _escaped(str(path)), "target": _escaped(f"/models/{name}"), "read_only": True}
        for name, path in server.bundles.items()
    ]
    service = {
        "image": _escaped(server.image),
        "command": list(server.options),
        "ports": [f"{host}:{server.grpc_port}:{_GRPC_PORT}", f"{host}:{server.rest_port}:{_REST_PORT}"],
        "volumes": volumes,
        "mem_limit": f"{server.memory_mib}m",
        "restart": "unless-stopped",
    }
    reached = "localhost" if server.host.is_unspecified else host
    comment = _comment(
        "docker compose up",
        f"curl 'http://{reached}:{server.rest_port}{server.status_path}'",
        *server.memory_comment,
    )
    return comment + _to_yaml({"services": {"serving": service}})


def write_kubernetes(server: Server) -> str:
    """Writes `kubernetes.yaml`: a deployment and a service.

    Args:
        server: The server.
    """
    name = _label(f"{next(iter(server.bundles))}-serving")
    labels = {"app": name}
    memory = {"memory": f"{server.memory_mib}Mi"}
    container = {
        "name": "serving",
        "image": server.image,
        "args": list(server.options),
        "ports": [{"containerPort": _GRPC_PORT}, {"containerPort": _REST_PORT}],
        "resources": {"requests": memory, "limits": memory},
        "readinessProbe": {"httpGet": {"path": server.status_path, "port": _REST_PORT}, "periodSeconds": 5},
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "config", "mountPath": "/config", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        {"name": "config", "configMap": {"name": name}},
    ]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": labels,
            "ports": [{"name": "grpc", "port": _GRPC_PORT}, {"name": "rest", "port": _REST_PORT}],
        },
    }
    comment = _comment(
        f"kubectl create configmap {name} --from-file=models.config --from-file=batching.config",
        "kubectl apply -f kubernetes.yaml",
        f"The claim `models` holds the folders of the bundles: {', '.join(server.bundles)}.",
        "A pod is ready once the first bundle is loaded and warmed up.",
        *server.memory_comment,
    )
    return comment + _to_yaml(deployment, service)


def _comment(*lines: str) -> str:
    """Writes lines of comment, under one that says where the file comes from."""
    lines = ("Written by tfrs-twotower serving-config.", *lines)
    return "".join(f"# {show_control_characters(line)}\n" for line in lines)


def _escaped(text: str) -> str:
    """Returns a text of which Compose makes the given one: it replaces variables, and `$$` by a dollar sign."""
    return text.replace("$", "$$")


def _bracketed(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Returns an address as it stands before a colon and a port."""
    return f"[{host}]" if host.version == 6 else str(host)


def _label(text: str) -> str:
    """Returns a name as Kubernetes takes it: at most 63 of a-z, 0-9 and -, the first a letter."""
    label = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return (label if label[:1].isalpha() else f"bundle-{label}")[:63].rstrip("-")


class _Dumper(yaml.SafeDumper):
    """Writes YAML that is easy to read: without anchors, and with quotes only where they could matter."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes an object that comes twice, such as the labels, twice."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> Any:
    # Other readers take more words for numbers than PyYAML does, such as 1e5: quotes leave nothing to guess.
    style = None if re.fullmatch("[A-Za-z/-][A-Za-z0-9_./:=-]*", text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _to_yaml(*documents: Any) -> str:
    text = yaml.dump_all(
        documents, Dumper=_Dumper, allow_unicode=True, default_flow_style=False, sort_keys=False, width=math.inf
    )
    return str(text)
