"""What a server serves, where it listens, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from tfrs_twotower._settings import finite_number, whole_number
from tfrs_twotower.server.models_config import ModelConfig

_MAX_PORT = 65_535
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server refuses, so that no request takes its memory or its time from others.

    Attributes:
        max_body_bytes: Length of a request's body.
        max_rows: Rows of a request.
        max_list_length: Values of one list, such as a history.
        max_values: Values of one input of a request, padding included.
        max_queued: Requests that wait for one version.
        max_connections: Connections for REST, and as many for gRPC, that are open at a time.
        timeout_s: Seconds until a request must be answered, from its first byte; a gRPC client may ask for less.
        idle_timeout_s: Seconds that a connection may stay without a whole request.
        load_timeout_s: Seconds in which a version must be loaded and warmed up.
        call_timeout_s: Seconds after which a worker process that computes nothing is replaced.
        drain_timeout_s: Seconds that running requests get when the server stops, or a version is retired.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If a count is not a whole number.

    Example:
        >>> Limits(max_rows=100).max_rows
        100
    """

    max_body_bytes: int = 8 * 2**20
    max_rows: int = 4096
    max_list_length: int = 10_000
    max_values: int = 1_000_000
    max_queued: int = 1024
    max_connections: int = 4096
    timeout_s: float = 30.0
    idle_timeout_s: float = 60.0
    load_timeout_s: float = 600.0
    call_timeout_s: float = 120.0
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name in (
            "max_body_bytes",
            "max_rows",
            "max_list_length",
            "max_values",
            "max_queued",
            "max_connections",
        ):
            whole_number(getattr(self, name), f"`{name}`", 1)
        for name in ("timeout_s", "idle_timeout_s", "load_timeout_s", "call_timeout_s", "drain_timeout_s"):
            _require_positive(getattr(self, name), name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Declares a server.

    Attributes:
        models: What is served; at least one, with different names.
        host: Address to listen at. "127.0.0.1" is reached from this machine alone, "0.0.0.0" from the network.
        rest_port: Port for REST; 0 takes a free one, None leaves REST out.
        grpc_port: Port for gRPC; 0 takes a free one, None leaves gRPC out.
        max_batch_rows: Rows up to which waiting requests for one signature are joined to one call; 1 joins none.
        limits: What is refused.
        token: Secret that clients must send as `Authorization: Bearer <token>`; None asks for none.
        tls_certificate: PEM file with the server's certificate chain; None speaks plain HTTP.
        tls_key: PEM file with its key.
        poll_s: Seconds between two looks for new versions.
        read_models: Called every `poll_s` seconds, such as to read a file again. When it returns other models than the
            time before, they take the place of `models`; when it raises an error, nothing changes. None calls nothing.
        has_explorer: Whether there is a page at "/" on which people look at the models. It shows the ids of the known
            queries and what each has seen, so that by default (None) there is one only if no other machine reaches
            the server, or a token is asked for.

    Raises:
        ValueError: If a value is impossible, two models have one name, or a token is empty.
        TypeError: If a port or a number of rows is not a whole number.

    Example:
        >>> config = ServerConfig(models=(ModelConfig(name="shop", directory=Path("saved_models/shop")),))
        >>> config.host, config.rest_port, config.grpc_port
        ('127.0.0.1', 8501, 8500)
    """

    models: tuple[ModelConfig, ...]
    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    max_batch_rows: int = 128
    limits: Limits = dataclasses.field(default_factory=Limits)
    token: str | None = dataclasses.field(default=None, repr=False)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    poll_s: float = 1.0
    read_models: Callable[[], tuple[ModelConfig, ...]] | None = None
    has_explorer: bool | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in _LOCAL_HOSTS

    @property
    def serves_explorer(self) -> bool:
        """Whether there is a page at "/"."""
        return self.is_local or self.token is not None if self.has_explorer is None else self.has_explorer

    def __post_init__(self) -> None:
        require_models(self.models)
        if self.rest_port is None and self.grpc_port is None:
            raise ValueError("`rest_port` or `grpc_port` must be given: the server would listen nowhere.")
        for name in ("rest_port", "grpc_port"):
            port = getattr(self, name)
            if port is not None and whole_number(port, f"`{name}`", 0) > _MAX_PORT:
                raise ValueError(f"`{name}` must be in 0..{_MAX_PORT}. Received: {port}.")
        whole_number(self.max_batch_rows, "`max_batch_rows`", 1)
        _require_positive(self.poll_s, "poll_s")
        if self.token is not None and (not self.token or not self.token.isascii() or not self.token.isprintable()):
            raise ValueError("`token` must be one line of printable ASCII characters, at least one.")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("`tls_certificate` and `tls_key` must be given together.")


def require_models(models: tuple[ModelConfig, ...]) -> None:
    """Checks that there are models, with different names.

    Args:
        models: What is served.

    Raises:
        ValueError: If there is none, or a name comes twice.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`models` must be at least one, with different names. Received: {names}.")


def _require_positive(value: float, name: str) -> None:
    number = finite_number(value)
    if number is None or not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {value!r}.")
