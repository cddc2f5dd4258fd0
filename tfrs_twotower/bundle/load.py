"""Loads a published bundle in Python, which takes plain values and returns arrays."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._scann import require_scann
from tfrs_twotower.bundle.first_calls import FirstCalls
from tfrs_twotower.bundle.known_queries import are_known
from tfrs_twotower.bundle.layout import MANIFEST_FILE, MODEL_FILE, find_version
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.bundle.query_tables import QueryTables
from tfrs_twotower.bundle.stored_candidates import read_candidates
from tfrs_twotower.bundle.values import (
    by_input_names,
    filter_values,
    ids_tensor,
    lists_tensor,
    require_equal_lists,
    require_features,
    to_list,
    to_tensor,
)
from tfrs_twotower.features.input_names import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX
from tfrs_twotower.model.replicas import outside_scopes

# Versions that are removed one after the other, each while it is being loaded.
_MAX_VERSIONS_TRIED = 10
# Rows of a call of a signature; more are asked for in several calls. With 2,000 recommendations each, the outputs are
# just small enough for one request.
_MAX_ROWS_PER_CALL = 1024


class Recommendations(NamedTuple):
    """Candidates for each query, best first. An empty slot holds "", the lowest finite float32, and probability 0.

    Attributes:
        candidate_ids: str [batch, k].
        scores: float32 [batch, k].
        probabilities: float32 [batch, k]; None if the model does not predict probabilities.

    Example:
        >>> found = Recommendations(
        ...     candidate_ids=np.array([["m2", ""]], object), scores=np.array([[1.5, np.finfo(np.float32).min]])
        ... )
        >>> [candidate_id for candidate_id in found.candidate_ids[0] if candidate_id]
        ['m2']
    """

    candidate_ids: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray | None = None


class Scores(NamedTuple):
    """Scores of pairs of a query and a candidate.

    Attributes:
        scores: float32 [batch]; the lowest finite float32 for an id that is not in the catalogue.
        probabilities: float32 [batch]; None if the model does not predict probabilities; 0 for an id that is not in the
            catalogue.

    Example:
        >>> scores = Scores(scores=np.array([0.0, 2.0]), probabilities=np.array([0.5, 0.88]))
        >>> scores.probabilities.tolist()
        [0.5, 0.88]
    """

    scores: np.ndarray
    probabilities: np.ndarray | None = None


def load_bundle(path: str | Path) -> LoadedBundle:
    """Loads a published bundle.

    Loading version after version in one process leaks memory, about as much as a version is large, since TensorFlow
    keeps what it has loaded: load each version in a process of its own, and end that with the version.

    Args:
        path: A version's folder, or the folder of all versions, of which the newest is taken.

    Raises:
        FileNotFoundError: If there is no bundle, or the version is removed while it is being loaded.
        ValueError: If the folder holds something else, or a damaged bundle.
        ImportError: If the bundle's index needs scann and that is unusable here.

    Example:
        >>> load_bundle("saved_models/nothing")
        Traceback (most recent call last):
        FileNotFoundError: There is no bundle at saved_models/nothing. Make one with: tfrs-twotower train
    """
    path = Path(path)
    for _ in range(_MAX_VERSIONS_TRIED):
        folder = find_version(path)
        try:
            return _load_version(folder)
        except (OSError, ValueError) as error:
            # Another process may publish a newer version and remove this one.
            if (folder / MODEL_FILE).exists():
                raise
            removed = FileNotFoundError(f"{folder} was removed while it was being loaded. Load the newest version.")
            removed.__cause__ = error
        if folder == path:
            break
    raise removed


def _load_version(folder: Path) -> LoadedBundle:
    try:
        manifest = Manifest.read(folder)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} is a SavedModel, but not one of this library's: {MANIFEST_FILE} is missing."
        ) from error
    if manifest.needs_scann:
        require_scann()
    try:
        loaded = outside_scopes(lambda: tf.saved_model.load(str(folder)))
        candidates = read_candidates(folder, manifest, loaded)
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise ValueError(
            f"{folder} is damaged and cannot be loaded ({str(error).splitlines()[0]}). Export it again."
        ) from error
    return LoadedBundle(folder, manifest, candidates, loaded)


class LoadedBundle:
    """A bundle that recommends from Python; made by `load_bundle`.

    Any number of threads may call one bundle. TensorFlow prepares a signature in its first call, which takes longer:
    one thread makes it, and the others wait. Functions that are called through `module.signatures` are not guarded in
    this way.

    Attributes:
        path: The version's folder.
        manifest: Description of the bundle.
        candidates: The catalogue with its features.
        module: The SavedModel as TensorFlow loads it, with all its signatures.

    Example:
        A stand-in for a loaded SavedModel, which always finds the same candidates:

        >>> from types import SimpleNamespace
        >>> def similar(candidate_id):
        ...     return {"candidate_ids": tf.constant([["m2", "m3"]]), "scores": tf.constant([[0.75, 0.5]])}
        >>> bundle = LoadedBundle(
        ...     Path("saved_models/movies/1"),
        ...     SimpleNamespace(k=2, num_candidates=3),
        ...     pa.table({"movie_id": ["m1", "m2", "m3"]}),
        ...     SimpleNamespace(signatures={"similar": similar}),
        ... )
        >>> bundle.similar("m1", k=1).candidate_ids.tolist()
        [['m2']]
    """

    def __init__(self, path: Path, manifest: Manifest, candidates: pa.Table, loaded: Any) -> None:
        self.path = path
        self.manifest = manifest
        self.candidates = candidates
        self.module = loaded
        self._first_calls = FirstCalls()

    def recommend(
        self,
        queries: Mapping[str, Any],
        *,
        k: int | None = None,
        exclude: Sequence[Sequence[str]] | None = None,
        only: Mapping[str, Any] | None = None,
    ) -> Recommendations:
        """Recommends candidates, best first, without those that the query has seen, as far as the bundle knows.

        Args:
            queries: Feature name -> one value or a sequence, equally many each, perhaps none. The name is that of the
                input, or of its column in the table that the model was trained on. A feature that is left out is
                missing: for a known query id the bundle's own record is taken.
            k: Recommendations per query, 1 <= k <= the bundle's; by default the bundle's.
            exclude: For each query the ids of candidates that it must not get; unknown ids are harmless.
            only: Feature of the candidates -> values of which a candidate must have one, for all queries; or a list of
                its own for each query, of which an empty one filters nothing. All features must match.

        Raises:
            ValueError: If a feature is unknown, lengths differ, or `k` is out of range.
            TypeError: If a value has the wrong type. Ids are strings.
        """
        tensors = self._query_tensors(queries)
        signature, batch = "recommend", len(next(iter(tensors.values())))
        if exclude is not None or only:
            signature = "recommend_excluding"
            tensors[EXCLUDE_INPUT] = lists_tensor("exclude", exclude if exclude is not None else [[]] * batch, batch)
        if only:
            signature = "recommend_filtered"
            tensors.update(self._filter_tensors(only, batch))
        return self._ask(signature, tensors, k)

    def recommend_table(self, queries: pa.Table, *, k: int | None = None, first_row: int = 0) -> pa.Table:
        """Recommends for the queries of a table, one a row, as `recommend` does for values.

        Args:
            queries: The queries' ids, and features in columns of their names. A missing value is null. For a known
                query id the bundle's own record is taken. `exclude_ids` may list ids of candidates that the query must
                not get, and `filter_<feature>` values of which a candidate must have one. Other columns are ignored.
            k: As in `recommend`.
            first_row: Number of the first row in errors, for a piece of a longer table.

        Returns:
            The queries' ids in their order, and lists of at most `k` `candidate_ids`, best first, with their `scores`
            and, if the model predicts them, `probabilities`.

        Raises:
            ValueError: If there is no column of ids, the bundle does not have a filter, a value is impossible (column
                and row named), or `k` is out of range.
            TypeError: If a column holds values of another type than its feature.
        """
        k = self._checked_k(k)
        tables = QueryTables(self.manifest, queries.schema)
        outputs = self.call(tables.signature, tables.tensors(queries, first_row))
        return tables.result(queries, {name: values[:, :k] for name, values in outputs.items()})

    def similar(self, candidate_ids: Any, *, k: int | None = None) -> Recommendations:
        """Finds the candidates most similar to given ones, best first, without those themselves.

        Args:
            candidate_ids: One id or a sequence; for an id that is not in the catalogue all slots are empty.
            k: As in `recommend`.

        Returns:
            Candidates and scores, without probabilities.

        Raises:
            ValueError: If `k` is out of range.
            TypeError: If an id is not a string.
        """
        return self._ask("similar", {CANDIDATE_INPUT: ids_tensor("candidate_ids", to_list(candidate_ids))}, k)

    def score(self, queries: Mapping[str, Any], candidate_ids: Sequence[str]) -> Scores:
        """Scores pairs of a query and a candidate.

        The candidate of a pair is left out of the query's history, stored or given, as in training and evaluation. For
        a candidate that the query has met, the score therefore differs from the product of the embeddings.

        Args:
            queries: As in `recommend`.
            candidate_ids: One for each query.

        Raises:
            ValueError: If a feature is unknown, or lengths differ.
            TypeError: If a value has the wrong type.
        """
        tensors = self._query_tensors(queries)
        batch = next(iter(tensors.values())).shape[0]
        ids = to_list(candidate_ids)
        if len(ids) != batch:
            raise ValueError(
                f"`candidate_ids` must be one for each query. Received: {len(ids)} for {batch} queries. Repeat a query "
                "for each of its candidates."
            )
        tensors[CANDIDATE_INPUT] = ids_tensor("candidate_ids", ids)
        return Scores(**{name: values.numpy() for name, values in self.call("score", tensors).items()})

    def knows(self, query_ids: Any) -> np.ndarray:
        """Tells which queries the bundle knows, whose features and events it remembers.

        An unknown id is not an error: the query is described by its other features, and without any the recommendations
        are general.

        Args:
            query_ids: One id or a sequence.

        Returns:
            bool [num_ids].

        Raises:
            ValueError: If the bundle does not recognise queries by an id, or cannot tell because an older version of
                this library made it.
            TypeError: If an id is not a string.
        """
        query = self.manifest.model.query
        if query.input(query.id) is None:
            raise ValueError(f"{self.path} knows no query by its id, since the model uses neither ids nor histories.")
        known = getattr(getattr(self.module, "query_side", None), "queries", None)
        if known is None:
            raise ValueError(
                f"{self.path} was made by an older version of this library, and cannot tell which queries it knows. "
                "Export it again."
            )
        return are_known(known.table, ids_tensor("query_ids", to_list(query_ids)))

    def call(self, signature: str, inputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """Calls a signature with tensors, of any number of rows, and from any thread.

        Args:
            signature: Its name, such as "embed_query".
            inputs: All its inputs by name, [batch, ...].

        Returns:
            Its outputs by name, [batch, ...].

        Raises:
            tf.errors.InvalidArgumentError: If inputs do not fit each other.
        """
        num_rows = next(iter(inputs.values())).shape[0]
        if num_rows <= _MAX_ROWS_PER_CALL:
            return self._first_calls.call(signature, self.module.signatures[signature], inputs)
        # A bundle refuses requests whose outputs would take too much memory.
        blocks = [
            self.call(signature, {name: values[start : start + _MAX_ROWS_PER_CALL] for name, values in inputs.items()})
            for start in range(0, num_rows, _MAX_ROWS_PER_CALL)
        ]
        return {name: tf.concat([block[name] for block in blocks], axis=0) for name in blocks[0]}

    def _ask(self, signature: str, tensors: Mapping[str, tf.Tensor], k: int | None) -> Recommendations:
        k = self._checked_k(k)
        outputs = self.call(signature, tensors)
        arrays = {name: values.numpy()[:, :k] for name, values in outputs.items()}
        ids = np.vectorize(bytes.decode, otypes=[object])(arrays.pop("candidate_ids"))
        return Recommendations(candidate_ids=ids, **arrays)

    def _checked_k(self, k: Any) -> int:
        limit, num_candidates = self.manifest.k, self.manifest.num_candidates
        if k is None:
            return limit
        try:
            number = operator.index(k)
        except TypeError:
            raise TypeError(f"`k` must be a whole number. Received: {k!r} ({type(k).__name__}).") from None
        if number > limit >= num_candidates:
            raise ValueError(f"`k` must be in 1..{limit}: the catalogue has only {limit} candidates. Received: k={k}.")
        if not 1 <= number <= limit:
            advice = f" Export the bundle with a larger k to get more of its {num_candidates} candidates."
            raise ValueError(
                f"`k` must be in 1..{limit}, the bundle's. Received: k={k}.{advice if number > limit else ''}"
            )
        return number

    def _filter_tensors(self, only: Mapping[str, Any], batch: int) -> dict[str, tf.Tensor]:
        require_features(only, "only")
        model, features = self.manifest.model, self.manifest.filter_by
        only = by_input_names(only, model.names_of(features), "only")
        unknown = [name for name in only if name not in features]
        if unknown:
            known = "It was exported with none"
            if features:
                known = f"Those it was exported with: {model.describe_names(features)}"
            raise ValueError(f"The bundle does not filter by {', '.join(map(repr, unknown))}. {known}.")
        tensors = {}
        for name in features:
            given = [filter_values(value) for value in to_list(only.get(name, []))]
            is_for_all = not any(isinstance(value, list) for value in given)
            tensors[FILTER_PREFIX + name] = lists_tensor(name, [given] * batch if is_for_all else given, batch)
        return tensors

    def _query_tensors(self, queries: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        require_features(queries, "queries")
        model, schema = self.manifest.model, self.manifest.model.query
        inputs = {spec.name: spec for spec in schema.inputs}
        queries = by_input_names(queries, model.names_of(inputs), "queries")
        unknown = [name for name in queries if name not in inputs]
        if unknown:
            raise ValueError(
                f"Unknown query feature {', '.join(map(repr, unknown))}. Known: {model.describe_names(inputs)}."
            )
        columns = {name: to_list(values) for name, values in queries.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if not lengths:
            raise ValueError(f"`queries` must give at least one feature. Known: {model.describe_names(inputs)}.")
        if len(set(lengths.values())) != 1:
            raise ValueError(f"All query features must have equally many values. Received: {lengths}.")
        require_equal_lists(columns, schema.histories_of)
        batch = next(iter(lengths.values()))
        return {name: to_tensor(spec, columns.get(name), batch) for name, spec in inputs.items()}
