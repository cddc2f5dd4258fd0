"""Versions of a few bytes, for tests of publishing that need no model."""

from collections.abc import Sequence
from pathlib import Path

from tests.bundle.manifests import make_manifest
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MODEL_FILE, portable_twin, versions
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.publishing.publish import Publication, publish


def write(folder: Path) -> None:
    (folder / MODEL_FILE).write_text("model")


def accept(folders: Sequence[Path]) -> None:
    assert all((folder / MODEL_FILE).read_text() == "model" for folder in folders)


def publish_one(directory: Path, write=write, check=accept, **options) -> Path:
    (path,) = publish([Publication(directory=directory, write=write)], check, **options)
    return path


def publication(directory: Path, *, export_id: str, is_twin: bool, needs_scann: bool = False) -> Publication:
    """A publication of a bundle with nothing but a manifest."""
    packages = {"tfrs_twotower": "0.2.0", **({"scann": "1.4.2"} if needs_scann else {})}

    def write_with_manifest(folder: Path) -> None:
        write(folder)
        (folder / EXTRA_FOLDER).mkdir()
        make_manifest(export_id=export_id, is_twin=is_twin, versions=packages).write(folder)

    return Publication(directory=directory, write=write_with_manifest)


def publish_pair(directory: Path, export_id: str, **options) -> Path:
    """Publishes a bundle that needs ScaNN, and its twin."""
    twin = publication(portable_twin(directory), export_id=export_id, is_twin=True)
    main = publication(directory, export_id=export_id, is_twin=False, needs_scann=True)
    return publish([main, twin], accept, **options)[0]


def export_ids(directory: Path) -> dict[int, str | None]:
    """Reads the export id of each published version."""
    return {number: Manifest.read(directory / str(number)).export_id for number in versions(directory)}
