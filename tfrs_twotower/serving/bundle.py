"""What a bundle computes: the towers of its heads, the known queries and an index, joined into signatures.

Only variables, lookup tables and index state are tracked, no Keras object: any program that has TensorFlow loads it.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower._version import __version__
from tfrs_twotower.data.histories import Timeline
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.features import History, feature_to_config
from tfrs_twotower.model.inputs import CANDIDATE_INPUT, MISSING
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.lookups import is_missing
from tfrs_twotower.model.towers import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.serving.index import NO_ROW, NO_SCORE, Index

EXTRA_FOLDER = "assets.extra"
MANIFEST_FILE = f"{EXTRA_FOLDER}/manifest.json"
CANDIDATES_FILE = f"{EXTRA_FOLDER}/candidates.parquet"

Signatures = dict[str, Any]  # name -> tf.types.experimental.ConcreteFunction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        module: Everything the signatures need, and nothing else.
        signatures: Name -> concrete function over named tensors.
        candidates: The catalogue, in the order of the index's rows.
        manifest: What the bundle is, for people and tools.
        extra_files: Name -> text of other files beside the manifest.
    """

    module: tf.Module
    signatures: Signatures
    candidates: pa.Table
    manifest: dict[str, Any]
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


def build_bundle(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    build_index: Callable[[np.ndarray, list[str]], Index],
    *,
    k: int,
    metrics: Mapping[str, Any] | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> Bundle:
    """Joins a trained model and a catalogue into a bundle.

    Args:
        model: A trained model.
        known: The catalogue (`candidates`), the queries whose features the bundle remembers (`queries`), and what
            each has seen and is not recommended again (`events`).
        build_index: `ScannIndex`, `ExactIndex`, or anything that makes an index of embeddings and ids.
        k: Recommendations per query, 1 <= k <= num_candidates.
        metrics: Evaluation figures for the manifest.
        extra_files: Name -> text of other files to keep with the bundle, such as `report.html`.

    Raises:
        ValueError: If `k` is out of range, the embeddings are not finite, or an extra file has no name of its own.
    """
    for name in extra_files or {}:
        taken = [Path(file).name for file in (MANIFEST_FILE, CANDIDATES_FILE)]
        if name != Path(name).name or name in ("", ".", "..", *taken):
            raise ValueError(f"`extra_files` must have names without folders, and none of {taken}. Received: {name!r}.")
    if not 1 <= k <= known.num_candidates:
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={known.num_candidates}.")
    ids = known.candidates[known.candidate_id].to_pylist()
    timeline = Timeline(known)
    catalogues = [head.embed_catalogue(known.candidates) for head in model.heads]
    index = build_index(catalogues[0], ids)
    heads = [_Head(head, timeline, index.embeddings) for head in model.heads[:1]]
    # The index holds the first head's catalogue.
    for head, embeddings in zip(model.heads[1:], catalogues[1:], strict=True):
        heads.append(_Head(head, timeline, tf.Variable(embeddings, trainable=False, name="catalogue")))
    queries = _KnownQueries(timeline, id_input_of(model, known))
    catalogue = _Catalogue(ids)

    module = tf.Module(name="two_tower_bundle")
    module.heads, module.index, module.queries, module.catalogue = heads, index, queries, catalogue
    return Bundle(
        module=module,
        signatures=_build_signatures(model, known, heads, queries, catalogue, index, k),
        candidates=known.candidates,
        manifest=_build_manifest(model, known, index, k, metrics or {}),
        extra_files=dict(extra_files or {}),
    )


def query_inputs(model: TwoTowerModel | JointModel, known: Interactions) -> list[tf.TensorSpec]:
    """The raw inputs of the signatures about queries: all heads' towers', and the id if no tower takes it."""
    id_input = id_input_of(model, known)
    specs = {} if id_input is None else {id_input: tf.TensorSpec([None], tf.string, name=id_input)}
    for tower in _query_towers(model):
        specs.update({spec.name: spec for spec in tower.raw_specs})
    return list(specs.values())


def candidate_inputs(model: TwoTowerModel | JointModel) -> list[tf.TensorSpec]:
    """The raw inputs of the signature about candidates: all heads' towers'."""
    specs = {spec.name: spec for head in model.heads for spec in head.candidate_tower.raw_specs}
    return list(specs.values())


def id_input_of(model: TwoTowerModel | JointModel, known: Interactions) -> str | None:
    """The input by which a query is recognised: its id, if a tower takes it, or a history, which is looked up by it."""
    towers = _query_towers(model)
    is_taken = any(known.query_id in tower.feature_names or tower.histories for tower in towers)
    return known.query_id if is_taken else None


def _query_towers(model: TwoTowerModel | JointModel) -> list[Tower]:
    return [head.query_tower for head in model.heads]


def missing_input(spec: tf.TensorSpec, num_rows: int = 1) -> tf.Tensor:
    """A raw input of rows that say nothing, with one missing value where a list may have any length."""
    return tf.fill([num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(MISSING[spec.dtype], spec.dtype))


class _KnownQueries(tf.Module):
    """The queries the bundle knows, and what each has seen. Row 0 is any other."""

    def __init__(self, timeline: Timeline, id_input: str | None) -> None:
        super().__init__(name="known_queries")
        known = timeline.interactions
        self.id_input = id_input
        ids = known.queries[known.query_id].to_pylist()
        self.table = _build_table(ids, np.arange(1, len(ids) + 1), default=0)
        self.seen = tf.Variable(timeline.candidate_rows, trainable=False, name="seen_rows")
        self.splits = tf.Variable(np.concatenate([[0], timeline.starts]), trainable=False, name="seen_splits")

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int64 [batch], each query's row, 0 where it is not known."""
        if self.id_input is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int64)
        return self.table.lookup(features[self.id_input])

    def seen_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [batch, most], the candidates each query has seen, padded with -1."""
        return self.of_queries(self.seen, rows).to_tensor(default_value=NO_ROW)

    def of_queries(self, values: tf.Variable, rows: tf.Tensor) -> tf.RaggedTensor:
        """[batch, any], what each query has of something that every seen event has."""
        return tf.gather(tf.RaggedTensor.from_row_splits(values, self.splits, validate=False), rows)


class _Head(tf.Module):
    """One head of the model with what the bundle remembers for it: queries' features, ratings, the catalogue."""

    def __init__(self, model: TwoTowerModel, timeline: Timeline, catalogue: tf.Variable) -> None:
        super().__init__(name=f"{model.task.name}_head")
        tower = model.query_tower
        # The model itself is no attribute: no Keras object may be tracked.
        self.weights = [*tower.variables, *model.candidate_tower.variables, *model.task.score_variables]
        self.tables = tower.lookup_tables + model.candidate_tower.lookup_tables
        self.catalogue = catalogue
        known = timeline.interactions
        nobody = {spec.name: missing_input(spec) for spec in tower.raw_specs}
        missing = {name: codes.numpy() for name, codes in tower.lookup(nobody).items()}
        self.codes = {
            name: tf.Variable(_with_first(missing[name], codes), trainable=False, name=f"{name}_codes")
            for name, codes in tower.encode_table(known.queries).items()
        }
        self.past = {
            name: tf.Variable(codes, trainable=False, name=f"{name}_past")
            for name, codes in tower.encode_past(known.candidates).items()
        }
        self.ratings = {
            history.rating_name: tf.Variable(
                tower.lookups[history.rating_name](timeline.ratings), trainable=False, name=history.rating_name
            )
            for history in tower.histories
            if history.by_rating
        }

    def embed(
        self, model: TwoTowerModel, queries: _KnownQueries, features: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> tf.Tensor:
        """float32 [batch, embedding_dim], of what is given, or else remembered, of each query."""
        codes = model.query_tower.lookup(features)
        return model.embed_queries(self._fill_missing(model, queries, codes, rows))

    def _fill_missing(
        self, model: TwoTowerModel, queries: _KnownQueries, codes: Mapping[str, tf.Tensor], rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Takes what the bundle remembers for each feature that is missing; a given value stands."""
        filled = {}
        for feature in model.query_tower.config.features:
            is_given = ~is_missing(codes[feature.name])
            if isinstance(feature, History):
                remembered = self._remembered_history(queries, feature, rows)
            else:
                remembered = {feature.name: tf.gather(self.codes[feature.name], rows)}
            for name, values in remembered.items():
                filled[name] = _choose(is_given, codes[name], values)
        return filled

    def _remembered_history(self, queries: _KnownQueries, history: History, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        latest = queries.of_queries(queries.seen, rows)[:, -history.length :]
        # The padding's code is the last.
        places = latest.to_tensor(default_value=tf.size(self.past[history.name]) - 1)
        remembered = {history.name: tf.gather(self.past[history.name], places)}
        if history.by_rating:
            ratings = queries.of_queries(self.ratings[history.rating_name], rows)
            remembered[history.rating_name] = ratings[:, -history.length :].to_tensor()
        return remembered


class _Catalogue(tf.Module):
    """The candidates by row, and their rows by id."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(name="catalogue")
        self.ids = tf.Variable([*ids, ""], trainable=False, name="ids")  # the last one names an empty slot
        self.table = _build_table(ids, np.arange(len(ids)), default=NO_ROW)

    def names(self, rows: tf.Tensor) -> tf.Tensor:
        """String ids of rows, "" for an empty slot."""
        return tf.gather(self.ids, tf.where(rows == NO_ROW, tf.size(self.ids) - 1, rows))


def _build_signatures(
    model: TwoTowerModel | JointModel,
    known: Interactions,
    heads: list[_Head],
    queries: _KnownQueries,
    catalogue: _Catalogue,
    index: Index,
    k: int,
) -> Signatures:
    histories = sorted({history.name for tower in _query_towers(model) for history in tower.histories})

    def embed(features: Mapping[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        rows = queries.rows(features)
        return [head.embed(of, queries, features, rows) for head, of in zip(heads, model.heads, strict=True)], rows

    def with_probabilities(
        outputs: dict[str, tf.Tensor], embeddings: list[tf.Tensor], rows: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Adds the rating head's probability of each row, int32 [batch, any] or [batch], 0 for an empty slot."""
        if model.rating_head is None:
            return outputs
        logits = outputs["scores"]
        if len(heads) == 2:
            candidates = tf.gather(heads[1].catalogue, tf.maximum(rows, 0))
            query = embeddings[1] if rows.shape.rank == 1 else embeddings[1][:, tf.newaxis]
            logits = tf.reduce_sum(query * candidates, axis=-1)
        return {**outputs, "probabilities": tf.where(rows == NO_ROW, 0.0, tf.sigmoid(logits))}

    def recommend(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        embeddings, rows = embed(features)
        given = [catalogue.table.lookup(features[name]) for name in histories]
        scores, found = index.search(embeddings[0], k, tf.concat([queries.seen_rows(rows), *given], axis=1))
        return with_probabilities({"candidate_ids": catalogue.names(found), "scores": scores}, embeddings, found)

    def score(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = catalogue.table.lookup(inputs.pop(CANDIDATE_INPUT))
        embeddings, _ = embed(inputs)
        candidates = tf.gather(heads[0].catalogue, tf.maximum(rows, 0))
        scores = tf.where(rows == NO_ROW, NO_SCORE, tf.reduce_sum(embeddings[0] * candidates, axis=1))
        return with_probabilities({"scores": scores}, embeddings, rows)

    def named(embeddings: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        if model.rating_head is None:
            return {"retrieval": embeddings[0]}
        return {"retrieval": embeddings[0], "rating": embeddings[-1]}

    def embed_query(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(embed(features)[0])

    def embed_candidate(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        return named([of.embed_candidates(of.candidate_tower.lookup(features)) for of in model.heads])

    query_specs = {spec.name: spec for spec in query_inputs(model, known)}
    candidate_specs = {spec.name: spec for spec in candidate_inputs(model)}
    candidate_id = tf.TensorSpec([None], tf.string, name=CANDIDATE_INPUT)
    recommend_function = tf.function(recommend).get_concrete_function(**query_specs)
    return {
        "serving_default": recommend_function,
        "recommend": recommend_function,
        "score": tf.function(score).get_concrete_function(**query_specs, **{CANDIDATE_INPUT: candidate_id}),
        "embed_query": tf.function(embed_query).get_concrete_function(**query_specs),
        "embed_candidate": tf.function(embed_candidate).get_concrete_function(**candidate_specs),
    }


def _build_manifest(
    model: TwoTowerModel | JointModel, known: Interactions, index: Index, k: int, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    versions = {"tfrs_twotower": __version__, "tensorflow": tf.__version__}
    if index.kind == "scann":
        versions["scann"] = importlib.metadata.version("scann")
    queries = _schema(_query_towers(model), query_inputs(model, known))
    candidates = _schema([head.candidate_tower for head in model.heads], candidate_inputs(model))
    return {
        "versions": versions,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "query": {"id": known.query_id, **queries},
        "candidate": {"id": known.candidate_id, **candidates},
        "num_candidates": known.num_candidates,
        "num_queries": known.num_queries,
        "k": k,
        "index": {"kind": index.kind, "is_exact": index.is_exact},
        "positive_threshold": model.threshold,
        "has_probabilities": model.rating_head is not None,
        "metrics": dict(metrics),
        "data": {"source": known.source, "fingerprint": known.fingerprint()},
    }


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


def _choose(is_given: tf.Tensor, codes: tf.Tensor, remembered: tf.Tensor) -> tf.Tensor:
    """Row by row the codes where they are given, or else what is remembered; [batch] or [batch, any]."""
    if codes.shape.rank == 1:
        return tf.where(is_given, codes, remembered)
    # Padding on the right is no part of a list, and its code and rating are 0.
    width = tf.maximum(tf.shape(codes)[1], tf.shape(remembered)[1])
    codes, remembered = (tf.pad(x, [[0, 0], [0, width - tf.shape(x)[1]]]) for x in (codes, remembered))
    return tf.where(is_given[:, tf.newaxis], codes, remembered)


def _with_first(first: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Codes with another row before them, [1, any] of which only as much counts as fits: the rest is padding."""
    if codes.ndim == 1:
        return np.concatenate([first, codes])
    row = np.zeros_like(codes[:1], shape=(1, codes.shape[1]))
    width = min(codes.shape[1], first.shape[1])
    row[:, :width] = first[:, :width]
    return np.concatenate([row, codes])


def _build_table(ids: list[str], rows: np.ndarray, *, default: int) -> tf.lookup.StaticHashTable:
    dtype = tf.int32 if default == NO_ROW else tf.int64
    # TensorFlow refuses an empty table; "" is no id, and finds what is not found.
    keys, values = [*ids, ""], np.append(rows, default)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, tf.string), tf.constant(values, dtype))
    return tf.lookup.StaticHashTable(initializer, default)
