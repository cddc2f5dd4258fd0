"""From a trained model to a published version: build, write aside, ask in a fresh process, compare, appear."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.bundle import fresh
from tfrs_twotower.bundle.bundle import Bundle, Requests, build_bundle, build_sides, require_extra_files
from tfrs_twotower.bundle.layout import portable_twin
from tfrs_twotower.bundle.signatures import Rerank, Signatures
from tfrs_twotower.bundle.warmup import require_batch_sizes, write_warmup
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.index.build import BuildIndex, build_best_index, build_portable_index
from tfrs_twotower.index.scann import ScannIndex
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.publishing.gate import QualityGate
from tfrs_twotower.publishing.publish import Publication, publish, require_keep

# The same operations on the same values: only the threading of a matrix product may differ between processes.
_TOLERANCE = 1e-5
#: Rows of the requests that TensorFlow Serving replays: one user, and a batch.
WARMUP_BATCH_SIZES = (1, 32)


def export_bundle(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    directory: str | Path,
    *,
    k: int | None = None,
    build_index: BuildIndex = build_best_index,
    with_portable: bool = False,
    filter_by: Sequence[str] = (),
    rerank: Rerank | None = None,
    metrics: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, str] | None = None,
    gate: QualityGate | None = None,
    keep: int | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
) -> Path:
    """Publishes a trained model as the next version in a folder.

    Args:
        model: A trained model.
        known: The catalogue (`candidates`), the queries whose features the bundle remembers (`queries`), and what each
            has seen and is not recommended again (`events`).
        directory: `saved_models/<name>`.
        k: Recommendations per query, 1 <= k <= num_candidates; by default 100, or all where there are fewer.
        build_index: `build_scann_index`, `build_portable_index` or `build_exact_index`; by default ScaNN's where it is
            installed, else the portable one. `functools.partial` sets a target or limits.
        with_portable: Whether the same is published for any TensorFlow beside it, in `<directory>-portable`, if the
            index takes ScaNN's operations. Both appear, or, if an error comes between, neither.
        filter_by: Columns of the candidates that `recommend_filtered` takes: strings, whole numbers or truth values,
            or lists of them.
        rerank: How the first candidates that are found are ordered; by default as they are found, by the retrieval
            head's scores.
        metrics: Evaluation figures for the manifest.
        extra_files: Name -> text of other files to keep in the version's `assets.extra`, such as `report.html`.
        gate: What the bundle must hold to be published.
        keep: How many versions stay in a folder, the newest, >= 1; by default all.
        warmup_batch_sizes: Rows of the requests that TensorFlow Serving replays before it serves the version.

    Returns:
        The version's folder.

    Raises:
        ValueError: If `k` or another number is out of range, the embeddings are not finite, a column cannot be filtered
            by, `rerank` needs probabilities that the model does not know, or an extra file has no name of its own.
        ImportError: If a ScaNN index was asked for and scann is unusable.
        OSError: If a folder cannot be written.
        QualityError: If the bundle does not hold what the gate asks for. Nothing is published then.
        RuntimeError: If the written bundle does not answer like the model in memory. Nothing is published then.
    """
    directory, catalogue = Path(directory), known.candidates
    k = k if k is not None else min(100, catalogue.num_rows)
    if not 1 <= k <= catalogue.num_rows:
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={catalogue.num_rows}.")
    require_extra_files(extra_files or {})
    require_batch_sizes(warmup_batch_sizes)
    require_keep(keep)
    try:
        json.dumps(metrics, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`metrics` must be plain finite numbers, for a manifest in JSON: {error}.") from error
    sides = build_sides(model, known, filter_by=filter_by, rerank=rerank, metrics=metrics)
    embeddings = sides.embed(catalogue)
    bundles = {directory: build_bundle(sides, catalogue, embeddings, build_index, k=k)}
    if with_portable and bundles[directory].manifest["index"]["kind"] == ScannIndex.kind:
        bundles[portable_twin(directory)] = build_bundle(sides, catalogue, embeddings, build_portable_index, k=k)
    bundles = {
        path: dataclasses.replace(bundle, extra_files=dict(extra_files or {})) for path, bundle in bundles.items()
    }
    return publish_bundles(bundles, gate=gate, keep=keep, warmup_batch_sizes=warmup_batch_sizes)[0]


def publish_bundles(
    bundles: Mapping[Path, Bundle],
    *,
    gate: QualityGate | None = None,
    keep: int | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
) -> list[Path]:
    """Writes bundles as the next versions in their folders, if each answers in a fresh process as it does here.

    Args:
        bundles: Folder -> what is published in it.
        gate: As of `export_bundle`.
        keep: As of `export_bundle`.
        warmup_batch_sizes: As of `export_bundle`, checked.

    Returns:
        The versions' folders.

    Raises:
        ValueError: If `keep` is less than 1.
        OSError: If a folder cannot be written.
        QualityError: If a bundle does not hold what the gate asks for. Nothing is published then.
        RuntimeError: If a written bundle does not answer like the one in memory. Nothing is published then.
    """

    def publication(directory: Path, bundle: Bundle) -> Publication:
        def write(path: Path) -> None:
            bundle.save(path)
            write_warmup(path, bundle.requests, warmup_batch_sizes, name=directory.name)

        def check(path: Path) -> None:
            check_in_fresh_process(path, bundle)
            if gate is not None:
                gate.require(bundle.manifest, directory)

        return Publication(directory=directory, write=write, check=check)

    return publish([publication(*item) for item in bundles.items()], keep=keep)


def check_in_fresh_process(path: Path, bundle: Bundle) -> None:
    """Compares a bundle on disk, loaded by a process with nothing but TensorFlow, with the one in memory.

    Args:
        path: The bundle on disk.
        bundle: The bundle in memory; its requests are asked of both.

    Raises:
        RuntimeError: If it does not load, or an answer differs.
    """
    other = find_other_answer(bundle.signatures, bundle.requests, ask_in_fresh_process(path, bundle.requests))
    if other is not None:
        signature, name = other
        raise RuntimeError(
            f"The exported bundle's `{signature}` gives other {name} than the model in memory. Not published."
        )


def find_other_answer(
    signatures: Signatures, requests: Requests, replies: Sequence[Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Looks for a reply that is not what signatures answer here.

    Args:
        signatures: Name -> concrete function.
        requests: (signature, inputs).
        replies: As of `ask_in_fresh_process`.

    Returns:
        (signature, output) of the first that differs by more than rounding, or None.
    """
    for (signature, inputs), reply in zip(requests, replies, strict=True):
        for name, expected in signatures[signature](**inputs).items():
            values = expected.numpy()
            if values.dtype == object:
                same = fresh.to_plain(values.tolist()) == reply[name]
            else:
                same = np.allclose(values, np.asarray(reply[name], values.dtype), rtol=_TOLERANCE, atol=_TOLERANCE)
            if not same:
                return signature, name
    return None


def ask_in_fresh_process(path: Path, requests: Requests, *, python: str = sys.executable) -> list[dict[str, Any]]:
    """Asks a bundle's signatures from a new Python process that imports TensorFlow alone.

    Args:
        path: A version's folder.
        requests: (signature, inputs).
        python: The interpreter, whose TensorFlow may be another.

    Returns:
        For each request output name -> nested lists.

    Raises:
        RuntimeError: If the process fails.
    """
    described = [
        {
            "signature": signature,
            "inputs": {
                name: {"dtype": values.dtype.name, "values": fresh.to_plain(values.numpy().tolist())}
                for name, values in inputs.items()
            },
        }
        for signature, inputs in requests
    ]
    with tempfile.TemporaryDirectory(prefix="bundle-check-") as workspace:
        asked, answered = Path(workspace) / "requests.json", Path(workspace) / "replies.json"
        asked.write_text(json.dumps(described), encoding="utf-8")
        command = [python, fresh.__file__, str(path), str(asked), str(answered)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if result.returncode:
            reason = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[-1]
            raise RuntimeError(f"The exported bundle does not load and answer in a fresh process: {reason}")
        replies: list[dict[str, Any]] = json.loads(answered.read_text(encoding="utf-8"))
    return replies
