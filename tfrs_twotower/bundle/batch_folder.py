"""The folder of a batch of recommendations: its record, and its parts, each of which appears complete or not at all.

A part that is there is never computed again. The record says what the parts are made of, so that parts of one batch
never lie beside those of another. Names of everything else begin with a dot or an underscore, and are therefore ignored
by programs that read the folder as one table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower._json_values import read_json
from tfrs_twotower._locks import lock, move_into_place, try_lock

_RECORD = "_batch.json"
_MAX_RECORD_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """What determines the recommendations of a batch.

    Attributes:
        bundle: Version, export and time of the bundle.
        k: Maximum number of recommendations per query.
        rows_per_part: Maximum number of rows of a part.
        queries: Name, number of rows and SHA-256 of each file of queries.
    """

    bundle: Mapping[str, Any]
    k: int
    rows_per_part: int
    queries: tuple[Mapping[str, Any], ...]


class BatchFolder:
    """The folder of a batch, of which several processes may each compute some parts.

    Args:
        path: The folder; created if it does not exist.
        record: What the batch consists of.

    Raises:
        ValueError: If the folder holds another batch, or something else.
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, record: BatchRecord) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        with lock(path):
            _require_same(path, record)

    def has(self, name: str) -> bool:
        """Tells whether a part is there.

        Args:
            name: The part's name.
        """
        return (self.path / name).exists()

    @contextlib.contextmanager
    def workplace(self, name: str) -> Iterator[Path]:
        """Makes a folder for unfinished files, which one process at a time has, and removes it at the end.

        Args:
            name: What is computed there; the same for processes that must not run at the same time.

        Raises:
            RuntimeError: If another process has it.
        """
        folder = self.path / f".{name}"
        folder.mkdir(exist_ok=True)
        with try_lock(folder) as is_mine:
            if is_mine is False:
                raise RuntimeError(f"Another process is computing {name} in {self.path}. Wait for it, or end it.")
            if is_mine:
                _clear(folder)  # of what a killed process left
            try:
                yield folder
            finally:
                if is_mine:
                    _clear(folder)
                with contextlib.suppress(OSError):  # without locks, another process may be at work there
                    folder.rmdir()

    @contextlib.contextmanager
    def write(self, name: str, schema: pa.Schema, workplace: Path) -> Iterator[pq.ParquetWriter]:
        """Writes a part, which appears when it is complete and on the disk.

        Args:
            name: The part's name.
            schema: Columns of the part.
            workplace: Where it is written; see `workplace`.

        Yields:
            The writer of its tables.
        """
        aside = workplace / f"{name}.{uuid.uuid4().hex}"
        # Scores hardly ever recur, and a dictionary of them would be given up after having been made.
        recurring = [path for path in _column_paths(schema) if not path.startswith(("scores.", "probabilities."))]
        with pq.ParquetWriter(aside, schema, use_dictionary=recurring) as writer:
            yield writer
        move_into_place(aside, self.path / name)


def _clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _column_paths(schema: pa.Schema) -> list[str]:
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]


def _require_same(path: Path, record: BatchRecord) -> None:
    """Writes the record of a new batch, or checks that the one that is there is the same."""
    file, content = path / _RECORD, json.loads(json.dumps(dataclasses.asdict(record)))
    if not file.exists():
        others = sorted(other.name for other in path.iterdir() if not other.name.startswith("."))
        if others:
            raise ValueError(f"{path} holds something else: {others[0]}. Choose an empty folder for the output.")
        aside = path / f".{_RECORD}"
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        move_into_place(aside, file)
        return
    before = read_json(file, _MAX_RECORD_BYTES).plain()
    differences = list(_differences(before, content))
    if differences:
        raise ValueError(
            f"{path} holds a batch that was begun with other arguments: {'; '.join(differences[:5])}. Go on with "
            "those, or choose an empty folder for the output."
        )


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Says where two values differ, of which the parts of an object or a list are named by keys."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        yield f"{name} was {_short(before)} and is now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 100 else f"{text[:80]}..."
