"""The one error of a request: a canonical code, as gRPC has them, and a message for the client."""

from __future__ import annotations

import enum

#: Characters of a request that a message repeats. gRPC sends messages in headers, which must be short.
MAX_SHOWN = 200


class Code(enum.Enum):
    """Canonical codes, and the HTTP status that TensorFlow Serving gives each."""

    INVALID_ARGUMENT = (3, 400)
    UNAUTHENTICATED = (16, 401)
    NOT_FOUND = (5, 404)
    TOO_LARGE = (8, 413)
    RESOURCE_EXHAUSTED = (8, 429)
    INTERNAL = (13, 500)
    UNIMPLEMENTED = (12, 501)
    UNAVAILABLE = (14, 503)
    DEADLINE_EXCEEDED = (4, 504)

    @property
    def number(self) -> int:
        """The number that gRPC and `StatusProto` give it."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """The status of an HTTP response."""
        return self.value[1]

    @property
    def grpc_name(self) -> str:
        """Its name in gRPC, which has one code for all that is too much."""
        return "RESOURCE_EXHAUSTED" if self is Code.TOO_LARGE else self.name


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        code: What kind of error it is.
        message: What is wrong, for the client.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> RequestError:
    """Makes the error of a request that is wrong whatever the server does.

    Args:
        message: What is wrong.
    """
    return RequestError(Code.INVALID_ARGUMENT, message)
