"""Recommendations inside frameworks that spread tables over processes, such as Apache Beam, Ray and Spark."""

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path

import pyarrow as pa

from tfrs_twotower.bundle.layout import find_version
from tfrs_twotower.bundle.load import LoadedBundle, load_bundle

_loading = threading.Lock()


class TableRecommender:
    """Recommends for tables of queries, as `LoadedBundle.recommend_table` does; a function that can be pickled.

    A process loads the bundle when it is first called, and only once, however many copies and threads it has.

    Args:
        path: A version's folder, which has the same path on every machine. The folder of all versions will not do,
            since a new version may appear while some processes still wait for their first table.
        k: Recommendations per query, at most the bundle's; by default the bundle's.

    Example:
        A pipeline of Apache Beam calls it with `beam.Map(recommend)`, where elements are tables:

        >>> import pickle
        >>> recommend = TableRecommender("saved_models/nothing/1", k=10)
        >>> pickle.loads(pickle.dumps(recommend))(pa.table({"user_id": ["42"]}))
        Traceback (most recent call last):
        FileNotFoundError: There is no bundle at saved_models/nothing/1. Make one with: tfrs-twotower train
    """

    def __init__(self, path: str | os.PathLike[str], *, k: int | None = None) -> None:
        self._path, self._k = Path(path), k

    def __call__(self, queries: pa.Table) -> pa.Table:
        """Recommends for the queries of a table, one a row.

        Args:
            queries: As `LoadedBundle.recommend_table` takes them.

        Returns:
            The queries' ids in their order, with lists of `candidate_ids`, `scores` and perhaps `probabilities`.

        Raises:
            FileNotFoundError: If there is no bundle.
            ValueError: If the path is not that of a version, or for the reasons that `recommend_table` has.
            TypeError: If a column holds values of another type than its feature.
        """
        with _loading:
            bundle = _load_once(self._path)
        return bundle.recommend_table(queries, k=self._k)


@functools.cache
def _load_once(path: Path) -> LoadedBundle:
    version = find_version(path)
    if version != path:
        raise ValueError(f"`path` must be a version's folder, such as {version}. Received: {path}.")
    return load_bundle(path)
