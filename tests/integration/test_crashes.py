"""However a publication ends, the newest version loads and predicts, and a server finds nothing incomplete."""

import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.checks import no_check
from tfrs_twotower.bundle.layout import find_version, versions
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.publishing import refresh
from tfrs_twotower.publishing.publish import _INCOMPLETE
from tfrs_twotower.publishing.versions import list_versions

# Publishes a real bundle again and again until it is killed. It prints a line when it begins.
PUBLISHER = """
import shutil, sys
from pathlib import Path
from tfrs_twotower.publishing.publish import Publication, publish

source, directory = map(Path, sys.argv[1:])
def write(folder):
    shutil.copytree(source, folder, dirs_exist_ok=True)
def check(folders):
    assert (folders[0] / "assets.extra" / "manifest.json").is_file()
print("ready", flush=True)
while True:
    publish([Publication(directory=directory, write=write)], check, keep=3)
"""
QUERY = {"user_id": ["u0", "u1", "stranger"]}


def recommendations(bundle: LoadedBundle) -> dict[str, list]:
    return {name: values.tolist() for name, values in bundle.recommend(QUERY)._asdict().items()}


def contents(folder: Path) -> dict[Path, bytes | bool]:
    """Returns the bytes of each file in a folder, and False for each folder."""
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def test_a_publisher_killed_at_any_moment_leaves_a_version_that_predicts(bundle_path, tmp_path, unchecked):
    """After each, the newest version has the same bytes as the bundle that is published."""
    expected = recommendations(tt.load_bundle(bundle_path))
    shutil.copytree(bundle_path, tmp_path / "1")
    generator = random.Random(0)
    files = contents(bundle_path)
    num_killed = 0
    # On a slow machine some publishers are killed before they publish anything.
    while num_killed < 10 or max(versions(tmp_path)) <= 10:
        num_killed += 1
        assert num_killed <= 200
        command = [sys.executable, "-c", PUBLISHER, bundle_path, tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as publisher:
            publisher.stdout.readline()
            time.sleep(generator.uniform(0, 0.1))
            publisher.kill()
        newest = max(versions(tmp_path))
        assert find_version(tmp_path) == tmp_path / str(newest)
        for version in versions(tmp_path):
            assert contents(tmp_path / str(version)) == files
        assert newest >= 1
    assert recommendations(tt.load_bundle(tmp_path)) == expected
    # The next publisher removes what was left.
    shutil.copytree(bundle_path, tmp_path / f"{_INCOMPLETE}killed")
    tt.refresh_bundle(tmp_path, tt.load_bundle(tmp_path).candidates, keep=1)
    left = versions(tmp_path)[-2:]  # the one before the newest may have readers
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(number) for number in left]


@pytest.mark.parametrize("limit", [10_000, 100_000])
def test_a_full_disk_is_an_error_that_leaves_no_trace(bundle_path, tmp_path, unchecked, limit):
    """A limit on the size of files makes writing fail as on a full disk."""
    shutil.copytree(bundle_path, tmp_path / "1")
    before = sorted(tmp_path.rglob("*"))
    expected = recommendations(tt.load_bundle(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="cannot be written|File too large"):
            tt.refresh_bundle(tmp_path, tt.load_bundle(tmp_path).candidates)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.rglob("*")) == before
    assert recommendations(tt.load_bundle(tmp_path)) == expected
    assert [version.is_served for version in list_versions(tmp_path)] == [True]


def test_a_publication_that_fails_at_its_end_leaves_no_trace(bundle_path, tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("broken off")

    monkeypatch.setattr(refresh, "FreshCheck", lambda: no_check(fail))
    shutil.copytree(bundle_path, tmp_path / "1")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RuntimeError, match="broken off"):
        tt.refresh_bundle(tmp_path, pa.table({"movie_id": ["a", "b"], "genres": [["Even"], ["Odd"]]}))
    assert sorted(tmp_path.rglob("*")) == before
