"""Preparing a MovieLens data set with TensorFlow Datasets' own builder, from the first source that can be reached."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered
from tensorflow_datasets.core.download import download_manager, extractor
from tensorflow_datasets.structured import movielens as tfds_movielens

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.movielens import ml_100k
from tfrs_twotower.movielens.archives import find_archive, read_archive, unpack_archive
from tfrs_twotower.movielens.wheel import WHEEL_REQUIREMENT, archive_from_wheel

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSize:
    """How much a data set holds.

    Attributes:
        num_ratings: Number of ratings.
        num_users: Number of users.
        num_movies: Number of movies, including those without ratings.
    """

    num_ratings: int
    num_users: int
    num_movies: int

    @classmethod
    def of(cls, ratings: Interactions) -> DatasetSize:
        """Counts what an archive holds.

        Args:
            ratings: What `read_archive` gives.
        """
        return cls(num_ratings=ratings.num_events, num_users=ratings.num_queries, num_movies=ratings.num_candidates)

    def __str__(self) -> str:
        """Lists the numbers."""
        return f"{self.num_ratings:,} ratings, {self.num_users:,} users and {self.num_movies:,} movies"


#: Name in TFDS -> what the archive holds, according to its README.
DATASETS = {
    "movielens/100k-ratings": DatasetSize(num_ratings=100_000, num_users=943, num_movies=1682),
    "movielens/1m-ratings": DatasetSize(num_ratings=1_000_209, num_users=6040, num_movies=3883),
    "movielens/20m-ratings": DatasetSize(num_ratings=20_000_263, num_users=138_493, num_movies=27_278),
    "movielens/25m-ratings": DatasetSize(num_ratings=25_000_095, num_users=162_541, num_movies=62_423),
    "movielens/latest-small-ratings": DatasetSize(num_ratings=100_836, num_users=610, num_movies=9742),
}

_DOWNLOAD_ERRORS = (
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
    extractor.ExtractError,
    extractor.UnsafeArchiveError,
)
_SOURCE_FILE = "source.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedDataset:
    """A data set that TFDS has prepared on this machine.

    Attributes:
        builder: TFDS's builder of the data set, which gives access to its files.
        source: Description of where the raw files came from.
    """

    builder: tfds.core.DatasetBuilder
    source: str


def prepare_movielens(
    name: str = "movielens/100k-ratings",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
) -> PreparedDataset:
    """Finds the prepared data set in `data_dir`, or prepares it with TFDS's own builder.

    The source is the first of these that applies: `data_dir`, if the data set has been prepared there; `archive`;
    GroupLens through TFDS, if the host responds to a short probe; for 100k, a wheel on the Python package index that
    carries the ratings. An interrupted preparation leaves nothing behind, because TFDS writes into a temporary folder
    and renames it.

    Args:
        name: Name of the data set in TFDS, one of `DATASETS`.
        data_dir: TFDS's data folder, by default TFDS's own (`~/tensorflow_datasets`, or `TFDS_DATA_DIR`).
        archive: A local folder or zip file, as GroupLens publishes it, to prepare from instead of the network.

    Raises:
        ValueError: If the name is unknown, or the archive is damaged, refused, or not the official one.
        FileNotFoundError: If there is no archive at `archive`.
        OSError: If no source can be reached, `data_dir` cannot be written, or a disk has not enough space.

    Example:
        >>> prepare_movielens("movielens/3k")
        Traceback (most recent call last):
        ValueError: Unknown data set 'movielens/3k'. Known: movielens/100k-ratings, ...
    """
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}. Known: {', '.join(DATASETS)}.")
    if archive is not None:
        find_archive(Path(archive))  # A wrong path is an error even where the data set has been prepared before.
    directory = os.fspath(data_dir) if data_dir is not None else None
    builder = tfds.builder(name, data_dir=directory)
    if builder.is_prepared():
        return PreparedDataset(builder=builder, source=_read_source(builder))
    with tempfile.TemporaryDirectory(prefix="movielens-") as folder:
        workspace = Path(folder)
        files, source = _find_source(name, Path(archive) if archive is not None else None, workspace)
        # Logged as a warning, which Python shows without any configuration: users must see whose data this is.
        logger.warning("Preparing %s from: %s. %s", name, source, ml_100k.TERMS)
        if files is not None:
            builder = _FolderMovielens(folder=files, config=name.partition("/")[2], data_dir=directory)
        _download_and_prepare(builder, workspace)
    _write_source(builder, source)
    return PreparedDataset(builder=tfds.builder(name, data_dir=directory), source=source)


def _find_source(name: str, archive: Path | None, workspace: Path) -> tuple[Path | None, str]:
    """Finds the raw files.

    Returns:
        (folder, source): the folder of the files, or None if TFDS can download them; the description of their source.
    """
    if archive is not None:
        return _open_archive(name, archive, workspace)
    if ml_100k.grouplens_answers():
        return None, "GroupLens, through TensorFlow Datasets"
    if name == "movielens/100k-ratings":
        source = f"package index, the wheel {WHEEL_REQUIREMENT} (GroupLens's host did not respond)"
        return archive_from_wheel(workspace), source
    raise ConnectionError(
        "GroupLens's host does not respond, and only 100k has another source. "
        f"Download the archive of {name} on another machine and name it as the archive."
    )


def _open_archive(name: str, path: Path, workspace: Path) -> tuple[Path, str]:
    """Finds the folder of an archive, and checks that it is the official one.

    Once prepared, another archive could not be told from the official one. The checksums of all files are known of
    100k, and of the other archives the checksum of GroupLens's zip file. Without that zip file, the description says
    which data it was.

    Returns:
        (folder, source): the folder of the files; the description of their source.
    """
    if name == "movielens/100k-ratings":
        return ml_100k.open_archive(path, workspace), f"local archive {path.name} (its files are as published)"
    size = DatasetSize.of(read_archive(path))
    if size != DATASETS[name]:
        raise ValueError(
            f"{path} is not {name}: it holds {size}, not {DATASETS[name]}. Use `tt.movielens.read_archive` to read it "
            "as it is."
        )
    files, layout = find_archive(path)
    if files.is_zip and files.zip_sha256() == _published_sha256(name):
        source = "GroupLens's zip file, by its SHA-256"
    else:
        source = f"numbers as published, text not checked, {files.describe_checksum(layout.file_names)}"
    return unpack_archive(path, workspace), f"local archive {path.name} ({source})"


def _published_sha256(name: str) -> str:
    """Gives the SHA-256 of GroupLens's zip file, with which TFDS checks its downloads."""
    builder = tfds.builder(name)
    return str(builder.url_infos[builder.builder_config.download_url].checksum)


with registered.skip_registration():

    class _FolderMovielens(tfds_movielens.Movielens):
        """TFDS's own MovieLens builder with the files of a local folder in place of a download."""

        name = "movielens"

        def __init__(self, *, folder: Path, **kwargs: Any) -> None:
            self._folder = os.fspath(folder)
            super().__init__(**kwargs)

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
            del dl_manager  # There is nothing to download.
            return {"train": self._generate_examples(self._folder)}


def _download_and_prepare(builder: tfds.core.DatasetBuilder, workspace: Path) -> None:
    # TFDS's mirror of prepared data sets is on another host, and requests may hang for minutes where it is blocked.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        builder.download_and_prepare(download_dir=workspace / "downloads", download_config=config)
    except _DOWNLOAD_ERRORS as error:
        raise ConnectionError(f"GroupLens's host responded, but the download failed: {error}. Try again.") from error


def _read_source(builder: tfds.core.DatasetBuilder) -> str:
    path = Path(builder.data_path) / _SOURCE_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError):
        return "a data set that was already prepared (source not recorded)"


def _write_source(builder: tfds.core.DatasetBuilder, source: str) -> None:
    record = {"source": source, "terms": ml_100k.TERMS}
    (Path(builder.data_path) / _SOURCE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
