"""The signatures of a bundle: named tensors in, named tensors out, everything between in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower.model.inputs import CANDIDATE_INPUT, EXCLUDE_INPUT, FILTER_PREFIX, require_free_inputs
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.filters import Condition
from tfrs_twotower.serving.vectors import NO_ROW, NO_SCORE

Signatures = dict[str, Any]  # name -> tf.types.experimental.ConcreteFunction
Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the signatures take.

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


def build_signatures(queries: Any, candidates: Any, catalogue: Catalogue, inputs: Inputs, *, k: int) -> Signatures:
    """Traces the signatures.

    Args:
        queries: A `QuerySide`, made here or loaded.
        candidates: A `CandidateSide`, made here or loaded.
        catalogue: What is served.
        inputs: What the signatures take.
        k: Recommendations per query, 1 <= k <= num_candidates.
    """
    index = catalogue.index

    def with_probabilities(outputs: Tensors, embeddings: Mapping[str, tf.Tensor], rows: tf.Tensor) -> Tensors:
        """Adds the rating head's probability of each row, int32 [batch, any] or [batch], 0 for an empty slot."""
        if "rating" not in embeddings:
            return outputs
        query = embeddings["rating"] if rows.shape.rank == 1 else embeddings["rating"][:, tf.newaxis]
        logits = tf.reduce_sum(query * catalogue.rating_vectors(rows), axis=-1)
        return {**outputs, "probabilities": tf.where(rows == NO_ROW, 0.0, tf.sigmoid(logits))}

    def recommend_among(features: Tensors, exclude: Sequence[tf.Tensor], only: Condition | None) -> Tensors:
        embeddings = queries.embed(**features)
        seen = [catalogue.rows_of_known(queries.seen(**features))]
        given = [catalogue.rows(features[name]) for name in inputs.histories]
        scores, rows = index.search(embeddings["retrieval"], k, tf.concat([*seen, *given, *exclude], axis=1), only)
        return with_probabilities({"candidate_ids": catalogue.names(rows), "scores": scores}, embeddings, rows)

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
        return with_probabilities({"scores": tf.where(rows == NO_ROW, NO_SCORE, products)}, embeddings, rows)

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
