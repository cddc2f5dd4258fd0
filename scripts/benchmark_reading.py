"""Speed of reading MovieLens: the prepared 100k, and a generated archive of 25 million ratings.

The prepared 100k is read in bulk, and for comparison by iterating over `tfds.load` with `.ragged_batch(1024)`, because
plain `.batch` refuses lists of genres of different lengths. The generated archive has the layout of ml-25m. TFDS
prepares a part of it, row by row, and its rate is compared with that of `read_archive`.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tensorflow_datasets as tfds
from _benchmark import Row, parse_arguments, show, time_in_turns
from make_ratings import make_archive

from tfrs_twotower.movielens import load as movielens
from tfrs_twotower.movielens import read_archive
from tfrs_twotower.movielens.prepare import DatasetSize

NAME = "movielens/100k-ratings"
NUM_USERS, NUM_MOVIES, NUM_EVENTS = 162_541, 62_423, 25_000_095
NUM_PREPARED = 50_000


def main() -> None:
    """Measures both, and prints the figures."""
    if sys.argv[1:2] == ["--read"]:
        read(Path(sys.argv[2]))
        return
    arguments = parse_arguments(__doc__)
    rows = measure_prepared(arguments.repeats) + measure_archive()
    show("Reading MovieLens", rows, arguments.json)


def measure_prepared(repeats: int) -> list[Row]:
    """Reads the prepared 100k in both ways, in turn."""
    builder = movielens.prepare_movielens(NAME).builder
    num_rows = builder.info.splits["train"].num_examples

    def iterate_tfds() -> None:
        for _ in tfds.load(NAME, split="train").ragged_batch(1024):
            pass

    tfds_case, own_case = "100k, tfds.load(...).ragged_batch(1024)", "100k, read_ratings"
    contenders = {tfds_case: iterate_tfds, own_case: lambda: movielens.read_ratings(builder)}
    seconds = time_in_turns(contenders, repeats=repeats)
    rows = [Row(case=case, metric="time", value=value, unit="s") for case, value in seconds.items()]
    rows += [Row(case=case, metric="rate", value=num_rows / value, unit="rows/s") for case, value in seconds.items()]
    return [*rows, Row(case=own_case, metric="speed-up", value=seconds[tfds_case] / seconds[own_case], unit="x")]


def measure_archive() -> list[Row]:
    """Reads the archive of 25 million ratings in a process of its own, and lets TFDS prepare a part."""
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "ml-25m"), Path(folder, "part")
        make_archive(whole, layout="csv", num_users=NUM_USERS, num_movies=NUM_MOVIES, num_events=NUM_EVENTS)
        command = [sys.executable, __file__, "--read", str(whole)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        seconds, peak_bytes = float(printed[0]), int(printed[1])
        make_archive(part, layout="csv", num_users=1000, num_movies=NUM_MOVIES, num_events=NUM_PREPARED)
        # So that the part is accepted as the whole.
        movielens.DATASETS["movielens/25m-ratings"] = DatasetSize.of(read_archive(part))
        start = time.perf_counter()
        movielens.prepare_movielens("movielens/25m-ratings", data_dir=folder, archive=part)
        tfds_rate = NUM_PREPARED / (time.perf_counter() - start)
    case = f"{NUM_EVENTS:,} events in the layout of ml-25m, read_archive"
    return [
        Row(case=case, metric="time", value=seconds, unit="s"),
        Row(case=case, metric="peak memory", value=peak_bytes / 2**30, unit="GiB"),
        Row(case=case, metric="rate", value=NUM_EVENTS / seconds, unit="rows/s"),
        Row(case=f"{NUM_PREPARED:,} of them, prepared by TFDS", metric="rate", value=tfds_rate, unit="rows/s"),
        Row(case=case, metric="speed-up", value=NUM_EVENTS / seconds / tfds_rate, unit="x"),
    ]


def read(folder: Path) -> None:
    """Reads an archive, and prints the seconds and the peak bytes that it took."""
    start = time.perf_counter()
    ratings = read_archive(folder)
    seconds = time.perf_counter() - start
    if ratings.num_events != NUM_EVENTS:
        raise RuntimeError(f"Read {ratings.num_events} of {NUM_EVENTS} events.")
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
