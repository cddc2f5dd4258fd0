"""A new catalogue for a published bundle: neither the model's code nor the training data is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.bundle.bundle import Sides, build_bundle
from tfrs_twotower.bundle.load import LoadedBundle, load_bundle
from tfrs_twotower.bundle.restored import RestoredSide
from tfrs_twotower.bundle.signatures import Inputs, Rerank
from tfrs_twotower.bundle.warmup import require_batch_sizes
from tfrs_twotower.data.columns import plain_table, require_columns
from tfrs_twotower.data.interactions import check_ids
from tfrs_twotower.index.build import BUILDERS, BuildIndex
from tfrs_twotower.publishing.export import WARMUP_BATCH_SIZES, publish_bundles
from tfrs_twotower.publishing.gate import QualityGate
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

    The query side stays as it is. Every candidate is embedded from its features by the trained candidate tower: one
    that was added is as good as its features say, one that was removed is neither recommended nor found.

    Args:
        bundle: A version's folder, or the folder of all versions, of which the newest is taken; or what `load_bundle`
            made of it.
        candidates: Arrow table or pandas data frame, one row per candidate: the id, the features that the candidate
            tower takes (one that is left out is missing), and those that are filtered by.
        build_index: As of `export_bundle`; by default of the kind that the bundle was exported with.
        gate: As of `export_bundle`. Metrics of the model are not measured here: give it recalls of the index alone.
        keep: As of `export_bundle`.
        warmup_batch_sizes: As of `export_bundle`.

    Returns:
        The new version's folder. Its recommendations per query are as many as the bundle was first exported for, or
        all where there are fewer candidates.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the folder holds something else, ids are missing or repeated, or the catalogue is empty.
        TypeError: If ids are no strings, or a column holds something else than the candidate tower takes.
        ImportError: If the bundle's index needs scann and that is unusable here.
        OSError: If the folder cannot be written.
        QualityError: If the bundle does not hold what the gate asks for. Nothing is published then.
        RuntimeError: If the written bundle does not answer like the one in memory. Nothing is published then.
    """
    require_keep(keep)
    require_batch_sizes(warmup_batch_sizes)
    loaded = bundle if isinstance(bundle, LoadedBundle) else load_bundle(bundle)
    manifest, folder = loaded.manifest, loaded.path.absolute()
    if not folder.name.isdecimal():
        folder = folder.resolve()  # a link such as `current`
    if not hasattr(loaded.module, "query_side") or "rerank" not in manifest:
        raise ValueError(f"{folder} was made by an older version of this library. Export it again.")
    if not folder.name.isdecimal():
        raise ValueError(f"{folder} is no version in a folder of versions. Move it to {folder / '1'}.")
    catalogue = _checked(candidates, manifest["candidate"]["id"])
    require_columns(catalogue, manifest["filter_by"], "`candidates`, by whose columns the bundle filters,")
    histories = [feature["name"] for feature in manifest["query"]["features"] if feature["kind"] == "History"]
    kept = ("query", "candidate", "num_queries", "positive_threshold", "has_probabilities", "data")
    sides = Sides(
        queries=RestoredSide(loaded.module.query_side, ("embed", "recall"), ("candidate_ids", "sample", "sample_ids")),
        candidates=RestoredSide(loaded.module.candidate_side, ("embed",), ("is_latent",)),
        inputs=Inputs(
            query=_specs(manifest["query"]["inputs"]),
            candidate=_specs(manifest["candidate"]["inputs"]),
            histories=sorted(set(histories)),
        ),
        filter_by=manifest["filter_by"],
        rerank=Rerank(**manifest["rerank"]) if manifest["rerank"] else None,
        said={manifest["query"]["id"]: loaded.module.query_side.sample_ids.read_value()},
        # The figures are of the other catalogue.
        manifest={**{name: manifest[name] for name in kept}, "metrics": {}, "refreshed_from": folder.name},
    )
    refreshed = build_bundle(
        sides,
        catalogue,
        sides.embed(catalogue),
        build_index or BUILDERS[manifest["index"]["requested"]],
        k=manifest["requested_k"],
    )
    return publish_bundles({folder.parent: refreshed}, gate=gate, keep=keep, warmup_batch_sizes=warmup_batch_sizes)[0]


def _specs(inputs: list[dict[str, Any]]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(spec["shape"], tf.as_dtype(spec["dtype"]), name=spec["name"]) for spec in inputs]


def _checked(candidates: Any, id_column: str) -> pa.Table:
    table = plain_table(pa.table(candidates), "candidates")
    check_ids(table, id_column, "candidates")
    if not table.num_rows:
        raise ValueError("`candidates` must have at least one row.")
    return table
