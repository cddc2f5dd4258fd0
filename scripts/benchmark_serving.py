"""Throughput and latency of `tfrs-twotower serve` under concurrent clients that send one query each.

The same server joins the requests that wait, or makes every request a call of its own. Beside it stands what people
write by hand: FastAPI, the bundle's query tower in the same process, and an exact index of Faiss over the same
candidates, without exclusions and probabilities. The clients are a process of their own. All share the machine's cores.
Without a bundle, one of `--candidates` candidates is drawn (`_drawn.py`), with an exact index.

    python scripts/benchmark_serving.py [BUNDLE] [--candidates N] [--json FILE] [--repeats ROUNDS] [--clients N]
        [--seconds S]
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from _benchmark import Row, add_arguments, show
from _serving import free_port, running

from tfrs_twotower.bundle.layout import find_version
from tfrs_twotower.bundle.manifest import Manifest

_WAYS = {
    "a call for each request": ["--max-batch-rows", "1"],
    "joined": [],
}
_NUM_BODIES = 900
_NOTHING = {"string": "", "float32": float("nan"), "int64": -(2**63)}


def main() -> None:
    """Measures all contenders in turn, and shows medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", help="a version's folder, or the folder of all versions")
    add_arguments(parser)
    parser.add_argument("--candidates", type=int, default=60_000, help="size of a drawn bundle (default 60,000)")
    parser.add_argument("--clients", type=int, default=64, help="number of clients (default 64)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of each measurement (default 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or draw_bundle(arguments.candidates, Path(folder) / "drawn")
        measure_all(find_version(bundle), arguments)


def draw_bundle(num_candidates: int, directory: Path) -> Path:
    """Publishes a drawn bundle, and returns the folder of its versions."""
    from _drawn import draw_candidates, export_drawn

    import tfrs_twotower as tt

    config = tt.ExportConfig(build_index=tt.index.build_exact_index, filter_by=("year",), with_portable=False)
    export_drawn(draw_candidates(num_candidates, "m", seed=0), directory, config)
    return directory


def measure_all(version: Path, arguments: argparse.Namespace) -> None:
    """Measures all contenders with a bundle."""
    contenders = {way: serving(version, options) for way, options in _WAYS.items()}
    if _has("fastapi") and _has("faiss") and _has("uvicorn"):
        contenders["FastAPI and Faiss, by hand"] = by_hand(version)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(arguments.repeats):
        for name, start in contenders.items():
            with start() as (port, path, process):
                found[name].append(_measure(port, path, process, version, arguments.clients, arguments.seconds))
    manifest = Manifest.read(version)
    case = f"{arguments.clients} clients, batch 1, {manifest.num_candidates:,} candidates, k={manifest.k}"
    medians = {
        name: {metric: statistics.median(run[metric] for run in runs) for metric in runs[0]}
        for name, runs in found.items()
    }
    units = {"requests": "1/s", "p50": "ms", "p99": "ms", "processor time of a request": "ms"}
    rows = [
        Row(case=f"{case}, {name}", metric=metric, value=value, unit=units[metric])
        for name, values in medians.items()
        for metric, value in values.items()
    ]
    alone = medians["a call for each request"]["requests"]
    rows += [
        Row(
            case=f"{case}, {name} / a call for each request",
            metric="requests",
            value=values["requests"] / alone,
            unit="x",
        )
        for name, values in medians.items()
        if name != "a call for each request"
    ]
    show("Serving", rows, arguments.json)


Contender = Callable[[], Any]


def serving(version: Path, options: list[str]) -> Contender:
    """The command, with some options."""

    @contextlib.contextmanager
    def start() -> Iterator[tuple[int, str, psutil.Process]]:
        port, other = free_port(), free_port()
        folder = version.parent
        command = ["-m", "tfrs_twotower.cli", "serve", str(folder), "--no-access-log", *options]
        ports = ["--rest-port", str(port), "--grpc-port", str(other)]
        with running([sys.executable, *command, *ports], f"http://127.0.0.1:{port}/readyz") as process:
            yield port, f"/v1/models/{folder.resolve().name}:predict", process

    return start


def by_hand(version: Path) -> Contender:
    """The service of `serve_by_hand`."""

    @contextlib.contextmanager
    def start() -> Iterator[tuple[int, str, psutil.Process]]:
        port = free_port()
        command = [sys.executable, __file__, "--by-hand", str(version), str(port)]
        with running(command, f"http://127.0.0.1:{port}/docs") as process:
            yield port, "/recommend", process

    return start


def serve_by_hand(version: Path, port: int) -> None:
    """Serves a bundle's candidates by FastAPI and Faiss, a query at a time."""
    import faiss
    import fastapi
    import numpy as np
    import uvicorn

    import tfrs_twotower as tt  # isort: skip
    import tensorflow as tf

    from tfrs_twotower.bundle.requests import raw_candidates

    bundle = tt.load_bundle(version)
    query, candidate, k = bundle.manifest.model.query, bundle.manifest.model.candidate, bundle.manifest.k
    query_specs, candidate_specs = ([spec.tensor_spec for spec in side.inputs] for side in (query, candidate))
    embed_query = bundle.module.signatures["embed_query"]
    vectors = bundle.module.signatures["embed_candidate"](**raw_candidates(bundle.candidates, candidate_specs))[
        "retrieval"
    ]
    ids = np.array(bundle.candidates[candidate.id].to_pylist(), object)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors.numpy()))
    app = fastapi.FastAPI()

    @app.post("/recommend")
    def recommend(body: dict[str, Any]) -> dict[str, Any]:
        features = body["instances"][0]
        tensors = {spec.name: tf.constant([features[spec.name]], spec.dtype) for spec in query_specs}
        tensors = {name: tf.reshape(x, [1, -1]) if x.shape.rank > 1 else x for name, x in tensors.items()}
        scores, rows = index.search(embed_query(**tensors)["retrieval"].numpy(), k)
        return {"candidate_ids": ids[rows[0]].tolist(), "scores": scores[0].tolist()}

    uvicorn.run(app, port=port, log_level="error")


def _measure(
    port: int, path: str, process: psutil.Process, version: Path, clients: int, seconds: float
) -> dict[str, float]:
    """Lets clients ask, after some requests that warm everything up."""

    def ask(duration: float) -> dict[str, float]:
        command = [sys.executable, __file__, "--ask", str(port), path, str(version), str(clients), str(duration)]
        answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return answer

    ask(1.0)
    before = _processor_s(process)
    measured = ask(seconds)
    spent_s = _processor_s(process) - before
    count = measured.pop("count")
    return {**measured, "processor time of a request": spent_s / count * 1e3}


def _processor_s(process: psutil.Process) -> float:
    """Seconds that a process and its children have computed."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def ask(port: int, path: str, version: Path, clients: int, seconds: float) -> dict[str, float]:
    """Sends requests from many connections, each the next as soon as it has its response."""
    sent = list(bodies(version))
    latencies_ms: list[float] = []
    stop = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        count = 0
        while time.perf_counter() < stop:
            count += 1
            body = sent[(number * 37 + count) % len(sent)]
            start = time.perf_counter()
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not answer.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{answer!r} {await reader.read(1000)!r}")
            await reader.readexactly(int(answer.split(b"content-length:")[1].split(b"\r\n")[0]))
            latencies_ms.append((time.perf_counter() - start) * 1e3)
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    latencies_ms.sort()
    return {
        "requests": len(latencies_ms) / seconds,
        "p50": latencies_ms[len(latencies_ms) // 2],
        "p99": latencies_ms[int(len(latencies_ms) * 0.99)],
        "count": len(latencies_ms),
    }


def bodies(version: Path) -> Iterator[bytes]:
    """Makes requests of one query each, without features; their ids differ if the bundle takes ids."""
    query = Manifest.read(version).model.query
    nothing = {spec.name: [] if spec.is_list else _NOTHING[spec.dtype] for spec in query.inputs}
    for number in range(_NUM_BODIES):
        features = {**nothing, query.id: str(number)} if query.input(query.id) else nothing
        yield json.dumps({"instances": [features]}).encode()


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--by-hand"]:
        serve_by_hand(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--ask"]:
        _, _, port_text, asked_path, folder, num_clients, duration_s = sys.argv
        asked = ask(int(port_text), asked_path, Path(folder), int(num_clients), float(duration_s))
        print(json.dumps(asyncio.run(asked)))
    else:
        main()
