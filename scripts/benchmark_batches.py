"""Speed and memory of the batch pipeline without a model: events per second, and the peak memory with a mapped file."""

import functools
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from _benchmark import Row, parse_arguments, show, time_in_turns
from make_ratings import draw_ratings

from tfrs_twotower.batches.encoded import EncodedTables
from tfrs_twotower.batches.event_batches import build_training_batches
from tfrs_twotower.batches.pipeline import EpochOrder
from tfrs_twotower.data import Interactions, open_interactions, save_interactions

BATCH_SIZE = 4096
NUM_QUERIES, NUM_CANDIDATES = 100_000, 60_000
SPEED_EVENTS = 8_000_000
MEMORY_EVENTS = (5_000_000, 50_000_000)
#: Number of batches after which the memory of an epoch has reached its peak.
MEMORY_BATCHES = 2_000
NUM_GENRES = 4


def main() -> None:
    """Measures speed and memory, and prints the figures."""
    if sys.argv[1:2] == ["--memory-of"]:
        print(measure_memory(Path(sys.argv[2])))
        return
    arguments = parse_arguments(__doc__)
    rows = []
    data = make_interactions(SPEED_EVENTS)
    tables = make_tables()
    with tempfile.TemporaryDirectory() as folder:
        save_interactions(data, f"{folder}/speed")
        contenders = {"in memory": data, "mapped file": open_interactions(f"{folder}/speed")}
        seconds = time_in_turns(
            {name: functools.partial(run_epoch, part, tables) for name, part in contenders.items()},
            repeats=arguments.repeats,
        )
        rows += [
            Row(case=f"batch 4,096, {name}", metric="rate", value=SPEED_EVENTS / value, unit="events/s")
            for name, value in seconds.items()
        ]
        peaks = {}
        for num_events in MEMORY_EVENTS:
            save_interactions(make_interactions(num_events), f"{folder}/{num_events}")
            command = [sys.executable, __file__, "--memory-of", f"{folder}/{num_events}"]
            peaks[num_events] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            case = f"{num_events:,} events, mapped file"
            rows.append(
                Row(case=case, metric="peak memory without the file's", value=peaks[num_events] / 2**20, unit="MiB")
            )
    ratio = peaks[MEMORY_EVENTS[1]] / peaks[MEMORY_EVENTS[0]]
    rows.append(Row(case="ten times the events", metric="peak memory", value=ratio, unit="x"))
    show("Batches of 5 query and 3 candidate features", rows, arguments.json)


def make_interactions(num_events: int) -> Interactions:
    """Generates events between NUM_QUERIES queries and NUM_CANDIDATES candidates."""
    block = 2**20
    parts = [
        draw_ratings(
            NUM_QUERIES,
            NUM_CANDIDATES,
            min(block, num_events - start),
            half_stars=False,
            generator=np.random.default_rng([0, start]),
        )
        for start in range(0, num_events, block)
    ]
    table = pa.concat_tables(parts)
    return Interactions(
        queries=pa.table({"user_id": [str(row) for row in range(NUM_QUERIES)]}),
        candidates=pa.table({"movie_id": [str(row) for row in range(NUM_CANDIDATES)]}),
        events=pa.table(
            {
                "query_row": pa.array(table["user"].to_numpy() - 1),
                "candidate_row": pa.array(table["movie"].to_numpy() - 1),
                "rating": pa.array(table["rating"].to_numpy().astype(np.float32)),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
    )


def make_tables() -> EncodedTables:
    """Makes random codes of five query features and three candidate features, one of which is a list."""
    generator = np.random.default_rng(0)
    names = ("user_id", "age", "gender", "occupation", "zip_code")
    return EncodedTables(
        queries={name: generator.integers(0, 1000, NUM_QUERIES) for name in names},
        candidates={
            "movie_id": np.arange(NUM_CANDIDATES),
            "release_year": generator.integers(0, 90, NUM_CANDIDATES),
            "genres": generator.integers(0, 20, (NUM_CANDIDATES, NUM_GENRES)),
        },
    )


def run_epoch(data: Interactions, tables: EncodedTables, num_batches: int | None = None) -> None:
    """Iterates over an epoch, or over its first batches."""
    batches = build_training_batches(data, tables, batch_size=BATCH_SIZE, order=EpochOrder(seed=0))
    for _ in batches if num_batches is None else batches.take(num_batches):
        pass


def measure_memory(folder: Path) -> int:
    """Returns the peak bytes of this process that no file backs, while it opens a folder and iterates."""
    process, peak, stop = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.is_set():
            memory = process.memory_info()
            peak = max(peak, memory.rss - memory.shared)
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run_epoch(open_interactions(folder), make_tables(), MEMORY_BATCHES)
    stop.set()
    watcher.join()
    return peak


if __name__ == "__main__":
    main()
