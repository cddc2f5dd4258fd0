"""Reading and checking the files of an archive according to their forms."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.movielens.archive_files import ArchiveFiles
from tfrs_twotower.movielens.layout import TableForm, TextColumns


def read_table(files: ArchiveFiles, form: TableForm) -> pa.Table:
    """Reads a file of movies or users.

    Args:
        files: The archive.
        form: The form of the file.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the file does not have the form (the file and the line are named).
    """
    with files.open(form.name) as file:
        content = file.read()
    try:
        text = content.decode(form.encoding)
        if form.header is not None:
            require_header(files, form.name, form.header)
            rows = _csv_rows(text, form.header)
        else:
            rows = [line.rstrip("\r").split(form.delimiter) for line in text.split("\n") if line]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(
            f"{files.path} holds a {form.name} that cannot be read: {str(error).splitlines()[0]}"
        ) from error
    return form.parse(_transpose(rows, form))


def require_header(files: ArchiveFiles, name: str, header: str) -> None:
    """Checks that a file has the expected columns in the expected order.

    Args:
        files: The archive.
        name: Bare name of the file.
        header: The expected first line.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the first line differs.
    """
    with files.open(name) as file:
        received = file.readline().decode("utf-8", "replace").strip().lstrip("\ufeff")
    if received != header:
        raise ValueError(f"{files.path} holds a {name} with other columns. Expected: {header}. Received: {received!r}.")


def check_lines(files: ArchiveFiles, name: str, pattern: str, description: str, *, num_skipped: int = 0) -> None:
    """Checks every line of a file against a regular expression.

    Args:
        files: The archive.
        name: Bare name of the file.
        pattern: Regular expression of a whole line, without the end of the line.
        description: The form of a line, for errors.
        num_skipped: Number of lines at the beginning of the file that are not checked.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a line does not match; names the first such line.
    """
    expression = re.compile(pattern.encode())
    with files.open(name) as file:
        for number, line in enumerate(file, start=1):
            line = line.rstrip(b"\r\n")
            if number > num_skipped and expression.fullmatch(line) is None:
                raise ValueError(
                    f"{files.folder / name}, line {number}: expected `{description}`. "
                    f"Received: {line[:60].decode('latin-1')!r}."
                )


def _csv_rows(text: str, header: str) -> list[list[str]]:
    table = pa.csv.read_csv(
        pa.BufferReader(text.encode()),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header.split(","), pa.string()), strings_can_be_null=False
        ),
    )
    return [list(row.values()) for row in table.to_pylist()]


def _transpose(rows: list[list[str]], form: TableForm) -> TextColumns:
    for number, row in enumerate(rows, start=1):
        if len(row) != form.num_fields:
            raise ValueError(f"{form.name}, line {number}: expected {form.num_fields} fields. Received: {row[:4]!r}.")
    return list(zip(*rows, strict=True)) if rows else [()] * form.num_fields
