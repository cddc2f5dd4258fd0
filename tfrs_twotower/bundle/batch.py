"""Recommendations for all queries of Parquet files, in bounded memory, that can be resumed and spread over machines."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._cores import num_cores
from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_having, whole_number
from tfrs_twotower.batches.pipeline import WHOLE, Shard
from tfrs_twotower.bundle.batch_folder import BatchFolder, BatchRecord
from tfrs_twotower.bundle.load import LoadedBundle
from tfrs_twotower.bundle.query_files import QueryFile, read_query_files
from tfrs_twotower.bundle.query_tables import QueryTables

# Rows that are computed at once. A resumed batch cuts a part into the same blocks, so that it gets the same numbers.
_ROWS_PER_BLOCK = 1024
_IDS_PER_BLOCK = 65_536
_COUNTING, _RECOMMENDING = "Counting ids", "Recommending"

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSummary:
    r"""What `batch_recommend` did.

    Attributes:
        num_queries: Number of queries of the shard.
        num_repeated: Those of them whose id an earlier query of the shard has as well.
        num_unknown: Those of them that the bundle does not know; None if it cannot tell.
        num_parts: Number of parts of the whole batch.
        num_written: Parts that were computed.
        num_found: Parts of the shard that were already there.
        num_left: Parts that are not there yet: they belong to other shards.
        missing: Query features of the bundle that the files do not have, except those of the context.
        missing_context: Features of the context that the files do not have.
        ignored: Columns of the files that the bundle does not take.

    Example:
        >>> summary = BatchSummary(
        ...     num_queries=100, num_repeated=1, num_unknown=5, num_parts=2, num_written=1, num_found=1, num_left=0,
        ...     missing=("age",), ignored=(),
        ... )
        >>> print(*summary.lines(), sep="\n")
        Queries: 100. Repeated ids: 1. Ids that the bundle does not know: 5.
        Features without a column: age. The bundle fills in what it knows of known queries.
        Parts: 1 written, 1 already there, 0 left to other shards, of 2 in all.
    """

    num_queries: int
    num_repeated: int
    num_unknown: int | None
    num_parts: int
    num_written: int
    num_found: int
    num_left: int
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    missing_context: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Returns the summary as sentences."""
        unknown = "" if self.num_unknown is None else f" Ids that the bundle does not know: {self.num_unknown:,}."
        lines = [f"Queries: {self.num_queries:,}. Repeated ids: {self.num_repeated:,}.{unknown}"]
        if self.missing:
            features = ", ".join(self.missing)
            lines.append(f"Features without a column: {features}. The bundle fills in what it knows of known queries.")
        if self.missing_context:
            features = ", ".join(self.missing_context)
            lines.append(f"Context without a column: {features}. The recommendations are those of an average context.")
        if self.ignored:
            lines.append(f"Columns that the bundle does not take: {', '.join(self.ignored)}.")
        lines.append(
            f"Parts: {self.num_written:,} written, {self.num_found:,} already there, {self.num_left:,} left to other "
            f"shards, of {self.num_parts:,} in all."
        )
        return lines


def batch_recommend(
    bundle: LoadedBundle,
    queries: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    k: int | None = None,
    shard: Shard = WHOLE,
    rows_per_part: int = 65_536,
    progress: Progress = no_progress,
) -> BatchSummary:
    """Recommends for every query of Parquet files, and writes the recommendations to Parquet files.

    Each part of the output holds the recommendations for a range of rows of a file, in the order of the rows, as
    `LoadedBundle.recommend_table` returns them. Memory does not grow with the number of queries, except for eight bytes
    each to find repeated ids. Parts appear complete or not at all: after a process was killed, the same call computes
    those that are missing, and the files are the same as without the interruption.

    Args:
        bundle: From `load_bundle`.
        queries: A Parquet file, a folder of Parquet files, or a pattern of their paths. Their columns are those of
            `LoadedBundle.recommend_table`.
        output: A folder, which is created if it does not exist.
        k: Maximum number of recommendations per query, at most the bundle's; by default the bundle's.
        shard: Which parts are computed: each `count`-th, from the `index`-th on. Processes with different shards may
            run at the same time, also on different machines, and write into one folder.
        rows_per_part: Maximum number of rows of a part, >= 1.
        progress: Told how many bytes of the files have been read, how many ids have been counted, and how many queries
            have got recommendations.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If a file is not Parquet or damaged, a column is missing, the files differ in their columns, a value
            is impossible (file, column and row named), `k` is out of range, or the folder holds another batch, of
            other queries, another bundle or other arguments (the differences are named).
        TypeError: If an argument has the wrong type, or a column holds values of another type than its feature.
        RuntimeError: If another process computes the same shard.

    Example:
        A stand-in for a loaded bundle, which recommends m2 to everybody:

        >>> import tempfile
        >>> import pyarrow.parquet as pq
        >>> from types import SimpleNamespace
        >>> query = SimpleNamespace(id="user_id", inputs=(), histories_of={}, input=lambda name: None)
        >>> model = SimpleNamespace(query=query, original_names={})
        >>> class Bundle:
        ...     path = Path("saved_models/movies/1")
        ...     manifest = SimpleNamespace(
        ...         model=model, k=1, filter_by=(), export_id="a1", created="2024-01-01T00:00:00+00:00", is_twin=False
        ...     )
        ...
        ...     def knows(self, query_ids):
        ...         return np.array([query_id == "u1" for query_id in query_ids])
        ...
        ...     def recommend_table(self, queries, *, k, first_row=0):
        ...         found = pa.array([["m2"]] * queries.num_rows, pa.list_(pa.string()))
        ...         return queries.select(["user_id"]).append_column("candidate_ids", found)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"user_id": ["u1", "u2", "u1"]}), f"{folder}/queries.parquet")
        ...     summary = batch_recommend(Bundle(), f"{folder}/queries.parquet", f"{folder}/out")
        ...     pq.read_table(f"{folder}/out").to_pylist()[:1], summary.num_repeated
        ([{'user_id': 'u1', 'candidate_ids': ['m2']}], 1)
    """
    require_having(bundle, "bundle", "recommend_table", "a bundle that `load_bundle` loaded")
    if not isinstance(shard, Shard):
        raise TypeError(f"`shard` must be a `Shard`. Received: {shard!r}.")
    rows_per_part = whole_number(rows_per_part, "`rows_per_part`", 1)
    files = read_query_files(queries, progress)
    k = bundle.manifest.k if k is None else k
    # Mistakes in the columns and in `k` are found before anything is written.
    schema = bundle.recommend_table(files[0].schema.empty_table(), k=k).schema
    tables = QueryTables(bundle.manifest, files[0].schema)
    folder = BatchFolder(Path(output), _record(bundle, files, k, rows_per_part))
    parts = _parts(files, rows_per_part)
    mine = parts[shard.index :: shard.count]
    with folder.workplace(f"shard-{shard.index}-of-{shard.count}") as workplace:
        num_repeated, num_unknown = _count_ids(bundle, tables, mine, progress)
        todo = [part for part in mine if not folder.has(part.name)]
        num_rows, done = sum(len(part.rows) for part in todo), 0
        progress(_RECOMMENDING, 0, num_rows)

        def recommend(block: _Block) -> tuple[_Part, pa.Table]:
            try:
                return block.part, bundle.recommend_table(block.queries, k=k, first_row=block.rows.start)
            except (ValueError, TypeError) as error:
                raise type(error)(f"{block.part.file.path}: {error}") from error

        num_threads = max(2, num_cores())  # one computes while another reads or writes
        with ThreadPoolExecutor(num_threads) as threads:
            blocks_of_queries = _read(todo, tables.columns, _ROWS_PER_BLOCK)
            found = _map_ahead(recommend, blocks_of_queries, threads, num_threads)
            for name, blocks in itertools.groupby(found, key=lambda pair: pair[0].name):
                with folder.write(name, schema, workplace) as writer:
                    for _, table in blocks:
                        writer.write_table(table)
                        done += table.num_rows
                        progress(_RECOMMENDING, done, num_rows)
    return BatchSummary(
        num_queries=sum(len(part.rows) for part in mine),
        num_repeated=num_repeated,
        num_unknown=num_unknown,
        num_parts=len(parts),
        num_written=len(todo),
        num_found=len(mine) - len(todo),
        num_left=sum(not folder.has(part.name) for part in parts),
        missing=tables.missing,
        ignored=tables.ignored,
        missing_context=tables.missing_context,
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """A range of rows of a file, and the name of the file with its recommendations."""

    name: str
    file: QueryFile
    rows: range


@dataclasses.dataclass(frozen=True)
class _Block:
    """Some rows of a part."""

    part: _Part
    rows: range
    queries: pa.Table


def _parts(files: Iterable[QueryFile], rows_per_part: int) -> list[_Part]:
    ranges = [(file, rows) for file in files for rows in _ranges(range(file.num_rows), rows_per_part)]
    return [
        _Part(f"part-{number:05d}-of-{len(ranges):05d}.parquet", file, rows)
        for number, (file, rows) in enumerate(ranges)
    ]


def _ranges(rows: range, size: int) -> Iterator[range]:
    return (range(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size))


def _read(parts: Iterable[_Part], columns: tuple[str, ...], size: int) -> Iterator[_Block]:
    """Reads parts in blocks of at most `size` rows."""
    for _, group in itertools.groupby(parts, key=lambda part: part.file.path):
        pairs = [(part, rows) for part in group for rows in _ranges(part.rows, size)]
        tables = pairs[0][0].file.blocks([rows for _, rows in pairs], columns)
        for (part, rows), table in zip(pairs, tables, strict=True):
            yield _Block(part, rows, table)


def _map_ahead(
    function: Callable[[Given], Made], values: Iterable[Given], threads: ThreadPoolExecutor, num_ahead: int
) -> Iterator[Made]:
    """Computes in threads, and yields results in order, while at most `num_ahead` others are computed or wait."""
    pending: collections.deque[Future[Made]] = collections.deque()
    try:
        for value in values:
            pending.append(threads.submit(function, value))
            if len(pending) > num_ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _count_ids(
    bundle: LoadedBundle, tables: QueryTables, parts: Sequence[_Part], progress: Progress
) -> tuple[int, int | None]:
    """Counts ids that an earlier query has as well, and those that the bundle does not know, None if it cannot tell."""
    num_rows = sum(len(part.rows) for part in parts)
    hashes, num_hashes, num_unknown, done = np.empty(num_rows, np.int64), 0, 0, 0
    can_tell = _can_tell(bundle)
    progress(_COUNTING, 0, num_rows)
    for block in _read(parts, (tables.id_column,), _IDS_PER_BLOCK):
        ids = tables.ids(block.queries)
        # Among a hundred million ids, two have the same hash with a probability of 0.0005.
        found = tf.strings.to_hash_bucket_fast(tf.boolean_mask(ids, ids != ""), 2**63 - 1).numpy()
        hashes[num_hashes : num_hashes + len(found)] = found
        num_hashes += len(found)
        num_unknown += int(np.sum(~bundle.knows(ids))) if can_tell else 0
        done += len(block.rows)
        progress(_COUNTING, done, num_rows)
    hashes = hashes[:num_hashes]
    hashes.sort()
    return int(np.sum(hashes[1:] == hashes[:-1])), num_unknown if can_tell else None


def _can_tell(bundle: LoadedBundle) -> bool:
    try:
        bundle.knows([])
    except ValueError:
        return False
    return True


def _record(bundle: LoadedBundle, files: Iterable[QueryFile], k: int, rows_per_part: int) -> BatchRecord:
    manifest = bundle.manifest
    return BatchRecord(
        bundle={
            "version": bundle.path.name,
            "export_id": manifest.export_id,
            "is_twin": manifest.is_twin,
            "created": manifest.created,
        },
        k=k,
        rows_per_part=rows_per_part,
        queries=tuple({"file": file.path.name, "num_rows": file.num_rows, "sha256": file.sha256} for file in files),
    )
