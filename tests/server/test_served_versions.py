"""Which versions are loaded, kept and retired, with workers that the test makes succeed, fail and die."""

import asyncio
import shutil
import sys
from typing import ClassVar

import pytest

from tests.server.conftest import NAME, run
from tfrs_twotower.bundle.layout import MODEL_FILE
from tfrs_twotower.server import (
    AllVersions,
    LatestVersions,
    ModelConfig,
    ServerConfig,
    SpecificVersions,
    served_versions,
)
from tfrs_twotower.server.errors import Code, RequestError
from tfrs_twotower.server.metrics import Metrics
from tfrs_twotower.server.served_versions import ServedModel, find_versions


class Worker:
    """Stands in for a process, and counts how many live at a time."""

    running: ClassVar[list["Worker"]] = []
    most = 0

    def __init__(self, folder) -> None:
        self.folder, self.pid, self.signatures = folder, 1, {}
        Worker.running.append(self)
        Worker.most = max(Worker.most, len(Worker.running))

    async def wait_until_loaded(self, on_end) -> None:
        await asyncio.sleep(0)
        if (self.folder / MODEL_FILE).read_text() == "bad":
            raise ValueError("it is bad")
        self.on_end = on_end

    def kill(self) -> None:
        if self in Worker.running:
            Worker.running.remove(self)

    async def close(self) -> None:
        self.kill()

    def die(self) -> None:
        self.kill()
        self.on_end()


@pytest.fixture(autouse=True)
def workers(monkeypatch):
    async def start(folder, **options):
        return Worker(folder)

    Worker.running, Worker.most = [], 0
    monkeypatch.setattr(served_versions, "start_worker", start)


def put(directory, number: int, text: str = "good") -> None:
    folder = directory / str(number)
    folder.mkdir()
    (folder / MODEL_FILE).write_text(text)


def model_of(directory, policy) -> ServedModel:
    model = ModelConfig(name=NAME, directory=directory, policy=policy, labels={"stable": 1})
    config = ServerConfig(models=(model,))
    return ServedModel(
        model, config, loading=asyncio.Semaphore(1), metrics=Metrics(), log=lambda event, **details: None
    )


async def update(model: ServedModel) -> list[int]:
    """Looks for versions, lets what is retired end, and returns the numbers of those that answer."""
    await model.update()
    for _ in range(10):
        await asyncio.sleep(0)
    return [version.number for version in model.available]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (LatestVersions(num=1), [5]),
        (LatestVersions(num=2), [5, 3]),
        (LatestVersions(num=9), [5, 3, 1]),
        (SpecificVersions(versions=(1, 4)), [1]),
        (AllVersions(), [5, 3, 1]),
    ],
)
def test_a_policy_chooses(tmp_path, policy, expected):
    for number in (1, 3, 5):
        put(tmp_path, number)
    assert asyncio.run(update(model_of(tmp_path, policy))) == expected


def test_versions_follow_each_other_with_one_process_more_at_most(tmp_path):
    async def main():
        model = model_of(tmp_path, LatestVersions())
        for number in range(1, 5):
            put(tmp_path, number)
            assert await update(model) == [number]
        assert Worker.most == 2
        assert len(Worker.running) == 1
        await model.close()
        assert Worker.running == []

    asyncio.run(main())


@pytest.mark.parametrize("old", [[], [1]])
def test_a_bad_version_leaves_its_place_to_the_one_before(tmp_path, old):
    async def main():
        model = model_of(tmp_path, LatestVersions())
        for number in old:
            put(tmp_path, number)
            await update(model)
        put(tmp_path, 7, "bad")
        assert await update(model) == old
        assert await update(model) == old
        put(tmp_path, 6)  # for a server that has just been started, it is there before
        assert await update(model) == [6]
        problems = {version.number: version.problem for version in model.listed}
        assert problems[7] == "it is bad"
        shutil.rmtree(tmp_path / "7")
        put(tmp_path, 7)
        assert await update(model) == [7]

    asyncio.run(main())


def test_a_withdrawn_version_gives_way_to_the_one_before(tmp_path):
    async def main():
        model = model_of(tmp_path, LatestVersions())
        put(tmp_path, 1)
        put(tmp_path, 2)
        assert await update(model) == [2]
        (tmp_path / "2").rename(tmp_path / ".withdrawn-2")
        assert await update(model) == [1]
        (tmp_path / "1").rename(tmp_path / ".withdrawn-1")
        assert await update(model) == [1]  # there is nothing in its place

    asyncio.run(main())


def test_a_version_published_again_under_its_number_is_loaded_again(tmp_path):
    async def main():
        model = model_of(tmp_path, LatestVersions())
        put(tmp_path, 1)
        assert await update(model) == [1]
        (first,) = Worker.running
        put(tmp_path, 99)
        (tmp_path / "1").rename(tmp_path / ".old")
        (tmp_path / "99").rename(tmp_path / "1")
        assert await update(model) == [1]
        assert Worker.running != [first]

    asyncio.run(main())


def test_a_worker_that_dies_is_replaced_and_later_each_time(tmp_path):
    async def main():
        model = model_of(tmp_path, LatestVersions())
        put(tmp_path, 1)
        assert await update(model) == [1]
        Worker.running[0].die()
        with pytest.raises(RequestError) as raised:
            model.find(None, None)
        assert raised.value.code is Code.UNAVAILABLE
        assert await update(model) == [1]
        Worker.running[0].die()
        assert await update(model) == []  # only after a second

    asyncio.run(main())


def test_a_request_finds_its_version(tmp_path):
    async def main():
        for number in (1, 2):
            put(tmp_path, number)
        model = model_of(tmp_path, AllVersions())
        await update(model)
        for version, label, expected in ((None, None, 2), (1, None, 1), (None, "stable", 1)):
            assert model.find(version, label).number == expected
        for version, label in ((3, None), (None, "canary")):
            with pytest.raises(RequestError) as raised:
                model.find(version, label)
            assert raised.value.code is Code.NOT_FOUND

    asyncio.run(main())


def test_no_folder_holds_no_versions(tmp_path):
    assert find_versions(tmp_path / "nothing") == set()


def test_a_model_without_a_version_is_not_served(tmp_path):
    with (
        pytest.raises(ValueError, match="holds no version of a bundle"),
        run((ModelConfig(name=NAME, directory=tmp_path),)),
    ):
        pass
    put(tmp_path, 1, "bad")
    with pytest.raises(ValueError, match="version 1: it is bad"), run((ModelConfig(name=NAME, directory=tmp_path),)):
        pass


def test_a_missing_package_is_an_error_that_names_the_extra(tmp_path, monkeypatch):
    for name in ("listeners", "http_app", "connections"):
        monkeypatch.delitem(sys.modules, f"tfrs_twotower.server.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    model = ModelConfig(name=NAME, directory=tmp_path)
    with pytest.raises(ImportError, match=r'needs aiohttp. Run: pip install "tfrs-twotower\[server\]"'), run((model,)):
        pass
