"""Publishes a bundle with a new catalogue, without the model's code or the training data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tfrs_twotower.bundle.build import Sides, build_bundle
from tfrs_twotower.bundle.check import FreshCheck
from tfrs_twotower.bundle.load import LoadedBundle, load_bundle
from tfrs_twotower.bundle.restored import RestoredCandidateSide, RestoredQuerySide
from tfrs_twotower.bundle.signatures import Inputs
from tfrs_twotower.bundle.warmup import require_batch_sizes
from tfrs_twotower.data.columns import check_ids, plain_table, require_columns
from tfrs_twotower.data.compact import decode_table
from tfrs_twotower.data.sources import read_source
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.index.kinds import build_portable_index, builder_of
from tfrs_twotower.publishing.export import WARMUP_BATCH_SIZES, publish_bundle
from tfrs_twotower.publishing.gate import QualityGate
from tfrs_twotower.publishing.pairs import has_twins, is_served_as_pair, require_no_twins
from tfrs_twotower.publishing.publish import require_keep


def refresh_bundle(
    bundle: str | Path | LoadedBundle,
    candidates: Any,
    *,
    build_index: BuildIndex | None = None,
    gate: QualityGate | None = None,
    keep: int | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
) -> Path:
    """Publishes a bundle with another catalogue as the next version beside it.

    The query side stays as it is. Every candidate is embedded from its features by the trained candidate tower: an
    added candidate is ranked by its features alone, and a removed one is no longer recommended or found. A portable
    twin is published with it.

    Args:
        bundle: A version's folder, or the folder of all versions, of which the newest is taken; or a bundle that
            `load_bundle` loaded.
        candidates: A table in memory, in any form that `load_ratings` takes, one row per candidate: the id, the
            features that the candidate tower takes (a column that is left out is missing), and those that are filtered
            by. NaN is a missing value, of text too. `read_catalogue` reads a file.
        build_index: As in `ExportConfig`; by default of the kind that the bundle was exported with.
        gate: As in `export_bundle`. Metrics of the model are not measured here, so the gate should require only recalls
            of the index.
        keep: As in `export_bundle`.
        warmup_batch_sizes: As in `ExportConfig`.

    Returns:
        The new version's folder. It gives as many recommendations per query as the bundle was first exported for, or
        all if there are fewer candidates.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the folder holds something else or portable twins, ids are missing or repeated, the catalogue is
            empty, or the bundle's index is of a user's own kind and `build_index` is not given.
        TypeError: If ids are not strings, or a column holds something else than the candidate tower takes.
        ImportError: If the bundle's index needs scann and that is unusable here.
        OSError: If the folder cannot be written.
        QualityError: If the bundle does not meet the gate's requirements. Nothing is published then.
        RuntimeError: If the written bundle does not predict like the one in memory. Nothing is published then.

    Example:
        >>> refresh_bundle("saved_models/nothing", {"movie_id": ["x"]})
        Traceback (most recent call last):
        FileNotFoundError: There is no bundle at saved_models/nothing. Make one with: tfrs-twotower train
    """
    require_keep(keep)
    require_batch_sizes(warmup_batch_sizes)
    loaded, folder = open_version(bundle)
    manifest, directory = loaded.manifest, folder.parent
    build_index = build_index or builder_of(manifest.index.requested)
    catalogue = read_candidates(candidates, "candidates", manifest.model.candidate.id)
    require_columns(catalogue, manifest.filter_by, "`candidates`, by whose columns the bundle filters,")
    with FreshCheck() as check:
        sides = restore_sides(loaded, folder.name)
        embeddings = sides.embed(catalogue)
        refreshed = build_bundle(sides, catalogue, embeddings, build_index, k=manifest.requested_k)
        twin = None
        if needs_twin(directory):
            twin = build_bundle(sides, catalogue, embeddings, build_portable_index, k=manifest.requested_k)
        return publish_bundle(
            directory, refreshed, twin, check, gate=gate, keep=keep, warmup_batch_sizes=warmup_batch_sizes
        )


def open_version(bundle: str | Path | LoadedBundle) -> tuple[LoadedBundle, Path]:
    """Loads a bundle whose catalogue is to change.

    Args:
        bundle: As in `refresh_bundle`.

    Returns:
        (loaded, folder): the bundle, and its version's folder.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the folder holds something else or portable twins, or the bundle is of an older version.
    """
    loaded = bundle if isinstance(bundle, LoadedBundle) else load_bundle(bundle)
    folder = loaded.path.absolute()
    if not folder.name.isdecimal():
        folder = folder.resolve()  # a link such as `current`
    if not hasattr(loaded.module, "query_side"):
        raise ValueError(f"{folder} was made by an older version of this library. Export it again.")
    if not folder.name.isdecimal():
        raise ValueError(f"{folder} is not a version in a folder of versions. Move it to {folder / '1'}.")
    require_no_twins(folder.parent)
    return loaded, folder


def restore_sides(loaded: LoadedBundle, version: str) -> Sides:
    """Takes from a loaded bundle what stays when its catalogue changes.

    Args:
        loaded: The bundle.
        version: Its version, for the manifest.
    """
    manifest = loaded.manifest
    query, candidate = manifest.model.query, manifest.model.candidate
    return Sides(
        queries=RestoredQuerySide(loaded.module.query_side),
        candidates=RestoredCandidateSide(loaded.module.candidate_side),
        inputs=Inputs(
            query=[spec.tensor_spec for spec in query.inputs],
            candidate=[spec.tensor_spec for spec in candidate.inputs],
            histories=query.histories,
            ratings_of=query.ratings_of,
            times_of=query.times_of,
        ),
        filter_by=manifest.filter_by,
        rerank=manifest.rerank,
        recommend_seen=manifest.recommend_seen,
        known={query.id: loaded.module.query_side.sample_ids.read_value()},
        # The metrics are those of the other catalogue.
        entry=dataclasses.replace(manifest.model, metrics={}, refreshed_from=version),
    )


def needs_twin(directory: Path) -> bool:
    """Tells whether the next version of a bundle must have a portable twin.

    Args:
        directory: `saved_models/<name>`.
    """
    return has_twins(directory) or is_served_as_pair(directory)


def read_candidates(candidates: Any, name: str, id_column: str) -> pa.Table:
    """Reads a table of candidates in memory, and checks their ids.

    Args:
        candidates: As in `refresh_bundle`.
        name: Name of the argument, for errors.
        id_column: Column of the ids.

    Raises:
        ValueError: If ids are missing or repeated.
        TypeError: If it is not a table, or ids are not strings.
    """
    if isinstance(candidates, str | os.PathLike):
        raise TypeError(
            f"`{name}` must be a table. Received a path: {candidates}. Read it with: "
            "tfrs_twotower.publishing.read_catalogue(path, bundle)"
        )
    table = decode_table(read_source(candidates, name, text_columns=(id_column,)))
    table = plain_table(table, name)
    check_ids(table, id_column, name)
    return table
