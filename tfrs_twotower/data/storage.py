"""`Interactions` in a folder of Arrow files, opened by mapping them: events stay on disk until a batch needs them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa

from tfrs_twotower.data.interactions import Interactions

_TABLES = ("queries", "candidates", "events")
_DESCRIPTION = "interactions.json"


def save_interactions(interactions: Interactions, folder: str | os.PathLike[str]) -> None:
    """Writes the three tables into a new folder; it appears whole or not at all.

    Args:
        interactions: What to write.
        folder: Where nothing is yet.

    Raises:
        FileExistsError: If there is something at `folder`.
        OSError: If it cannot be written.
    """
    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} is there already. Choose another folder, or delete it first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name in _TABLES:
            # One chunk per column, which is what can be mapped as one array.
            table = getattr(interactions, name).combine_chunks()
            with pa.ipc.new_file(str(aside / f"{name}.arrow"), table.schema) as writer:
                writer.write_table(table, max_chunksize=max(1, table.num_rows))
        names = ("query_id", "candidate_id", "source")
        description = {name: getattr(interactions, name) for name in names}
        (aside / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        aside.chmod(0o755)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def open_interactions(folder: str | os.PathLike[str]) -> Interactions:
    """Opens what `save_interactions` wrote; the events are checked once, block by block, and stay on disk.

    Args:
        folder: The folder; it must stay as it is for as long as the result is used.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds something else, or is damaged.

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
        raise FileNotFoundError(f"No folder at {source}. Make one with `save_interactions`.")
    try:
        description = json.loads((source / _DESCRIPTION).read_text(encoding="utf-8"))
        tables = {name: pa.ipc.open_file(pa.memory_map(str(source / f"{name}.arrow"))).read_all() for name in _TABLES}
        return Interactions(**tables, **description)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{source} holds no interactions, or damaged ones: {str(error).splitlines()[0]}") from error
