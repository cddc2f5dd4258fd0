"""Versions come and go under a running server: without a lost request, and without what does not load."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower as tt
from tests.server.conftest import NAME, export_shop, run
from tests.server.queries import expected, row
from tfrs_twotower.bundle.layout import MODEL_FILE

REQUEST = {"instances": [row("recommend", 1)]}


@pytest.fixture(scope="module")
def directory(shop, planted, tmp_path_factory) -> Path:
    """A folder with version 1; version 2, with other weights, lies beside it under a name that is no number."""
    folder = tmp_path_factory.mktemp("versions") / NAME
    folder.mkdir()
    shutil.copytree(shop / "1", folder / "1")
    other = export_shop(planted.split.seen, folder.parent / "other" / NAME, 1)
    shutil.copytree(other, folder / ".2")
    shutil.copytree(shop / "1", folder / ".3")
    (folder / ".3" / MODEL_FILE).write_bytes(b"damaged")
    return folder


@pytest.fixture(scope="module")
def changing(directory):
    with run((tt.server.ModelConfig(name=NAME, directory=directory),)) as running:
        yield running


def wait_for(running, event: str, **details) -> dict:
    """Waits until something is logged; a test run that is stuck is ended from outside."""
    while True:
        for logged in list(running.events):
            if logged["event"] == event and all(logged.get(key) == value for key, value in details.items()):
                return logged
        time.sleep(0.02)


def scores(running) -> tuple[float, ...]:
    """Returns the scores of a prediction, as float32."""
    return tuple(np.array(running.predict(REQUEST)["predictions"][0]["scores"], np.float32).tolist())


def of_version(directory: Path, name: str) -> tuple[float, ...]:
    found = expected(tt.load_bundle(directory / name), "recommend", [row("recommend", 1)])
    return tuple(found["scores"][0].tolist())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_new_version_takes_over_under_load_and_the_old_process_ends(changing, directory):
    old, new = of_version(directory, "1"), of_version(directory, ".2")
    first = wait_for(changing, "version_available", version=1)
    answers, stop = [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(scores(changing))
            time.sleep(0.005)  # leaves the cores to the process that loads

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    (directory / ".2").rename(directory / "2")
    wait_for(changing, "version_retired", version=1)
    num_during = len(answers)
    while len(answers) < num_during + 6:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {old, new}  # every request was answered, by one of the two versions
    assert (answers[0], answers[-1]) == (old, new)
    assert not is_alive(first["pid"])
    assert [version["version"] for version in status(changing) if version["state"] == "AVAILABLE"] == ["2"]


def status(running) -> list[dict]:
    return running.send(f"/v1/models/{NAME}")[1]["model_version_status"]


def test_a_version_that_does_not_load_is_refused_and_the_old_one_kept(changing, directory):
    before = scores(changing)
    (directory / ".3").rename(directory / "3")
    refused = wait_for(changing, "version_refused", version=3)
    assert "is damaged and cannot be loaded" in refused["problem"]
    assert scores(changing) == before
    states = {version["version"]: version for version in status(changing)}
    assert states["2"]["state"] == "AVAILABLE"
    assert (states["3"]["state"], states["3"]["status"]["error_code"]) == ("END", "INTERNAL")
    assert changing.send("/readyz")[0] == 200
    assert changing.send(f"/v1/models/{NAME}/versions/3:predict", REQUEST)[0] == 404


def test_an_empty_folder_takes_nothing_away(changing, directory):
    hidden = directory.with_name("hidden")
    directory.rename(hidden)
    time.sleep(0.3)  # three looks
    assert changing.send("/readyz")[0] == 200
    hidden.rename(directory)


def test_a_process_that_dies_is_an_error_of_its_requests_alone(changing):
    pid = wait_for(changing, "version_available", version=2)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert wait_for(changing, "worker_ended", version=2)["started_again_after_s"] == 0
    code, content = changing.send(f"/v1/models/{NAME}:predict", REQUEST)
    assert code == 503, content
    assert changing.send("/healthz")[0] == 200
