import multiprocessing
from pathlib import Path

import pytest

from tfrs_twotower.serving.publish import publish, require_writable, versions


def write(folder: Path) -> None:
    (folder / "saved_model.pb").write_text("model")


def accept(folder: Path) -> None:
    assert (folder / "saved_model.pb").read_text() == "model"


def test_versions_count_up_from_1(tmp_path):
    assert versions(tmp_path / "model") == []
    for version in (1, 2, 3):
        assert publish(tmp_path / "model", write, accept) == tmp_path / "model" / str(version)
    assert versions(tmp_path / "model") == [1, 2, 3]


def test_the_next_version_is_above_the_newest_whatever_else_is_there(tmp_path):
    for name in ("7", "10", "notes", ".incomplete-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file, not a version")
    assert publish(tmp_path, write, accept).name == "11"


def test_a_version_is_checked_beside_its_place(tmp_path):
    def check(folder: Path) -> None:
        accept(folder)
        assert not folder.name.isdecimal()
        assert versions(tmp_path) == []

    publish(tmp_path, write, check)


@pytest.mark.parametrize("failing", ["write", "check"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, failing):
    publish(tmp_path, write, accept)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("broken off")

    steps = {"write": (fail, accept), "check": (write, fail)}[failing]
    with pytest.raises(RuntimeError, match="broken off"):
        publish(tmp_path, *steps)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def _publish_some(directory: Path) -> None:
    for _ in range(10):
        publish(directory, write, accept)


def test_two_publishers_at_once_get_different_versions(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_publish_some, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert versions(tmp_path) == list(range(1, 21))
    assert all((tmp_path / str(version) / "saved_model.pb").is_file() for version in range(1, 21))


def test_a_folder_that_cannot_be_made_is_an_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    require_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    with pytest.raises(OSError, match=r"file/model cannot be written .*Choose another output folder"):
        require_writable(tmp_path / "file" / "model")
