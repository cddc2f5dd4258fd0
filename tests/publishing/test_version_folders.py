"""Folders as people and other programs leave them: what is a version, which number is next, and where none can be."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.publishing.folders import publish_one, write
from tfrs_twotower.bundle.layout import find_version, strays, versions
from tfrs_twotower.publishing.publish import require_keep, require_publishable, require_writable
from tfrs_twotower.publishing.versions import list_versions, rollback


def bundle(path: Path) -> None:
    path.mkdir()
    write(path)


def link_to_bundle(path: Path) -> None:
    bundle(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


# What lies beside version 1 -> (its name, how it is made, the versions, the next number, whether a server takes it for
# a version although it is none).
FOLDERS = {
    "empty folder": ("9", Path.mkdir, [1], 10, True),
    "file": ("9", Path.touch, [1], 10, True),
    "link to a bundle": ("9", link_to_bundle, [1, 9], 10, False),
    "link to nowhere": ("9", lambda path: path.symlink_to("nowhere"), [1], 10, True),
    "link to itself": ("9", lambda path: path.symlink_to("9"), [1], 10, True),
    "leading zeros": ("007", bundle, [1], 8, True),
    "zero": ("0", bundle, [0, 1], 2, False),
    "the last but one of a server": (str(2**63 - 2), bundle, [1, 2**63 - 2], 2**63 - 1, False),
    "above a server's": (str(2**63), bundle, [1], 2, False),
    "as long as a name can be": ("9" * 255, bundle, [1], 2, False),
    "negative": ("-5", bundle, [1], 2, False),
    "a fraction": ("9.0", bundle, [1], 2, False),
    "digits of another script": ("\u0669", bundle, [1], 2, False),
    "withdrawn": (".withdrawn-9", bundle, [1], 10, False),
    "withdrawn above a server's": (f".withdrawn-{2**63}", bundle, [1], 2, False),
}


@pytest.mark.parametrize(("name", "make", "published", "following", "is_stray"), FOLDERS.values(), ids=FOLDERS)
def test_what_lies_beside_versions(tmp_path, name, make, published, following, is_stray):
    publish_one(tmp_path)
    make(tmp_path / name)
    assert versions(tmp_path) == published
    assert find_version(tmp_path) == tmp_path / str(published[-1])
    assert [version.number for version in list_versions(tmp_path) if not version.is_withdrawn] == published
    assert strays(tmp_path) == ([tmp_path / name] if is_stray else [])
    require_publishable(tmp_path)
    assert publish_one(tmp_path, keep=1) == tmp_path / str(following)
    assert versions(tmp_path) == [published[-1], following]  # the one before the newest has readers
    assert os.path.lexists(tmp_path / name) == (name not in map(str, published[:-1]))


@pytest.mark.parametrize("name", [str(2**63 - 1), f"00{2**63 - 1}", f".withdrawn-{2**63 - 1}"])
def test_after_the_last_number_nothing_is_written(tmp_path, name):
    bundle(tmp_path / name)

    def fail(folder: Path) -> None:
        raise AssertionError("written")

    for publish in (require_publishable, lambda directory: publish_one(directory, write=fail)):
        with pytest.raises(OSError, match="holds 9223372036854775807, and TensorFlow Serving reads no greater number"):
            publish(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "place"), [("sh\nop", "U\\+000A as character 3"), ("shop\u202e", "U\\+202E as")])
def test_a_name_that_no_file_for_a_server_can_hold_is_refused_before_any_work(tmp_path, name, place):
    with pytest.raises(ValueError, match=f"name of the model's folder must not contain control .* with {place}"):
        publish_one(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def make_link(path: Path) -> Path:
    path.symlink_to("nowhere")
    return path


def make_loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def make_file(path: Path) -> Path:
    path.touch()
    return path


UNWRITABLE = {
    "a link to nowhere": (make_link, r"shop is a link that leads to no folder"),
    "below a link to nowhere": (lambda path: make_link(path) / "a" / "b", r"shop is a link that leads to no folder"),
    "a link to itself": (make_loop, r"shop is a link that leads to no folder"),
    "below a link to itself": (lambda path: make_loop(path) / "a", "Too many levels of symbolic links"),
    "a file": (make_file, r"shop is not a folder"),
    "below a file": (lambda path: make_file(path) / "a" / "b", r"shop is not a folder"),
    "a link to a file": (
        lambda path: make_link(make_file(path.with_name("nowhere")).with_name("shop")),
        "shop is a link that leads to no folder",
    ),
    "a name too long": (lambda path: path.with_name("x" * 300), "File name too long"),
}


@pytest.mark.parametrize(("make", "message"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_folder_that_cannot_be_written_is_named_before_any_work(tmp_path, make, message):
    directory = make(tmp_path / "shop")
    before = sorted(tmp_path.iterdir())
    for require in (require_writable, require_publishable, publish_one):
        with pytest.raises(OSError, match=rf"cannot be written \(.*{message}\). Choose another output folder"):
            require(directory)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("step", ["lstat", "TemporaryFile"])
def test_a_folder_without_permission_is_named(tmp_path, monkeypatch, step):
    """The system's answer is imitated, because the tests may run as a user who is permitted everything."""

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*{"lstat": (Path, "lstat"), "TemporaryFile": (tempfile, "TemporaryFile")}[step], refuse)
    with pytest.raises(OSError, match=r"shop cannot be written \(Permission denied\). Choose another output folder"):
        require_writable(tmp_path / "shop")


def test_a_link_to_a_folder_can_be_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "shop").symlink_to("disk")
    require_publishable(tmp_path / "shop")
    assert publish_one(tmp_path / "shop") == tmp_path / "shop" / "1"
    assert versions(tmp_path / "disk") == [1]


@pytest.mark.parametrize("keep", [None, 1, np.int64(2)])
def test_a_number_of_versions_may_stay(keep):
    require_keep(keep)


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        (1.5, TypeError, "`keep` must be a whole number. Received: 1.5"),
        (2.0, TypeError, "`keep` must be a whole number. Received: 2.0"),
        (True, TypeError, "`keep` must be a whole number. Received: True"),
        ("2", TypeError, "`keep` must be a whole number. Received: '2'"),
        ([2], TypeError, r"`keep` must be a whole number. Received: \[2\]"),
        (0, ValueError, "`keep` must be at least 1. Received: 0"),
        (-1, ValueError, "`keep` must be at least 1. Received: -1"),
    ],
)
def test_another_number_of_versions_is_refused_before_any_work(tmp_path, keep, error, message):
    with pytest.raises(error, match=message):
        publish_one(tmp_path / "shop", keep=keep)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("to", [True, "1", 1.0])
def test_a_rollback_goes_to_a_whole_number(tmp_path, to):
    for _ in range(2):
        publish_one(tmp_path)
    with pytest.raises(TypeError, match="`to` must be a whole number"):
        rollback(tmp_path, to=to)
    assert versions(tmp_path) == [1, 2]
