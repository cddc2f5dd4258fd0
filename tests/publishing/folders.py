"""Versions of a few bytes, for tests of publishing that need no model."""

from pathlib import Path

from tfrs_twotower.publishing.publish import Publication, publish


def write(folder: Path) -> None:
    (folder / "saved_model.pb").write_text("model")


def accept(folder: Path) -> None:
    assert (folder / "saved_model.pb").read_text() == "model"


def publish_one(directory: Path, write=write, check=accept, **options) -> Path:
    (path,) = publish([Publication(directory=directory, write=write, check=check)], **options)
    return path
