"""From a trained model to a published version: build, write aside, ask in a fresh process, compare, appear."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.inputs import CANDIDATE_INPUT
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.serving import fresh
from tfrs_twotower.serving.bundle import Bundle, build_bundle, missing_input, query_inputs
from tfrs_twotower.serving.index import Index, build_best_index
from tfrs_twotower.serving.publish import publish

_NUM_CHECKED = 32
_NUM_GIVEN = 3
# The same operations on the same values: only the threading of a matrix product may differ between processes.
_TOLERANCE = 1e-5

_Requests = list[tuple[str, dict[str, tf.Tensor]]]


def export_bundle(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    directory: str | Path,
    *,
    k: int | None = None,
    build_index: Callable[[np.ndarray, list[str]], Index] = build_best_index,
    metrics: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> Path:
    """Publishes a trained model as the next version in a folder.

    Args:
        model: A trained model.
        known: The catalogue, the queries to remember, and what each has seen; see `build_bundle`.
        directory: `saved_models/<name>`.
        k: Recommendations per query, 1 <= k <= num_candidates; by default 100, or all where there are fewer.
        build_index: `ScannIndex` or `ExactIndex`; by default ScaNN's where it is installed.
        metrics: Evaluation figures for the manifest.
        extra_files: Name -> text of other files to keep in the version's `assets.extra`, such as `report.html`.

    Returns:
        The version's folder.

    Raises:
        ValueError: If `k` is out of range, the embeddings are not finite, or an extra file has no name of its own.
        ImportError: If a ScaNN index was asked for and scann is unusable.
        OSError: If `directory` cannot be written.
        RuntimeError: If the written bundle does not answer like the model in memory. Nothing is published then.
    """
    k = k if k is not None else min(100, known.num_candidates)
    bundle = build_bundle(model, known, build_index, k=k, metrics=metrics, extra_files=extra_files)
    requests = _sample_requests(model, known)
    return publish(Path(directory), bundle.save, lambda path: check_in_fresh_process(path, bundle, requests))


def check_in_fresh_process(path: Path, bundle: Bundle, requests: _Requests) -> None:
    """Compares a bundle on disk, loaded by a process with nothing but TensorFlow, with the one in memory.

    Args:
        path: The bundle on disk.
        bundle: The bundle in memory.
        requests: (signature, inputs) to ask both.

    Raises:
        RuntimeError: If it does not load, or an answer differs.
    """
    replies = ask_in_fresh_process(path, requests)
    for (signature, inputs), reply in zip(requests, replies, strict=True):
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


def ask_in_fresh_process(path: Path, requests: _Requests) -> list[dict[str, Any]]:
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


def _sample_requests(model: TwoTowerModel | JointModel, known: Interactions) -> _Requests:
    """The first known queries and candidates through every signature; also a query that says no more than a history."""
    towers = [head.query_tower for head in model.heads]
    specs = query_inputs(model, known)
    given = known.candidates[known.candidate_id].slice(0, _NUM_GIVEN).to_pylist()
    histories = [history.name for tower in towers for history in tower.histories]
    stranger = {spec.name: missing_input(spec) for spec in specs}
    stranger.update({name: tf.constant([given], tf.string) for name in histories})
    queries = stranger
    if known.num_queries:
        table = known.queries.slice(0, _NUM_CHECKED)
        said = {known.query_id: tf.constant(table[known.query_id].to_pylist(), tf.string)}
        for tower in towers:
            said.update(tower.raw_features(table))
        queries = {spec.name: said.get(spec.name, missing_input(spec, table.num_rows)) for spec in specs}
    rows = known.candidates.slice(0, _NUM_CHECKED)
    candidates: dict[str, tf.Tensor] = {}
    for head in model.heads:
        candidates.update(head.candidate_tower.raw_features(rows))
    num_pairs = min(_NUM_CHECKED, max(1, known.num_queries), known.num_candidates)
    ids = tf.constant(known.candidates[known.candidate_id].slice(0, num_pairs).to_pylist(), tf.string)
    pairs = {name: values[:num_pairs] for name, values in queries.items()}
    return [
        ("recommend", queries),
        ("serving_default", stranger),
        ("score", {**pairs, CANDIDATE_INPUT: ids}),
        ("embed_query", queries),
        ("embed_candidate", candidates),
    ]
