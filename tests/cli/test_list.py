"""`tfrs-twotower list`: a version that somebody damaged is named, and the others are listed."""

import json
import math
from pathlib import Path

from tests.bundle.manifests import make_index_entry, make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MANIFEST_FILE, MODEL_FILE

GOOD = make_manifest(created="2025-01-02T03:04:05+00:00").to_dict()


def add_version(directory: Path, data: bytes | None) -> None:
    folder = directory / str(1 + sum(1 for _ in directory.iterdir()))
    (folder / EXTRA_FOLDER).mkdir(parents=True)
    (folder / MODEL_FILE).touch()
    if data is not None:
        (folder / MANIFEST_FILE).write_bytes(data)


def changed(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_damaged_versions_are_named_and_the_others_are_listed(tmp_path, call):
    damaged = {
        None: "There is no file",
        b"{": "It must be JSON",
        b"\xff": "It must be UTF-8",
        b"[" * 100_000: "It must not be nested deeper",
        changed(metrics={"auc": "good"}): "`metrics.auc` must be a number. Received: 'good'",
        changed(metrics={"auc": math.nan}): "`metrics.auc` must be a number. Received: nan",
        changed(metrics=[1]): "`metrics` must be an object with keys. Received: a list",
        changed(created=None): "`created` must be a text. Received: None",
        changed(created="\ud800"): "`created` must be a text",
        changed(num_candidates="many"): "`num_candidates` must be a whole number of at least 1. Received: 'many'",
        changed(index=[]): "`index` must be an object with keys. Received: a list",
    }
    for data in damaged:
        add_version(tmp_path, data)
    add_version(tmp_path, changed())
    result = call("list", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if "│" in line]
    assert len(rows) == len(damaged) + 1
    assert "12 │ served │ 2025-01-02T03:04:05+00:00 │ exact" in rows[-1]
    assert ["no readable manifest" in row for row in rows] == [True] * len(damaged) + [False]
    lines = [line for line in result.stdout.splitlines() if line.startswith("Version ")]
    for line, (number, message) in zip(lines, enumerate(damaged.values(), start=1), strict=True):
        assert line.startswith(f"Version {number}: ")
        assert f"{number}/assets.extra/manifest.json" in line
        assert message in line


def test_texts_of_a_manifest_are_shown_as_they_are(tmp_path, call):
    """Neither rich nor the terminal takes them for instructions."""
    add_version(tmp_path, changed(created="[/red] [bold]\x1b[2J"))
    add_version(tmp_path, changed(index=make_manifest(index=make_index_entry(kind="[link=x]")).to_dict()["index"]))
    result = call("list", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[/red] [bold]\\x1b[2J" in result.stdout
    assert "[link=x]" in result.stdout


def test_what_only_a_server_takes_for_a_version_is_named(tmp_path, call):
    add_version(tmp_path, changed())
    (tmp_path / "007").mkdir()
    result = call("list", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (
        f"{tmp_path}/007 is not a version, but TensorFlow Serving takes it for version 7. Rename it." in result.stdout
    )
