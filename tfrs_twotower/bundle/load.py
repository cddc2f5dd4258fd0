"""A published bundle from Python: plain values in, arrays out, mistakes named before TensorFlow sees them."""

from __future__ import annotations

import datetime
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower._scann import require_scann
from tfrs_twotower.bundle.bundle import CANDIDATES_FILE
from tfrs_twotower.bundle.layout import MANIFEST_FILE, MODEL_FILE, versions
from tfrs_twotower.features.inputs import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX, MISSING
from tfrs_twotower.index.filters import as_text


def load_bundle(path: str | Path) -> LoadedBundle:
    """Loads a published bundle.

    Args:
        path: A version's folder, or the folder of all versions, of which the newest is taken.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the folder holds something else, or a damaged bundle.
        ImportError: If the bundle's index needs scann and that is unusable here.
    """
    folder = _find_version(Path(path))
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        kind = manifest["index"]["kind"]
        manifest["k"], manifest["num_candidates"], manifest["query"]["inputs"], manifest["candidate"]["inputs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} is a SavedModel, but not one of this library's: {MANIFEST_FILE} is missing or damaged."
        ) from error
    if kind == "scann":
        require_scann()
    try:
        loaded = tf.saved_model.load(str(folder))
        candidates = pq.read_table(folder / CANDIDATES_FILE)
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise ValueError(
            f"{folder} is damaged and cannot be loaded ({str(error).splitlines()[0]}). Export it again."
        ) from error
    return LoadedBundle(folder, manifest, candidates, loaded)


class LoadedBundle:
    """A bundle that answers Python.

    Attributes:
        path: The version's folder.
        manifest: What the bundle is.
        candidates: The catalogue with its features.
        module: The SavedModel as TensorFlow loads it, with all its signatures.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], candidates: pa.Table, loaded: Any) -> None:
        self.path = path
        self.manifest = manifest
        self.candidates = candidates
        self.module = loaded

    def recommend(
        self,
        queries: Mapping[str, Any],
        *,
        k: int | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        only: Mapping[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """Recommends candidates, best first; what the bundle knows a query to have seen is left out.

        Args:
            queries: Feature name -> one value or a sequence, equally many each. A feature left out is missing: for
                a known query id the bundle's own record of it is taken.
            k: Recommendations per query, 1 <= k <= the bundle's; by default all it gives.
            exclude: For each query the ids of candidates that it must not get; unknown ones are harmless.
            only: Feature of the candidates -> values of which a candidate must have one, for all queries; or for each
                query a list of its own, where an empty one asks for nothing. All features must hold.

        Returns:
            `candidate_ids` (str), `scores` and, of a model that knows probabilities, `probabilities` (float32), all
            [batch, k]. An empty slot holds "", the lowest finite float32, and 0.

        Raises:
            ValueError: If a feature is unknown, lengths differ, or `k` is out of range.
            TypeError: If a value has the wrong type.
        """
        tensors = self._query_tensors(queries)
        signature, batch = "recommend", len(next(iter(tensors.values())))
        if exclude is not None or only:
            signature = "recommend_excluding"
            tensors[EXCLUDE_INPUT] = _of_each("exclude", exclude if exclude is not None else [[]] * batch, batch)
        if only:
            signature = "recommend_filtered"
            tensors.update(self._filter_tensors(only, batch))
        return self._ask(signature, tensors, k)

    def similar(self, candidate_ids: Any, *, k: int | None = None) -> dict[str, np.ndarray]:
        """Finds the candidates most like given ones, best first, without those themselves.

        Args:
            candidate_ids: One id or a sequence; of one that is not in the catalogue all slots are empty.
            k: As in `recommend`.

        Returns:
            `candidate_ids` (str) and `scores` (float32), [batch, k].

        Raises:
            ValueError: If `k` is out of range, or there is no id.
            TypeError: If an id is no string.
        """
        return self._ask("similar", {CANDIDATE_INPUT: _ids_tensor(_to_list(candidate_ids))}, k)

    def _ask(self, signature: str, tensors: Mapping[str, tf.Tensor], k: int | None) -> dict[str, np.ndarray]:
        limit = self.manifest["k"]
        k = limit if k is None else operator.index(k)
        if not 1 <= k <= limit:
            catalogue = self.manifest["num_candidates"]
            advice = (
                f" Export the bundle with a larger k to get more of its {catalogue} candidates." if k > limit else ""
            )
            raise ValueError(f"`k` must be in 1..{limit}, the bundle's. Received: k={k}.{advice}")
        outputs = self.module.signatures[signature](**tensors)
        arrays = {name: values.numpy()[:, :k] for name, values in outputs.items()}
        return {
            **arrays,
            "candidate_ids": np.vectorize(bytes.decode, otypes=[object])(arrays["candidate_ids"]),
        }

    def score(self, queries: Mapping[str, Any], candidate_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Scores pairs of a query and a candidate.

        Args:
            queries: As in `recommend`.
            candidate_ids: One for each query.

        Returns:
            `scores` and, of a model that knows probabilities, `probabilities`, float32 [batch]; of an id that is not in
            the catalogue the lowest finite float32, and 0.

        Raises:
            ValueError: If a feature is unknown, or lengths differ.
            TypeError: If a value has the wrong type.
        """
        tensors = self._query_tensors(queries)
        batch = next(iter(tensors.values())).shape[0]
        ids = _to_list(candidate_ids)
        if len(ids) != batch:
            raise ValueError(f"`candidate_ids` must be one for each query. Received: {len(ids)} for {batch} queries.")
        tensors[CANDIDATE_INPUT] = _ids_tensor(ids)
        return {name: values.numpy() for name, values in self.module.signatures["score"](**tensors).items()}

    def _filter_tensors(self, only: Mapping[str, Any], batch: int) -> dict[str, tf.Tensor]:
        features = self.manifest["filter_by"]
        unknown = [name for name in only if name not in features]
        if unknown:
            known = f"Those it was exported with: {', '.join(features)}" if features else "It was exported with none"
            raise ValueError(f"The bundle does not filter by {', '.join(map(repr, unknown))}. {known}.")
        tensors = {}
        for name in features:
            given = [_as_asked(value) for value in _to_list(only.get(name, []))]
            is_for_all = not any(isinstance(value, list) for value in given)
            tensors[FILTER_PREFIX + name] = _of_each(name, [given] * batch if is_for_all else given, batch)
        return tensors

    def _query_tensors(self, queries: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        inputs = {spec["name"]: spec for spec in self.manifest["query"]["inputs"]}
        unknown = [name for name in queries if name not in inputs]
        if unknown:
            raise ValueError(f"Unknown query feature {', '.join(map(repr, unknown))}. Known: {', '.join(inputs)}.")
        columns = {name: _to_list(values) for name, values in queries.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"Query features must be equally many, and at least one. Received: {lengths or 'none'}.")
        _require_equal_lists(columns, self.manifest["query"]["features"])
        batch = next(iter(lengths.values()))
        return {name: _to_tensor(spec, columns.get(name), batch) for name, spec in inputs.items()}


def _ids_tensor(ids: list[Any]) -> tf.Tensor:
    if not ids:
        raise ValueError("`candidate_ids` must be at least one.")
    return _to_tensor({"name": "candidate_ids", "dtype": "string", "shape": [None]}, ids, len(ids))


def _of_each(name: str, lists: Any, batch: int) -> tf.Tensor:
    """String [batch, any], padded, of a list for each query."""
    rows = _to_list(lists)
    if any(isinstance(row, str | bytes) for row in rows) or len(rows) != batch:
        raise ValueError(f"`{name}` must be a list of strings for each of {batch} queries. Received: {lists!r}.")
    return _to_tensor({"name": name, "dtype": "string", "shape": [None, None]}, rows, batch)


def _as_asked(value: Any) -> Any:
    """Values of a filter as the signature takes them; what is no such value is named by who checks them."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_as_asked(item) for item in _to_list(value)]
    return as_text(value) if isinstance(value, bool | int) else value


def _require_equal_lists(columns: Mapping[str, list[Any]], features: list[dict[str, Any]]) -> None:
    """Each rating of a history belongs to one of its candidates."""
    for name in (feature["name"] for feature in features if feature.get("by_rating")):
        ratings = columns.get(f"{name}_rating")
        if ratings is None:
            continue
        ids = columns.get(name, [[]] * len(ratings))
        for row, (of_ids, of_ratings) in enumerate(zip(ids, ratings, strict=True)):
            if len(_to_list(of_ids)) != len(_to_list(of_ratings)):
                raise ValueError(
                    f"`{name}_rating` must be as long as `{name}`. Received in row {row}: {len(_to_list(of_ratings))} "
                    f"ratings for {len(_to_list(of_ids))} candidates."
                )


def _find_version(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"No bundle at {path}. Make one with: tfrs-twotower train")
    if (path / MODEL_FILE).is_file():
        return path
    found = versions(path)
    if not found:
        raise FileNotFoundError(f"{path} is no bundle: it holds neither a SavedModel nor a version of one.")
    return path / str(found[-1])


def _to_list(values: Any) -> list[Any]:
    """One value, a sequence, or a column of Arrow, pandas, TensorFlow or NumPy, as a list of plain values."""
    for convert in ("to_pylist", "to_list", "numpy"):
        if hasattr(values, convert):
            values = getattr(values, convert)()
    if isinstance(values, np.ndarray | np.generic):
        values = _to_plain(values)
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        return [values]
    return [_to_plain(value) if isinstance(value, np.generic) else value for value in values]


def _to_plain(values: np.ndarray | np.generic) -> Any:
    # NumPy makes bare integers of nanoseconds, which would pass for seconds.
    return values.astype("datetime64[s]").tolist() if values.dtype.kind == "M" else values.tolist()


def _to_tensor(spec: Mapping[str, Any], values: list[Any] | None, batch: int) -> tf.Tensor:
    name, dtype, (_, *inner) = spec["name"], tf.as_dtype(spec["dtype"]), spec["shape"]
    if values is None:
        return tf.constant(MISSING[dtype], dtype, [batch, *(size or 1 for size in inner)])
    rows = [_to_list(value) for value in values] if inner else [[value] for value in values]
    for row, items in enumerate(rows):
        rows[row] = [_to_item(name, dtype, item, row) for item in items]
        if inner and inner[0] is not None and len(items) != inner[0]:
            raise ValueError(f"`{name}` must be lists of {inner[0]} numbers. Received in row {row}: {len(items)}.")
    if not inner:
        return tf.constant([items[0] for items in rows], dtype)
    return tf.ragged.constant(rows, dtype, ragged_rank=1).to_tensor(default_value=MISSING[dtype])


def _to_item(name: str, dtype: tf.DType, item: Any, row: int) -> Any:
    """One value of an input, checked."""
    # pandas's NaT is a datetime that is unequal to itself, and no time.
    if dtype == tf.int64 and isinstance(item, datetime.datetime) and item == item:
        aware = item if item.tzinfo is not None else item.replace(tzinfo=datetime.timezone.utc)
        return int(aware.timestamp() // 1)
    wanted, kinds = _WANTED[dtype]
    if isinstance(item, bool) or not isinstance(item, kinds):
        raise TypeError(f"`{name}` must be {wanted}. Received in row {row}: {item!r} ({type(item).__name__}).")
    return item


_WANTED: dict[tf.DType, tuple[str, tuple[type, ...]]] = {
    tf.string: ("strings", (str, bytes)),
    tf.float32: ("numbers", (int, float)),
    tf.int64: ("whole seconds since 1970 or datetimes", (int,)),
}
