"""The signatures of a bundle: functions from named tensors to named tensors, entirely in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.bundle.catalogue import Catalogue
from tfrs_twotower.bundle.manifest import Rerank
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.features.input_names import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX, require_free_inputs
from tfrs_twotower.index.filters import Condition
from tfrs_twotower.index.ordering import NO_SCORE

Signatures = dict[str, Any]  # name -> tf.types.experimental.ConcreteFunction
Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """Declares the inputs of the signatures.

    Attributes:
        query: Raw features of queries.
        candidate: Raw features of candidates.
        histories: Names of the query features that list candidates.
    """

    query: Sequence[tf.TensorSpec]
    candidate: Sequence[tf.TensorSpec]
    histories: Sequence[str]

    def __post_init__(self) -> None:
        require_free_inputs(spec.name for spec in self.query)


def build_signatures(
    queries: Any, candidates: Any, catalogue: Catalogue, inputs: Inputs, *, k: int, rerank: Rerank | None = None
) -> Signatures:
    """Traces the signatures.

    Args:
        queries: A `QuerySide`, built or loaded.
        candidates: A `CandidateSide`, built or loaded.
        catalogue: Candidates that are served.
        inputs: Inputs of the signatures.
        k: Recommendations per query, 1 <= k <= num_candidates.
        rerank: How the first candidates that are found are reordered; needs rating embeddings.
    """
    index = catalogue.index
    num_found = k if rerank is None else min(max(k, rerank.first), index.num_candidates)

    def log_odds(embeddings: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        """Computes the rating model's log-odds, float32 in the shape of rows; arbitrary in an empty slot."""
        query = embeddings["rating"] if rows.shape.rank == 1 else tf.expand_dims(embeddings["rating"], 1)
        return tf.reduce_sum(query * catalogue.rating_vectors(rows), axis=-1)

    def probabilities(logits: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        return tf.where(rows == NO_ROW, 0.0, tf.sigmoid(logits))

    def recommend_among(features: Tensors, exclude: Sequence[tf.Tensor], only: Condition | None) -> Tensors:
        embeddings = queries.recall(**features)
        seen = catalogue.rows_of_known(embeddings["seen"])
        given = [catalogue.rows(features[name]) for name in inputs.histories]
        # Concatenation fails unless all have as many rows as queries; conditions are checked apart.
        exclude = tf.concat([seen, *given, *exclude], axis=1)
        search = index.search_aligned if only is None else index.search
        scores, rows = search(embeddings["retrieval"], num_found, exclude, only)
        if "rating" not in embeddings:
            return {"candidate_ids": catalogue.names(rows), "scores": scores}
        logits = log_odds(embeddings, rows)
        if rerank is not None:
            num_ordered = min(rerank.first, num_found)
            blend = rerank.weight * logits + (1 - rerank.weight) * scores
            blend = tf.where(rows == NO_ROW, NO_SCORE, blend)[:, :num_ordered]
            first = tf.argsort(blend, axis=1, direction="DESCENDING", stable=True)
            others = tf.broadcast_to(tf.range(num_ordered, num_found), [tf.shape(rows)[0], num_found - num_ordered])
            order = tf.concat([first, others], axis=1)[:, :k]
            rows, scores, logits = (tf.gather(values, order, batch_dims=1) for values in (rows, scores, logits))
        return {
            "candidate_ids": catalogue.names(rows),
            "scores": scores,
            "probabilities": probabilities(logits, rows),
        }

    def recommend(**features: tf.Tensor) -> Tensors:
        return recommend_among(features, [], None)

    def recommend_excluding(**features: tf.Tensor) -> Tensors:
        return recommend_among(features, [catalogue.rows(features.pop(EXCLUDE_INPUT))], None)

    def recommend_filtered(**features: tf.Tensor) -> Tensors:
        exclude = catalogue.rows(features.pop(EXCLUDE_INPUT))
        values = {name: features.pop(FILTER_PREFIX + name) for name in catalogue.filters.features}
        return recommend_among(features, [exclude], catalogue.filters.only(values))

    def similar(**features: tf.Tensor) -> Tensors:
        rows = catalogue.rows(features[CANDIDATE_INPUT])
        vectors = index.vectors.take(tf.maximum(rows, 0)) * candidates.is_latent
        scores, found = index.search(vectors, k, rows[:, tf.newaxis])
        is_known = (rows != NO_ROW)[:, tf.newaxis]
        found = tf.where(is_known, found, NO_ROW)
        return {"candidate_ids": catalogue.names(found), "scores": tf.where(is_known, scores, NO_SCORE)}

    def score(**features: tf.Tensor) -> Tensors:
        rows = catalogue.rows(features.pop(CANDIDATE_INPUT))
        embeddings = queries.embed(**features)
        products = tf.reduce_sum(embeddings["retrieval"] * index.vectors.take(tf.maximum(rows, 0)), axis=1)
        outputs = {"scores": tf.where(rows == NO_ROW, NO_SCORE, products)}
        if "rating" in embeddings:
            outputs["probabilities"] = probabilities(log_odds(embeddings, rows), rows)
        return outputs

    query_specs = {spec.name: spec for spec in inputs.query}
    candidate_specs = {spec.name: spec for spec in inputs.candidate}
    candidate_id = {CANDIDATE_INPUT: tf.TensorSpec([None], tf.string, name=CANDIDATE_INPUT)}
    exclude_ids = {EXCLUDE_INPUT: tf.TensorSpec([None, None], tf.string, name=EXCLUDE_INPUT)}
    filters = {
        FILTER_PREFIX + name: tf.TensorSpec([None, None], tf.string, name=FILTER_PREFIX + name)
        for name in catalogue.filters.features
    }

    def trace(function: Any, *specs: Mapping[str, tf.TensorSpec]) -> Any:
        named = {name: spec for group in specs for name, spec in group.items()}
        return tf.function(function).get_concrete_function(**named)

    traced = trace(recommend, query_specs)
    signatures = {
        "serving_default": traced,
        "recommend": traced,
        "recommend_excluding": trace(recommend_excluding, query_specs, exclude_ids),
        "similar": trace(similar, candidate_id),
        "score": trace(score, query_specs, candidate_id),
        "embed_query": trace(lambda **features: queries.embed(**features), query_specs),
        "embed_candidate": trace(lambda **features: candidates.embed(**features), candidate_specs),
    }
    if filters:
        signatures["recommend_filtered"] = trace(recommend_filtered, query_specs, exclude_ids, filters)
    return signatures
