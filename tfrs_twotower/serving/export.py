"""From a trained model to a published version: build, write aside, ask in a fresh process, compare, appear."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.serving import fresh
from tfrs_twotower.serving.build_index import BuildIndex, build_best_index
from tfrs_twotower.serving.bundle import Bundle, Requests, build_bundle
from tfrs_twotower.serving.publish import publish

# The same operations on the same values: only the threading of a matrix product may differ between processes.
_TOLERANCE = 1e-5


def export_bundle(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    directory: str | Path,
    *,
    k: int | None = None,
    build_index: BuildIndex = build_best_index,
    filter_by: Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> Path:
    """Publishes a trained model as the next version in a folder.

    Args:
        model: A trained model.
        known: The catalogue, the queries to remember, and what each has seen; see `build_bundle`.
        directory: `saved_models/<name>`.
        k: Recommendations per query, 1 <= k <= num_candidates; by default 100, or all where there are fewer.
        build_index: `build_scann_index`, `build_portable_index` or `build_exact_index`; by default ScaNN's where it is
            installed, else the portable one. `functools.partial` sets a target or limits.
        filter_by: Columns of the candidates that `recommend_filtered` takes: strings, whole numbers or truth values,
            or lists of them.
        metrics: Evaluation figures for the manifest.
        extra_files: Name -> text of other files to keep in the version's `assets.extra`, such as `report.html`.

    Returns:
        The version's folder.

    Raises:
        ValueError: If `k` is out of range, the embeddings are not finite, a column cannot be filtered by, or an extra
            file has no name of its own.
        ImportError: If a ScaNN index was asked for and scann is unusable.
        OSError: If `directory` cannot be written.
        RuntimeError: If the written bundle does not answer like the model in memory. Nothing is published then.
    """
    k = k if k is not None else min(100, known.num_candidates)
    bundle = build_bundle(model, known, build_index, k=k, filter_by=filter_by, metrics=metrics, extra_files=extra_files)
    return publish_bundle(bundle, Path(directory))


def publish_bundle(bundle: Bundle, directory: Path) -> Path:
    """Writes a bundle as the next version in a folder, if it answers in a fresh process as it does here.

    Returns:
        The version's folder.

    Raises:
        OSError: If `directory` cannot be written.
        RuntimeError: If the written bundle does not answer like the one in memory. Nothing is published then.
    """
    return publish(directory, bundle.save, lambda path: check_in_fresh_process(path, bundle))


def check_in_fresh_process(path: Path, bundle: Bundle) -> None:
    """Compares a bundle on disk, loaded by a process with nothing but TensorFlow, with the one in memory.

    Args:
        path: The bundle on disk.
        bundle: The bundle in memory; its requests are asked of both.

    Raises:
        RuntimeError: If it does not load, or an answer differs.
    """
    replies = ask_in_fresh_process(path, bundle.requests)
    for (signature, inputs), reply in zip(bundle.requests, replies, strict=True):
        for name, expected in bundle.signatures[signature](**inputs).items():
            values = expected.numpy()
            if values.dtype == object:
                same = fresh.to_plain(values.tolist()) == reply[name]
            else:
                same = np.allclose(values, np.asarray(reply[name], values.dtype), rtol=_TOLERANCE, atol=_TOLERANCE)
            if not same:
                raise RuntimeError(
                    f"The exported bundle's `{signature}` gives other {name} than the model in memory. Not published."
                )


def ask_in_fresh_process(path: Path, requests: Requests) -> list[dict[str, Any]]:
    """Asks a bundle's signatures from a new Python process that imports TensorFlow alone.

    Args:
        path: A version's folder.
        requests: (signature, inputs).

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
        command = [sys.executable, fresh.__file__, str(path), str(asked), str(answered)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if result.returncode:
            reason = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[-1]
            raise RuntimeError(f"The exported bundle does not load and answer in a fresh process: {reason}")
        replies: list[dict[str, Any]] = json.loads(answered.read_text(encoding="utf-8"))
    return replies
