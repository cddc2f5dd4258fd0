"""What adding some candidates to a large catalogue takes, beside publishing the whole changed catalogue anew.

A bundle of a million candidates with vectors in 64 dimensions is published: with ScaNN's index and its portable twin,
with the portable index, and with the exact one. Then two commands publish the same changed catalogue from it:
`tfrs-twotower index --add`, and `tfrs-twotower index --catalogue`. Each is a process of its own, whose time counts from
its start to its end, with all of Python's and TensorFlow's start, the reading of the files, and the check in a fresh
process. The recalls are those that the commands measured, and the time of the index is the part of it that the commands
spent on building or updating it and measuring its recall.

The weights are drawn rather than learnt: a candidate's vector is the sum of those of its niche, its brand and its own,
and niches follow Zipf's law. An added candidate has no vector of its own.

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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt
from tfrs_twotower.bundle.layout import portable_twin
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.model.two_tower import TwoTowerModel

_DIM = 64
_NUM_QUERIES, _NUM_EVENTS, _NUM_NICHES, _NUM_BRANDS = 20_000, 200_000, 5_000, 20_000
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
            export(case, catalogue, directory)
            rows += measure(case, directory, files, arguments.repeats)
    show(f"{arguments.added:,} candidates are added to {arguments.candidates:,}", rows, arguments.json)


def draw_candidates(num: int, prefix: str, *, seed: int) -> pa.Table:
    """Draws candidates with a niche and a brand, from which their vectors follow, a year and a title."""
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "movie_id": [f"{prefix}{row}" for row in range(num)],
            "niche": [f"n{niche}" for niche in draw_niches(generator, num)],
            "brand": [f"b{brand}" for brand in generator.integers(0, _NUM_BRANDS, num)],
            "year": generator.integers(1950, 2025, num),
            "title": [f"Title {row}" for row in range(num)],
        }
    )


def draw_niches(generator: np.random.Generator, num: int) -> np.ndarray:
    """Draws niches by Zipf's law."""
    weights = 1 / (np.arange(_NUM_NICHES) + 50)
    return generator.choice(_NUM_NICHES, num, p=weights / weights.sum())


def export(case: str, catalogue: pa.Table, directory: Path) -> None:
    """Publishes a bundle whose queries like one niche each, without the check: nothing here is measured."""
    generator = np.random.default_rng(2)
    known = tt.Interactions(
        queries=pa.table(
            {
                "user_id": [f"u{row}" for row in range(_NUM_QUERIES)],
                "niche": [f"n{niche}" for niche in draw_niches(generator, _NUM_QUERIES)],
            }
        ),
        candidates=catalogue,
        events=pa.table(
            {
                "query_row": pa.array(generator.integers(0, _NUM_QUERIES, _NUM_EVENTS), pa.int32()),
                "candidate_row": pa.array(generator.integers(0, catalogue.num_rows, _NUM_EVENTS), pa.int32()),
                "rating": pa.array(np.full(_NUM_EVENTS, 5), pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )
    query, candidate = (
        tt.SumTowerConfig(features=tuple(tt.Categorical(name=name) for name in names), output_dim=_DIM)
        for names in (("user_id", "niche"), ("movie_id", "niche", "brand"))
    )
    model = tt.build_two_tower(known, query=query, candidate=candidate, task=tt.tasks.SampledSoftmaxTask())
    draw_weights(model, generator)
    config = tt.ExportConfig(build_index=_KINDS[case], filter_by=("year",), with_portable="twin" in case)
    tt.export_bundle(model, known, directory, config=config)


def draw_weights(model: TwoTowerModel, generator: np.random.Generator) -> None:
    """Draws a vector for every value of every feature, the same for a niche on both sides."""
    niches = generator.normal(size=(_NUM_NICHES, _DIM))
    for tower in (model.query_tower, model.candidate_tower):
        for name, encoder in tower.encoders.items():
            (table,) = encoder.variables
            vectors = generator.normal(size=table.shape) * (1 if name == "user_id" else 0.7)
            if name == "niche":
                values = tower.vocabularies.values_of(name)
                vectors[-len(values) :] = niches[[int(value[1:]) for value in values]]
            table.assign(vectors.astype(np.float32))


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
