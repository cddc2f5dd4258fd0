"""What adding some candidates to a large catalogue takes, beside publishing the whole changed catalogue anew.

A bundle of a million candidates with vectors in 64 dimensions is published: with ScaNN's index and its portable twin,
with the portable index, and with the exact one. Then two commands publish the same changed catalogue from it:
`tfrs-twotower index --add`, and `tfrs-twotower index --catalogue`. Each is a process of its own, whose time counts from
its start to its end, with all of Python's and TensorFlow's start, the reading of the files, and the check in a fresh
process. The recalls are those that the commands measured, and the time of the index is the part of it that the commands
spent on building or updating it and measuring its recall.

The weights are drawn rather than learnt (`_drawn.py`). An added candidate has no vector of its own.

    python scripts/benchmark_catalogue.py [--json FILE] [--repeats ROUNDS] [--case NAME]... [--candidates N] [--added N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from _benchmark import Row, add_arguments, show
from _drawn import draw_candidates, export_drawn

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import portable_twin
from tfrs_twotower.bundle.manifest import Manifest

_KINDS = {
    "scann and portable twin": tt.index.build_scann_index,
    "portable": tt.index.build_portable_index,
    "exact": tt.index.build_exact_index,
}


def main() -> None:
    """Publishes a bundle for each kind of index, and measures both commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--case", choices=_KINDS, action="append", help="measure only this kind of index; repeatable")
    parser.add_argument("--candidates", type=int, default=1_000_000, help="size of the catalogue (default 1,000,000)")
    parser.add_argument("--added", type=int, default=1_000, help="candidates that are added (default 1,000)")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        catalogue = draw_candidates(arguments.candidates, "m", seed=0)
        added = draw_candidates(arguments.added, "new", seed=1)
        files = {"--add": Path(folder) / "added.parquet", "--catalogue": Path(folder) / "catalogue.parquet"}
        pq.write_table(added, files["--add"])
        pq.write_table(pa.concat_tables([catalogue, added]), files["--catalogue"])
        for case in arguments.case or _KINDS:
            directory = Path(folder) / case.partition(" ")[0]
            config = tt.ExportConfig(build_index=_KINDS[case], filter_by=("year",), with_portable="twin" in case)
            export_drawn(catalogue, directory, config)
            rows += measure(case, directory, files, arguments.repeats)
    show(f"{arguments.added:,} candidates are added to {arguments.candidates:,}", rows, arguments.json)


def measure(case: str, directory: Path, files: dict[str, Path], repeats: int) -> list[Row]:
    """Times both commands in turns, each from the version that was exported."""
    seconds: dict[str, list[float]] = {option: [] for option in files}
    index_seconds: dict[str, list[float]] = {option: [] for option in files}
    recalls: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(repeats):
        for option, file in files.items():
            start = time.perf_counter()
            output = run("index", directory / "1", option, file)
            seconds[option].append(time.perf_counter() - start)
            version = directory / output.split()[output.split().index("Published:") + 1].rpartition("/")[2]
            manifests = [Manifest.read(version)]
            if (twin := portable_twin(directory) / version.name).is_dir():
                manifests.append(Manifest.read(twin))
            index_seconds[option].append(sum(manifest.index.outcome.build_s for manifest in manifests))
            for manifest in manifests:
                for k, recall in manifest.index.outcome.recall.items():
                    recalls.setdefault((option, manifest.index.kind, k), []).append(recall)
            print(case, option, f"{seconds[option][-1]:.1f} s", flush=True)
    rows = [
        Row(case=f"{case}, {option}, {kind}", metric=f"recall@{k}", value=statistics.median(values), unit="")
        for (option, kind, k), values in recalls.items()
    ]
    for what, measured in (("command", seconds), ("index", index_seconds)):
        medians = {option: statistics.median(values) for option, values in measured.items()}
        rows += [Row(case=f"{case}, {option}", metric=what, value=value, unit="s") for option, value in medians.items()]
        ratio = medians["--catalogue"] / medians["--add"]
        rows.append(Row(case=case, metric=f"{what}, --catalogue / --add", value=ratio, unit="x"))
    return rows


def run(*arguments: object) -> str:
    """Runs a command of the command line, and returns what it prints."""
    command = [sys.executable, "-m", "tfrs_twotower.cli", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "1000"}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
