"""Reads JSON that anybody may have edited: each value is asked for by its type, and an error names where it stands."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tfrs_twotower._settings import finite_number

_Read = TypeVar("_Read")

_MAX_INT = 2**63 - 1
# Far more than anything here writes, and far less than what recursive functions can take.
_MAX_DEPTH = 64
_MAX_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class JsonValue:
    """A value from JSON, which knows the keys that lead to it.

    Attributes:
        content: Plain values.
        path: The keys, such as "query.inputs[2].name"; "" for the outermost value.

    Example:
        >>> index = JsonValue({"recall": {"10": "high"}}, "index")
        >>> index["recall"]["10"].number()
        Traceback (most recent call last):
        ValueError: `index.recall.10` must be a number. Received: 'high'.
        >>> index["kind"]
        Traceback (most recent call last):
        ValueError: `index.kind` is missing.
    """

    content: Any
    path: str = ""

    def __getitem__(self, key: str) -> JsonValue:
        """Returns the value of a key that must be there; other keys are allowed, as a newer writer may add some."""
        content = self._object()
        if key not in content:
            raise ValueError(f"`{self._path_of(key)}` is missing.")
        return JsonValue(content[key], self._path_of(key))

    def optional(self, key: str, read: Callable[[JsonValue], _Read]) -> _Read | None:
        """Reads the value of a key, None if there is no such key or its value is null.

        Args:
            key: The key.
            read: Reads the value, such as `JsonValue.text`.
        """
        return self[key].nullable(read) if key in self._object() else None

    def nullable(self, read: Callable[[JsonValue], _Read]) -> _Read | None:
        """Reads the value, None if it is null.

        Args:
            read: Reads the value, such as `JsonValue.text`.
        """
        return None if self.content is None else read(self)

    def text(self) -> str:
        """Returns a text that can be written and printed.

        Raises:
            ValueError: If it is something else.
        """
        if not _is_text(self.content):
            raise self.error("a text")
        return str(self.content)

    def choice(self, choices: Sequence[str], expected: str) -> str:
        """Returns one of some texts.

        Args:
            choices: What it may be.
            expected: The choices in words, for errors.

        Raises:
            ValueError: If it is something else.
        """
        if not _is_text(self.content) or self.content not in choices:
            raise self.error(expected)
        return str(self.content)

    def truth(self) -> bool:
        """Returns true or false.

        Raises:
            ValueError: If it is something else.
        """
        if not isinstance(self.content, bool):
            raise self.error("true or false")
        return self.content

    def number(self, minimum: float = -math.inf, maximum: float = math.inf) -> float:
        """Returns a finite number.

        Args:
            minimum: Lowest number allowed.
            maximum: Highest number allowed.

        Raises:
            ValueError: If it is something else, or out of range.
        """
        value = finite_number(self.content)
        if value is None or not minimum <= value <= maximum:
            raise self.error(f"a number{_range(minimum, maximum)}")
        return value

    def whole_number(self, minimum: int, maximum: int = _MAX_INT) -> int:
        """Returns a whole number that an int64 holds.

        Args:
            minimum: Lowest number allowed.
            maximum: Highest number allowed.

        Raises:
            ValueError: If it is something else, or out of range.
        """
        value = self.content
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise self.error(f"a whole number{_range(minimum, maximum if maximum < _MAX_INT else math.inf)}")
        return value

    def items(self) -> list[JsonValue]:
        """Returns the values of a list.

        Raises:
            ValueError: If it is something else.
        """
        if not isinstance(self.content, list | tuple):
            raise self.error("a list")
        return [JsonValue(item, f"{self.path}[{place}]") for place, item in enumerate(self.content)]

    def entries(self) -> dict[str, JsonValue]:
        """Returns the values of an object by their keys.

        Raises:
            ValueError: If it is something else, or a key is not a text that can be written.
        """
        for key in self._object():
            if not _is_text(key):
                raise ValueError(f"{self._name} must have texts as keys. Received: {_shown(key)}.")
        return {key: JsonValue(value, self._path_of(key)) for key, value in self._object().items()}

    def numbered(self) -> dict[int, JsonValue]:
        """Returns the values of an object whose keys are whole numbers, written as JSON needs it: "10".

        Raises:
            ValueError: If it is something else, or a key is not a whole number of at least 0.
        """
        entries = self.entries()
        for key in entries:
            if not (key.isascii() and key.isdecimal() and len(key) < len(str(_MAX_INT)) and key == str(int(key))):
                raise ValueError(f"{self._name} must have whole numbers as keys. Received: {_shown(key)}.")
        return {int(key): value for key, value in entries.items()}

    def plain(self) -> Any:
        """Returns the content of whatever type, of which it is certain that JSON can hold it.

        Raises:
            ValueError: If a number is not finite, a text cannot be written, or lists and objects are nested too deeply.
        """
        self._require_plain(_MAX_DEPTH)
        return self.content

    def error(self, expected: str) -> ValueError:
        """Makes the error that the value is not what it must be.

        Args:
            expected: What it must be.
        """
        return ValueError(f"{self._name} must be {expected}. Received: {_shown(self.content)}.")

    @property
    def _name(self) -> str:
        return f"`{self.path}`" if self.path else "It"

    def _path_of(self, key: str) -> str:
        key = key if len(key) <= _MAX_SHOWN and key.isprintable() else _shown(key)
        return f"{self.path}.{key}" if self.path else key

    def _object(self) -> Mapping[Any, Any]:
        if not isinstance(self.content, Mapping):
            raise self.error("an object with keys")
        return self.content

    def _require_plain(self, depth: int) -> None:
        content = self.content
        if isinstance(content, Mapping | list | tuple):
            if not depth:
                raise ValueError(f"{self._name} must not be nested deeper than {_MAX_DEPTH} levels.")
            for value in self.entries().values() if isinstance(content, Mapping) else self.items():
                value._require_plain(depth - 1)
        elif isinstance(content, int | float) and not isinstance(content, bool):
            self.number()
        elif content is not None and not isinstance(content, bool):
            self.text()


def read_json(path: Path, max_bytes: int) -> JsonValue:
    """Reads a JSON file.

    Whole numbers too long for an int64 become floats, as in most other languages.

    Args:
        path: The file, in UTF-8.
        max_bytes: Maximum size of the file: one of any size could use up the memory.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If it is larger, not UTF-8, not JSON, or nested too deeply.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "some.json").write_text('{"k": 10}')
        ...     read_json(Path(folder, "some.json"), max_bytes=100)["k"].whole_number(minimum=1)
        10
    """
    if not path.is_file():  # reading a pipe would wait for its writer
        raise FileNotFoundError(f"There is no file {path}.")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"It must have at most {max_bytes:,} bytes. Received: more.")
    try:
        text = data.decode("utf-8-sig")  # editors of Windows write a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"It must be UTF-8. Received at byte {error.start}: {data[error.start]:#04x}.") from error
    try:
        return JsonValue(json.loads(text, parse_int=_parse_int))
    except json.JSONDecodeError as error:
        raise ValueError(f"It must be JSON. Received: {error}.") from error
    except RecursionError as error:
        raise ValueError(f"It must not be nested deeper than {_MAX_DEPTH} levels.") from error


def _parse_int(digits: str) -> int | float:
    # Python refuses to parse thousands of digits.
    return int(digits) if len(digits) <= len(str(-_MAX_INT)) else float(digits)


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")  # JSON can name half a character
    except UnicodeEncodeError:
        return False
    return True


def _range(minimum: float, maximum: float) -> str:
    if minimum == -math.inf:
        return ""
    return f" of at least {minimum}" if maximum == math.inf else f" in {minimum}..{maximum}"


def _shown(value: Any) -> str:
    """Returns a value as an error shows it, however long it is."""
    if isinstance(value, Mapping):
        return "an object with keys"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"
    shown = ascii(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
