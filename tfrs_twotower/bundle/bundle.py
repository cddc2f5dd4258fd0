"""A bundle in memory: its query side, its candidate side and a catalogue, joined into signatures, with a manifest.

Only variables, lookup tables and index state are tracked, no Keras object: any program that has TensorFlow loads it.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower._version import __version__
from tfrs_twotower.bundle.candidate_side import CandidateSide, candidate_inputs
from tfrs_twotower.bundle.catalogue import Catalogue
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, MANIFEST_FILE
from tfrs_twotower.bundle.query_side import QuerySide, missing_input, query_inputs, query_towers
from tfrs_twotower.bundle.signatures import Inputs, Rerank, Signatures, build_signatures
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.features import feature_to_config, require_input_name
from tfrs_twotower.features.inputs import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX
from tfrs_twotower.features.tensors import raw_tensors
from tfrs_twotower.index.build import BuildIndex, BuiltIndex
from tfrs_twotower.index.filters import require_filterable, values_of
from tfrs_twotower.index.vectors import check_embeddings
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.towers import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel

CANDIDATES_FILE = f"{EXTRA_FOLDER}/candidates.parquet"
#: TensorFlow Serving's own name for it.
WARMUP_FILE = f"{EXTRA_FOLDER}/tf_serving_warmup_requests"

# Queries and candidates that a new bundle is compared by, and candidates that make up a history.
_NUM_CHECKED = 32
_NUM_GIVEN = 3
_EMBEDDED_AT_ONCE = 4096

Requests = list[tuple[str, dict[str, tf.Tensor]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        module: Everything the signatures need, and nothing else.
        signatures: Name -> concrete function over named tensors.
        candidates: The catalogue, in the order of the index's rows.
        manifest: What the bundle is, for people and tools.
        requests: (signature, inputs), every signature at least once, to compare what was written by.
        extra_files: Name -> text of other files beside the manifest, as `require_extra_files` allows them.
    """

    module: tf.Module
    signatures: Signatures
    candidates: pa.Table
    manifest: dict[str, Any]
    requests: Requests
    extra_files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the SavedModel with its extra assets.

        Args:
            path: A folder that is empty or not there yet.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            # ScaNN's ops live in a namespace of their own, which a SavedModel must be told to accept.
            options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
            tf.saved_model.save(self.module, str(path), signatures=self.signatures, options=options)
        except tf.errors.OpError as error:
            raise OSError(f"The SavedModel cannot be written to {path}: {error.message}") from error
        (path / EXTRA_FOLDER).mkdir()
        pq.write_table(self.candidates, path / CANDIDATES_FILE)
        (path / MANIFEST_FILE).write_text(json.dumps(self.manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for name, text in self.extra_files.items():
            (path / EXTRA_FOLDER / name).write_text(text, encoding="utf-8")


def require_extra_files(extra_files: Mapping[str, str]) -> None:
    """Checks names of files that are kept with a bundle.

    Raises:
        ValueError: If one has no name of its own.
    """
    taken = [Path(file).name for file in (MANIFEST_FILE, CANDIDATES_FILE, WARMUP_FILE)]
    for name in extra_files:
        if name != Path(name).name or name in ("", ".", "..", *taken):
            raise ValueError(f"`extra_files` must have names without folders, and none of {taken}. Received: {name!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
    """A trained model's two sides, and all else of a bundle that stays as it is when the catalogue changes.

    Attributes:
        queries: A `QuerySide`, made here or loaded.
        candidates: A `CandidateSide`, made here or loaded.
        inputs: What the signatures take.
        filter_by: Columns of the candidates that recommendations may be filtered by.
        rerank: How the first that are found are ordered; by default as they are found.
        said: Raw features of some known queries, their ids at least, for the bundle's requests.
        manifest: What the sides are.
    """

    queries: Any
    candidates: Any
    inputs: Inputs
    filter_by: Sequence[str]
    rerank: Rerank | None
    said: Mapping[str, tf.Tensor]
    manifest: Mapping[str, Any]

    def embed(self, catalogue: pa.Table) -> dict[str, np.ndarray]:
        """By task, float32 [num_candidates, dim]."""
        parts = [
            self.candidates.embed(**raw_candidates(catalogue.slice(start, _EMBEDDED_AT_ONCE), self.inputs))
            for start in range(0, catalogue.num_rows, _EMBEDDED_AT_ONCE)
        ]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def build_sides(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    *,
    filter_by: Sequence[str] = (),
    rerank: Rerank | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Sides:
    """Takes from a trained model what a bundle needs.

    Args:
        model: A trained model.
        known: The queries whose features the bundle remembers (`queries`), and what each has seen and is not
            recommended again (`events`).
        filter_by: Columns of the candidates that recommendations may be filtered by.
        rerank: How the first that are found are ordered; by default as they are found.
        metrics: Evaluation figures for the manifest.

    Raises:
        ValueError: If a column cannot be filtered by, or `rerank` needs probabilities that the model does not know.
    """
    if rerank is not None and model.rating_head is None:
        raise ValueError("`rerank` orders by probabilities: it needs a model with a rating head.")
    _check_filters(known.candidates, filter_by)
    histories = {history.name for tower in query_towers(model) for history in tower.histories}
    inputs = Inputs(query=query_inputs(model, known), candidate=candidate_inputs(model), histories=sorted(histories))
    asked = known.queries.slice(0, _NUM_CHECKED)
    said = {known.query_id: tf.constant(asked[known.query_id].to_pylist(), tf.string)}
    for tower in query_towers(model):
        said.update(tower.raw_features(asked))
    return Sides(
        queries=QuerySide(model, known),
        candidates=CandidateSide(model),
        inputs=inputs,
        filter_by=filter_by,
        rerank=rerank,
        said=said,
        manifest={
            "query": {"id": known.query_id, **_schema(query_towers(model), inputs.query)},
            "candidate": {
                "id": known.candidate_id,
                **_schema([head.candidate_tower for head in model.heads], inputs.candidate),
            },
            "num_queries": known.num_queries,
            "positive_threshold": model.threshold,
            "has_probabilities": model.rating_head is not None,
            "metrics": dict(metrics or {}),
            "data": {"source": known.source, "fingerprint": known.fingerprint()},
        },
    )


def build_bundle(
    sides: Sides, catalogue: pa.Table, embeddings: Mapping[str, np.ndarray], build_index: BuildIndex, *, k: int
) -> Bundle:
    """Indexes a catalogue, and joins it with the sides of a trained model.

    Args:
        sides: Of the model.
        catalogue: One row per candidate.
        embeddings: Of the catalogue, as of `Sides.embed`.
        build_index: `build_best_index`, or another that makes an index of embeddings, ids and queries.
        k: Recommendations per query, >= 1; at most as many as there are candidates are given.

    Raises:
        ValueError: If the embeddings are not finite.
        RuntimeError: If the index does not hold what it was given.
    """
    queries, requested_k, k = sides.queries, k, min(k, catalogue.num_rows)
    id_column = sides.manifest["candidate"]["id"]
    ids = catalogue[id_column].to_pylist()
    built = build_index(embeddings["retrieval"], ids, queries.sample.numpy())
    rating = embeddings.get("rating")
    if rating is not None and np.array_equal(rating, embeddings["retrieval"]):
        rating = None  # one head does both
    if rating is not None:
        rating = check_embeddings(rating, ids)
    served = Catalogue(
        catalogue, id_column, built.index, rating, filter_by=sides.filter_by, known_ids=queries.candidate_ids
    )
    module = tf.Module(name="two_tower_bundle")
    module.query_side, module.candidate_side, module.catalogue = queries, sides.candidates, served
    return Bundle(
        module=module,
        signatures=build_signatures(queries, sides.candidates, served, sides.inputs, k=k, rerank=sides.rerank),
        candidates=catalogue,
        manifest={
            "versions": _versions(built),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            **sides.manifest,
            "num_candidates": catalogue.num_rows,
            "requested_k": requested_k,
            "k": k,
            "filter_by": list(sides.filter_by),
            "rerank": None if sides.rerank is None else dataclasses.asdict(sides.rerank),
            "index": {
                "requested": built.requested or built.index.kind,
                "kind": built.index.kind,
                "is_exact": built.index.is_exact,
                **built.outcome.to_dict(),
            },
        },
        requests=sample_requests(sides, catalogue),
    )


def sample_requests(sides: Sides, catalogue: pa.Table) -> Requests:
    """Every signature at least once: known queries, a query that says no more than a history, the first candidates.

    Args:
        sides: Of the model; `said` may be of no query.
        catalogue: One row per candidate.
    """
    said, inputs, filter_by = sides.said, sides.inputs, sides.filter_by
    rows, num_queries = catalogue.slice(0, _NUM_CHECKED), len(next(iter(said.values())))
    ids = tf.constant(rows[sides.manifest["candidate"]["id"]].to_pylist(), tf.string)
    stranger = {spec.name: missing_input(spec) for spec in inputs.query}
    stranger.update(dict.fromkeys(inputs.histories, ids[tf.newaxis, :_NUM_GIVEN]))
    queries = stranger
    if num_queries:
        queries = {spec.name: said.get(spec.name, missing_input(spec, num_queries)) for spec in inputs.query}
    num_pairs = min(max(1, num_queries), rows.num_rows)
    pairs = {name: values[:num_pairs] for name, values in queries.items()}
    excluding = {EXCLUDE_INPUT: tf.repeat(ids[tf.newaxis, :_NUM_GIVEN], max(1, num_queries), axis=0)}
    requests = [
        ("recommend", queries),
        ("serving_default", stranger),
        ("recommend_excluding", {**queries, **excluding}),
        ("similar", {CANDIDATE_INPUT: ids}),
        ("score", {**pairs, CANDIDATE_INPUT: ids[:num_pairs]}),
        ("embed_query", queries),
        ("embed_candidate", raw_candidates(rows, inputs)),
    ]
    if filter_by:
        given = {FILTER_PREFIX + name: tf.constant([values_of(rows, name)[0]], tf.string) for name in filter_by}
        nothing = {EXCLUDE_INPUT: tf.constant([[""]], tf.string)}
        requests.append(("recommend_filtered", {**stranger, **nothing, **given}))
    return requests


def raw_candidates(table: pa.Table, inputs: Inputs) -> dict[str, tf.Tensor]:
    """Raw features of candidates; a column that the table lacks is missing in every row."""
    present = [spec for spec in inputs.candidate if spec.name in table.column_names]
    missing = {spec.name: missing_input(spec, table.num_rows) for spec in inputs.candidate}
    return {**missing, **raw_tensors(table, present)}


def _check_filters(catalogue: pa.Table, filter_by: Sequence[str]) -> None:
    """Before anything that takes time."""
    if isinstance(filter_by, str) or len(set(filter_by)) < len(filter_by):
        raise ValueError(f"`filter_by` must be a sequence of columns, none twice. Received: {filter_by!r}.")
    for name in filter_by:
        require_input_name(name)
        require_filterable(catalogue, name)


def _versions(built: BuiltIndex) -> dict[str, str]:
    versions = {"tfrs_twotower": __version__, "tensorflow": tf.__version__}
    if built.index.kind == "scann":
        versions["scann"] = importlib.metadata.version("scann")
    return versions


def _schema(towers: Sequence[Tower], inputs: Sequence[tf.TensorSpec]) -> dict[str, Any]:
    """The towers' features, and the raw inputs with null for an axis of any length."""
    features: list[dict[str, Any]] = []
    for feature in (feature_to_config(feature) for tower in towers for feature in tower.config.features):
        if feature not in features:
            features.append(feature)
    return {
        "features": features,
        "inputs": [{"name": spec.name, "dtype": spec.dtype.name, "shape": spec.shape.as_list()} for spec in inputs],
    }
