"""The catalogue's file of a bundle: it is written, and read only if it is the one that the index was built of.

The SavedModel recommends rows and names them by ids of its own. Titles and other columns are in a file beside it, and a
file whose rows were moved would show them with the wrong candidates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_twotower._sha256 import sha256_of
from tfrs_twotower.bundle.layout import CANDIDATES_FILE
from tfrs_twotower.bundle.manifest import Manifest


def write_candidates(folder: Path, candidates: pa.Table) -> str:
    """Writes the catalogue of a bundle.

    Args:
        folder: The version's folder.
        candidates: The catalogue, in the order of the index's rows.

    Returns:
        The file's SHA-256, for the manifest.

    Raises:
        OSError: If it cannot be written.
    """
    pq.write_table(candidates, folder / CANDIDATES_FILE)
    return _sha256(folder / CANDIDATES_FILE)


def read_candidates(folder: Path, manifest: Manifest, module: Any) -> pa.Table:
    """Reads the catalogue of a bundle, and compares it with what the SavedModel recommends.

    A file that older versions wrote is compared by its ids alone, because their manifests have no SHA-256 of it.

    Args:
        folder: The version's folder.
        manifest: The bundle's manifest.
        module: The SavedModel as TensorFlow loads it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged, or of another bundle.
    """
    path = folder / CANDIDATES_FILE
    expected = manifest.candidates_sha256
    if expected is not None and _sha256(path) != expected:
        raise ValueError(f"{CANDIDATES_FILE} is not the file that was exported: its SHA-256 is not the manifest's")
    try:
        candidates = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{CANDIDATES_FILE} is not a Parquet file that can be read: {error}") from error
    for name in (manifest.model.candidate.id, *manifest.filter_by):
        if name not in candidates.column_names:
            raise ValueError(f"{CANDIDATES_FILE} must have a column {name!r}")
    served = _served_ids(module)
    if not candidates.num_rows == len(served) == manifest.num_candidates:
        raise ValueError(
            f"{CANDIDATES_FILE} has {candidates.num_rows} candidates, the SavedModel {len(served)}, and the manifest "
            f"{manifest.num_candidates}"
        )
    try:
        ids = candidates[manifest.model.candidate.id].cast(pa.string()).combine_chunks()
    except pa.ArrowException as error:
        raise ValueError(f"{CANDIDATES_FILE} must have texts in {manifest.model.candidate.id!r}") from error
    # A missing id equals nothing.
    row = pc.index(pc.fill_null(pc.equal(ids, served), False), False).as_py()
    if row >= 0:
        raise ValueError(
            f"{CANDIDATES_FILE} is of another bundle: the candidate in row {row} is {ids[row].as_py()!r} there, and "
            f"{served[row].as_py()!r} in the SavedModel"
        )
    return candidates


def _served_ids(module: Any) -> pa.Array:
    """Returns the ids that a SavedModel gives to rows; the last one of its own names an empty slot."""
    try:
        ids = module.catalogue.ids.numpy().tolist()[:-1]
        return pa.array(ids, pa.binary()).cast(pa.string())
    except (AttributeError, TypeError, pa.ArrowException) as error:
        raise ValueError("the SavedModel has no ids of candidates") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
