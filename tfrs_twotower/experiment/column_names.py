"""The names of a file's columns, without reading all of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.text_detection import find_format
from tfrs_twotower.data.text_format import TextFormat

_BINARY = (".parquet", ".feather", ".arrow")


def read_column_names(path: str, text_format: TextFormat) -> list[str]:
    """Reads the names of a file's columns.

    Args:
        path: What `read_files` takes.
        text_format: How text files are written.

    Raises:
        OSError: As `read_files`.
        ValueError: As `read_files`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.csv")
        ...     _ = path.write_text("sku;stars")
        ...     read_column_names(str(path), TextFormat())
        ['sku', 'stars']
    """
    location = Path(path)
    name = location.name.lower()
    if location.is_file() and name.endswith(".parquet"):
        try:
            return list(pyarrow.parquet.ParquetFile(path).schema_arrow.names)
        except (pa.ArrowException, OSError):
            pass  # `read_files` says what is wrong with it
    elif location.is_file() and ".tfrecord" not in name and not name.endswith(_BINARY):
        delimiter = "\t" if name.removesuffix(".gz").endswith((".tsv", ".tab", ".data", ".inter")) else ","
        return list(find_format(location, text_format, usual_delimiter=delimiter).column_names)
    return list(read_files(path, text_format=text_format).column_names)
