"""The log: one JSON object a line, in ASCII, so that no text of a request can be taken for another line."""

from __future__ import annotations

import datetime
import json
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


def log_nothing(event: str, **details: Any) -> None:
    """Takes the place of a `JsonLog` for a server that writes no log.

    Args:
        event: Name of an event.
        details: What it was about.
    """
    del event, details
