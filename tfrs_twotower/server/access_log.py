"""The log: one JSON object a line, in ASCII, so that no text of a request can be taken for another line."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable
from typing import Any, TextIO

# A path has any length.
_MAX_TEXT = 200


class JsonLog:
    """Writes events to a stream.

    Args:
        stream: Where lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: str, **details: Any) -> None:
        """Writes an event.

        Args:
            event: Its name.
            details: What it was about; texts are cut at 200 characters.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        shown = {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in details.items()}
        self._stream.write(json.dumps({"time": now, "event": event, **shown}) + "\n")
        self._stream.flush()


class EventHandler(logging.Handler):
    """Passes on what a library logs, each record as one event without a stack trace.

    Args:
        log: Called with an event and its details.
        event: Name of the events.
    """

    def __init__(self, log: Callable[..., None], event: str) -> None:
        super().__init__()
        self._log, self._event = log, event

    def emit(self, record: logging.LogRecord) -> None:
        """Passes a record on.

        Args:
            record: The record.
        """
        error = record.exc_info[1] if record.exc_info else None
        kind = {} if error is None else {"kind": type(error).__name__}
        self._log(self._event, problem=record.getMessage(), **kind)


def log_nothing(event: str, **details: Any) -> None:
    """Takes the place of a `JsonLog` for a server that writes no log.

    Args:
        event: Name of an event.
        details: What it was about.
    """
    del event, details
