"""Latency of `recommend` for one user from a C++ host and from Python, and the C++ host's memory over many calls.

The C++ host (tests/integration/hosts/host.cc) loads and calls a bundle as TensorFlow Serving does. It is compiled with
g++ against the installed TensorFlow wheel, so this script needs Linux. The bundle is one that this library exported,
such as the one that scripts/demo makes.

    python scripts/benchmark_hosts.py BUNDLE [--json FILE] [--repeats ROUNDS] [--calls N] [--calls-in-all N]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt
from tfrs_twotower._scann import library_path
from tfrs_twotower.bundle import LoadedBundle
from tfrs_twotower.bundle.warmup import read_warmup

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
    arguments = parser.parse_args()
    bundle = tt.load_bundle(arguments.bundle)
    is_scann = bundle.manifest.index.kind == "scann"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([_COMPILE, sys.executable, folder], check=True)
        command = [Path(folder) / "host_cc", bundle.path, library_path() if is_scann else "", arguments.calls, _THREADS]
        medians: dict[str, list[float]] = {"C++": [], "Python": []}
        for _ in range(arguments.repeats):  # in turn
            medians["C++"].append(_run(*command)[-1]["median_ms"])
            medians["Python"].append(_time_python(bundle, arguments.calls))
        memory = _run(*command, arguments.calls_in_all)[-1]
    case = f"recommend, batch 1, {bundle.manifest.num_candidates:,} candidates, {bundle.manifest.index.kind}"
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


def _run(*command: object) -> list[dict[str, float]]:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def _time_python(bundle: LoadedBundle, calls: int) -> float:
    """Returns the median milliseconds of the same request, which is the first of the warm-up file."""
    request = read_warmup(bundle.path)[0]
    signature = bundle.module.signatures[request.signature]
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        signature(**request.inputs)["scores"].numpy()
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


if __name__ == "__main__":
    main()
