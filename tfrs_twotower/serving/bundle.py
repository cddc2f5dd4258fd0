"""What a bundle computes: the towers, the known queries and an index, joined into the SavedModel's signatures.

Only variables, lookup tables and index state are tracked, no Keras object: any program that has TensorFlow loads it.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from tfrs_twotower._version import __version__
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.model.encoders import MISSING_CODE
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
    module.tables = _lookup_tables(model.query_tower) + _lookup_tables(model.candidate_tower)
    module.index, module.queries, module.catalogue = index, queries, catalogue
    return Bundle(
        module=module,
        signatures=_build_signatures(model, queries, catalogue, index, k),
        candidates=known.candidates,
        manifest=_build_manifest(model, known, index, k, metrics or {}),
    )


class _KnownQueries(tf.Module):
    """What the bundle remembers of queries it knows: their features and what they have seen. Row 0 is any other."""

    def __init__(self, known: Interactions, tower: Tower) -> None:
        super().__init__(name="known_queries")
        # Without an id among the tower's features, a query cannot be recognised.
        self.id_feature = known.query_id if known.query_id in tower.feature_names else None
        ids = known.queries[known.query_id].to_pylist()
        self.table = _build_table(ids, np.arange(1, len(ids) + 1), default=0)
        self.codes = {
            name: tf.Variable(np.concatenate([np.zeros_like(codes[:1]), codes]), trainable=False, name=f"{name}_codes")
            for name, codes in tower.encode_table(known.queries).items()
        }
        order = np.argsort(known.query_rows, kind="stable")
        counts = np.bincount(known.query_rows, minlength=known.num_queries)
        self.seen = tf.Variable(known.candidate_rows[order], trainable=False, name="seen_rows")
        self.seen_splits = tf.Variable(np.concatenate([[0, 0], np.cumsum(counts)]), trainable=False, name="seen_splits")

    def rows(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int64 [batch], each query's row, 0 where it is not known."""
        if self.id_feature is None:
            return tf.zeros(tf.shape(next(iter(features.values())))[:1], tf.int64)
        return self.table.lookup(features[self.id_feature])

    def fill_missing(self, codes: Mapping[str, tf.Tensor], rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes what the bundle remembers for each feature that is missing (code 0); a given value stands."""
        return {name: _fill_missing(code, tf.gather(self.codes[name], rows)) for name, code in codes.items()}

    def seen_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """int32 [batch, most], the candidates each query has seen, padded with -1."""
        seen = tf.RaggedTensor.from_row_splits(self.seen, self.seen_splits, validate=False)
        return tf.gather(seen, rows).to_tensor(default_value=NO_ROW)


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
    model: TwoTowerModel, queries: _KnownQueries, catalogue: _Catalogue, index: Index, k: int
) -> Signatures:
    def embed(features: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        rows = queries.rows(features)
        codes = queries.fill_missing(model.query_tower.lookup(features), rows)
        return model.query_tower.encode(codes), rows

    def recommend(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        embeddings, rows = embed(features)
        scores, found = index.search(embeddings, k, queries.seen_rows(rows))
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

    query_specs = {spec.name: spec for spec in model.query_tower.raw_specs}
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
    model: TwoTowerModel, known: Interactions, index: Index, k: int, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    versions = {"tfrs_twotower": __version__, "tensorflow": tf.__version__}
    if index.kind == "scann":
        versions["scann"] = importlib.metadata.version("scann")
    return {
        "versions": versions,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "query": {"id": known.query_id, "features": _schema(model.query_tower)},
        "candidate": {"id": known.candidate_id, "features": _schema(model.candidate_tower)},
        "num_candidates": known.num_candidates,
        "num_queries": known.num_queries,
        "k": k,
        "index": {"kind": index.kind, "is_exact": index.is_exact},
        "positive_threshold": model.rating_task.threshold,
        "metrics": dict(metrics),
        "data": {"source": known.source, "fingerprint": known.fingerprint()},
    }


def _schema(tower: Tower) -> list[dict[str, Any]]:
    return [
        {
            "kind": type(feature).__name__,
            "dtype": spec.dtype.name,
            "rank": spec.shape.rank,
            **dataclasses.asdict(feature),
        }
        for feature, spec in zip(tower.config.features, tower.raw_specs, strict=True)
    ]


def _probabilities(scores: tf.Tensor) -> tf.Tensor:
    """Of a score that is a logit; 0 for an empty slot."""
    return tf.where(scores > NO_SCORE, tf.sigmoid(scores), 0.0)


def _fill_missing(codes: tf.Tensor, remembered: tf.Tensor) -> tf.Tensor:
    """Row by row the codes, or what is remembered where all of a row's are 0; int64 [batch] or [batch, any]."""
    if codes.shape.rank == 1:
        return tf.where(codes == MISSING_CODE, remembered, codes)
    width = tf.maximum(tf.shape(codes)[1], tf.shape(remembered)[1])
    codes, remembered = (tf.pad(x, [[0, 0], [0, width - tf.shape(x)[1]]]) for x in (codes, remembered))
    return tf.where(tf.reduce_all(codes == MISSING_CODE, axis=1, keepdims=True), remembered, codes)


def _lookup_tables(tower: Tower) -> list[Any]:
    return [layer.lookup_table for layer in tower.lookups.values() if hasattr(layer, "lookup_table")]


def _build_table(ids: list[str], rows: np.ndarray, *, default: int) -> tf.lookup.StaticHashTable:
    dtype = tf.int32 if default == NO_ROW else tf.int64
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(ids, tf.string), tf.constant(rows, dtype))
    return tf.lookup.StaticHashTable(initializer, default)
