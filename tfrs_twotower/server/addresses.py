"""Where a running server listens."""

from __future__ import annotations

from typing import NamedTuple


class Addresses(NamedTuple):
    """Where a server listens.

    Attributes:
        host: The address.
        rest_port: Port for REST; None without REST.
        grpc_port: Port for gRPC; None without gRPC.

    Example:
        >>> Addresses(host="127.0.0.1", rest_port=8501, grpc_port=None).rest_port
        8501
    """

    host: str
    rest_port: int | None
    grpc_port: int | None
