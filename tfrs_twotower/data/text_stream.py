"""`TextStream`: the bytes of a text file as UTF-8, with one character between two values, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

#: Stands for a delimiter of several characters, because Arrow reads only single ones: Unicode's unit separator.
UNIT_SEPARATOR = "\x1f"

_CHUNK_BYTES = 2**22
#: How far a compressed file may expand, so that a small one cannot fill the memory. Tables of events expand 3 to 20
#: times, and tables of many columns that are nearly always empty about 100 times; gzip can reach 1,030 times. Up to 256
#: MiB, any ratio is harmless.
_MAX_RATIO = 200
_HARMLESS_BYTES = 2**28
#: A longer line is not a row of a table: Arrow reads rows of at most this length, too.
_MAX_LINE_CHARACTERS = 2**24


def is_single_byte(delimiter: str) -> bool:
    """Tells whether Arrow reads a delimiter as it is: one ASCII character.

    Args:
        delimiter: Characters between two values.

    Example:
        >>> is_single_byte(";"), is_single_byte("::")
        (True, False)
    """
    return len(delimiter) == 1 and delimiter.isascii()


class TextStream(io.RawIOBase):
    r"""Reads a text file, perhaps compressed by gzip, as UTF-8 without a byte order mark.

    Attributes:
        path: The file.
        num_quotes: Number of double quotes read so far.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.dat")
        ...     _ = path.write_bytes("7::é".encode("latin-1"))
        ...     with TextStream(path, encoding="latin-1", delimiter="::") as stream:
        ...         stream.read(100).decode()
        '7\x1fé'
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str,
        delimiter: str = ",",
        is_given: bool = False,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        """Opens the file.

        Args:
            path: The file. It is decompressed if its name ends with `.gz`.
            encoding: Encoding of the text.
            delimiter: Characters between two values; several, or one that is not ASCII, are replaced by
                `UNIT_SEPARATOR`.
            is_given: Whether the user named the encoding, for the advice of errors.
            on_bytes: Called with the number of bytes read of the file so far.

        Raises:
            OSError: If the file cannot be opened.
        """
        super().__init__()
        self.path = path
        self._raw = path.open("rb")
        is_gzip = path.name.lower().endswith(".gz")
        self._file: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=self._raw) if is_gzip else self._raw
        self._encoding = encoding
        self._is_given = is_given
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._delimiter = delimiter
        self._on_bytes = on_bytes
        self._num_bytes = 0
        self._max_bytes = max(_HARMLESS_BYTES, _MAX_RATIO * os.fstat(self._raw.fileno()).st_size) if is_gzip else None
        self._ready = b""
        self._carried = ""
        self.num_quotes = 0
        self._num_lines = 0
        self._line_length = 0
        self._is_first = True
        self._is_done = False

    def readable(self) -> bool:
        """Tells that the stream can be read."""
        return True

    def close(self) -> None:
        """Closes the file."""
        self._raw.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes; all that are left if it is negative.

        Args:
            size: Number of bytes.

        Raises:
            ValueError: If the file is damaged, has another encoding, expands beyond the limit, or has too long a line
                (the file is named).
        """
        while not self._is_done and (size < 0 or len(self._ready) < size):
            self._ready += self._next()
        size = len(self._ready) if size < 0 else size
        result, self._ready = self._ready[:size], self._ready[size:]
        return result

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads bytes into a buffer and returns their number.

        Args:
            buffer: Receives the bytes.
        """
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _next(self) -> bytes:
        try:
            chunk = self._file.read(_CHUNK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{self.path} is damaged: its compressed data is cut off or is not gzip. Copy or make the file again."
            ) from error
        self._is_done = not chunk
        self._num_bytes += len(chunk)
        if self._max_bytes is not None and self._num_bytes > self._max_bytes:
            raise ValueError(
                f"{self.path} expands to more than {self._max_bytes >> 20:,} MiB, over {_MAX_RATIO} times its size. "
                "The rest was not read, because a file that is made to fill the memory looks like this. If the data is "
                "real, decompress it (gunzip) and name the result."
            )
        text = self._decode(chunk)
        self._check_line(text)
        if self._on_bytes is not None:
            self._on_bytes(self._raw.tell())
        if is_single_byte(self._delimiter):
            return text.encode()
        if UNIT_SEPARATOR in text:
            raise ValueError(
                f"{self.path} holds the control character U+001F, which cannot be read with the delimiter "
                f"{self._delimiter!r}. Remove it, or use a delimiter of one character."
            )
        # A delimiter may be cut by the end of a chunk, but no line end is part of one.
        text = self._carried + text
        end = len(text) if self._is_done else _last_line_end(text) + 1
        self._carried = text[end:]
        return text[:end].replace(self._delimiter, UNIT_SEPARATOR).encode()

    def _check_line(self, text: str) -> None:
        last = _last_line_end(text)
        self._line_length = len(text) - last - 1 if last >= 0 else self._line_length + len(text)
        if self._line_length > _MAX_LINE_CHARACTERS:
            raise ValueError(
                f"{self.path} has a line of more than {_MAX_LINE_CHARACTERS >> 20} million characters. It must have a "
                "line for each row."
            )

    def _decode(self, chunk: bytes) -> str:
        try:
            text = self._decoder.decode(chunk, final=self._is_done)
        except UnicodeError as error:
            raise ValueError(self._describe_encoding(chunk, error)) from error
        if self._is_first and text:
            text = text.removeprefix("\ufeff")
            self._is_first = False
        self._num_lines += text.count("\n")
        self.num_quotes += text.count('"')
        return text

    def _describe_encoding(self, chunk: bytes, error: UnicodeError) -> str:
        position = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = self._num_lines + chunk[:position].count(b"\n") + 1
        text = f"{self.path} is not {self._encoding} text: line {line} cannot be decoded."
        if self._is_given:
            return f"{text} Give another `encoding`, or save the file as UTF-8."
        # Windows has letters and quotation marks where Latin-1 has control characters.
        is_windows = any(0x80 <= byte < 0xA0 for byte in chunk)
        guess = "cp1252" if is_windows else "latin-1"
        return (
            f"{text} Name its encoding, probably with text_format=TextFormat(encoding={guess!r}), or save it as UTF-8."
        )


def _last_line_end(text: str) -> int:
    """Finds the last character that Arrow takes as the end of a line, or -1."""
    return max(text.rfind("\n"), text.rfind("\r"))
