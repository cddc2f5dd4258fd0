"""Storing `Interactions` in a folder of Arrow files that are memory-mapped on opening."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions, require_interactions

_DESCRIPTION = "interactions.json"


def save_interactions(interactions: Interactions, folder: str | os.PathLike[str]) -> None:
    """Writes the three tables into a new folder, which appears complete or not at all.

    Args:
        interactions: The data to write.
        folder: Path of the new folder. There must be nothing at this path yet.

    Raises:
        TypeError: If the data is no `Interactions`.
        FileExistsError: If there is something at `folder`.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [4.0]}),
        ... )
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_interactions(ratings, f"{place}/ratings")
        ...     sorted(path.name for path in Path(place, "ratings").iterdir())
        ['candidates.arrow', 'events.arrow', 'interactions.json', 'queries.arrow']
    """
    interactions = require_interactions(interactions, "interactions")
    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} already exists. Choose another folder, or delete it first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _write_table(interactions.queries, aside / "queries.arrow")
        _write_table(interactions.candidates, aside / "candidates.arrow")
        _write_table(interactions.events, aside / "events.arrow")
        description = {
            "query_id": interactions.query_id,
            "candidate_id": interactions.candidate_id,
            "source": interactions.source,
            "original_names": dict(interactions.original_names),
            "notes": list(interactions.notes),
            "has_ratings": interactions.has_ratings,
        }
        (aside / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        aside.chmod(0o755)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def open_interactions(folder: str | os.PathLike[str]) -> Interactions:
    """Opens a folder that `save_interactions` wrote, without reading the events into memory.

    The events are checked once, block by block, and stay on disk until a batch needs them.

    Args:
        folder: Path of the folder. It must not change while the result is in use.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the folder does not hold interactions, or they are damaged.

    Example:
        >>> import tempfile
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": ["x"]}), query_id="u", candidate_id="m",
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [4.0]}),
        ... )
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_interactions(ratings, f"{place}/ratings")
        ...     open_interactions(f"{place}/ratings").fingerprint() == ratings.fingerprint()
        True
    """
    source = Path(folder)
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder at {source}. Write one with `save_interactions`.")
    try:
        description = _read_description(source / _DESCRIPTION)
        return Interactions(
            queries=_map_table(source / "queries.arrow"),
            candidates=_map_table(source / "candidates.arrow"),
            events=_map_table(source / "events.arrow"),
            **description,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source} does not hold interactions, or they are damaged: {error}") from error


def _write_table(table: pa.Table, path: Path) -> None:
    # One chunk per column, because only that can be mapped as one array.
    table = table.combine_chunks()
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))


def _map_table(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path.name} is missing or damaged.") from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is missing or damaged.") from error
    known = {field.name for field in dataclasses.fields(Interactions)} - {"queries", "candidates", "events"}
    if not isinstance(description, dict) or not {"query_id", "candidate_id"} <= set(description) <= known:
        raise ValueError(f"{path.name} must describe interactions: {', '.join(sorted(known))}.")
    return description
