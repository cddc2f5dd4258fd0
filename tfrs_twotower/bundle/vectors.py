"""Vectors of candidates and queries in Parquet files, for other programs that search and compare vectors.

The score of a pair is the inner product of its two retrieval vectors, and the log-odds of its probability that of its
two rating vectors. Biases are entries of the vectors, so that nothing has to be added. Vectors of two exports have
nothing to do with each other, which is why each file says from which export it is.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower._locks import move_into_place
from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_having
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.query_files import read_query_files
from tfrs_twotower.bundle.query_tables import QueryTables
from tfrs_twotower.bundle.requests import raw_candidates
from tfrs_twotower.data.columns import plain_column
from tfrs_twotower.features.input_names import EXCLUDE_INPUT, FILTER_PREFIX

_ROWS_AT_ONCE = 4096
# Keys of the metadata of a file's schema begin in this way.
_PREFIX = "tfrs_twotower."
_KEYS = ("side", "id_column", "version", "export_id")
_ROLES = ("retrieval", "rating")
_TASK = "Computing vectors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vectors:
    """Vectors of candidates or of queries.

    Attributes:
        side: "candidate" or "query".
        id_column: Name of the column of ids.
        ids: string [num_rows], or integers if the ids of queries were integers in their table.
        retrieval: float32 [num_rows, dim]; the inner product of those of a query and a candidate is their score.
        rating: float32 [num_rows, dim]; the inner product is the log-odds of the probability. None if the model does
            not predict probabilities.
        version: Version of the bundle.
        export_id: Identifies the export, which a bundle shares with its portable twin.

    Example:
        >>> vectors = Vectors(
        ...     side="query", id_column="user_id", ids=pa.array(["u1"]), retrieval=np.ones([1, 8], np.float32),
        ...     rating=None, version="3", export_id="0f2d",
        ... )
        >>> vectors.retrieval.shape
        (1, 8)
    """

    side: str
    id_column: str
    ids: pa.Array
    retrieval: np.ndarray
    rating: np.ndarray | None
    version: str
    export_id: str


def write_candidate_vectors(
    bundle: LoadedBundle, path: str | os.PathLike[str], *, progress: Progress = no_progress
) -> int:
    """Writes the vectors of the catalogue to a Parquet file, in its order; the file appears when it is complete.

    Its columns are the ids, `retrieval` and, if the model predicts probabilities, `rating`: lists of float32 of a fixed
    size. The metadata of the schema say which side, version and export the vectors are of.

    Args:
        bundle: From `load_bundle`.
        path: The file, which is replaced if it exists.
        progress: Told how many vectors have been computed.

    Returns:
        The number of vectors.

    Raises:
        ValueError: If the bundle does not say which export it is of.
        OSError: If the file cannot be written.

    Example:
        A stand-in for a loaded bundle, with a catalogue of two movies:

        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> movie = SimpleNamespace(id="movie_id", inputs=())
        >>> bundle = SimpleNamespace(
        ...     path=Path("saved_models/movies/3"),
        ...     manifest=SimpleNamespace(export_id="0f2d", model=SimpleNamespace(candidate=movie)),
        ...     candidates=pa.table({"movie_id": ["m1", "m2"]}),
        ...     call=lambda signature, inputs: {"retrieval": tf.eye(2)},
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     num_vectors = write_candidate_vectors(bundle, f"{folder}/candidates.parquet")
        ...     (vectors,) = read_vectors(f"{folder}/candidates.parquet")
        >>> num_vectors, vectors.ids.to_pylist(), vectors.retrieval.tolist(), vectors.version
        (2, ['m1', 'm2'], [[1.0, 0.0], [0.0, 1.0]], '3')
    """
    _require_export(bundle)
    side, catalogue = bundle.manifest.model.candidate, bundle.candidates
    specs = [spec.tensor_spec for spec in side.inputs]

    def embed() -> Iterator[pa.Table]:
        for start in range(0, catalogue.num_rows, _ROWS_AT_ONCE):
            rows = catalogue.slice(start, _ROWS_AT_ONCE)
            yield _table(side.id, rows[side.id], bundle.call("embed_candidate", raw_candidates(rows, specs)))

    return _write(Path(path), embed(), _metadata(bundle, "candidate", side.id), catalogue.num_rows, progress)


def write_query_vectors(
    bundle: LoadedBundle,
    queries: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    progress: Progress = no_progress,
) -> int:
    """Writes the vectors of queries to a Parquet file, in the order of their rows; see `write_candidate_vectors`.

    A vector is of all that is given or known of a query, its whole history included.

    Args:
        bundle: From `load_bundle`.
        queries: Parquet files with a row for each query, as `batch_recommend` takes them; exclusions and filters have
            no effect.
        path: The file, which is replaced if it exists.
        progress: Told how many bytes of the queries have been read, and how many vectors have been computed.

    Returns:
        The number of vectors.

    Raises:
        FileNotFoundError: If there are no such files of queries.
        ValueError: If the bundle does not say which export it is of, a file of queries is not Parquet or damaged, a
            column is missing, the files differ in their columns, or a value is impossible.
        TypeError: If a column of the queries holds values of another type than its feature.
        OSError: If the file cannot be written.

    Example:
        A stand-in for a loaded bundle, in which all queries have the same vector:

        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> query = SimpleNamespace(id="user_id", inputs=(), histories_of={}, input=lambda name: None)
        >>> model = SimpleNamespace(query=query, original_names={})
        >>> bundle = SimpleNamespace(
        ...     path=Path("saved_models/movies/3"),
        ...     manifest=SimpleNamespace(export_id="0f2d", model=model, filter_by=()),
        ...     call=lambda signature, inputs: {"retrieval": tf.ones([2, 3])},
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"user_id": ["u1", "u2"]}), f"{folder}/queries.parquet")
        ...     num_vectors = write_query_vectors(bundle, f"{folder}/queries.parquet", f"{folder}/vectors.parquet")
        ...     (vectors,) = read_vectors(f"{folder}/vectors.parquet")
        >>> num_vectors, vectors.retrieval.shape
        (2, (2, 3))
    """
    _require_export(bundle)
    files = read_query_files(queries, progress)
    columns = [field for field in files[0].schema if not _is_condition(field.name)]
    tables = QueryTables(bundle.manifest, pa.schema(columns))

    num_rows = sum(file.num_rows for file in files)

    def embed() -> Iterator[pa.Table]:
        if not num_rows:
            nothing = files[0].schema.empty_table()
            yield _table(
                tables.id_column, nothing[tables.id_column], bundle.call("embed_query", tables.tensors(nothing))
            )
        for file in filter(lambda file: file.num_rows, files):
            starts = range(0, file.num_rows, _ROWS_AT_ONCE)
            ranges = [range(start, min(start + _ROWS_AT_ONCE, file.num_rows)) for start in starts]
            for rows, table in zip(ranges, file.blocks(ranges, tables.columns), strict=True):
                try:
                    tensors = tables.tensors(table, rows.start)
                except (ValueError, TypeError) as error:
                    raise type(error)(f"{file.path}: {error}") from error
                yield _table(tables.id_column, table[tables.id_column], bundle.call("embed_query", tensors))

    return _write(Path(path), embed(), _metadata(bundle, "query", tables.id_column), num_rows, progress)


def read_vectors(*paths: str | os.PathLike[str]) -> list[Vectors]:
    """Reads files of vectors, which must all be of the same export: others have nothing to do with each other.

    Args:
        paths: Files that `write_candidate_vectors` and `write_query_vectors` wrote.

    Returns:
        The content of each file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is something else, or two are of different exports.

    Example:
        >>> read_vectors("candidates.parquet", "queries.parquet")
        Traceback (most recent call last):
        FileNotFoundError: There is no file candidates.parquet.
    """
    found = [_read(Path(path)) for path in paths]
    for path, vectors in zip(paths, found, strict=True):
        if vectors.export_id != found[0].export_id:
            raise ValueError(
                f"Vectors of different exports cannot be compared: {paths[0]} is of version {found[0].version} (export "
                f"{found[0].export_id}), {path} of version {vectors.version} (export {vectors.export_id}). Write both "
                "from the same version."
            )
    return found


def _require_export(bundle: LoadedBundle) -> None:
    require_having(bundle, "bundle", "manifest", "a bundle that `load_bundle` loaded")
    if bundle.manifest.export_id is None:
        raise ValueError(f"{bundle.path} was made by an older version of this library. Export it again.")


def _is_condition(column: str) -> bool:
    return column == EXCLUDE_INPUT or column.startswith(FILTER_PREFIX)


def _table(id_column: str, ids: pa.ChunkedArray, outputs: Mapping[str, tf.Tensor]) -> pa.Table:
    columns = {id_column: plain_column(ids, id_column)}
    for role in _ROLES:
        if role in outputs:
            vectors = outputs[role].numpy()
            columns[role] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table(columns)


def _metadata(bundle: LoadedBundle, side: str, id_column: str) -> dict[str, str]:
    values = (side, id_column, bundle.path.name, bundle.manifest.export_id)
    metadata = {_PREFIX + key: str(value) for key, value in zip(_KEYS, values, strict=True)}
    return {**metadata, f"{_PREFIX}metric": "inner product"}


def _write(
    path: Path, tables: Iterator[pa.Table], metadata: Mapping[str, str], num_rows: int, progress: Progress
) -> int:
    """Writes tables, of which there is at least one, to a file beside its place, and moves it there."""
    aside, done = path.with_name(f".{path.name}.{uuid.uuid4().hex}"), 0
    progress(_TASK, done, num_rows)
    first = next(tables)
    schema = first.schema.with_metadata(metadata)
    try:
        with pq.ParquetWriter(aside, schema, use_dictionary=False) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table)
                done += table.num_rows
                progress(_TASK, done, num_rows)
        move_into_place(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return done


def _read(path: Path) -> Vectors:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        table = pq.ParquetFile(path).read()
    except pa.ArrowException as error:
        raise ValueError(f"{path} is not a Parquet file that can be read: {error}") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    try:
        side, id_column, version, export_id = (metadata[_PREFIX + key] for key in _KEYS)
    except KeyError as error:
        raise ValueError(f"{path} does not say which export its vectors are of. Write it again.") from error
    return Vectors(
        side=side,
        id_column=id_column,
        ids=table[id_column].combine_chunks(),
        retrieval=_matrix(table["retrieval"]),
        rating=_matrix(table["rating"]) if "rating" in table.column_names else None,
        version=version,
        export_id=export_id,
    )


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    vectors = column.combine_chunks()
    matrix: np.ndarray = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
    return matrix
