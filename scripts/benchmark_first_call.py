"""How long 64 threads wait for their first recommendations from a bundle that was just loaded.

TensorFlow prepares a function in its first call. `LoadedBundle` lets one thread make that call while the others wait
for it, so the slowest of 64 first calls should take little longer than one first call alone. Each measurement is made
in a process of its own. Its time begins when the bundle is loaded and all threads are there.

Without `--bundle`, bundles are made in a temporary folder: a default model of ratings in the size of MovieLens 100K,
trained for one epoch, and models with random embeddings of 150,000 candidates, one for each kind of index.

    python scripts/benchmark_first_call.py [--bundle PATH]... [--json FILE] [--repeats ROUNDS]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from _benchmark import Row, add_arguments, show
from make_ratings import make_archive

import tfrs_twotower as tt
from tfrs_twotower._scann import have_scann
from tfrs_twotower.bundle.layout import find_version

_THREADS = 64
_NUM_CANDIDATES = 150_000


def main() -> None:
    """Measures each bundle with one thread and with all in turn, and shows medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--bundle", type=Path, action="append", help="a bundle to measure; may be given more than once")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)  # for the processes that this script starts
    arguments = parser.parse_args()
    if arguments.threads:
        print(json.dumps(first_calls(arguments.bundle[0], arguments.threads)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for bundle in arguments.bundle or make_bundles(Path(folder)):
            rows += measure(find_version(bundle), repeats=arguments.repeats)
    show("First calls", rows, arguments.json)


def make_bundles(folder: Path) -> list[Path]:
    """Makes the bundles that are measured if none is given."""
    make_archive(folder / "archive", layout="100k", num_users=943, num_movies=1682, num_events=100_000)
    ratings = tt.load_movielens("movielens/100k-ratings", archive=folder / "archive")
    split = tt.splits.random_split(ratings, test=0.1, validation=0.1, seed=0)
    trained = tt.fit_recipe(tt.choose_recipe(split.train).with_settings(epochs=1), split, seed=0)
    made = [tt.export_bundle(trained.model, split.seen, folder / "like MovieLens 100K")]
    kinds = {"exact": tt.index.build_exact_index, "portable": tt.index.build_portable_index}
    if have_scann():
        kinds["scann"] = tt.index.build_scann_index
    drawn = draw_ratings()
    towers = (tt.SumTowerConfig(features=(tt.Categorical(name=name),)) for name in ("user_id", "item_id"))
    model = tt.build_two_tower(drawn, query=next(towers), candidate=next(towers))
    for build_index in kinds.values():
        config = tt.ExportConfig(build_index=build_index)
        made.append(tt.export_bundle(model, drawn, folder / "random embeddings", config=config))
    return made


def draw_ratings() -> tt.Interactions:
    """Draws events without any pattern."""
    generator = np.random.default_rng(0)
    num_queries, num_events = 1000, 20_000
    return tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(num_queries)]}),
        candidates=pa.table({"item_id": [f"i{row}" for row in range(_NUM_CANDIDATES)]}),
        events=pa.table(
            {
                "query_row": pa.array(generator.integers(0, num_queries, num_events), pa.int32()),
                "candidate_row": pa.array(generator.integers(0, _NUM_CANDIDATES, num_events), pa.int32()),
                "rating": pa.array(np.ones(num_events), pa.float32()),
            }
        ),
        query_id="user_id",
        candidate_id="item_id",
    )


def measure(bundle: Path, *, repeats: int) -> list[Row]:
    """Measures one bundle, each time in a fresh process."""
    seconds: dict[int, list[float]] = {1: [], _THREADS: []}
    for _ in range(repeats):
        for num_threads, values in seconds.items():
            command = [sys.executable, __file__, "--bundle", str(bundle), "--threads", str(num_threads)]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            values.append(max(json.loads(result.stdout.splitlines()[-1])))
    alone, slowest = (statistics.median(values) for values in seconds.values())
    manifest = tt.bundle.Manifest.read(bundle)
    case = f"{bundle.absolute().parent.name}, {manifest.num_candidates:,} candidates, {manifest.index.kind}"
    return [
        Row(case=case, metric="one first call alone", value=alone, unit="s"),
        Row(case=case, metric=f"slowest of {_THREADS} first calls at once", value=slowest, unit="s"),
        Row(case=case, metric="at once / alone", value=slowest / alone, unit="x"),
    ]


def first_calls(path: Path, num_threads: int) -> list[float]:
    """Returns the seconds that each thread waits for its first recommendations from a bundle that is loaded here."""
    bundle = tt.load_bundle(path)
    (feature, *_) = (spec.name for spec in bundle.manifest.model.query.inputs if spec.dtype == "string")
    seconds = [0.0] * num_threads
    barrier = threading.Barrier(num_threads)

    def ask(number: int) -> None:
        barrier.wait()
        start = time.perf_counter()
        bundle.recommend({feature: str(number)})
        seconds[number] = time.perf_counter() - start

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


if __name__ == "__main__":
    main()
