"""The signatures of a bundle: functions from named tensors to named tensors, entirely in the graph."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower._autograph import as_written
from tfrs_twotower.bundle.alignment import aligned
from tfrs_twotower.bundle.blocks import in_blocks
from tfrs_twotower.bundle.catalogue import Catalogue
from tfrs_twotower.bundle.manifest import Rerank
from tfrs_twotower.bundle.whole_packets import sigmoid
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
        ratings_of: Name of an input of ratings -> name of its history.
        times_of: Name of an input of times -> name of its history.
    """

    query: Sequence[tf.TensorSpec]
    candidate: Sequence[tf.TensorSpec]
    histories: Sequence[str]
    ratings_of: Mapping[str, str]
    times_of: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_free_inputs(spec.name for spec in self.query)


def build_signatures(
    queries: Any,
    candidates: Any,
    catalogue: Catalogue,
    inputs: Inputs,
    *,
    k: int,
    rerank: Rerank | None = None,
    recommend_seen: bool = False,
) -> Signatures:
    """Traces the signatures.

    Inputs that do not fit each other are an error in each of them; see `aligned`.

    Args:
        queries: A `QuerySide`, built or loaded.
        candidates: A `CandidateSide`, built or loaded.
        catalogue: Candidates that are served.
        inputs: Inputs of the signatures.
        k: Recommendations per query, 1 <= k <= num_candidates.
        rerank: How the first candidates that are found are reordered; needs rating embeddings.
        recommend_seen: Whether candidates that a query has seen may be recommended again.
    """
    functions = _Functions(queries, candidates, catalogue, inputs, k, rerank, recommend_seen)
    query = {spec.name: spec for spec in inputs.query}
    candidate = {spec.name: spec for spec in inputs.candidate}
    candidate_id = _specs([None], CANDIDATE_INPUT)
    exclude_ids = _specs([None, None], EXCLUDE_INPUT)
    filters = _specs([None, None], *(FILTER_PREFIX + name for name in catalogue.filters.features))

    def trace(function: Callable[..., Tensors], *specs: Mapping[str, tf.TensorSpec]) -> Any:
        named = {name: spec for group in specs for name, spec in group.items()}

        compute_in_blocks = in_blocks(as_written(function, unless=catalogue.index.uses_autograph), named)

        def compute(**features: tf.Tensor) -> Tensors:
            return compute_in_blocks(**aligned(features, {**inputs.ratings_of, **inputs.times_of}))

        return tf.function(as_written(compute)).get_concrete_function(**named)

    recommend = trace(functions.recommend, query)
    signatures = {
        "serving_default": recommend,
        "recommend": recommend,
        "recommend_excluding": trace(functions.recommend_excluding, query, exclude_ids),
        "similar": trace(functions.similar, candidate_id),
        "score": trace(functions.score, query, candidate_id),
        "embed_query": trace(lambda **features: queries.embed(**features), query),
        "embed_candidate": trace(lambda **features: candidates.embed(**features), candidate),
    }
    if filters:
        signatures["recommend_filtered"] = trace(functions.recommend_filtered, query, exclude_ids, filters)
    return signatures


def _specs(shape: list[int | None], *names: str) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(shape, tf.string, name=name) for name in names}


class _Functions:
    """What the signatures compute, each from named tensors to named tensors."""

    def __init__(
        self,
        queries: Any,
        candidates: Any,
        catalogue: Catalogue,
        inputs: Inputs,
        k: int,
        rerank: Rerank | None,
        recommend_seen: bool,
    ) -> None:
        self._queries, self._candidates, self._catalogue = queries, candidates, catalogue
        self._inputs, self._k, self._rerank, self._recommend_seen = inputs, k, rerank, recommend_seen
        self._index = catalogue.index
        # One search for all signatures, since tracing an approximate one takes longer than all the rest.
        self._search = functools.cache(self._trace_search)

    def _trace_search(self, k: int) -> Any:
        """Traces the search for k candidates, a function of queries and `exclude` as in `Index.search_aligned`."""

        def search(queries: tf.Tensor, exclude: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._index.search_aligned(queries, k, exclude)

        vectors = tf.TensorSpec([None, self._index.vectors.embedding_dim], tf.float32)
        traced = tf.function(as_written(search, unless=self._index.uses_autograph))
        return traced.get_concrete_function(vectors, tf.TensorSpec([None, None], tf.int32))

    def recommend(self, **features: tf.Tensor) -> Tensors:
        return self._recommend_among(features, [], None)

    def recommend_excluding(self, **features: tf.Tensor) -> Tensors:
        return self._recommend_among(features, [self._catalogue.rows(features.pop(EXCLUDE_INPUT))], None)

    def recommend_filtered(self, **features: tf.Tensor) -> Tensors:
        exclude = self._catalogue.rows(features.pop(EXCLUDE_INPUT))
        filters = self._catalogue.filters
        values = {name: features.pop(FILTER_PREFIX + name) for name in filters.features}
        return self._recommend_among(features, [exclude], filters.only(values))

    def similar(self, **features: tf.Tensor) -> Tensors:
        rows = self._catalogue.rows(features[CANDIDATE_INPUT])
        vectors = self._index.vectors.take(tf.maximum(rows, 0)) * self._candidates.is_latent
        scores, found = self._search(self._k)(vectors, rows[:, tf.newaxis])
        is_known = (rows != NO_ROW)[:, tf.newaxis]
        found = tf.where(is_known, found, NO_ROW)
        return {"candidate_ids": self._catalogue.names(found), "scores": tf.where(is_known, scores, NO_SCORE)}

    def score(self, **features: tf.Tensor) -> Tensors:
        rows = self._catalogue.rows(features[CANDIDATE_INPUT])
        embeddings = self._queries.embed_pairs(**features)
        vectors = self._index.vectors.take(tf.maximum(rows, 0))
        products = tf.reduce_sum(embeddings["retrieval"] * vectors, axis=1)
        outputs = {"scores": tf.where(rows == NO_ROW, NO_SCORE, products)}
        if "rating" in embeddings:
            outputs["probabilities"] = _probabilities(self._log_odds(embeddings, rows), rows)
        return outputs

    def _recommend_among(self, features: Tensors, exclude: Sequence[tf.Tensor], only: Condition | None) -> Tensors:
        embeddings = self._queries.recall(**features)
        if self._recommend_seen:
            seen = [tf.zeros([tf.shape(embeddings["retrieval"])[0], 0], tf.int32)]
        else:
            given = [self._catalogue.rows(features[name]) for name in self._inputs.histories]
            seen = [self._catalogue.rows_of_known(embeddings["seen"]), *given]
        exclude = tf.concat([*seen, *exclude], axis=1)
        queries = embeddings["retrieval"]
        if only is None:
            scores, rows = self._search(self._num_found)(queries, exclude)
        else:
            scores, rows = self._index.search_aligned(queries, self._num_found, exclude, only)
        if "rating" not in embeddings:
            return {"candidate_ids": self._catalogue.names(rows), "scores": scores}
        logits = self._log_odds(embeddings, rows)
        if self._rerank is not None:
            order = self._order(self._rerank, rows, scores, logits)
            rows, scores, logits = (tf.gather(values, order, batch_dims=1) for values in (rows, scores, logits))
        return {
            "candidate_ids": self._catalogue.names(rows),
            "scores": scores,
            "probabilities": _probabilities(logits, rows),
        }

    @property
    def _num_found(self) -> int:
        """Number of candidates that are searched for: as many as are recommended or ordered."""
        if self._rerank is None:
            return self._k
        return min(max(self._k, self._rerank.first), self._index.num_candidates)

    def _order(self, rerank: Rerank, rows: tf.Tensor, scores: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns int32 [batch, k], which of those found are recommended, in order."""
        num_ordered = min(rerank.first, self._num_found)
        blend = rerank.weight * logits + (1 - rerank.weight) * scores
        blend = tf.where(rows == NO_ROW, NO_SCORE, blend)[:, :num_ordered]
        first = tf.argsort(blend, axis=1, direction="DESCENDING", stable=True)
        shape = [tf.shape(rows)[0], self._num_found - num_ordered]
        others = tf.broadcast_to(tf.range(num_ordered, self._num_found), shape)
        return tf.concat([first, others], axis=1)[:, : self._k]

    def _log_odds(self, embeddings: Mapping[str, tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        """Computes the rating model's log-odds, float32 in the shape of rows; arbitrary in an empty slot."""
        query = embeddings["rating"] if rows.shape.rank == 1 else tf.expand_dims(embeddings["rating"], 1)
        return tf.reduce_sum(query * self._catalogue.rating_vectors(rows), axis=-1)


def _probabilities(logits: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    return tf.where(rows == NO_ROW, 0.0, sigmoid(logits))
