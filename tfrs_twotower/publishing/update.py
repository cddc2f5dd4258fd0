"""Publishes a bundle whose catalogue has changed in some places: what stays is neither embedded nor indexed anew."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.bundle.build import Sides, build_bundle
from tfrs_twotower.bundle.check import FreshCheck
from tfrs_twotower.bundle.layout import find_version, portable_twin
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.manifest import Manifest, read_manifest
from tfrs_twotower.bundle.stored_vectors import stored_embeddings, stored_index
from tfrs_twotower.bundle.warmup import require_batch_sizes
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.index.kinds import build_portable_index
from tfrs_twotower.index.update import update_index
from tfrs_twotower.publishing.catalogue_change import ChangedCatalogue, change_catalogue
from tfrs_twotower.publishing.export import WARMUP_BATCH_SIZES, publish_bundle
from tfrs_twotower.publishing.gate import QualityGate
from tfrs_twotower.publishing.publish import require_keep
from tfrs_twotower.publishing.refresh import needs_twin, open_version, read_candidates, restore_sides
from tfrs_twotower.publishing.versions import next_version


def update_catalogue(
    bundle: str | Path | LoadedBundle,
    *,
    add: Any = None,
    remove: Iterable[str] = (),
    gate: QualityGate | None = None,
    keep: int | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
) -> Path:
    """Publishes a bundle with candidates added, changed and removed as the next version beside it.

    The result is that of `refresh_bundle` with the whole changed catalogue, but it is there much sooner: only added and
    changed candidates are embedded, and an approximate index keeps the partitions that it has learnt. Its recall is
    measured again. If it is below its target, or a quarter of the catalogue has changed since the partitions were
    learnt, the index is built anew, and a warning says so. A portable twin is published with it.

    If another version is published meanwhile, or this one withdrawn, nothing is published: what the other process has
    changed would be lost.

    Args:
        bundle: As in `refresh_bundle`.
        add: Candidates to add, a table in memory in any form that `load_ratings` takes, with all columns of the
            bundle's catalogue. A candidate whose id the catalogue has gets these features in place of its own.
            `read_catalogue` reads a file.
        remove: Ids of candidates to remove. A warning names ids that the catalogue does not have.
        gate: As in `refresh_bundle`.
        keep: As in `export_bundle`.
        warmup_batch_sizes: As in `ExportConfig`.

    Returns:
        The new version's folder.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the folder holds something else or portable twins, a column of the catalogue is missing or of
            another type, ids are missing or repeated, an id is both added and removed, nothing would change, nothing
            would be left, or the bundle's index is of a user's own kind.
        TypeError: If ids are not strings, or a column holds something else than the candidate tower takes.
        ImportError: If the bundle's index needs scann and that is unusable here.
        OSError: If the folder cannot be read or written.
        QualityError: If the bundle does not meet the gate's requirements. Nothing is published then.
        RuntimeError: If the written bundle does not predict like the one in memory, or another version was published or
            this one withdrawn meanwhile. Nothing is published then.

    Example:
        >>> update_catalogue("saved_models/nothing", remove=["x"])
        Traceback (most recent call last):
        FileNotFoundError: There is no bundle at saved_models/nothing. Make one with: tfrs-twotower train
    """
    require_keep(keep)
    require_batch_sizes(warmup_batch_sizes)
    loaded, folder = open_version(bundle)
    manifest, directory, id_column = loaded.manifest, folder.parent, loaded.manifest.model.candidate.id
    given, number = bundle.path if isinstance(bundle, LoadedBundle) else Path(bundle), next_version(directory)

    def confirm() -> None:
        if next_version(directory) != number or not folder.is_dir() or find_version(given) != loaded.path:
            raise RuntimeError(
                f"The versions in {directory} were changed by another process while {folder.name} was being changed. "
                "Not published, so that nothing of theirs is lost. Run it again."
            )

    confirm()  # another version may have been published while this one was loaded
    changed = change_catalogue(
        loaded.candidates,
        id_column,
        add=None if add is None else read_candidates(add, "add", id_column),
        remove=remove,
    )
    with FreshCheck() as check:
        sides = restore_sides(loaded, folder.name)
        earlier_rows = changed.earlier_rows
        embeddings = _embed(sides, changed, stored_embeddings(loaded.module, manifest))

        def build(build_index: BuildIndex) -> Any:
            return build_bundle(sides, changed.table, embeddings, build_index, k=manifest.requested_k)

        updated = build(_index_updater(folder, manifest, earlier_rows))
        twin = build(_twin_updater(folder, manifest, earlier_rows)) if needs_twin(directory) else None
        return publish_bundle(
            directory,
            updated,
            twin,
            check,
            gate=gate,
            keep=keep,
            warmup_batch_sizes=warmup_batch_sizes,
            confirm=confirm,
        )


def _embed(sides: Sides, changed: ChangedCatalogue, stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the embeddings of a changed catalogue, of which only what is new is computed."""
    is_new = changed.earlier_rows == NO_ROW
    embedded = sides.embed(changed.table.filter(is_new)) if is_new.any() else {}
    embeddings: dict[str, np.ndarray] = {}
    for name, vectors in stored.items():
        if name == "rating" and vectors is stored["retrieval"]:  # one model has both
            embeddings[name] = embeddings["retrieval"]
            continue
        embeddings[name] = vectors[changed.earlier_rows]
        if embedded:
            embeddings[name][is_new] = embedded[name]
    return embeddings


def _index_updater(folder: Path, manifest: Manifest, earlier_rows: np.ndarray) -> BuildIndex:
    return functools.partial(update_index, stored=stored_index(folder, manifest), earlier_rows=earlier_rows)


def _twin_updater(folder: Path, manifest: Manifest, earlier_rows: np.ndarray) -> BuildIndex:
    """Returns the function that builds the twin's index, anew if the version has no twin of its own export."""
    twin = portable_twin(folder.parent) / folder.name
    twin_manifest = read_manifest(twin)
    if twin_manifest is None or manifest.export_id is None or twin_manifest.export_id != manifest.export_id:
        warnings.warn(f"The portable twin's index is built anew: {folder} has no twin.", stacklevel=3)
        return build_portable_index
    return _index_updater(twin, twin_manifest, earlier_rows)
