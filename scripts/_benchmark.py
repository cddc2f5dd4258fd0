"""What every benchmark script shares: timing in turns, a table on the screen, JSON on request."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

_PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tensorflow-datasets",
    "scann",
    "numpy",
    "pyarrow",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        case: What was measured.
        metric: Which of its properties.
        value: The figure.
        unit: Its unit; "x" for a ratio.
    """

    case: str
    metric: str
    value: float
    unit: str


def parse_arguments(description: str | None) -> argparse.Namespace:
    """The options that all benchmarks have: `--json FILE` and `--repeats N`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    return parser.parse_args()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that all benchmarks have."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts (default 3)")


def time_in_turns(contenders: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Runs the contenders one after the other, `repeats` rounds, so that a slow minute hits all of them.

    Returns:
        Contender -> median wall-clock seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, rows: Sequence[Row], json_file: Path | None) -> None:
    """Prints the figures as a table, and writes them with the machine and the versions if a file is named."""
    table = Table(title=title, title_justify="left")
    for column in ("case", "metric"):
        table.add_column(column)
    for column in ("value", "unit"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.case, row.metric, f"{row.value:,.4g}", row.unit)
    Console().print(table)
    if json_file is not None:
        machine = {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "python": platform.python_version(),
        }
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES if _is_installed(name)}
        content = {
            "machine": machine,
            "versions": versions,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
