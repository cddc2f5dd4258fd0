"""Latency of `recommend` for one user from a C++ host and from Python, and the C++ host's memory over many calls.

The C++ host (tests/integration/hosts/host.cc) loads and calls a bundle as TensorFlow Serving does. It is compiled with
g++ against the installed TensorFlow wheel, so this script needs Linux. The bundle is one that this library exported,
such as the one that scripts/demo makes. The query is the first of its warm-up file, or with `--history` an unknown one
with a history of so many candidates, and with their ratings and times if the bundle takes them.

    python scripts/benchmark_hosts.py BUNDLE [--json FILE] [--repeats ROUNDS] [--history N] [--calls N]
        [--calls-in-all N]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt  # isort: skip  # before TensorFlow
import tensorflow as tf

from tfrs_twotower._scann import library_path
from tfrs_twotower.bundle import LoadedBundle
from tfrs_twotower.bundle.requests import Request
from tfrs_twotower.bundle.warmup import read_warmup, write_warmup
from tfrs_twotower.features.columns import missing_input

_COMPILE = Path(__file__).parents[1] / "tests" / "integration" / "hosts" / "compile"
_THREADS = 4


def main() -> None:
    """Measures the hosts, and shows the medians, their ratio, throughput and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="a version's folder, or the folder of all versions")
    add_arguments(parser)
    parser.add_argument("--calls", type=int, default=1000, help="number of calls, one after the other (default 1,000)")
    parser.add_argument(
        "--calls-in-all", type=int, default=100_000, help=f"number of calls from {_THREADS} threads (default 100,000)"
    )
    parser.add_argument("--history", type=int, default=0, help="number of candidates that the query has met")
    arguments = parser.parse_args()
    bundle = tt.load_bundle(arguments.bundle)
    is_scann = bundle.manifest.index.kind == "scann"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([_COMPILE, sys.executable, folder], check=True)
        path = bundle.path
        if arguments.history:
            path = Path(shutil.copytree(path, Path(folder) / "bundle"))
            write_warmup(path, [_request(bundle, arguments.history)], [1], name="bundle")
        request = read_warmup(path)[0]
        command = [Path(folder) / "host_cc", path, library_path() if is_scann else "", arguments.calls, _THREADS]
        medians: dict[str, list[float]] = {"C++": [], "Python": []}
        for _ in range(arguments.repeats):  # in turn
            medians["C++"].append(_run(*command)[-1]["median_ms"])
            medians["Python"].append(_time_python(bundle, request, arguments.calls))
        memory = _run(*command, arguments.calls_in_all)[-1]
    past = f", a history of {arguments.history}" if arguments.history else ""
    case = f"recommend, batch 1{past}, {bundle.manifest.num_candidates:,} candidates, {bundle.manifest.index.kind}"
    seconds = {host: float(np.median(values)) for host, values in medians.items()}
    in_all = f"{case}, C++, {arguments.calls_in_all:,} calls from {_THREADS} threads"
    rows = [
        Row(case=f"{case}, {host}", metric="median of a call", value=value, unit="ms")
        for host, value in seconds.items()
    ]
    rows += [
        Row(case=case, metric="Python / C++", value=seconds["Python"] / seconds["C++"], unit="x"),
        Row(case=in_all, metric="calls", value=memory["calls_per_s"], unit="1/s"),
        Row(case=in_all, metric="memory before", value=memory["before_mib"], unit="MiB"),
        Row(case=in_all, metric="memory after", value=memory["after_mib"], unit="MiB"),
    ]
    show("Hosts", rows, arguments.json)


def _request(bundle: LoadedBundle, num_past: int) -> Request:
    """Returns a request for an unknown query that has met the first candidates of the catalogue, an hour apart."""
    query = bundle.manifest.model.query
    ids = bundle.candidates[bundle.manifest.model.candidate.id].to_pylist()[:num_past]
    values = {name: tf.constant([ids]) for name in query.histories}
    values.update({name: tf.fill([1, len(ids)], 4.0) for name in query.ratings_of})
    values.update({name: 3600 * tf.range(len(ids), dtype=tf.int64)[tf.newaxis] for name in query.times_of})
    missing = {spec.name: missing_input(spec.tensor_spec) for spec in query.inputs}
    return Request(signature="recommend", inputs={**missing, **values})


def _run(*command: object) -> list[dict[str, float]]:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def _time_python(bundle: LoadedBundle, request: Request, calls: int) -> float:
    """Returns the median milliseconds of the same request."""
    signature = bundle.module.signatures[request.signature]
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        signature(**request.inputs)["scores"].numpy()
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


if __name__ == "__main__":
    main()
