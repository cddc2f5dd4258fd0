"""What a bundle computes: the towers, the known queries and an index, joined into the SavedModel's signatures.

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
from tfrs_twotower.model.inputs import MISSING
from tfrs_twotower.model.lookups import is_missing
from tfrs_twotower.model.towers import Tower
from tfrs_twotower.model.two_tower import CANDIDATE_INPUT, TwoTowerModel
from tfrs_twotower.serving.index import NO_ROW, NO_SCORE, Index

MANIFEST_FILE = "assets.extra/manifest.json"
CANDIDATES_FILE = "assets.extra/candidates.parquet"

Signatures = dict[str, Any]  # name -> tf.types.experimental.ConcreteFunction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        module: Everything the signatures need, and nothing else.
        signatures: Name -> concrete function over named tensors.
        candidates: The catalogue, in the order of the index's rows.
        manifest: What the bundle is, for people and tools.
    """

    module: tf.Module
    signatures: Signatures
    candidates: pa.Table
    manifest: dict[str, Any]

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
        (path / "assets.extra").mkdir()
        pq.write_table(self.candidates, path / CANDIDATES_FILE)
        (path / MANIFEST_FILE).write_text(json.dumps(self.manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def build_bundle(
    model: TwoTowerModel,
    known: Interactions,
    build_index: Callable[[np.ndarray, list[str]], Index],
    *,
    k: int,
    metrics: Mapping[str, Any] | None = None,
) -> Bundle:
    """Joins a trained model and a catalogue into a bundle.

    Args:
        model: A trained model.
        known: The catalogue (`candidates`), the queries whose features the bundle remembers (`queries`), and what
            each has seen and is not recommended again (`events`).
        build_index: `ScannIndex`, `ExactIndex`, or anything that makes an index of embeddings and ids.
        k: Recommendations per query, 1 <= k <= num_candidates.
        metrics: Evaluation figures for the manifest.

    Raises:
        ValueError: If `k` is out of range, or the embeddings are not finite.
    """
    if not 1 <= k <= known.num_candidates:
        raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={known.num_candidates}.")
    ids = known.candidates[known.candidate_id].to_pylist()
    candidate_codes = model.candidate_tower.encode_table(known.candidates)
    embeddings = model.candidate_tower.embed_codes(candidate_codes)
    index = build_index(embeddings, ids)
    queries = _KnownQueries(known, model.query_tower)
    catalogue = _Catalogue(ids)

    module = tf.Module(name="two_tower_bundle")
    module.weights = [*model.query_tower.variables, *model.candidate_tower.variables]
    module.tables = model.query_tower.lookup_tables + model.candidate_tower.lookup_tables
    module.index, module.queries, module.catalogue = index, queries, catalogue
    return Bundle(
        module=module,
        signatures=_build_signatures(model, queries, catalogue, index, k),
        candidates=known.candidates,
        manifest=_build_manifest(model, known, queries.id_input, index, k, metrics or {}),
    )


def missing_input(spec: tf.TensorSpec, num_rows: int = 1) -> tf.Tensor:
    """A raw input of rows that say nothing, with one missing value where a list may have any length."""
    return tf.fill([num_rows, *(size or 1 for size in spec.shape[1:])], tf.constant(MISSING[spec.dtype], spec.dtype))


class _KnownQueries(tf.Module):
    """What the bundle remembers of queries it knows: their features and what they have seen. Row 0 is any other."""

    def __init__(self, known: Interactions, tower: Tower) -> None:
        super().__init__(name="known_queries")
        # A query is recognised by its id, if the tower takes one, or a history, which the bundle has to look up.
        self.id_input = known.query_id if known.query_id in tower.feature_names or tower.histories else None
        ids = known.queries[known.query_id].to_pylist()
        self.table = _build_table(ids, np.arange(1, len(ids) + 1), default=0)
        nobody = {spec.name: missing_input(spec) for spec in tower.raw_specs}
        missing = {name: codes.numpy() for name, codes in tower.lookup(nobody).items()}
        self.codes = {
            name: tf.Variable(_with_first(missing[name], codes), trainable=False, name=f"{name}_codes")
            for name, codes in tower.encode_table(known.queries).items()
        }
        timeline = Timeline(known)
        splits = np.concatenate([[0], timeline.starts])
        self.seen = tf.Variable(timeline.candidate_rows, trainable=False, name="seen_rows")
        self.seen_splits = tf.Variable(splits, trainable=False, name="seen_splits")
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
        self._features = tower.config.features

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int64 [batch], each query's row, 0 where it is not known."""
        if self.id_input is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int64)
        return self.table.lookup(features[self.id_input])

    def fill_missing(self, codes: Mapping[str, tf.Tensor], rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes what the bundle remembers for each feature that is missing; a given value stands."""
        filled = {}
        for feature in self._features:
            is_given = ~is_missing(codes[feature.name])
            if isinstance(feature, History):
                remembered = self._remembered_history(feature, rows)
            else:
                remembered = {feature.name: tf.gather(self.codes[feature.name], rows)}
            for name, values in remembered.items():
                filled[name] = _choose(is_given, codes[name], values)
        return filled

    def seen_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [batch, most], the candidates each query has seen, padded with -1."""
        return self._of_queries(self.seen, rows).to_tensor(default_value=NO_ROW)

    def _remembered_history(self, history: History, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        latest = self._of_queries(self.seen, rows)[:, -history.length :]
        # The padding's code is the last.
        places = latest.to_tensor(default_value=tf.size(self.past[history.name]) - 1)
        remembered = {history.name: tf.gather(self.past[history.name], places)}
        if history.by_rating:
            ratings = self._of_queries(self.ratings[history.rating_name], rows)
            remembered[history.rating_name] = ratings[:, -history.length :].to_tensor()
        return remembered

    def _of_queries(self, values: tf.Variable, rows: tf.Tensor) -> tf.RaggedTensor:
        """[batch, any], what each query has of something that every seen event has."""
        return tf.gather(tf.RaggedTensor.from_row_splits(values, self.seen_splits, validate=False), rows)


class _Catalogue(tf.Module):
    """The candidates by row, and their rows by id."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(name="catalogue")
        self.ids = tf.Variable([*ids, ""], trainable=False, name="ids")  # the last one names an empty slot
        self.table = _build_table(ids, np.arange(len(ids)), default=NO_ROW)

    def names(self, rows: tf.Tensor) -> tf.Tensor:
        """String ids of rows, "" for an empty slot."""
        return tf.gather(self.ids, tf.where(rows == NO_ROW, tf.size(self.ids) - 1, rows))


def query_inputs(tower: Tower, id_input: str | None) -> list[tf.TensorSpec]:
    """The raw inputs of the signatures about queries: the tower's, and the id if the tower does not take it."""
    if id_input is None or id_input in [spec.name for spec in tower.raw_specs]:
        return tower.raw_specs
    return [tf.TensorSpec([None], tf.string, name=id_input), *tower.raw_specs]


def _build_signatures(
    model: TwoTowerModel, queries: _KnownQueries, catalogue: _Catalogue, index: Index, k: int
) -> Signatures:
    histories = [history.name for history in model.query_tower.histories]

    def embed(features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        rows = queries.rows(features)
        codes = queries.fill_missing(model.query_tower.lookup(features), rows)
        return model.query_tower.encode(codes), rows

    def recommend(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        embeddings, rows = embed(features)
        given = [catalogue.table.lookup(features[name]) for name in histories]
        scores, found = index.search(embeddings, k, tf.concat([queries.seen_rows(rows), *given], axis=1))
        return {
            "candidate_ids": catalogue.names(found),
            "scores": scores,
            "probabilities": _probabilities(scores),
        }

    def score(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = catalogue.table.lookup(inputs.pop(CANDIDATE_INPUT))
        embeddings, _ = embed(inputs)
        candidates = tf.gather(index.embeddings, tf.maximum(rows, 0))
        scores = tf.where(rows == NO_ROW, NO_SCORE, tf.reduce_sum(embeddings * candidates, axis=1))
        return {"scores": scores, "probabilities": _probabilities(scores)}

    def embed_query(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        embeddings, _ = embed(features)
        return {"retrieval": embeddings, "rating": embeddings}

    def embed_candidate(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        embeddings = model.candidate_tower(features)
        return {"retrieval": embeddings, "rating": embeddings}

    query_specs = {spec.name: spec for spec in query_inputs(model.query_tower, queries.id_input)}
    candidate_specs = {spec.name: spec for spec in model.candidate_tower.raw_specs}
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
    model: TwoTowerModel,
    known: Interactions,
    id_input: str | None,
    index: Index,
    k: int,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    versions = {"tfrs_twotower": __version__, "tensorflow": tf.__version__}
    if index.kind == "scann":
        versions["scann"] = importlib.metadata.version("scann")
    return {
        "versions": versions,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "query": {"id": known.query_id, **_schema(model.query_tower, query_inputs(model.query_tower, id_input))},
        "candidate": {"id": known.candidate_id, **_schema(model.candidate_tower, model.candidate_tower.raw_specs)},
        "num_candidates": known.num_candidates,
        "num_queries": known.num_queries,
        "k": k,
        "index": {"kind": index.kind, "is_exact": index.is_exact},
        "positive_threshold": model.rating_task.threshold,
        "metrics": dict(metrics),
        "data": {"source": known.source, "fingerprint": known.fingerprint()},
    }


def _schema(tower: Tower, inputs: Sequence[tf.TensorSpec]) -> dict[str, Any]:
    """The tower's features, and the raw inputs with null for an axis of any length."""
    return {
        "features": [feature_to_config(feature) for feature in tower.config.features],
        "inputs": [{"name": spec.name, "dtype": spec.dtype.name, "shape": spec.shape.as_list()} for spec in inputs],
    }


def _probabilities(scores: tf.Tensor) -> tf.Tensor:
    """Of a score that is a logit; 0 for an empty slot."""
    return tf.where(scores > NO_SCORE, tf.sigmoid(scores), 0.0)


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
