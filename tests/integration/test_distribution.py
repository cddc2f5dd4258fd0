"""A script trains under `tf.distribute` strategies as in one process: losses, metrics, bundles, restarts."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import tfrs_twotower as tt

CASES = ["by_event", "by_query"]
_TIMEOUT_S = 600


def start(kind: str, folder: Path, *cases: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Starts a process that trains."""
    command = [sys.executable, "-m", "tests.integration.distributed_training", kind, folder, *cases]
    variables = {**os.environ, "TF_NUM_INTEROP_THREADS": "4", **(environment or {})}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start_workers(folder: Path, *cases: str) -> list[subprocess.Popen]:
    """Starts two workers on free ports of this machine."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in (first, second)]
    configs = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    return [start("workers", folder, *cases, environment={"TF_CONFIG": json.dumps(config)}) for config in configs]


def finish(processes: list[subprocess.Popen]) -> None:
    """Waits until all processes have ended well; whatever happens, none is left."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=_TIMEOUT_S)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Results of one process without a strategy, of two devices, and of two workers."""
    folder = tmp_path_factory.mktemp("distribution")
    finish([start("mirrored", folder, *CASES)])
    finish(start_workers(folder, CASES[0]))
    return folder


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("case", "name"),
    [("by_event", "mirrored-0"), ("by_query", "mirrored-0"), ("by_event", "workers-0"), ("by_event", "workers-1")],
)
def test_replicas_take_the_steps_of_one_process(folder, case, name):
    """Each step is over the same batch: sums over replicas differ from those of one device by rounding alone."""
    found, expected = result(folder, f"{case}-{name}"), result(folder, f"{case}-single-0")
    assert found["losses"] == pytest.approx(expected["losses"], abs=1e-4)
    assert found["metrics"]["val_auc"] == pytest.approx(expected["metrics"]["val_auc"], abs=0.005)
    assert found["metrics"]["val_ndcg@10"] == pytest.approx(expected["metrics"]["val_ndcg@10"], abs=0.01)
    # `update` counts each example once, whichever replica has it.
    for metric in ("loss", "total_loss", "log_loss", "accuracy"):
        assert found["metrics"][metric] == pytest.approx(expected["metrics"][metric], abs=1e-4), metric


def test_one_worker_publishes_and_both_know_the_version(folder):
    paths = {result(folder, f"by_event-workers-{task}")["bundle"] for task in range(2)}
    assert paths == {str(folder / "by_event" / "1")}
    assert [version.number for version in tt.publishing.list_versions(folder / "by_event")] == [1]
    ids = tt.load_bundle(folder / "by_event").recommend({"user_id": ["u0", "u39"]}).candidate_ids
    assert [row[:3].tolist() for row in ids] == result(folder, "by_event-single-0")["ranked"]


def test_killed_workers_go_on_from_the_last_checkpoint_and_stop_together(tmp_path):
    """A worker cannot go on without the other: both are started again, as Kubernetes does; one stops both."""
    first, second = start_workers(tmp_path, "restart")
    try:
        second.communicate(timeout=_TIMEOUT_S)
        assert second.returncode == 9
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    finish(start_workers(tmp_path, "restart"))
    for task in range(2):
        after = result(tmp_path, f"restart-workers-{task}")
        assert after["epochs"] == [2, 3]
        assert after["steps"] == 4 * after["per_epoch"]
