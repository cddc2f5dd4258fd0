"""Several renames are one step: all happen or none, and those of a killed process are finished by the next one."""

import json
from pathlib import Path

import pytest

from tfrs_twotower.publishing.renames import finish_renames, rename_all


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        (folder / "old").mkdir(parents=True)
    return folders


def names(folders) -> list[list[str]]:
    return [sorted(path.name for path in folder.iterdir()) for folder in folders]


def test_all_are_renamed_and_no_record_stays(folders):
    rename_all(folders[0], [(folder, "old", "new") for folder in folders])
    assert names(folders) == [["new"], ["new"]]


def test_if_one_fails_those_before_it_get_their_old_names_back(folders, monkeypatch):
    rename = Path.rename

    def fail_in_two(path, target):
        if path.parent.name == "two":
            raise OSError("no room for a name")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_in_two)
    with pytest.raises(OSError, match="no room for a name"):
        rename_all(folders[0], [(folder, "old", "new") for folder in folders])
    assert names(folders) == [["old"], ["old"]]


class Killed(BaseException):
    """Stands for the end of the process: nothing runs after it."""


@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_what_a_killed_process_left_is_finished(folders, monkeypatch, num_done):
    """The process ends before the rename that follows `num_done` others, or before the record is removed."""
    rename, num_renames = Path.rename, 0

    def end(*arguments, **options):
        raise Killed

    def rename_or_end(path, target):
        nonlocal num_renames
        if num_renames == num_done:
            monkeypatch.setattr(Path, "exists", end)  # nothing is taken back, either
            raise Killed
        num_renames += 1
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_end)
        patch.setattr(Path, "unlink", end)
        with pytest.raises(Killed):
            rename_all(folders[0], [(folder, "old", "new") for folder in folders])
    monkeypatch.undo()
    finish_renames(folders[0])
    assert names(folders) == [["new"], ["new"]]
    finish_renames(folders[0])  # there is nothing left to do
    assert names(folders) == [["new"], ["new"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged. Check which versions are there, then remove it"),
        ("[[1]]", "is damaged"),
        (json.dumps([["two", "../one/old", "new"]]), "names a file elsewhere: two, ../one/old, new"),
        (json.dumps([["..", "old", "new"]]), "names a file elsewhere"),
        (json.dumps([["two", "", "new"]]), "names a file elsewhere"),
    ],
)
def test_a_record_that_was_tampered_with_moves_nothing(folders, content, message):
    (folders[0] / ".renames.json").write_text(content)
    with pytest.raises(OSError, match=message):
        finish_renames(folders[0])
    assert names(folders) == [[".renames.json", "old"], ["old"]]
