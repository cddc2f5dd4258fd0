"""Versions appear all at once, and old ones are removed, whatever else happens in the folder."""

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.publishing.folders import accept, publish_one, write
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.publishing import publish as publish_module
from tfrs_twotower.publishing.publish import _INCOMPLETE, require_writable
from tfrs_twotower.publishing.versions import rollback


def test_versions_count_up_from_1(tmp_path):
    assert versions(tmp_path / "model") == []
    for version in (1, 2, 3):
        assert publish_one(tmp_path / "model") == tmp_path / "model" / str(version)
    assert versions(tmp_path / "model") == [1, 2, 3]


def test_the_next_version_is_above_every_number_in_the_folder(tmp_path):
    for name in ("7", "10", "notes", ".incomplete-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file, whose name is taken")
    assert publish_one(tmp_path).name == "13"
    (tmp_path / "0020").mkdir()  # a server takes it for 20
    assert publish_one(tmp_path).name == "21"


def test_without_locks_the_slower_of_two_takes_the_next_number(tmp_path, monkeypatch):
    publish_one(tmp_path)
    monkeypatch.setattr(publish_module, "next_version", lambda directory: 1)  # as seen before the other's rename
    assert publish_one(tmp_path).name == "2"


def test_a_version_is_checked_beside_its_place(tmp_path):
    def check(folders: Sequence[Path]) -> None:
        accept(folders)
        assert not folders[0].name.isdecimal()
        assert versions(tmp_path) == []

    publish_one(tmp_path, check=check)


@pytest.mark.parametrize("failing", ["write", "check"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, failing):
    publish_one(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def write_half(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError("broken off")

    def refuse(folders: Sequence[Path]) -> None:
        raise RuntimeError("broken off")

    steps = {"write": (write_half, accept), "check": (write, refuse)}[failing]
    with pytest.raises(RuntimeError, match="broken off"):
        publish_one(tmp_path, *steps)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def _publish_some(directory: Path) -> None:
    for _ in range(20):
        publish_one(directory)


def test_two_publishers_at_once_get_different_versions(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_publish_some, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert versions(tmp_path) == list(range(1, 41))
    assert all((tmp_path / str(version) / "saved_model.pb").is_file() for version in range(1, 41))


def test_a_folder_that_cannot_be_created_is_an_error_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    require_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    with pytest.raises(OSError, match=r"file/model cannot be written .*Choose another output folder"):
        require_writable(tmp_path / "file" / "model")


def test_only_the_newest_are_kept(tmp_path):
    for _ in range(3):
        publish_one(tmp_path)
    rollback(tmp_path)
    assert publish_one(tmp_path, keep=2).name == "4"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".withdrawn-3", "2", "4"]
    publish_one(tmp_path, keep=1)
    # The version before stays for a while: a reader may be loading it.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]
    with pytest.raises(ValueError, match="`keep` must be at least 1"):
        publish_one(tmp_path, keep=0)


def test_folders_of_killed_publishers_are_removed_and_those_of_live_ones_are_not(tmp_path):
    (tmp_path / f"{_INCOMPLETE}killed").mkdir()
    (tmp_path / ".removed-killed").mkdir()
    seen = []

    def write_while_another_publishes(folder: Path) -> None:
        write(folder)
        publish_one(tmp_path)
        seen.extend(path.name for path in tmp_path.iterdir())

    publish_one(tmp_path, write=write_while_another_publishes)
    assert len(seen) == 2  # the other's version, and the folder that is being written
    assert "1" in seen
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_folders_that_are_not_bundles_are_neither_removed_nor_served(tmp_path):
    for name in ("2023", "007", "٣"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious.csv").write_text("")
    assert versions(tmp_path) == []
    assert publish_one(tmp_path, keep=1).name == "2024"
    assert publish_one(tmp_path, keep=1).name == "2025"
    assert versions(tmp_path) == [2024, 2025]
    rollback(tmp_path)
    assert len(list(tmp_path.rglob("precious.csv"))) == 3
    with pytest.raises(ValueError, match="there is none to go back to"):
        rollback(tmp_path)


def test_a_warning_is_given_if_old_versions_cannot_be_removed(tmp_path, monkeypatch):
    publish_one(tmp_path)
    publish_one(tmp_path)
    rename = Path.rename

    def fail_for_1(path, target):
        if path.name == "1":
            raise PermissionError("of another owner")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_1)
    with pytest.warns(UserWarning, match="Published, but old versions .* stay: of another owner"):
        assert publish_one(tmp_path, keep=1).name == "3"
