"""The versions in a folder: listing them, and rolling back to one."""

import re

import pytest

from tests.publishing.folders import accept, publish_one
from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.publishing.versions import list_versions, rollback


def test_a_rollback_goes_back_one_version_and_its_number_is_not_reused(tmp_path):
    for _ in range(3):
        publish_one(tmp_path)
    assert rollback(tmp_path) == tmp_path / "2"
    assert versions(tmp_path) == [1, 2]
    assert [(v.number, v.is_served, v.is_withdrawn) for v in list_versions(tmp_path)] == [
        (1, False, False),
        (2, True, False),
        (3, False, True),
    ]
    assert publish_one(tmp_path).name == "4"
    assert rollback(tmp_path, to=1) == tmp_path / "1"
    assert versions(tmp_path) == [1]
    accept([list_versions(tmp_path)[-1].path])  # the withdrawn version is still there


@pytest.mark.parametrize(
    ("published", "to", "error", "message"),
    [
        (0, None, FileNotFoundError, "holds no version of a bundle"),
        (1, None, ValueError, "holds only version 1: there is none to go back to"),
        (2, 3, ValueError, "`to` must be one of 1, 2. Received: 3"),
    ],
)
def test_a_rollback_to_a_version_that_does_not_exist_is_named(tmp_path, published, to, error, message):
    for _ in range(published):
        publish_one(tmp_path)
    with pytest.raises(error, match=message):
        rollback(tmp_path, to=to)
    assert versions(tmp_path) == list(range(1, published + 1))


def test_a_rollback_that_would_overwrite_is_refused_before_it_begins(tmp_path):
    for _ in range(3):
        publish_one(tmp_path)
    (tmp_path / ".withdrawn-2").mkdir()
    with pytest.raises(FileExistsError, match=".withdrawn-2 already exists"):
        rollback(tmp_path, to=1)
    assert versions(tmp_path) == [1, 2, 3]


def test_a_version_with_a_damaged_manifest_is_listed_without_it(tmp_path):
    path = publish_one(tmp_path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "manifest.json").write_text("{")
    (version,) = list_versions(tmp_path)
    assert (version.number, version.path, version.is_served, version.manifest) == (1, path, True, None)
    assert re.match(rf"The manifest {path}/assets.extra/manifest.json is damaged: It must be JSON", version.problem)
