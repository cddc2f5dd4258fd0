"""Throughput and memory of `tfrs-twotower batch-recommend`, and whether a killed batch and shards give the same files.

The bundle has 60,000 candidates, 200,000 known queries, a retrieval model and a rating model in 64 dimensions, and
recommends 100 candidates. Its models are not trained, which makes no difference to the time. A fifth of the queries are
known and have their stored histories, the others come with histories of 20 candidates. Each case is a process of its
own, from its start to its end:

- `whole`: all queries, and a tenth of them, whose memory is compared.
- `killed`: the process is killed when half of the parts are there, and started again.
- `shards`: two processes, one after the other, compute a half each.

    python scripts/benchmark_batch_recommend.py [--json FILE] [--num-queries N] [--case NAME]... [--folder FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _benchmark import Row, add_arguments, show

import tfrs_twotower as tt
from tfrs_twotower.model import JointModel

_NUM_CANDIDATES, _NUM_KNOWN, _NUM_EVENTS, _K, _HISTORY = 60_000, 200_000, 4_000_000, 100, 20
_ROWS_PER_PART = 65_536


class Run(NamedTuple):
    """What a process took."""

    wall_s: float
    processor_s: float
    peak_bytes: int


def main() -> None:
    """Makes the bundle and the queries, runs the cases, and shows the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--num-queries", type=int, default=1_000_000, help="number of queries (default 1,000,000)")
    parser.add_argument("--case", choices=["whole", "killed", "shards"], action="append", help="only this case")
    parser.add_argument("--folder", type=Path, help="where everything is kept for the next call; by default nowhere")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(measure(folder, arguments.num_queries, arguments.case or ["whole", "killed", "shards"]))
    show(f"{arguments.num_queries:,} queries, {_NUM_CANDIDATES:,} candidates, k={_K}", rows, arguments.json)


def measure(folder: Path, num_queries: int, cases: list[str]) -> Iterator[Row]:
    """Runs the cases, of which `whole` comes first, since the others are compared with it."""
    bundle, queries = folder / "bundle", folder / f"queries-{num_queries}.parquet"
    whole = folder / f"whole-{num_queries}"
    if not bundle.exists():
        make_bundle(bundle)
    if not queries.exists():
        make_queries(queries, num_queries)
    if not whole.exists():
        few = folder / f"queries-{num_queries // 10}.parquet"
        make_queries(few, num_queries // 10)
        smaller = wait_for(start(bundle, few, folder / f"whole-{num_queries // 10}"))
        run = wait_for(start(bundle, queries, whole))
        cores = len(os.sched_getaffinity(0))
        for metric, value, unit in (
            ("queries per second, from start to end", num_queries / run.wall_s, "1/s"),
            ("processor time of a query", 1000 * run.processor_s / num_queries, "ms"),
            (f"queries in a second of {cores} idle cores", cores * num_queries / run.processor_s, "1/s"),
        ):
            yield Row(case="whole", metric=metric, value=value, unit=unit)
        yield Row(case="whole", metric="peak memory", value=run.peak_bytes / 2**20, unit="MiB")
        yield Row(case="a tenth of the queries", metric="peak memory", value=smaller.peak_bytes / 2**20, unit="MiB")
        yield Row(case="whole / a tenth", metric="peak memory", value=run.peak_bytes / smaller.peak_bytes, unit="x")
        size = sum(path.stat().st_size for path in whole.iterdir())
        yield Row(case="whole", metric="size of the output", value=size / 2**20, unit="MiB")
    if "killed" in cases:
        out = folder / f"killed-{num_queries}"
        process = start(bundle, queries, out)
        half = pq.read_metadata(queries).num_rows // _ROWS_PER_PART // 2
        while len(list(out.glob("*.parquet"))) < half and process.poll() is None:
            time.sleep(0.1)
        process.kill()
        process.wait()
        yield Row(case="killed", metric="parts that were there", value=len(list(out.glob("*.parquet"))), unit="")
        wait_for(start(bundle, queries, out))
        yield compare("killed", out, whole)
    if "shards" in cases:
        out = folder / f"shards-{num_queries}"
        for index in range(2):
            wait_for(start(bundle, queries, out, "--shard", f"{index}/2"))
        yield compare("shards", out, whole)


def make_bundle(folder: Path) -> None:
    """Publishes a bundle of models with random weights."""
    generator = np.random.default_rng(0)
    events = {
        "query_row": pa.array(generator.integers(0, _NUM_KNOWN, _NUM_EVENTS), pa.int32()),
        "candidate_row": pa.array(generator.integers(0, _NUM_CANDIDATES, _NUM_EVENTS), pa.int32()),
        "rating": pa.array(generator.integers(1, 6, _NUM_EVENTS), pa.float32()),
    }
    ratings = tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(_NUM_KNOWN)]}),
        candidates=pa.table({"item_id": [f"i{row}" for row in range(_NUM_CANDIDATES)]}),
        events=pa.table(events),
        query_id="user_id",
        candidate_id="item_id",
    )
    item = tt.Categorical(name="item_id")
    query = tt.SumTowerConfig(features=(tt.Categorical(name="user_id"), tt.History(of=item, length=50)), output_dim=64)
    candidate = tt.SumTowerConfig(features=(item,), output_dim=64)
    retrieval, rating = (
        tt.build_two_tower(ratings, query=query, candidate=candidate, task=task)
        for task in (tt.tasks.SampledSoftmaxTask(), tt.tasks.RatingTask())
    )
    model = JointModel(retrieval_model=retrieval, rating_model=rating)
    tt.export_bundle(model, ratings, folder, config=tt.ExportConfig(k=_K, with_portable=False))


def make_queries(path: Path, num_queries: int) -> None:
    """Writes a file of queries, of which every fifth is known and the others have a history."""
    generator = np.random.default_rng(1)
    with pq.ParquetWriter(path, pa.schema({"user_id": pa.string(), "history": pa.list_(pa.string())})) as writer:
        for start in range(0, num_queries, 100_000):
            rows = range(start, min(start + 100_000, num_queries))
            ids = [f"u{row // 5 % _NUM_KNOWN}" if row % 5 == 0 else f"new {row}" for row in rows]
            items = generator.integers(0, _NUM_CANDIDATES, (len(rows), _HISTORY))
            histories = [None if row % 5 == 0 else [f"i{item}" for item in items[row - start]] for row in rows]
            writer.write_table(pa.table({"user_id": ids, "history": histories}, schema=writer.schema))


def start(bundle: Path, queries: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """Starts the command."""
    command = ["-m", "tfrs_twotower.cli", "batch-recommend", bundle, "--queries", queries, "--output", output, *options]
    return subprocess.Popen([sys.executable, *map(str, command), "--rows-per-part", str(_ROWS_PER_PART)])


def wait_for(process: subprocess.Popen[bytes]) -> Run:
    """Waits for the end of a process that was just started."""
    begin = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("batch-recommend failed.")
    return Run(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(case: str, folder: Path, whole: Path) -> Row:
    """Tells which share of the files has the same bytes as those of the whole."""
    ours, theirs = ({path.name: path.read_bytes() for path in place.iterdir()} for place in (folder, whole))
    same = [ours.get(name) == theirs.get(name) for name in {*ours, *theirs}]
    return Row(case=case, metric="share of the files with the same bytes", value=sum(same) / len(same), unit="")


if __name__ == "__main__":
    main()
