"""`TextFormat`: how the text of a file is divided into rows and columns."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFormat:
    """Declares how a text file is written. What is None is found by looking at the file, where that is safe.

    Attributes:
        encoding: Name of the encoding as Python knows it, such as "latin-1" or "utf-16".
        delimiter: Characters between two values: a single character, or several such as "::".
        column_names: Names of the columns of a file whose first line holds values instead of names.

    Raises:
        TypeError: If a field has the wrong type.
        ValueError: If there is no such encoding, the delimiter is empty or holds a quote or a line break, or a column
            has no name or is named twice.

    Example:
        >>> TextFormat(delimiter="::", column_names=("user", "movie", "stars", "when")).delimiter
        '::'
    """

    encoding: str | None = None
    delimiter: str | None = None
    column_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._check_encoding()
        if self.delimiter is not None:
            if not isinstance(self.delimiter, str):
                raise TypeError(f"`delimiter` must be a string such as ';'. Received: {self.delimiter!r}.")
            if not self.delimiter or set(self.delimiter) & set('"\r\n'):
                raise ValueError(
                    "`delimiter` must be one or more characters other than quotes and line breaks. "
                    f"Received: {self.delimiter!r}."
                )
        if self.column_names is not None:
            self._check_column_names()

    def _check_encoding(self) -> None:
        if self.encoding is None:
            return
        if not isinstance(self.encoding, str):
            raise TypeError(f"`encoding` must be a name such as 'latin-1'. Received: {self.encoding!r}.")
        try:
            "".encode(self.encoding)  # `codecs.lookup` also finds what is not text, such as base64
        except (LookupError, ValueError):
            raise ValueError(
                "`encoding` must be an encoding that Python knows, such as 'utf-8', 'utf-16', 'latin-1' or 'cp1252'. "
                f"Received: {self.encoding!r}."
            ) from None

    def _check_column_names(self) -> None:
        names = self.column_names
        if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
            raise TypeError(f"`column_names` must be a tuple of names. Received: {names!r}.")
        object.__setattr__(self, "column_names", tuple(names or ()))
        if not names or "" in names or len(set(names)) < len(names):
            raise ValueError(
                f"`column_names` must have a name for each column, and no name twice. Received: {list(names or ())}."
            )
