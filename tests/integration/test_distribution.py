"""A script trains under `tf.distribute` strategies as in one process: losses, metrics, bundles, restarts."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import tfrs_twotower as tt
from tests import forks
from tests.forks import Fork

CASES = ["by_event", "by_query"]


def start(kind: str, folder: Path, *cases: str, environment: Mapping[str, str] | None = None) -> Fork:
    """Starts a process that trains."""
    arguments = ["-m", "tests.integration.distributed_training", kind, folder, *cases]
    variables = {**os.environ, "TF_NUM_INTEROP_THREADS": "4", "GRPC_FAIL_FAST": "use_caller", **(environment or {})}
    return forks.start(arguments, environment=variables, as_for_users=False)


def free_addresses(count: int) -> list[str]:
    """Returns addresses of this machine whose ports are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def task_of(cluster: Mapping[str, list[str]], kind: str, index: int = 0) -> dict[str, str]:
    """Returns the environment of a task of a cluster."""
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def start_workers(folder: Path, *cases: str) -> list[Fork]:
    """Starts two workers on free ports of this machine."""
    cluster = {"worker": free_addresses(2)}
    return [start("workers", folder, *cases, environment=task_of(cluster, "worker", index)) for index in range(2)]


def finish(processes: list[Fork]) -> None:
    """Waits until all processes have ended well; whatever happens, none is left."""
    try:
        for process in processes:
            process.finish()
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Results of one process without a strategy and of two devices."""
    folder = tmp_path_factory.mktemp("distribution")
    finish([start("mirrored", folder, *CASES)])
    return folder


@pytest.fixture(scope="module")
def workers(folder) -> Path:
    """Results of two workers, the second of which dies at last and is started again with the first."""
    first, second = start_workers(folder, CASES[0], "restart")
    try:
        assert second.wait() == 9, second.output()
    finally:
        for process in (first, second):
            process.kill()
    # A worker cannot go on without the other: both are started again, as Kubernetes does.
    finish(start_workers(folder, "restart"))
    return folder


@pytest.fixture(scope="module")
def servers(folder) -> Path:
    """Results of two parameter servers and a worker, which is killed and started again."""
    addresses = free_addresses(4)
    cluster = {"chief": addresses[:1], "worker": addresses[1:2], "ps": addresses[2:]}
    tables = start("serve", folder, "ps-0", "ps-1", environment=task_of(cluster, "ps"))
    worker = start("serve", folder, "worker-0", environment=task_of(cluster, "worker"))
    coordinator = start("servers", folder, CASES[1], "lose_worker", environment=task_of(cluster, "chief"))
    try:
        while not (folder / "kill").exists() and coordinator.is_running():
            time.sleep(0.1)
        worker.kill()
        worker = start("serve", folder, "worker-0", environment=task_of(cluster, "worker"))
        (folder / "kill").unlink(missing_ok=True)
        finish([coordinator])
    finally:
        for process in (coordinator, worker, tables):
            process.kill()
    return folder


def result(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("case", "name"),
    [("by_event", "mirrored-0"), ("by_query", "mirrored-0"), ("by_event", "workers-0"), ("by_event", "workers-1")],
)
def test_replicas_take_the_steps_of_one_process(folder, case, name, request):
    """Each step is over the same batch: sums over replicas differ from those of one device by rounding alone."""
    if name.startswith("workers"):
        request.getfixturevalue("workers")
    found, expected = result(folder, f"{case}-{name}"), result(folder, f"{case}-single-0")
    assert found["losses"] == pytest.approx(expected["losses"], abs=1e-4)
    assert found["metrics"]["val_auc"] == pytest.approx(expected["metrics"]["val_auc"], abs=0.005)
    assert found["metrics"]["val_ndcg@10"] == pytest.approx(expected["metrics"]["val_ndcg@10"], abs=0.01)
    # `update` counts each example once, whichever replica has it.
    for metric in ("loss", "total_loss", "log_loss", "accuracy"):
        assert found["metrics"][metric] == pytest.approx(expected["metrics"][metric], abs=1e-4), metric


def recommended(path: Path) -> list[list[str]]:
    """Returns what a bundle recommends to two queries."""
    ids = tt.load_bundle(path).recommend({"user_id": ["u0", "u39"]}).candidate_ids
    return [row[:3].tolist() for row in ids]


def test_one_worker_publishes_and_both_know_the_version(workers):
    paths = {result(workers, f"restart-workers-{task}")["bundle"] for task in range(2)}
    assert paths == {str(workers / "restarted" / "1")}
    assert [version.number for version in tt.publishing.list_versions(workers / "restarted")] == [1]
    assert recommended(workers / "restarted") == result(workers, "restart-workers-0")["ranked"]


def test_killed_workers_go_on_from_the_last_checkpoint_and_one_stops_both(workers):
    for task in range(2):
        after = result(workers, f"restart-workers-{task}")
        assert after["epochs"] == [2, 3]
        assert after["steps"] == 4 * after["per_epoch"]


def test_a_worker_of_parameter_servers_takes_the_steps_of_one_process(servers):
    """The tables are split; with several workers, the order of the batches would be another."""
    found, expected = result(servers, "by_query-servers-0"), result(servers, "by_query-single-0")
    assert found["epoch_losses"] == pytest.approx(expected["epoch_losses"], abs=1e-4)
    assert found["metrics"]["val_auc"] == pytest.approx(expected["metrics"]["val_auc"], abs=0.005)
    assert found["metrics"]["val_ndcg@10"] == pytest.approx(expected["metrics"]["val_ndcg@10"], abs=0.01)


def test_training_goes_on_when_a_worker_of_parameter_servers_is_killed_and_started_again(servers):
    after = result(servers, "lose_worker-servers-0")
    assert len(after["losses"]) == 8
    assert after["losses"][-1] < after["losses"][0]
    assert after["evaluated"] == pytest.approx(after["losses"][-1], rel=1e-5)
    assert after["scores"] == after["pairs"]
    assert after["parts"] == 2
    assert recommended(servers / "worker_lost") == after["ranked"]
